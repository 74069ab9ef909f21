"""Stages for text, lifted over events: only the text changes, everything else keeps its place.

Each (choice, index) has its own row of stages, made when its first text comes and fed with its text
alone, so interleaved blocks and answers do not disturb each other.

    text delta              through its row; what comes out has the same index and choice
    Ping, Usage             pass by; held-back text stays held
    reasoning, data delta   pass by too, so text that was held back may follow them
    any other event         ends the open indexes of its choice, or all of them if it names none: their rows are
                            flushed before it and forgotten, and later text makes a new row
    ErrorEvent              as that, with `abort` in the place of `flush`
    end of the input        ends all indexes, in the order in which they began

The last stage of a row may give events instead of text: `TextDelta` and `ReasoningDelta`, which get the row's index and
choice, and `Custom`, which has none (`SplitTags`). Any other is refused, as is one that comes before the last stage.

Another index's text does not end an index: blocks may interleave. Where a row holds text back, outputs of two
open blocks may come in another order than their inputs; within a block the order is kept.

A stage that is done (`Stop`) ends its answer: what its row and the choice's other rows hold is given,
then `Finish("stop")`, and all further events of that choice are dropped, the provider's own `Finish` too, as a
stream has one. Usage that came before stands before it already. The lifted stage is done when every
choice seen so far is over; until then the other choices go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias, final

import msgspec

from streamkit.events import EVENT_TYPES, Custom, DataDelta, ErrorEvent, Event, Finish, Ping, ReasoningDelta, TextDelta, Usage
from streamkit.stages.stage import Stage
from streamkit.stages.stopping import Stop
from streamkit.stages.tagging import TextPart

__all__ = ["OnText", "RowStage"]

# What a row is made of: text in, text out, and events out of the last one.
RowStage: TypeAlias = Stage[str, str] | Stage[str, TextPart] | Stage[str, str | TextPart]
Given: TypeAlias = str | TextPart


@final
class OnText(Stage[Event, Event]):
    """A row of text stages over the text of events.

    Args:
        factories: Makers of the stages, each called once for every (choice, index). At least one.

    Memory: what the stages of the open indexes hold, and one small number per choice.

    It can be saved if all its stages can: a row for each open index, as long as it is open.

    Errors of a text stage are raised as they are, behind what had come out of it and what the other
    rows still held.

    >>> lifted = OnText([lambda: Stop(["END"])])
    >>> [*lifted.feed(TextDelta("bye E"))]
    [TextDelta(text='bye ', index=0, choice=0)]
    >>> [*lifted.feed(TextDelta("ND of it"))], lifted.done
    ([Finish(reason='stop', raw_reason='stop_sequence', choice=0)], True)
    """

    def __init__(self, factories: Sequence[Callable[[], RowStage]]) -> None:
        """Raises TypeError if a factory does not make a `Stage`, which is seen here and not at the first text."""
        self._factories = tuple(factories)
        if not self._factories:
            raise TypeError("on_text lifts at least one stage, got none")
        self._spare: _Row | None = _Row(self._factories)
        self._rows: dict[tuple[int, int], _Row] = {}
        self._seen: set[int] = set()
        self._over: set[int] = set()
        self._stopped: set[int] = set()

    def feed(self, item: Event) -> Iterable[Event]:
        """What this event becomes: its text through its row, or itself behind what it ends.

        Raises:
            TypeError: the item is no event, or a stage gave something other than text.
        """
        if item.__class__ is TextDelta:  # the class is final, and this costs a third of isinstance
            return self._text(item)  # pyright: ignore[reportArgumentType]  # it does not narrow by __class__
        if item.__class__ not in _EVENTS:
            raise TypeError(f"on_text takes events, got {_kind(item)}: text itself goes through the stage without on_text")
        choice: int | None = getattr(item, "choice", None)
        if choice is not None:
            if choice in self._stopped:
                return ()
            self._seen.add(choice)
        if item.__class__ in _PASSING:
            return (item,)
        return self._other(item, choice)

    def flush(self) -> Iterable[Event]:
        """What all rows hold, in the order in which their indexes began."""
        given: list[Event] = []
        failure = self._close(list(self._rows), given, failed=False)
        return given if failure is None else _failing(given, failure)

    def abort(self) -> Iterable[Event]:
        """What all rows may still give; no `Finish`, since the answer has none."""
        given: list[Event] = []
        failure = self._close(list(self._rows), given, failed=True)
        return given if failure is None else _failing(given, failure)

    def snapshot(self) -> dict[str, object]:
        """The rows of all open indexes, each with what its stages have learned, and the choices that are over.

        Raises:
            ConfigError: one of the stages cannot be saved.
        """
        spare = self._spare
        if spare is not None:
            spare.snapshot()  # else a stage that cannot be saved would be found only when there is text
        return {
            "done": self.done,
            "rows": [(choice, index, row.snapshot()) for (choice, index), row in self._rows.items()],
            "seen": set(self._seen),
            "over": set(self._over),
            "stopped": set(self._stopped),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where another, made of the same stages, was saved."""
        self.done = saved["done"]
        self._rows = {}
        for choice, index, stages in saved["rows"]:
            row = self._rows[choice, index] = _Row(self._factories)
            row.restore(stages)
        self._seen, self._over, self._stopped = set(saved["seen"]), set(saved["over"]), set(saved["stopped"])

    def _text(self, event: TextDelta) -> Iterable[Event]:
        choice = event.choice
        if choice in self._stopped:
            return ()
        key = (choice, event.index)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._spare or _Row(self._factories)
            self._spare = None
            self._seen.add(choice)
        texts = row.feed(event.text)
        if row.error is None and row.ended_by is None:
            if len(texts) == 1 and texts[0] is event.text:
                return (event,)
            return _placed(texts, event.index, choice)
        given = _placed(texts, event.index, choice)
        if row.error is not None:
            del self._rows[key]
            self._close(list(self._rows), given, failed=True)
            return _failing(given, row.error)
        failure = self._stop(key, row, given)
        return given if failure is None else _failing(given, failure)

    def _other(self, event: Event, choice: int | None) -> Iterable[Event]:
        """A control event: its choice's rows end before it."""
        ending = [key for key in self._rows if choice is None or key[0] == choice]
        given: list[Event] = []
        failure = self._close(ending, given, failed=event.__class__ is ErrorEvent)
        if failure is not None:
            self._close(list(self._rows), given, failed=True)
            return _failing(given, failure)
        if choice is None or choice not in self._stopped:
            given.append(event)
            if event.__class__ is Finish and choice is not None:
                self._over.add(choice)
                self._look_whether_done()
        return given

    def _close(self, keys: list[tuple[int, int]], given: list[Event], *, failed: bool) -> Exception | None:
        """End these indexes; the first error of theirs, once all of them gave what they had."""
        failure: Exception | None = None
        for key in keys:
            row = self._rows.pop(key, None)
            if row is None:
                continue  # its choice was stopped by a row before it
            choice, index = key
            given += _placed(row.close(failed=failed), index, choice)
            if row.error is not None:
                failure = failure or row.error
                failed = True
            elif row.ended_by is not None and not failed:
                failure = self._stop(key, row, given)
                failed = failure is not None
        return failure

    def _stop(self, key: tuple[int, int], row: _Row, given: list[Event]) -> Exception | None:
        """A row is done: end its answer."""
        choice = key[0]
        self._rows.pop(key, None)
        self._stopped.add(choice)
        self._over.add(choice)
        for other in [other for other in self._rows if other[0] == choice]:
            rest = self._rows.pop(other)
            given += _placed(rest.close(failed=False), other[1], choice)
            if rest.error is not None:
                return rest.error
        given.append(Finish("stop", raw_reason="stop_sequence" if isinstance(row.ended_by, Stop) else None, choice=choice))
        self._look_whether_done()
        return None

    def _look_whether_done(self) -> None:
        # Without a stop of ours the stream ends by itself, and its own end is the better one.
        if self._stopped and self._seen <= self._over:
            self.done = True


