"""What a token processor is: items in, items out, and no idea of tasks, clocks or wires.

A stage is fed by hand in a test, by a thread, by a notebook or by the fused loop of a stream; its
output must not depend on how the text was cut before it reached the stage.

What a stage has learned from its input is a few attributes, which it names in `state`: so it can be saved
between two items and taken up by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar, cast

from streamkit.errors import ConfigError
from streamkit.events.model import EVENT_TYPES

__all__ = ["Stage", "TimedStage", "copy_plain", "not_text"]

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(Generic[In, Out]):
    """A sans-IO processor with a state of its own; each Run makes a new one.

    Subclasses give `feed`, and `flush` if they hold anything back. Setting `done` says that no
    further input can change anything: the stream ends there, and its source is closed.

    `state` names the attributes that change while it is fed; what they hold are plain values: None, bool, numbers, str,
    bytes, events, and lists, tuples, sets and dicts of these. With it the stage can be saved and taken up again.

    >>> class Pairs(Stage[int, tuple[int, int]]):
    ...     state = ("held",)
    ...     held: int | None = None
    ...     def feed(self, item):
    ...         if self.held is None:
    ...             self.held = item
    ...             return ()
    ...         pair, self.held = (self.held, item), None
    ...         return (pair,)
    >>> pairs = Pairs()
    >>> [*pairs.feed(1), *pairs.feed(2), *pairs.feed(3), *pairs.flush()]
    [(1, 2)]
    >>> saved, again = pairs.snapshot(), Pairs()
    >>> again.restore(saved)
    >>> [*again.feed(4)]
    [(3, 4)]
    """

    # What changes while it is fed, by name; () for a stage that remembers nothing, None where nobody has said.
    state: ClassVar[tuple[str, ...] | None] = None

    done: bool = False

    def feed(self, item: In) -> Iterable[Out]:
        """Take one item; give what is determined by now, as early as it is."""
        raise NotImplementedError(f"{type(self).__name__}.feed")

    def flush(self) -> Iterable[Out]:
        """The input ended: give what was held back."""
        return ()

    def abort(self) -> Iterable[Out]:
        """The input failed: give what may still be given. By default all of `flush`."""
        return self.flush()

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own; for `restore` of a stage made in the same way.

        Taken between two calls, once all that the last one gave was taken.

        Raises:
            ConfigError: the class does not say what its state is.
        """
        names = type(self).state
        if names is None:
            raise ConfigError(
                f"{type(self).__name__} cannot be saved: name the attributes that change while it is fed, "
                'as `state = ("_held",)` in the class, () if there are none; or give it snapshot() and restore()'
            )
        saved: dict[str, object] = {"done": self.done}
        for name in names:
            saved[name] = copy_plain(getattr(self, name))
        return saved

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage, made in the same way, was saved."""
        for name, value in saved.items():
            setattr(self, name, copy_plain(value))


class TimedStage(Generic[In, Out]):
    """A stage for which time is an input: it says when it wants to be woken, and is.

    `deadline` is the time (in the seconds of `now`) at which `fire` should be called, or None.
    The host calls `fire` at or soon after it, never before, and not while the reader has no room: then once
    it has, or before the next item. So what comes out is a matter of the items' times, and not of the host's haste.

    `lingers` says that what is held at the end of the input still comes at its deadlines: `flush` is
    called when there is none any more. A stage that does not linger is flushed at the end.

    >>> class Late(TimedStage[str, str]):
    ...     held = ""
    ...     def feed(self, item, now):
    ...         self.held += item
    ...         self.deadline = now + 2.0
    ...         return ()
    ...     def fire(self, now):
    ...         self.deadline, text, self.held = None, self.held, ""
    ...         return (text,)
    >>> late = Late()
    >>> late.feed("a", 10.0), late.feed("b", 11.0), late.deadline, late.fire(13.0)
    ((), (), 13.0, ('ab',))
    """

    deadline: float | None = None
    done: bool = False
    lingers: bool = False

    def feed(self, item: In, now: float) -> Iterable[Out]:
        """Take one item that arrived at `now`, which is before the deadline."""
        raise NotImplementedError(f"{type(self).__name__}.feed")

    def ready(self, now: Callable[[], float], feed: Callable[[In], object]) -> Callable[[In], object]:
        """What the host calls with each item: a shorter way through the stage, where it has one.

        Args:
            now: The clock.
            feed: The whole way: `fire` if the deadline has passed, then `self.feed`, then what came out and the deadline
                are looked at.

        An item may go another way only where `feed` would give nothing, and the deadline has not passed and is
        not one that comes earlier than before.
        """
        return feed

    def fire(self, now: float) -> Iterable[Out]:
        """The deadline has passed: give what it was for, and move or clear it."""
        raise NotImplementedError(f"{type(self).__name__}.fire")

    def flush(self) -> Iterable[Out]:
        """The input ended: give what was held back."""
        return ()

    def abort(self) -> Iterable[Out]:
        """The input failed: give what may still be given. By default all of `flush`."""
        return self.flush()


def copy_plain(value: object) -> Any:
    """The value with containers of its own: what is saved does not change when the stage goes on."""
    if hasattr(value, "_fields"):
        return value  # a NamedTuple is not made of a list, and does not change
    if isinstance(value, list | tuple | set | frozenset):
        many = cast("Iterable[object]", value)
        return cast("Any", type(many))([copy_plain(one) for one in many])
    if isinstance(value, dict):
        return {key: copy_plain(one) for key, one in cast("dict[object, object]", value).items()}
    return value


# Stages of text that give something else, which `on_text` cannot put into events.
_NOT_LIFTED = ("code_blocks", "heal_markdown", "json_values")


def not_text(operator: str, item: object) -> TypeError:
    """The error for an item that is no text: what it is, and what to write instead."""
    what = f"{operator} takes text, got {type(item).__name__}"
    if isinstance(item, bytes | bytearray):
        what += ": decode them first, with codecs.iterdecode or its like"
    elif isinstance(item, EVENT_TYPES) and operator in _NOT_LIFTED:
        what += ": take the text of events first, with .flat_map(lambda event: [event.text] if event.type == 'text-delta' else [])"
    elif isinstance(item, EVENT_TYPES):
        what += f": events go through sk.on_text(sk.{operator}(...))"
    return TypeError(what)
