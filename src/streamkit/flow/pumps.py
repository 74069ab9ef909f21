"""The background tasks of a Run: pumps, which drive a strand into a channel, and jobs, for all else.

How a pump is left. Each line was a real race:

    new          it has not begun: let it begin; it sees that it was left and closes its source
    blocked      it waits for room in its channel: woken, it leaves its loop and closes its source itself, so
                 that the source's own `finally: await ...` runs undisturbed
    inside       it waits in the source or in an async step: cancelled, once
    closing      it cleans up: never touched, until `close_timeout` is over
    done

A pump is told when its reader closes its channel; when a run is left all are told at once, and remember
it, because a pump that reads another's channel may come to close it later.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from streamkit.flow.channel import ReaderLeft, Writable, Writer
from streamkit.flow.fuse import Ending
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import Task

if TYPE_CHECKING:
    from streamkit.flow.runs import Run

__all__ = ["Driven", "Job", "Pump"]


class Pump:
    """A strand driven into a channel by a task of its own."""

    __slots__ = (
        "_closing",
        "_dismissed",
        "_error",
        "_run",
        "_started",
        "_strand",
        "_task",
        "_writer",
        "failure",
        "finish",
        "label",
        "offer",
    )

    def __init__(self, strand: Strand | Driven, channel: Writable, run: Run[Any], label: str) -> None:
        self.label = label
        # What lets an item in: a plain append, or a policy or a timed stage in its place.
        self.offer: Callable[[Any], object] = channel.buffer.append
        # What is told when the strand is over and closed.
        self.finish: Callable[[BaseException | None], None] = self._end
        self.failure: BaseException | None = None
        self._error: BaseException | None = None
        self._strand = strand
        self._run = run
        self._writer = strand.writer = Writer(channel, run.backend)
        if channel.on_close is not None:
            channel.on_close.append(self.leave)
        self._task: Task | None = None
        self._started = False
        self._closing = False
        # Whether it alone was told to leave, by a reader who goes on without it: what goes wrong in that is nobody's.
        self._dismissed = False

    def start(self, ended: Callable[[], None] | None = None) -> None:
        """Begin; in the consumer's context, when the consumer first wants something."""
        backend = self._run.backend
        clean_up = self._clean_up if backend.scoped else None
        self._task = backend.spawn(self._drive, clean_up, f"streamkit {self.label}", ended or self._run.pump_ended)

    async def _drive(self) -> None:
        self._started = True
        writer = self._writer
        try:
            if writer.left or writer.channel.closed:
                raise ReaderLeft
            await self._strand.bind("push", (self.offer, writer.channel, writer.go_on, writer.settle), None)
        except ReaderLeft as left:
            self._error = left  # a reader in another task is being left too, and must not take this for an end
        except BaseException as error:  # the reader's to see, at its place in the order
            # The cancel of a pump that was left is its own affair.
            self._error = ReaderLeft() if writer.left and not isinstance(error, Exception) else error
            if not isinstance(error, Exception | KeyboardInterrupt | SystemExit):
                raise  # a cancel belongs to the task that was cancelled
        finally:
            self._closing = True
            if not self._run.backend.scoped:  # here, in the place of a frame around this one: there may be thousands
                await self._clean_up()

    async def _clean_up(self) -> None:
        self._closing = True
        failure = await self._strand.aclose()
        if self._writer.channel.closed:
            # A failure of the clean-up still counts when the reader is gone; the cancel that ended it does not.
            self.failure = failure if isinstance(failure, Exception) and not self._dismissed else None
        else:
            self.finish(self._error or failure)

    def _end(self, error: BaseException | None) -> None:
        channel = self._writer.channel
        if error is not None:
            channel.fail(error)
        channel.end()

    @property
    def done(self) -> bool:
        return self._task is None or self._task.done

    def leave(self) -> None:
        """Tell it, once, that nobody reads any more: its reader has left, or the whole run is being left."""
        if self._task is None or self._task.done or self._writer.left:
            return
        self._writer.left = True
        self._dismissed = not (self._writer.channel.closed or self._run.closing)
        if self._closing or not self._started:
            return
        if self._writer.blocked:
            self._writer.wake()
        else:
            self._task.cancel()

    def insist(self) -> None:
        """Cancel it once more, unless it cleans up: that has limits of its own, which name what refused."""
        if self._task is not None and not self._closing:
            self._task.cancel()

    async def drop(self) -> None:
        """Close the strand of a pump that never started, in the consumer's task."""
        self.failure = await self._strand.aclose()


class Driven:
    """A Run inside another, as the strand of a pump: closed as a strand is, in the second part of the pump's task."""

    __slots__ = ("_error", "_inner", "writer")

    def __init__(self, inner: Run[Any]) -> None:
        self._inner = inner
        self._error: BaseException | None = None
        self.writer: Writer | None = None

    async def bind(self, ending: Ending, out: Any, leave: None) -> None:
        try:
            await self._inner.bound(ending, out, closes=False)
        except BaseException as error:
            # The cancel of a pump that was left is its own affair: the inner Run is over for the reasons of the outer one.
            left = self.writer is not None and self.writer.left
            self._error = None if left and not isinstance(error, Exception) else error
            raise

    async def aclose(self) -> BaseException | None:
        error, self._error = self._error, None
        try:
            await self._inner.aclose(error)
        except BaseException as error:
            return error
        return None


class Job:
    """A coroutine in a task of a Run's own. It is left as a pump is: cancelled once, waited for, then abandoned.

    An error that leaves it is dropped: it says itself what came of it.
    """

    __slots__ = ("_main", "_run", "_task", "abandon", "farewell", "label", "left")

    def __init__(self, main: Callable[[Job], Coroutine[Any, Any, None]], run: Run[Any], label: str) -> None:
        self.label = label
        self.left = False
        # How to let go of what no cancel can end, a thread; None where a cancel can.
        self.abandon: Callable[[], None] | None = None
        # How to tell it that the Run is being left, in the place of the first cancel: it has `close_timeout` to end.
        self.farewell: Callable[[], None] | None = None
        self._main = main
        self._run = run
        self._task: Task | None = None

    def start(self, ended: Callable[[], None]) -> None:
        # It cleans up by itself.
        self._task = self._run.backend.spawn(self._drive, None, f"streamkit {self.label}", ended)

    async def _drive(self) -> None:
        if self.left and self.farewell is None:
            return
        try:
            await self._main(self)
        except (Exception, KeyboardInterrupt, SystemExit):
            return
        except BaseExceptionGroup as group:  # a cancel, and what went wrong in a clean-up beside it
            rest = group.split(Exception)[1]
            if rest is not None:
                raise rest from None

    @property
    def done(self) -> bool:
        return self._task is None or self._task.done

    def leave(self) -> None:
        """Cancel it, once; or tell it."""
        if not self.left:
            self.left = True
            if self.farewell is not None:
                self.farewell()
            elif self._task is not None:
                self._task.cancel()

    def insist(self) -> None:
        """Cancel it once more, or let go of it."""
        if self.abandon is not None:
            self._run.complain(f"has a task that refuses to end: {self.label} runs on in its thread, and is abandoned")
            self.abandon()
        elif self._task is not None:
            self._task.cancel()