@final
class Texts(Stage[Event, str]):
    """The text of the events of one choice, or of all; nothing is kept."""

    state: ClassVar = ()

    def __init__(self, choice: int | None = 0) -> None:
        self._choice = choice

    def feed(self, item: Event) -> Iterable[str]:
        """The text of a delta of text.

        Raises:
            TypeError: the item is no event.
        """
        if isinstance(item, TextDelta):
            return (item.text,) if self._choice is None or item.choice == self._choice else ()
        if item.__class__ not in _EVENTS:
            raise TypeError(f"texts takes events, got {_kind(item)}: text itself needs it not")
        return ()


_EVENTS = frozenset(EVENT_TYPES)
_PASSING = frozenset({Ping, Usage, ReasoningDelta, DataDelta})
_PLACED = frozenset({TextDelta, ReasoningDelta, Custom})


class _Row:
    """The stages of one index: text in at the first, out at the last.

    Attributes:
        ended_by: The stage that was done, once the ones behind it have been flushed.
        error: What a stage raised, once the ones behind it have been told.
    """

    __slots__ = ("_at", "_stages", "ended_by", "error")

    def __init__(self, factories: tuple[Callable[[], RowStage], ...]) -> None:
        self._stages = [_made(factory) for factory in factories]
        self._at = 0  # the stage at work: the one that raised, if one did, or the last that was done
        self.ended_by: RowStage | None = None
        self.error: Exception | None = None

    def snapshot(self) -> list[dict[str, object]]:
        return [stage.snapshot() for stage in self._stages]

    def restore(self, saved: list[dict[str, object]]) -> None:
        for stage, one in zip(self._stages, saved, strict=True):
            stage.restore(one)

    def feed(self, text: str) -> list[Given]:
        """What comes out for this text; all of the rest too, if it ended the row."""
        given: list[Given] = []
        try:
            if not self._into(0, text, given):
                self._finish(self._at, given)
        except Exception as error:
            self._failed(error, given)
        return given

    def close(self, *, failed: bool) -> list[Given]:
        """The input ended, or failed: what the stages hold."""
        given: list[Given] = []
        try:
            self._close_from(0, given, failed)
        except Exception as error:
            self._failed(error, given)
        return given

    def _into(self, at: int, text: str, given: list[Given]) -> bool:
        """One text into the stage `at` and on; False when a stage, then at `_at`, is done."""
        if at == len(self._stages):
            given.append(text)
            return True
        stage = self._stages[at]
        self._at = at
        if not self._on(at, stage.feed(text), given):
            return False
        return not stage.done

    def _on(self, at: int, texts: Iterable[Given], given: list[Given]) -> bool:
        """What the stage `at` gave, into the ones behind it."""
        for text in texts:
            if not isinstance(text, str):
                if text.__class__ not in _PLACED or at + 1 < len(self._stages):
                    raise self._wrong(at, text)
                given.append(text)
            elif not self._into(at + 1, text, given):
                return False
            self._at = at
        return True

    def _wrong(self, at: int, event: object) -> TypeError:
        """The stage `at` gave what it must not give there."""
        name = type(self._stages[at]).__name__
        if event.__class__ not in _PLACED:
            return TypeError(
                f"on_text lifts stages from text to text, TextDelta, ReasoningDelta or Custom, but {name} gave {_kind(event)}"
            )
        return TypeError(
            f"{name} gave {_kind(event)}, and the stage behind it takes text: "
            "put what gives events last, and an on_text of its own behind it"
        )

    def _finish(self, at: int, given: list[Given]) -> None:
        """The stage `at` is done: nothing comes to the ones behind it any more."""
        self.ended_by = self._stages[at]
        self._close_from(at + 1, given, failed=False)

    def _close_from(self, at: int, given: list[Given], failed: bool) -> None:
        while at < len(self._stages):
            stage = self._stages[at]
            self._at = at
            if not self._on(at, stage.abort() if failed else stage.flush(), given):
                # One behind it is done and needs nothing of the ones between.
                at = self._at
                self.ended_by = self._stages[at]
            at += 1

    def _failed(self, error: Exception, given: list[Given]) -> None:
        """Let the stages behind the one that raised give what they may, then keep its error."""
        self.error = error
        at = self._at + 1
        while at < len(self._stages):
            try:
                self._close_from(at, given, failed=True)
            except Exception:  # the first error is the one that counts
                at = self._at + 1
            else:
                return


def _placed(parts: list[Given], index: int, choice: int) -> list[Event]:
    """What a row gave, as events of its index and choice."""
    return [TextDelta(part, index, choice) if isinstance(part, str) else _event_placed(part, index, choice) for part in parts]


def _event_placed(event: TextPart, index: int, choice: int) -> Event:
    if isinstance(event, Custom) or (event.index == index and event.choice == choice):
        return event
    return msgspec.structs.replace(event, index=index, choice=choice)


def _made(factory: Callable[[], RowStage]) -> RowStage:
    if not callable(factory):
        raise TypeError(f"on_text takes makers of stages, got {_kind(factory)}")
    stage = factory()
    if not isinstance(stage, Stage):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"on_text lifts stages only, got {_kind(stage)}")
    return stage


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _failing(given: list[Event], error: Exception) -> Iterator[Event]:
    """What came out before an error, and then the error."""
    yield from given
    raise error
