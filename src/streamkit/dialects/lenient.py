r"""Reading JSON values whose types real servers get wrong.

Ids come as numbers, counts as floats or digits, one object where a list is due, texts as lists of parts, arguments as
the value that they should be the JSON of, half a character as an escape. Each function below takes any value that a
JSON parser gives and says what was meant, or that nothing was: no dialect fails over a type alone.

What `read_value` and `as_text` give can be written again by every encoder: halves of characters are U+FFFD.
A dialect's usual frames never come here. Their types are right, and msgspec reads them in one go.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from typing import Final, cast

import msgspec

from streamkit.dialects.json_line import dump, without_surrogates
from streamkit.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["as_dict", "as_int", "as_list", "as_text", "flat", "from_base64", "is_json", "json_text", "read_value"]

_read_any: Final = msgspec.json.Decoder().decode


def as_dict(value: object) -> dict[str, object]:
    """The value if it is an object, else an empty one.

    >>> as_dict({"a": 1}), as_dict(None)
    ({'a': 1}, {})
    """
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """The value if it is a list, a list of it if it is an object or a text, else an empty one.

    >>> as_list([1, 2]), as_list({"a": 1}), as_list("one"), as_list(None)
    ([1, 2], [{'a': 1}], ['one'], [])
    """
    if isinstance(value, dict | str):
        return [cast("object", value)]
    return cast("list[object]", value) if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    r"""A text, or a number written as one; None for anything else.

    >>> as_text("a\ud83d"), as_text(7), as_text(True)
    ('a\ufffd', '7', None)
    """
    if isinstance(value, str):
        # Half a pair, escaped: legal JSON that no UTF-8 can carry on.
        return value if value.isascii() else without_surrogates(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def as_int(value: object) -> int | None:
    """A whole number, or what looks like one: a float without a fraction, up to 18 digits as text.

    >>> as_int(3), as_int(3.0), as_int("3"), as_int("three"), as_int(True)
    (3, 3, 3, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return None


def flat(value: object) -> str | None:
    """Text that may be nested: a string, a part with `text`, `content` or `summary`, or a list of either.

    Raises:
        RecursionError: nested too deep.

    >>> flat(["Hello", {"type": "text", "text": ", you"}, {"content": ["!"]}])
    'Hello, you!'
    """
    if isinstance(value, list):
        return "".join(flat(item) or "" for item in cast("list[object]", value))
    if isinstance(value, dict):
        part = cast("dict[str, object]", value)
        return next((flat(part[name]) for name in ("text", "content", "summary") if part.get(name)), None)
    return as_text(value)


def json_text(value: object) -> str | None:
    """Arguments, which should be JSON in a string and sometimes are the value itself; None where there are none.

    >>> json_text('{"a":1}'), json_text({"a": 1}), json_text(None)
    ('{"a":1}', '{"a":1}', None)
    """
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return as_text(value)


def read_value(data: str | bytes) -> object:
    r"""Any JSON as a value that every encoder of ours can write again: endless numbers are null.

    Raises:
        ValueError: no JSON, or a number too long.
        RecursionError: nested too deep; where it had to be read twice, a ValueError.

    >>> read_value('{"half": "\\ud83d", "endless": [NaN, 1e999]}')
    {'half': '\ufffd', 'endless': [None, None]}
    """
    try:
        value: object = _read_any(data)
    except (msgspec.DecodeError, ValueError):
        # What msgspec refuses, the standard library mostly takes. What it made is read once more, without the halves.
        found: object = json.loads(data)
        try:
            value = _read_any(dump(found))
        except (LocalProtocolError, msgspec.DecodeError) as error:
            raise ValueError(f"a value that cannot be passed on ({error})") from None
    return value


def is_json(text: str) -> bool:
    """Whether the arguments of a call are whole: just what `ToolCall.input` can read.

    >>> is_json('{"a": 1}'), is_json('{"a": '), is_json("NaN")
    (True, False, False)
    """
    try:
        _read_any(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return True


def from_base64(text: str) -> bytes:
    """The bytes that a text stands for.

    Raises:
        RemoteProtocolError: it is not base64.

    >>> from_base64("aGk=")
    b'hi'
    """
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError(f"binary data is not base64 ({error})", excerpt=text) from None
