"""What one task iterates and closes: a source or the reading end of a channel, the steps behind it, and what was opened on the way.

Knows nothing of tasks: `pumps` drives a strand into a channel, `runs` gives the last one to its reader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from streamkit.flow.channel import Writer
from streamkit.flow.fuse import MAX_STEPS, Ending, Shape, arguments_of, bind
from streamkit.flow.plan import Step
from streamkit.flow.sources import Feed
from streamkit.flow.unfused import unfused

if TYPE_CHECKING:
    from streamkit.flow.runs import Run

__all__ = ["OwnLimits", "Strand"]


class Strand:
    """What one task iterates, from its source down, and closes, from the last opened up."""

    __slots__ = ("_closed", "_closers", "direct", "iterator", "run", "shape", "start", "steps", "watched", "writer")

    def __init__(self, feed: Feed, run: Run[Any]) -> None:
        self.run = run
        self.iterator: Any = feed.iterator
        self.shape: Shape = feed.shape
        self.start = feed.start
        # What its reader may iterate in the place of a segment, as long as there are no steps.
        self.direct = feed.direct
        # No list for the many that have none.
        self.steps: tuple[Step, ...] = ()
        self.watched = False
        # Where a task of the run's own drives it to; None for the reader's own strand.
        self.writer: Writer | None = None
        self._closers = feed.closers
        self._closed = False

    def add(self, step: Step) -> None:
        """Take one more step into the current segment."""
        if len(self.steps) >= MAX_STEPS:
            self.seal()
        self.steps = (*self.steps, step)

    def seal(self) -> None:
        """End the segment: its steps become an iterator that another one can stand on."""
        if not self.steps and self.start is None and not self.watched:
            return
        if self.shape == "lists":
            self.wrap(self.bind("lists", None, None), "lists", "segment")
        else:
            self.flatten()

    def flatten(self) -> None:
        """End the segment with an iterator of single items, for code that is not ours.

        Always with a segment of ours, which lets the loop turn: that code may drop all it gets.
        """
        self.wrap(self.bind("yield", None, None), "items", "segment")

    def bare(self) -> None:
        """Let code of ours loop over the iterator itself, after `start`: it gives items, or lists where the source reads lists.

        A source of lists without steps is read as it is: a segment in between would copy each list.
        """
        if self.shape == "drains":
            self.flatten()
        elif self.steps or self.watched:
            self.seal()

    def wrap(self, iterator: Any, shape: Shape, label: str, close: Callable[[], Awaitable[object] | None] | None = None) -> None:
        """Put an iterator over the strand so far, closed by its `aclose`, if it has one, or as told."""
        self.iterator = iterator
        self.shape = shape
        self.start = None
        self.direct = None
        self.steps = ()
        self.watched = False
        close = close or getattr(iterator, "aclose", None)
        if close is not None:
            self._closers.append((label, close))

    def watch(self, watched: Any, close: Callable[[], None]) -> None:
        """Let the next segment step this strand's iterator through `watched` (see `fuse.bind`)."""
        self.seal()
        self.iterator = watched
        self.watched = True
        self._closers.append(("timer", close))

    def bind(self, ending: Ending, out: Any, leave: Callable[[BaseException | None], Awaitable[None]] | None) -> Any:
        """The current segment with its ending: an async generator, or a coroutine for "append" and "push"."""
        return self.segment(ending)(self.iterator, self.start, arguments_of(self.steps), out, self.run.backend.checkpoint, leave)

    def segment(self, ending: Ending) -> Callable[..., Any]:
        """The function of the current segment, written if there has been none of its shape."""
        make = bind if self.run.fused else unfused
        return make(self.shape, self.steps, ending, watched=self.watched)

    async def aclose(self) -> BaseException | None:
        """Close everything, last opened first; the first failure is returned, for the caller to weigh."""
        if self._closed:
            return None
        self._closed = True
        failure: BaseException | None = None
        cancelled: BaseException | None = None
        while self._closers:
            name, close = self._closers.pop()
            try:
                await self.run.close_one(name, close)
            except BaseExceptionGroup as group:
                # A task group that a source holds across its `yield` wraps the very GeneratorExit that closes it.
                failure = failure or group.split(GeneratorExit)[1]
            except Exception as error:
                failure = failure or error
            except BaseException as error:  # a cancel during the clean-up: go on closing, then let it through
                cancelled = cancelled or error
        return cancelled or failure


class OwnLimits:
    """How to close what limits itself: Runs inside a Run. A limit around theirs would cancel them out of step."""

    __slots__ = ("_close",)

    def __init__(self, close: Callable[[], Awaitable[object]]) -> None:
        self._close = close

    def __call__(self) -> Awaitable[object]:
        return self._close()
