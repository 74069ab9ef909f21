"""The part of `parse`, for the operator and for the method of a stream."""

from __future__ import annotations

from streamkit.flow.plan import Part, Step, call_label, check_count, unless
from streamkit.stages.growing import MAX_DEPTH, GrowingValue
from streamkit.stages.partial_json import MAX_CHARS
from streamkit.stages.shapes import shape_of

__all__ = ["MAX_CHARS", "MAX_DEPTH", "parse_part"]


def parse_part(of: object, strict: bool, max_chars: int, max_depth: int) -> Part:
    """A value of a type that grows, checked."""
    check_count("parse", "max_chars", max_chars, 1)
    check_count("parse", "max_depth", max_depth, 1)
    shape = shape_of(of)

    def make() -> GrowingValue:
        return GrowingValue(shape, strict=strict, max_chars=max_chars, max_depth=max_depth)

    label = call_label("parse", of, strict=unless(False, strict))
    return Step("stage", label, make)
