"""Values and texts as one line of JSON that is always sent.

`streamkit.wire.sse.dump_json` refuses what it cannot say. In the middle of an answer that would be an
exception half-way through a response, for one broken character out of a tokenizer: here lone
surrogates, which no UTF-8 can carry, become U+FFFD.
"""

from __future__ import annotations

import re
from typing import Final, cast

import msgspec

from streamkit.errors import LocalProtocolError
from streamkit.wire.sse import dump_json

__all__ = ["dump", "escape", "known", "without_surrogates"]

_encode: Final = msgspec.json.Encoder().encode
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    r"""The text with U+FFFD for halves of characters.

    >>> without_surrogates("a\ud83d")
    'a\ufffd'
    """
    return _SURROGATES.sub("\ufffd", text)


def escape(text: str) -> bytes:
    r"""A text as a JSON string on one line, quotes included; no line splitter finds an end in it.

    >>> escape("a\u2028b\n")
    b'"a\\u2028b\\n"'
    """
    # ASCII, most of what models write, needs nothing beyond JSON's own escapes.
    return _encode(text) if text.isascii() else dump(text)


def dump(value: object) -> bytes:
    """A value as JSON on one line.

    Raises:
        LocalProtocolError: it holds something that JSON cannot say.
    """
    try:
        return dump_json(value)
    except LocalProtocolError as error:
        # Once more without the halves of characters; if they were not the reason, it stays the error it was.
        try:
            return dump_json(_mended(msgspec.to_builtins(value)))
        except (LocalProtocolError, TypeError, ValueError, OverflowError, RecursionError):
            raise error from None


def known(**fields: object) -> dict[str, object]:
    """The fields that have a value: what nobody said is left out, for it is neither null nor zero.

    >>> known(inputTokens=0, outputTokens=None)
    {'inputTokens': 0}
    """
    return {name: value for name, value in fields.items() if value is not None}


def _mended(value: object) -> object:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_mended(item) for item in cast("list[object]", value)]
    return value
