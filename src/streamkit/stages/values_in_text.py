"""JSON values out of a text: one after the other, among other text, or the items of an array that still grows.

Among other text (prose, fences of code) a value begins at `{` or `[`, and its grammar is checked character by character.
Where it breaks, what began there was no JSON: the text is looked at again from the character that broke it, and no
earlier, so that time stays linear. So "see [note] {"a": 1}" holds one value, and of "[1, {\"a\": 2} or so]" nothing is given:
what stands inside of what was no JSON is lost.

With `strict` the text is JSON and nothing else: values with white space between them, or nothing where their ends are
plain (JSON lines, concatenated JSON).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, final

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.partial_json import FIRST_KEY, FIRST_VALUE, MAX_CHARS, MAX_DEPTH, JsonReader
from streamkit.stages.shapes import Shape
from streamkit.stages.stage import Stage, not_text

__all__ = ["JsonValues"]

_BRACKET: Final = re.compile(r"[{\[]")
_TEXT: Final = re.compile(r"[^ \t\n\r]")
# Where an item of an array may end; a string may hold one of these too, which costs a step and no more.
_EDGE: Final = re.compile(r"[,\]}]")
# The reader looks over each piece as a whole, so many small values must not share a large one.
_PIECE: Final = 512


@final
class JsonValues(Stage[str, object]):
    """Text, cut anywhere, to the JSON values in it, each at its last character.

    Args:
        path: Where in each value an array is whose items are wanted, instead of the value: keys joined with dots and a star
            at the end, such as "items.*"; "*" alone is the value itself. None gives whole values.
        shape: The type of what is given, as `shape_of` gives it; None for plain JSON values.
        strict: Whether all of the text is JSON. If not, only objects and arrays are values, and all else is passed over.
        max_chars: Most characters of one value; of all that stands between two items, with a path.
        max_depth: Most containers inside each other.

    Memory: one value; with a path one item, and what stands beside the array. Time is linear in the text.

    >>> values = JsonValues()
    >>> [*values.feed('Take {"a": 1} or [2')], [*values.feed("] or [that].")]
    ([{'a': 1}], [[2]])
    >>> items = JsonValues("items.*")
    >>> [*items.feed('{"items": [{"n": 1}, {"n"')], [*items.feed(": 2}]}")]
    ([{'n': 1}], [{'n': 2}])
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        shape: Shape | None = None,
        strict: bool = False,
        max_chars: int = MAX_CHARS,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        """Raises ConfigError for a path that does not end in a star, and bounds below 1."""
        JsonReader(max_chars=max_chars, max_depth=max_depth)  # says what is wrong with them
        self._keys = None if path is None else _keys(path)
        self._shape = shape
        self._strict = strict
        self._max_chars = max_chars
        self._max_depth = max_depth
        self._next = _TEXT if strict else _BRACKET
        self._error: RemoteProtocolError | None = None
        self._reader: JsonReader | None = None  # of the value that is open
        self._chars = 0  # of it, but for items that were given
        # Of the array whose items are given: itself, the characters before its first item, how many of the items
        # that are still in it were given, and how many in all.
        self._array: list[Any] | None = None
        self._before = 0
        self._given = 0
        self._count = 0

    def feed(self, item: str) -> Iterable[object]:
        """The values that end in this text.

        Raises:
            RemoteProtocolError: behind the values before it: text that is no JSON (`strict`), a value that passes a bound, an
                array that breaks behind items that were given, or something else than an array at the path.
            TypeMismatch: a value of another type.
            TypeError: the item is not a str.
        """
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("json_values", item)
        if self._error is not None:
            raise self._error
        if self._reader is None and self._next.search(item) is None:
            return ()
        out: list[object] = []
        try:
            self._read(item, out)
        except RemoteProtocolError as error:
            self._error = error
            if not out:
                raise
            return _failing(out, error)
        return out

    def flush(self) -> Iterable[object]:
        """A number that stood alone, with `strict`.

        Raises:
            RemoteProtocolError: the text ended inside a value.
        """
        if self._error is not None:
            raise self._error
        reader = self._reader
        if reader is None:
            return ()
        out: list[object] = []
        if reader.finish():
            self._ended(reader, out)
        elif self._strict or len(reader.stack) > 2 or reader.state not in (FIRST_KEY, FIRST_VALUE):
            # Not so for a mere bracket at the end of other text: it may well belong to that.
            self._error = RemoteProtocolError("the text ended inside a JSON value", partial=reader.value)
            raise self._error
        self._reader = None
        return out

    def abort(self) -> Iterable[object]:
        """Nothing: the end of a value that is open did not come."""
        return ()

    def snapshot(self) -> dict[str, object]:
        """The value that is open.

        Raises:
            RemoteProtocolError: one was raised before; there is nothing to go on with.
        """
        if self._error is not None:
            raise self._error
        if self._reader is None:
            return {"done": self.done, "reader": None, "in_array": False, "counts": [0, 0, 0, 0]}
        return {
            "done": self.done,
            "reader": self._reader.snapshot(),
            "in_array": self._array is not None,
            "counts": [self._chars, self._before, self._given, self._count],
        }

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage was saved."""
        plain: dict[str, Any] = saved
        self._reader = None
        if plain["reader"] is not None:
            self._reader = self._new_reader()
            self._reader.restore(plain["reader"])
        self._chars, self._before, self._given, self._count = plain["counts"]
        if plain["in_array"] and self._reader is not None and self._keys is not None:
            self._array = _at(self._reader.value, self._keys)

    def _new_reader(self) -> JsonReader:
        return JsonReader(max_chars=sys.maxsize, max_depth=self._max_depth, alone=False)

    def _read(self, text: str, out: list[object]) -> None:
        at, end = 0, len(text)
        while at < end:
            reader = self._reader
            if reader is None:
                begins = self._next.search(text, at)
                if begins is None:
                    return
                at = begins.start()
                reader = self._reader = self._new_reader()
                self._chars = self._before = self._given = self._count = 0
                self._array = None
            upto = at + _PIECE
            if self._keys is not None and (edge := _EDGE.search(text, at, upto)) is not None:
                upto = edge.end()
            at += self._take(reader, text[at:upto], out)

    def _take(self, reader: JsonReader, piece: str, out: list[object]) -> int:
        """One piece into the open value; how much of it the value took."""
        failure: RemoteProtocolError | None = None
        try:
            reader.feed(piece)
        except RemoteProtocolError as error:
            failure = error
        self._chars += reader.end
        if self._keys is not None:
            self._items(reader, self._keys, out)
        if self._chars > self._max_chars:
            what = "a JSON value" if self._keys is None else "a JSON value, without the items that were given,"
            raise RemoteProtocolError(f"{what} of more than max_chars={self._max_chars} characters", partial=reader.value)
        if failure is not None:
            if self._strict or reader.bound or self._count:
                raise failure
            self._reader = None
        elif reader.complete:
            self._reader = None
            self._ended(reader, out)
        return max(reader.end, 0)

    def _ended(self, reader: JsonReader, out: list[object]) -> None:
        if self._keys is None:
            out.append(self._made(reader.value, ""))
        elif not isinstance(_at(reader.value, self._keys), list | None):
            raise RemoteProtocolError(f"at {'.'.join(self._keys) or 'its top'} a JSON value has no array", partial=reader.value)

    def _items(self, reader: JsonReader, keys: tuple[str, ...], out: list[object]) -> None:
        """The items of the array at the path that have ended; they are taken out of it, so that it stays small."""
        array = _at(reader.value, keys)
        if array.__class__ is not list:
            return
        if array is not self._array:
            self._array = array
            self._before = self._chars
            self._given = 0
        ended = len(array)
        depth = len(keys) + 1
        in_text = reader.holder is array and reader.open_text
        if in_text or (len(reader.stack) > depth + 1 and reader.stack[depth] is array):
            ended -= 1
        for value in array[self._given : ended]:
            out.append(self._made(value, f"{'.'.join(keys)}[{self._count}]"))
            self._count += 1
            self._chars = self._before
        if in_text:
            # The reader knows the text by its index, so what is before it stays for now.
            self._given = ended
        else:
            del array[:ended]
            self._given = 0

    def _made(self, value: object, path: str) -> object:
        return value if self._shape is None else self._shape.whole(value, path)


def _keys(path: str) -> tuple[str, ...]:
    *keys, star = path.split(".")
    if star != "*" or "*" in keys or "" in keys:
        raise ConfigError(f'a path is keys joined with dots and a star at the end, such as "items.*", got {path!r}')
    return tuple(keys)


def _at(value: object, keys: tuple[str, ...]) -> Any:
    """What stands there; None if there is nothing."""
    found: Any = value
    for key in keys:
        found = found.get(key) if found.__class__ is dict else None
    return found


def _failing(out: list[object], error: RemoteProtocolError) -> Iterator[object]:
    yield from out
    raise error
