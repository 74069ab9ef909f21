"""A value of a type, while the JSON it is read from still arrives: growing, checked as it comes, in linear time.

Beside the JSON that `JsonReader` makes grow stands a second tree, of the types' own objects. A node of it is an open
container; the row of nodes follows the reader's row of open containers as far as the types can be shown. After each
piece of text

    1. nodes whose container was closed go
    2. the children that have come to the innermost node since are given to it: those that are whole are checked and
       converted as wholes, also where a node had shown them before
    3. its last child, if it is open, is shown as it grows: a text, or a node of its own, and on from 2.

So a child is converted once, when it is whole, and once more with each container around it: nothing is read again
for a delta. What the types cannot show yet stays pending, and is looked at with each piece.

The tree has nothing that the reader has not: a stage is saved as its reader, and the tree made again of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Any, Final, Generic, TypeAlias, TypeVar, final

import msgspec

from streamkit.errors import RemoteProtocolError, TypeMismatch
from streamkit.events.model import EVENT_TYPES, ErrorEvent, Event, Finish, TextDelta
from streamkit.stages.partial_json import MAX_CHARS, JsonReader
from streamkit.stages.shapes import ANYTHING, ARRAY, OBJECT, STRING, Either, Fields, Items, Raw, Shape, Table, Tagged, Text
from streamkit.stages.stage import Stage

__all__ = ["GrowingValue", "Parsed"]

T = TypeVar("T")

# Less than partial_json allows: each container is converted again with every one around it.
MAX_DEPTH: Final = 200

_EVENTS = frozenset(EVENT_TYPES)
_SPACE: Final = r"[ \t\n\r]*"

_Container: TypeAlias = Fields | Items | Table


class Parsed(msgspec.Struct, Generic[T], frozen=True):
    """A value of a type, as far as it has come.

    Attributes:
        value: What has come of it, live: the same object each time, growing. A field that has not come has its default, or
            is None (a TypedDict: is not there). What is in it has been checked, but for texts that still grow. The last
            one is another object, made by the type itself of all that came.
        complete: Whether this is all of it, checked as a whole. True for the last one only.
        missing: The fields of `value` itself of which nothing has come.
    """

    value: T
    complete: bool = False
    missing: tuple[str, ...] = ()


class _Node:
    """An open container: the JSON of it, and what is shown of it."""

    __slots__ = ("at", "done", "pending", "raw", "shape", "shown")

    def __init__(self, raw: Any, shape: _Container, shown: Any, at: object) -> None:
        self.raw = raw
        self.shape = shape
        self.shown = shown
        self.at = at  # its key or index in the container around it
        self.done = 0  # children seen
        self.pending: Any = _NONE  # the one of them that was open: a key or an index

    def came(self) -> Iterable[Any]:
        """The children that have come since this was asked last, and the one that was open then."""
        first, self.done = self.done, len(self.raw)
        if first == self.done:
            return () if self.pending is _NONE else (self.pending,)
        if self.raw.__class__ is list:
            return range(first if self.pending is _NONE else self.pending, self.done)
        keys = list(islice(reversed(self.raw), self.done - first))
        if self.pending is not _NONE:
            keys.append(self.pending)
        keys.reverse()
        return keys


_NONE: Final = object()


@final
class GrowingValue(Stage[str | Event, Parsed[Any]]):
    """Text, or the text of events, to a growing value of a type.

    Args:
        shape: The type, as `shape_of` gives it.
        strict: Whether the text is JSON and nothing else. If not, text before it (prose, the fence of a code block) is
            passed over up to the first place where a value of the type may begin, and text behind it is ignored.
        max_chars: Most characters of the value's text.
        max_depth: Most containers inside each other.

    Of events, the text of choice 0 is read, all blocks of it as one text; other events are ignored.

    Memory: the value, twice: as JSON and as objects of the type. Time is linear in the text.

    >>> from streamkit.stages.shapes import shape_of
    >>> stage = GrowingValue(shape_of(dict[str, int]))
    >>> [*stage.feed('Here it is: {"a": 1, "b": 2')]
    [Parsed(value={'a': 1}, complete=False, missing=())]
    >>> [*stage.feed("0}")]
    [Parsed(value={'a': 1, 'b': 20}, complete=True, missing=())]
    """

    def __init__(self, shape: Shape, *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH) -> None:
        """Raises ConfigError for a bound that is not an int of at least 1."""
        self._strict = strict
        self._reader = JsonReader(max_chars=max_chars, max_depth=max_depth, alone=strict)
        self._top = Items(list[Any], ARRAY, _as_it_is)  # the list around the value
        self._top.element = shape
        self._begin = None if strict else _beginning(shape)
        self._held = ""  # a bracket that may begin the value, once it is known what follows
        self._begun = False
        self._nodes = [_Node(self._reader.root, self._top, [], 0)]
        self._text: Any = _NONE  # where in the last node a text is shown that still grows
        self._shown_text: Any = _NONE  # where it was, as long as its end is looked at
        self._missing: tuple[str, ...] = ()
        self._came = -1
        self._error: RemoteProtocolError | None = None

    def feed(self, item: str | Event) -> Iterable[Parsed[Any]]:
        """What this text adds to the value: one record, or none if nothing can be shown of it yet.

        Raises:
            RemoteProtocolError: the text is not JSON, or ended before the value did.
            TypeMismatch: it is JSON of another type.
            TypeError: neither text nor an event.
        """
        kind = item.__class__
        if kind is str:
            return self._feed(item)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # they do not narrow by __class__
        if kind is TextDelta:
            return self._feed(item.text) if not item.choice else ()  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]  # same
        match item:
            case Finish(choice=0):
                return self._end("its limit of tokens cut the answer" if item.reason == "length" else None)
            case ErrorEvent():
                return self._end("the answer ended in an error")
            case str():
                return self._feed(str(item))
            case _ if kind not in _EVENTS:
                raise TypeError(f"parse takes text or events, got {kind.__name__}")
            case _:
                return ()

    def flush(self) -> Iterable[Parsed[Any]]:
        """A number that stood alone.

        Raises:
            RemoteProtocolError: the text ended before the value did, or there was none.
        """
        return self._end(None)

    def abort(self) -> Iterable[Parsed[Any]]:
        """Nothing: what had come was given."""
        return ()

    def snapshot(self) -> dict[str, object]:
        """The JSON so far.

        Raises:
            RemoteProtocolError: one was raised before; there is nothing to go on with.
        """
        if self._error is not None:
            raise self._error
        return {"done": self.done, "reader": self._reader.snapshot(), "held": self._held, "begun": self._begun}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage was saved. The value is a new object."""
        plain: dict[str, Any] = saved
        self._reader.restore(plain["reader"])
        self._held, self._begun = plain["held"], plain["begun"]
        self._nodes = [_Node(self._reader.root, self._top, [], 0)]
        self._show()

    def _feed(self, text: str) -> Iterable[Parsed[Any]]:
        if self._error is not None:
            raise self._error
        if not self._begun:
            text = self._beginning_in(text)
        reader = self._reader
        if not text or (reader.complete and not self._strict):
            return ()
        try:
            if reader.complete:
                reader.feed(text)  # it takes white space only
                return ()
            if self._text is not _NONE:
                shown = self._grow(text)
            else:
                # That something ends here is no change for the reader; it may be one for what is shown.
                changed = reader.feed(text)
                nodes = self._nodes
                shown = (changed or nodes[-1].pending is not _NONE or len(reader.stack) < len(nodes)) and self._show()
        except RemoteProtocolError as error:
            raise self._failed(self._first_of(error)) from None
        return (self._record(),) if shown or reader.complete else ()

    def _beginning_in(self, text: str) -> str:
        """The text from where the value begins; "" if that is not known yet."""
        if self._begin is None:
            self._begun = True
            return text
        text = self._held + text
        self._held = ""
        found = self._begin.search(text)
        if found is None:
            return ""
        if found["open"]:  # what follows the bracket is not here yet
            self._held = found["open"]
            return ""
        self._begun = True
        return text[found.start() :]

    def _grow(self, text: str) -> bool:
        """Read on where a text is shown: it is let go meanwhile, or each delta would copy it."""
        reader, node, at = self._reader, self._nodes[-1], self._text
        node.shape.put(node.shown, at, "")
        try:
            changed = reader.feed(text)
        finally:
            node.shape.put(node.shown, at, node.raw[at])
        if reader.holder is node.raw and reader.at == at and reader.open_text:
            return changed
        return self._show() or changed

    def _end(self, why: str | None) -> Iterable[Parsed[Any]]:
        """No more text will come, and `why`, if it is not all of it."""
        if self._error is not None:
            raise self._error
        reader = self._reader
        if reader.complete:
            return ()
        try:
            if why is None and reader.finish():
                self._show()
                return (self._record(),)
        except RemoteProtocolError as error:
            raise self._failed(error) from None
        what = "before the JSON value was complete" if self._begun and reader.begun else "without a JSON value of the type"
        raise self._failed(RemoteProtocolError(f"{why or 'the text ended'}, {what}"))

    def _first_of(self, error: RemoteProtocolError) -> RemoteProtocolError:
        """What is wrong first: what came before the JSON broke, in the same piece of text, may not fit the type."""
        if isinstance(error, TypeMismatch):
            return error
        try:
            self._show()
        except RemoteProtocolError as earlier:
            return earlier
        return error

    def _failed(self, error: RemoteProtocolError) -> RemoteProtocolError:
        shown = self._nodes[0].shown
        error.partial = shown[0] if shown else None
        self._error = error
        return error

    def _record(self) -> Parsed[Any]:
        top = self._nodes[0].shown[0]
        if self._reader.complete:
            return Parsed(top, True)
        if len(self._nodes) > 1:
            node = self._nodes[1]
            if isinstance(node.shape, Fields) and len(node.raw) != self._came:
                self._came = len(node.raw)
                self._missing = node.shape.missing(node.raw)
        return Parsed(top, False, self._missing)

    def _show(self) -> bool:
        """Bring what is shown up to what was read; whether any of it is new."""
        reader, nodes = self._reader, self._nodes
        stack = reader.stack
        while len(nodes) > len(stack) or nodes[-1].raw is not stack[len(nodes) - 1]:
            nodes.pop()
        self._shown_text, self._text = self._text, _NONE
        new = False
        while True:
            node = nodes[-1]
            child: Any = stack[len(nodes)] if len(stack) > len(nodes) else None
            open_at = reader.places[len(nodes) - 1] if child is not None else reader.at if reader.open_text else _NONE
            for at in node.came():
                if at != open_at:
                    new = self._whole(node, at) or new
            node.pending = open_at
            if open_at is _NONE:
                return new
            inner = self._open(node, open_at, child)
            if not isinstance(inner, _Node):
                return inner or new
            nodes.append(inner)
            new = True

    def _whole(self, node: _Node, at: object) -> bool:
        """A child that has come to its end is shown, if its type has a place for it."""
        shape = node.shape.inner(at)
        if shape is None:
            return False
        raw = node.raw[at]
        try:
            value = shape.convert(raw)
        except (msgspec.ValidationError, ValueError):
            value = shape.whole(raw, self._path(node, at))  # raises it as an error of ours: where it stands is worked out here only
        node.shape.put(node.shown, at, value)
        return not (at == self._shown_text and value is raw)

    def _open(self, node: _Node, at: object, child: Any) -> _Node | bool:
        """A child that is open: its own node, or whether any of it is shown without one."""
        shape = node.shape.inner(at)
        if shape is None:
            return False
        raw = node.raw[at]
        if (STRING if child is None else ARRAY if child.__class__ is list else OBJECT) not in shape.begins:
            shape.whole(raw, self._path(node, at))  # says what was expected
            return False
        if child is None:
            if not (isinstance(shape, Text | Raw) or (isinstance(shape, Either) and shape.text)):
                return False
            self._text = at
        if child is None or isinstance(shape, Raw):
            node.shape.put(node.shown, at, raw)
            return True
        container = self._container(node, at, shape, child)
        if container is None:
            return False
        shown = container.make()
        node.shape.put(node.shown, at, shown)
        return _Node(child, container, shown, at)

    def _container(self, node: _Node, at: object, shape: Shape, child: Any) -> _Container | None:
        """What an open container is, if that can be told and shown."""
        if isinstance(shape, Either):
            inner = shape.array if child.__class__ is list else shape.mapping
            return None if inner is None else self._container(node, at, inner, child)
        if not isinstance(shape, Tagged):
            return shape if isinstance(shape, Fields | Items | Table) else None
        key = shape.key
        reader = self._reader
        if key not in child or (reader.holder is child and reader.at == key and reader.open_text):
            return None
        tag = child[key]
        if tag.__class__ in (str, int, bool) and tag in shape.members:
            return shape.members[tag]
        shape.whole({key: tag}, self._path(node, at))  # says which there are
        return None

    def _path(self, node: _Node, at: object) -> str:
        """Where the child `at` of a node stands, without keys that are data."""
        path = ""
        places = [*((one.shape, two.at) for one, two in pairwise(self._nodes[: self._nodes.index(node) + 1])), (node.shape, at)]
        for shape, place in places[1:]:
            path += f".{place}" if isinstance(shape, Fields) else "[...]" if isinstance(shape, Table) else f"[{place}]"
        return path


def _beginning(shape: Shape) -> re.Pattern[str] | None:
    """Where a value of the type may begin in a text: a bracket, and what may stand behind it; None if it needs none."""
    ways: list[str] = []
    if OBJECT in shape.begins:
        ways.append(rf'\{{(?={_SPACE}["}}])')
    if ARRAY in shape.begins:
        array = shape.array if isinstance(shape, Either) else shape
        inside = array.element.begins if isinstance(array, Items) else ANYTHING
        ways.append(rf"\[(?={_SPACE}[{re.escape(inside)}\]])")
    if not ways:
        return None
    brackets = "".join(re.escape(bracket) for bracket in (OBJECT, ARRAY) if bracket in shape.begins)
    return re.compile(rf"{'|'.join(ways)}|(?P<open>[{brackets}]){_SPACE}\Z")


def _as_it_is(raw: object) -> object:
    return raw
