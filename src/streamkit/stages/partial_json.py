"""JSON that grows: one value, readable while its text still arrives, in time linear in the text.

Reading a prefix again for each delta is quadratic. Here every character is looked at once, and the value
grows in place: dicts and lists are the same objects from delta to delta.

What is in the value, and since when:

    object, array     from its `{` or `[`, as an empty dict or list
    string            from its opening quote, growing; an escape cut in two waits for its rest
    number            when the character behind it has come (12 may become 123, 1e or 1.5), or the text has ended
    true, false, null when their last letter has come
    key               with its value; until a later value of the same key begins, the earlier one stays

The grammar is RFC 8259 and nothing more: no NaN or Infinity, no comments, no trailing commas, no raw control
character in a string. Where the RFC leaves a choice: of a key given twice the last value wins; an
escaped surrogate without its other half is U+FFFD, because text with a lone half cannot be written as UTF-8; a number that
no float holds (1e999) is refused, as are numbers of more than 4300 characters.

How a string stays linear: CPython appends to a str in place if nobody else holds it. So the string is
taken out of its container, grown as a local name, and put back. Who keeps last delta's string pays a copy.

No recursion: a stack of containers, at most `max_depth` of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isinf
from typing import Any, Final, Literal, NoReturn, final

import msgspec

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.events.model import EVENT_TYPES, ErrorEvent, Event, Finish, TextDelta, ToolCall, ToolCallDelta, ToolCallStart
from streamkit.stages.stage import Stage

__all__ = ["JsonReader", "PartialJson", "PartialValue"]

MAX_CHARS = 16_777_216
MAX_DEPTH = 1000
# Python itself refuses longer integers, because converting them is quadratic.
MAX_NUMBER_CHARS = 4300

# States. A value's string and the text of a key come first: most characters are there.
CUT_KEY: Final = -2  # -1 - KEY: an escape of it was cut in two
CUT_TEXT: Final = -1  # -1 - TEXT
TEXT: Final = 0
KEY: Final = 1
NEXT: Final = 2  # behind a value: a comma or the end of the container
VALUE: Final = 3
NEXT_KEY: Final = 4  # behind a comma
COLON: Final = 5
FIRST_VALUE: Final = 6  # a value or ]
FIRST_KEY: Final = 7  # a key or }
NUMBER: Final = 8
LITERAL: Final = 9
OVER: Final = 10

_WANTED: Final = {
    NEXT: "a comma or the end of the container",
    VALUE: "a value",
    NEXT_KEY: "a key in double quotes",
    COLON: "a colon",
    FIRST_VALUE: "a value or ]",
    FIRST_KEY: "a key in double quotes or }",
}

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER_RUN: Final = re.compile(r"[-+0-9.eE]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:(\.[0-9]+)?([eE][+-]?[0-9]+)?)")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_ESCAPE: Final = re.compile(r'\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))')
_CUT_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_LOW: Final = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_CUT_LOW: Final = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?")
_PLAIN: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: Final[dict[str, tuple[str, object]]] = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}


class PartialValue(msgspec.Struct, frozen=True, gc=False):
    """A JSON value as far as it has come.

    Attributes:
        value: The live value: the same dict or list each time, growing. Copy it (`copy.deepcopy`) to keep a moment.
        complete: Whether this is all of it. False also for the last one of a text that was cut off.
        id: The tool call whose arguments these are, or None.
        name: The tool's name, where it is known.
        index: The content block.
        choice: The answer (for n > 1).
    """

    value: object
    complete: bool = False
    id: str | None = None
    name: str | None = None
    index: int = 0
    choice: int = 0


@final
class JsonReader:
    """Reads one JSON value from text that comes in pieces, cut anywhere.

    Args:
        max_chars: Most characters of the text, white space included.
        max_depth: Most containers inside each other.
        alone: Whether anything but white space behind the value is an error; else the reader stops there.

    Attributes:
        complete: The value is complete: only white space may follow.
        root: A list with the value in it, once it has begun: `value` at the price of an attribute.
        stack: `root` and the containers that are open, each inside the one before it. To be looked at, as are the next three.
        places: Where each of them but `root` stands in the one before it: a key, or the last index.
        holder: The innermost of them.
        at: Where in it the string that grows stands, if one does (`open_text`): a key, or the last index.
        bound: The error was that of a bound, and not of the grammar.
        end: How much of the text of the last `feed` was read, where the reader stopped or failed inside it.

    Memory: the value. Time is linear in the text, whatever its cuts.

    >>> reader = JsonReader()
    >>> reader.feed('{"name": "Ad'), reader.value
    (True, {'name': 'Ad'})
    >>> reader.feed('a", "age": 3'), reader.value
    (True, {'name': 'Ada'})
    >>> reader.feed("6}"), reader.value, reader.complete
    (True, {'name': 'Ada', 'age': 36}, True)
    """

    __slots__ = (
        "_alone",
        "_chars",
        "_error",
        "_held",
        "_key",
        "_max_chars",
        "_max_depth",
        "at",
        "bound",
        "complete",
        "end",
        "holder",
        "places",
        "root",
        "stack",
        "state",
    )

    def __init__(self, *, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH, alone: bool = True) -> None:
        """Raises ConfigError for a bound that is not an int of at least 1."""
        for name, bound in (("max_chars", max_chars), ("max_depth", max_depth)):
            if bound.__class__ is not int or bound < 1:
                raise ConfigError(f"{name} must be an int of at least 1, got {bound!r}")
        self.complete = False
        self.bound = False
        self.end = 0
        self._alone = alone
        self._max_chars = max_chars
        self._max_depth = max_depth
        self.root: list[Any] = []
        # The first is `root`, so that every value has a container.
        self.stack: list[Any] = [self.root]
        # Kept, because a key that came twice is not the last one: to look for it takes as long as the object is.
        self.places: list[Any] = []
        self.holder: Any = self.root
        self.at: Any = 0
        self.state: int = VALUE
        self._key: str = ""
        self._held: str = ""  # a number, literal or escape that is not complete
        self._chars = 0
        self._error: RemoteProtocolError | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a value yet, be it an empty one."""
        return bool(self.root)

    @property
    def value(self) -> object:
        """The value so far; None before it has begun."""
        return self.root[0] if self.root else None

    def feed(self, text: str) -> bool:
        """Take more text; whether the value has changed.

        Raises:
            RemoteProtocolError: the text is not JSON, or passes a bound. What came before stays in the value, and
                is the error's `partial`. Each further call raises it again.
        """
        self._chars += len(text)
        # `isprintable` rules out control characters at the least cost; what else it rules out goes the long way.
        if self.state == TEXT and text.isprintable() and '"' not in text and "\\" not in text and self._chars <= self._max_chars:
            if not text:
                return False
            holder, at = self.holder, self.at
            grown = holder[at]
            holder[at] = None
            grown += text
            holder[at] = grown
            self.end = len(text)
            return True
        # The long way: one turn of the loop per token. One long function on purpose (`bench_json`).
        if self._error is not None:
            raise self._error
        if self._chars > self._max_chars:
            self.bound = True
            if 0 <= self.state <= KEY:
                self.state = -1 - self.state
            self._fail(f"a JSON value of more than max_chars={self._max_chars} characters", "")
        state = self.state
        again = 0
        if state < 0:  # an escape was cut: it is read again with its rest
            state = -1 - state
            self.state = state
            again = len(self._held)
            text = self._held + text
            self._held = ""
        stack = self.stack
        changed = False
        # Asked once, of the whole piece: most pieces have neither.
        escapes = "\\" in text
        printable = text.isprintable()
        i = 0
        n = len(text)
        while i < n:
            if state <= KEY:
                quote = text.find('"', i)
                end = n if quote < 0 else quote
                slash = text.find("\\", i, end) if escapes else -1
                if slash >= 0:
                    end = slash
                run = text[i:end]
                if not printable and (control := _CONTROL.search(run)) is not None:
                    if state == TEXT:
                        self.holder[self.at] += run[: control.start()]
                    self.state = -1 - state
                    self._fail(
                        f"a control character (U+{ord(control[0]):04X}) in a JSON string, where it must be escaped",
                        run[control.start() :],
                        i + control.start() - again,
                    )
                i = end
                if slash >= 0:
                    self.end = slash - again
                    self.state = -1 - state
                    try:
                        piece, i = self._escape(text, slash)
                    except RemoteProtocolError as error:
                        if state == TEXT:
                            self.holder[self.at] += run
                            error.partial = self.value
                        raise
                    self.state = state
                    if not piece:
                        self._held = text[i:]
                        i = n
                    run += piece
                if state == TEXT:
                    if run:
                        changed = True
                        holder, at = self.holder, self.at
                        grown = holder[at]
                        holder[at] = None
                        grown += run
                        holder[at] = grown
                    if self._held:
                        state = CUT_TEXT
                    elif i == quote:
                        i += 1
                        if len(stack) > 1:
                            state = NEXT
                        else:
                            state = OVER
                            self.complete = changed = True
                else:
                    self._key += run
                    if self._held:
                        state = CUT_KEY
                    elif i == quote:
                        i += 1
                        state = COLON
                        if i < n and text[i] == ":":  # as nearly always: a turn less
                            i += 1
                            state = VALUE
                continue
            c = text[i]
            if state == NUMBER:
                run = _NUMBER_RUN.match(text, i).group()  # type: ignore[union-attr]  # it matches nothing, too
                i += len(run)
                if len(self._held) + len(run) > MAX_NUMBER_CHARS:
                    self.bound = True
                    self._fail(f"a JSON number of more than {MAX_NUMBER_CHARS} characters", self._held, i - again)
                self._held += run
                if i == n:
                    break
                self.end = i - again
                self._put(self._number(self._held))
                self._held = ""
                changed = True
                state = NEXT if len(stack) > 1 else OVER
            elif state == LITERAL:
                word, value = _WORDS[self._held[0]]
                took = text[i : i + len(word) - len(self._held)]
                i += len(took)
                self._held += took
                if not word.startswith(self._held):
                    right = next(at for at, (one, other) in enumerate(zip(self._held, word, strict=False)) if one != other)
                    self._fail(f"no JSON value ({word}?)", self._held, i - again - len(self._held) + right)
                if self._held == word:
                    self._held = ""
                    self._put(value)
                    changed = True
                    state = NEXT if len(stack) > 1 else OVER
            elif c in " \n\r\t":
                i += 1
                if i < n and text[i] <= " ":
                    i = _SPACE.match(text, i).end()  # type: ignore[union-attr]  # it matches nothing, too
            elif state == NEXT:
                i += 1
                is_list = self.holder.__class__ is list
                if c == ",":
                    state = VALUE if is_list else NEXT_KEY
                    if i < n and text[i] == " ":
                        i += 1
                elif c == ("]" if is_list else "}"):
                    stack.pop()
                    self.places.pop()
                    self.holder = stack[-1]
                    if len(stack) == 1:
                        state = OVER
                        self.complete = changed = True
                else:
                    self._unexpected(state, text, i - 1, again)
            elif state == COLON:
                if c != ":":
                    self._unexpected(state, text, i, again)
                i += 1
                state = VALUE
            elif state in (NEXT_KEY, FIRST_KEY):
                i += 1
                if c == '"':
                    self._key = ""
                    state = KEY
                elif c == "}" and state == FIRST_KEY:
                    stack.pop()
                    self.places.pop()
                    self.holder = stack[-1]
                    state = NEXT
                    if len(stack) == 1:
                        state = OVER
                        self.complete = changed = True
                else:
                    self._unexpected(state, text, i - 1, again)
            elif state == OVER:
                if not self._alone:
                    break
                self._fail("text behind a complete JSON value: one text holds one value", text[i : i + 40])
            elif c == '"':  # from here on: VALUE or FIRST_VALUE
                i += 1
                holder = self.holder
                if holder.__class__ is list:
                    self.at = len(holder)
                    holder.append("")
                else:
                    self.at = self._key
                    holder[self._key] = ""
                changed = True
                state = TEXT
            elif c == "{" or c == "[":
                i += 1
                if len(stack) > self._max_depth:
                    self.bound = True
                    self._fail(f"JSON nested deeper than max_depth={self._max_depth}", "")
                container: Any = {} if c == "{" else []
                holder = self.holder
                if holder.__class__ is list:
                    self.places.append(len(holder))
                    holder.append(container)
                else:
                    self.places.append(self._key)
                    holder[self._key] = container
                stack.append(container)
                self.holder = container
                changed = True
                state = FIRST_KEY if c == "{" else FIRST_VALUE
            elif c in "-0123456789":
                state = NUMBER
            elif c in _WORDS:
                i += 1
                self._held = c
                state = LITERAL
            elif c == "]" and state == FIRST_VALUE:
                i += 1
                stack.pop()
                self.places.pop()
                self.holder = stack[-1]
                state = NEXT
                if len(stack) == 1:
                    state = OVER
                    self.complete = changed = True
            else:
                self._unexpected(state, text, i, again)
        self.state = state
        self.end = i - again
        return changed

    def finish(self) -> bool:
        """The text has ended, and was not cut off: a number that stands alone is complete now. Whether the value has changed.

        An incomplete value stays as it is, with `complete` False.

        Raises:
            RemoteProtocolError: the number is none, or an error was raised before.
        """
        if self._error is not None:
            raise self._error
        if self.state != NUMBER or len(self.stack) > 1 or _NUMBER.fullmatch(self._held) is None:
            return False
        self._put(self._number(self._held))
        self.state = OVER
        return self.complete

    @property
    def open_text(self) -> bool:
        """Whether a string grows, and not a key."""
        return self.state in (TEXT, CUT_TEXT)

    def snapshot(self) -> dict[str, object]:
        """All that it has read, as plain values of its own; for `restore` of a reader made in the same way.

        Raises:
            RemoteProtocolError: an error was raised before; there is nothing to go on with.
        """
        if self._error is not None:
            raise self._error
        return {
            "root": _laid_out(self.root),
            "open": list(self.places),
            "at": self.at,
            "state": self.state,
            "key": self._key,
            "held": self._held,
            "chars": self._chars,
        }

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another reader was saved."""
        plain: dict[str, Any] = saved
        self.root = _built(plain["root"])
        self.stack = [self.root]
        self.places = list(plain["open"])
        for place in self.places:
            self.stack.append(self.stack[-1][place])
        self.holder = self.stack[-1]
        self.at, self.state, self._key = plain["at"], plain["state"], plain["key"]
        self._held, self._chars = plain["held"], plain["chars"]
        self.complete = self.state == OVER

    def _put(self, value: object) -> None:
        """A value that is whole, and no container, at its place."""
        holder = self.holder
        if holder.__class__ is list:
            holder.append(value)
            if len(self.stack) == 1:
                self.complete = True
        else:
            holder[self._key] = value

    def _escape(self, text: str, at: int) -> tuple[str, int]:
        """What the escape at `at` stands for and where it ends; ("", at) if it is cut off there."""
        found = _ESCAPE.match(text, at)
        if found is None:
            if _CUT_ESCAPE.fullmatch(text, at) is None:
                self._fail("no JSON escape", text[at : at + 6])
            return "", at
        plain = found[1]
        if plain is not None:
            return _PLAIN[plain], found.end()
        code = int(found[2], 16)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code), found.end()
        if code <= 0xDBFF:
            low = _LOW.match(text, found.end())
            if low is not None:
                return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), low.end()
            if _CUT_LOW.fullmatch(text, found.end()) is not None:
                return "", at
        return "\ufffd", found.end()

    def _number(self, text: str) -> int | float:
        if text.isdigit() and text[0] != "0" and len(text) < 100:
            return int(text)
        found = _NUMBER.fullmatch(text)
        if found is None:
            self._fail("no JSON number", text)
        if found[1] is None and found[2] is None:
            try:
                return int(text)
            except ValueError:  # a program may have lowered Python's own limit
                self._fail(f"an integer of {len(text)} digits, more than this Python converts", text)
        number = float(text)
        if isinf(number):
            self._fail("a number that no float holds", text)
        return number

    def _unexpected(self, state: int, text: str, at: int, again: int) -> None:
        self._fail(f"no JSON: {_WANTED[state]} was expected", text[at : at + 40], at - again)

    def _fail(self, what: str, excerpt: str, end: int | None = None) -> NoReturn:
        if end is not None:
            self.end = end
        if self.state >= 0:  # a string that fails is still open, and has no short way through `feed` any more
            self.state = OVER
        self._error = RemoteProtocolError(what, excerpt=excerpt, partial=self.value)
        raise self._error


@final
class PartialJson(Stage[str | Event, PartialValue]):
    """Text, or events, to the JSON value that grows in it.

    Args:
        of: What is read of events: "text" deltas, the arguments of tool "calls", or both (None). Each block of text
            and each call has a value of its own.
        max_chars: Most characters of one value's text.
        max_depth: Most containers inside each other.

    A record is given for each item that changed a value, and one for a call whose arguments came whole or not at
    all (no arguments are `{}`). A text that ends or is cut inside its value gives no last record: the one before
    said that it was not complete.

    Memory: the open values, one for each block and call.

    Raises RemoteProtocolError for what is no JSON, and stays failed.

    >>> stage = PartialJson()
    >>> [*stage.feed('{"city": "Par')]
    [PartialValue(value={'city': 'Par'}, complete=False, id=None, name=None, index=0, choice=0)]
    >>> [record.complete for record in stage.feed('is"}')]
    [True]
    """

    def __init__(
        self, *, of: Literal["text", "calls"] | None = None, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
    ) -> None:
        """Raises ConfigError for a bound that is not an int of at least 1, or an unknown `of`."""
        if of not in (None, "text", "calls"):
            raise ConfigError(f'of is "text", "calls" or None for both, got {of!r}')
        self._of = of
        self._max_chars = max_chars
        self._max_depth = max_depth
        self._plain = self._reader()
        self._blocks: dict[tuple[int, int], JsonReader] = {}
        self._calls: dict[tuple[int, str], _Call] = {}

    def feed(self, item: str | Event) -> Iterable[PartialValue]:
        """The value that this text or event makes grow.

        Raises:
            RemoteProtocolError: the text is not JSON.
            TypeError: neither text nor an event.
        """
        kind = item.__class__
        if kind is str:
            reader = self._plain
            if reader.feed(item):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # they do not narrow by __class__
                return (PartialValue(reader.root[0], reader.complete),)
            return ()
        if kind is ToolCallDelta:
            return self._delta(item)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # same
        if kind is TextDelta:
            return self._text(item)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # same
        match item:
            case ToolCallStart() if self._of != "text":
                self._calls[item.choice, item.id] = _Call(self._reader(), item.name)
            case ToolCall() if self._of != "text":
                return self._whole(item)
            case Finish():
                return self._finish([key for key in self._blocks if key[0] == item.choice])
            case ErrorEvent():
                self.abort()
            case str():
                return self.feed(str(item))
            case _ if kind not in _EVENTS:
                raise TypeError(f"partial_json takes text or events, got {kind.__name__}")
            case _:
                pass
        return ()

    def flush(self) -> Iterable[PartialValue]:
        """The numbers that stood alone, complete now."""
        records = self._finish(list(self._blocks))
        if self._plain.finish():
            records.append(PartialValue(self._plain.value, complete=True))
        return records

    def abort(self) -> Iterable[PartialValue]:
        """Nothing: a number whose text was cut off may not be all of it."""
        self._blocks.clear()
        self._calls.clear()
        return ()

    def snapshot(self) -> dict[str, object]:
        """The open values, as far as they have come."""
        return {
            "done": self.done,
            "plain": self._plain.snapshot(),
            "blocks": {key: reader.snapshot() for key, reader in self._blocks.items()},
            "calls": {key: (call.name, call.reader.snapshot()) for key, call in self._calls.items()},
        }

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage was saved; the values are new objects, equal to those that grew there."""
        plain: dict[str, Any] = saved
        self._plain = self._taken_up(plain["plain"])
        self._blocks = {key: self._taken_up(one) for key, one in plain["blocks"].items()}
        self._calls = {key: _Call(self._taken_up(one), name) for key, (name, one) in plain["calls"].items()}

    def _taken_up(self, saved: dict[str, object]) -> JsonReader:
        reader = self._reader()
        reader.restore(saved)
        return reader

    def _reader(self) -> JsonReader:
        return JsonReader(max_chars=self._max_chars, max_depth=self._max_depth)

    def _text(self, event: TextDelta) -> Iterable[PartialValue]:
        if self._of == "calls":
            return ()
        key = (event.choice, event.index)
        reader = self._blocks.get(key)
        if reader is None:
            reader = self._blocks[key] = self._reader()
        try:
            if not reader.feed(event.text):
                return ()
        except RemoteProtocolError:
            if self._of is None and not reader.begun:
                raise RemoteProtocolError(
                    "the answer's text is no JSON; to read the arguments of its tool calls alone: partial_json(of='calls')",
                    excerpt=event.text,
                ) from None
            raise
        return (PartialValue(reader.root[0], reader.complete, None, None, event.index, event.choice),)

    def _delta(self, event: ToolCallDelta) -> Iterable[PartialValue]:
        if self._of == "text":
            return ()
        key = (event.choice, event.id)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(self._reader(), None)
        reader = call.reader
        if not reader.feed(event.delta):
            return ()
        return (PartialValue(reader.root[0], reader.complete, event.id, call.name, event.index, event.choice),)

    def _whole(self, event: ToolCall) -> Iterable[PartialValue]:
        """The end of a call: what its deltas have not given."""
        call = self._calls.pop((event.choice, event.id), None)
        reader = self._reader() if call is None else call.reader
        changed = False
        if not reader.begun:
            changed = reader.feed(event.arguments.strip() or ("{}" if event.complete else ""))
        if event.complete:
            changed = reader.finish() or changed
        if not changed:
            return ()
        return (PartialValue(reader.root[0], reader.complete, event.id, event.name, event.index, event.choice),)

    def _finish(self, keys: list[tuple[int, int]]) -> list[PartialValue]:
        records: list[PartialValue] = []
        for key in keys:
            reader = self._blocks.pop(key)
            if reader.finish():
                records.append(PartialValue(reader.value, True, None, None, key[1], key[0]))
        return records


