"""Operators that know the time, and those that gather, against the contract: fail, leave and cancel at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from event_loops import ASYNCIO_LOOPS
from growth import growth

from streamkit.events.model import TextDelta
from streamkit.flow.plan import Op, Same
from streamkit.operators.buffering import batch, buffer, coalesce, window
from streamkit.operators.timing import debounce, delay, heartbeat, pace, sample, throttle, timeout, timestamped
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]


def case(name: str, op: object, expected: Sequence[object] | None, **options: Any) -> Any:
    return pytest.param(op, expected, options, id=name)


@pytest.mark.parametrize(
    ("op", "expected", "options"),
    [
        case("debounce", debounce(0.5), ["c"], refuses=[lambda: debounce(0)]),
        case("throttle", throttle(0.5), ["a", "c"], refuses=[lambda: throttle(0)]),
        case("throttle without trailing", throttle(0.5, trailing=False), ["a"]),
        case("sample", sample(0.5), ["c"], refuses=[lambda: sample(0)]),
        case("delay", delay(0.5, size=10_000), ITEMS, refuses=[lambda: delay(0), lambda: delay(1, size=0)]),
        case("pace", pace(10, unit="items"), ITEMS, refuses=[lambda: pace(0), lambda: pace(1, max_lag=0)]),
        case("pace, at once in the end", pace(1, at_end="at_once", max_lag=60), ["a", "bc"]),
        case("heartbeat", heartbeat(5), ITEMS, refuses=[lambda: heartbeat(0)]),
        case("timestamped", timestamped(), [(0.0, "a"), (0.0, "b"), (0.0, "c")], ahead=0),
        case("batch until", batch(until=lambda item: item == "b"), [["a", "b"], ["c"]], refuses=[lambda: batch()]),
        case("batch by weight in time", batch(within=1, weight="bytes", max_weight=2), [["a", "b"], ["c"]]),
        case("window", window(2), [("a", "b"), ("b", "c")], refuses=[lambda: window(0), lambda: window(1, 0)]),
    ],
)
async def test_an_operator_holds_the_contract(op: Any, expected: Sequence[object], options: dict[str, Any]) -> None:
    report = await check_operator(op, items=ITEMS, expected=expected, **options)
    assert {1, 2, 3, 6, 8} <= set(report.rules)
    assert 60 <= report.cases


def token(number: int) -> TextDelta:
    return TextDelta(f"token {number} ")


# Small sizes: how full a buffer is at the moment of a look is not what is measured.
MEMORY: dict[str, tuple[Op[Any, Any] | Same, Callable[[int], object]]] = {
    "debounce": (debounce(60), str),
    "debounce of deltas": (debounce(60), token),
    "throttle": (throttle(0.001), token),
    "throttle without trailing": (throttle(60, trailing=False), token),
    "sample": (sample(0.001), str),
    "delay": (delay(1e-6, size=16), str),
    "pace": (pace(1, max_lag=1e6, size=500, at_end="at_once"), token),
    "pace in items": (pace(1, unit="items", max_lag=1e6, size=500, at_end="at_once"), str),
    "heartbeat": (heartbeat(60, size=16), str),
    "timestamped": (timestamped(), str),
    "batch": (batch(64, within=60), str),
    "batch by weight": (batch(weight="tokens", max_weight=64), token),
    "window": (window(16, 3), str),
    "buffer": (buffer(16), str),
    "coalesce": (coalesce(16), token),
    "timeout": (timeout(idle=60), str),
}


@pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS[:1], indirect=True)
@pytest.mark.parametrize("name", MEMORY)
async def test_a_million_items_grow_memory_by_less_than_a_megabyte(name: str) -> None:
    op, make = MEMORY[name]
    assert await growth(op, make) < 1_000_000


async def test_the_measure_of_growth_sees_what_grows() -> None:
    kept: list[object] = []
    assert 20_000_000 < await growth(lambda s: s.tap(kept.append))
