"""What the events of a response look like, and how odd values are made to look the same.

`Delta` names only the fields that the frequent events have and we read, so that msgspec skips the
rest without building it. All other events are rare: they are read as plain values, leniently.
"""

from __future__ import annotations

import msgspec

from streamkit.dialects.lenient import as_int, as_text, flat

__all__ = ["Delta", "lenient_delta"]


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
        as_text(value.get("item_id")),
        as_int(value.get("output_index")),
        as_int(value.get("content_index")),
        as_int(value.get("summary_index")),
    )