# What is in a container, by its kind.
_MEMBERS: Final[dict[type, Callable[[Any], Iterable[tuple[Any, Any]]]]] = {list: enumerate, dict: lambda one: one.items()}


def _laid_out(root: list[Any]) -> list[tuple[int, object, object]]:
    """What is in a list, level by level: the number of the container, the place in it, and the value; containers are empty here.

    Saved as it stands, a deep value would be too deep for what copies and packs it.
    """
    laid: list[tuple[int, object, object]] = []
    containers: list[Any] = [root]
    for number, container in enumerate(containers):
        for place, value in _MEMBERS[container.__class__](container):
            if value.__class__ in _MEMBERS:
                containers.append(value)
                value = value.__class__()
            laid.append((number, place, value))
    return laid


def _built(laid: Iterable[tuple[int, Any, Any]]) -> list[Any]:
    """The list that was laid out."""
    containers: list[Any] = [[]]
    for number, place, value in laid:
        if value.__class__ in _MEMBERS:
            value = value.__class__()
            containers.append(value)
        holder = containers[number]
        if holder.__class__ is list:
            holder.append(value)
        else:
            holder[place] = value
    root: list[Any] = containers[0]
    return root


class _Call:
    """A call whose arguments are on their way."""

    __slots__ = ("name", "reader")

    def __init__(self, reader: JsonReader, name: str | None) -> None:
        self.reader = reader
        self.name = name


_EVENTS = frozenset(EVENT_TYPES)
