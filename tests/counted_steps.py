"""How much work something is, counted: what a clock says of it differs from machine to machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_Trace = Callable[[FrameType, str, Any], Any]


def steps(work: Callable[[], object]) -> int:
    """How many calls, lines and returns of Python this takes, the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> _Trace:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
