"""What the events of a response look like, and how odd values are made to look the same.

`Delta` names only the fields that the frequent events have and we read, so that msgspec skips the
rest without building it. All other events are rare: they are read as plain values, through the
functions below, since real servers send ids as numbers, indexes as null and texts as lists.
"""

from __future__ import annotations

import json
import re
from typing import Final, cast

import msgspec

__all__ = ["Delta", "as_dict", "as_list", "flat", "json_text", "lenient_delta", "number", "read_value", "text"]


class Delta(msgspec.Struct, gc=False):
    """Any event; of the frequent ones, all that is read."""

    type: str = ""
    delta: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None


def lenient_delta(value: dict[str, object], kind: str) -> Delta:
    """A frequent event from a plain value, whatever the types of its parts."""
    return Delta(
        kind,
        flat(value.get("delta")),
        text(value.get("item_id")),
        number(value.get("output_index")),
        number(value.get("content_index")),
        number(value.get("summary_index")),
    )


_read_any: Final = msgspec.json.Decoder().decode


def read_value(data: str | bytes) -> object:
    """Any JSON as a plain value.

    Raises:
        ValueError: no JSON, or a number too long.
        RecursionError: nested too deep.
    """
    try:
        value: object = _read_any(data)
    except (msgspec.DecodeError, ValueError):
        value = json.loads(data)  # takes halves of characters, which msgspec refuses
    return value


def flat(value: object) -> str | None:
    """Text that may be nested: a string, or parts with `text`, or a list of either."""
    if isinstance(value, list):
        return "".join(flat(item) or "" for item in cast("list[object]", value))
    if isinstance(value, dict):
        return flat(cast("dict[str, object]", value).get("text"))
    return text(value)


def json_text(value: object) -> str:
    """Arguments, which should be JSON in a string and sometimes are the value itself."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text(value) or ""


_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def text(value: object) -> str | None:
    """A text, or a number written as one."""
    if isinstance(value, str):
        # Half a pair, escaped: legal JSON that no UTF-8 can carry on.
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def number(value: object) -> int | None:
    """A whole number, or what looks like one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return None


def as_dict(value: object) -> dict[str, object]:
    """The value if it is an object, else an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """The value if it is a list, a list of it if it is an object or a text, else an empty one."""
    if isinstance(value, dict | str):
        return [cast("object", value)]
    return cast("list[object]", value) if isinstance(value, list) else []
