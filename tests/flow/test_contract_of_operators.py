"""Every operator of the kernel against the contract: fail, leave and cancel at each step, on each event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

import streamkit as sk
from streamkit.stages.batching import Batch
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c", "d"]


async def upper(item: str) -> str:
    return item.upper()


async def twice(item: str) -> AsyncIterator[str]:
    yield item
    yield item


async def before_c(item: str) -> bool:
    return item < "c"


async def joined(left: str, right: str) -> str:
    return left + right


@sk.operator
async def numbered(items: AsyncIterator[Any], n: int) -> AsyncIterator[Any]:
    at = 0
    async for item in items:
        at += 1
        yield (item, at % n)


def case(name: str, op: object, expected: Sequence[object], **options: Any) -> Any:
    return pytest.param(op, expected, options, id=name)


@pytest.mark.parametrize(
    ("op", "expected", "options"),
    [
        case("map", sk.map(str.upper), ["A", "B", "C", "D"], ahead=0, refuses=[lambda: sk.map(3)]),  # type: ignore[call-overload]  # on purpose
        case("map with a coroutine function", sk.map(upper), ["A", "B", "C", "D"], ahead=0),
        case("filter", sk.filter(lambda item: item != "b"), ["a", "c", "d"], refuses=[lambda: sk.filter("x")]),  # type: ignore[arg-type]  # on purpose
        case("filter with a coroutine function", sk.filter(before_c), ["a", "b"]),
        case("flat_map", sk.flat_map(lambda item: [item, item]), ["a", "a", "b", "b", "c", "c", "d", "d"]),
        case("flat_map with an async generator", sk.flat_map(twice), ["a", "a", "b", "b", "c", "c", "d", "d"]),
        case("scan", sk.scan(lambda text, item: text + item, ""), ["a", "ab", "abc", "abcd"], ahead=0),
        case("scan with a coroutine function", sk.scan(joined, ""), ["a", "ab", "abc", "abcd"], ahead=0),
        case("tap", sk.tap(lambda item: None), ITEMS, ahead=0),
        case("take", sk.take(2), ["a", "b"], refuses=[lambda: sk.take(-1), lambda: sk.take("2")]),  # type: ignore[arg-type]  # on purpose
        case("take nothing", sk.take(0), []),
        case("skip", sk.skip(1), ["b", "c", "d"], refuses=[lambda: sk.skip(-1), lambda: sk.skip(True)]),
        case("take_while", sk.take_while(lambda item: item < "c"), ["a", "b"]),
        case("stage", sk.stage(lambda: Batch[str](3)), [["a", "b", "c"], ["d"]], refuses=[lambda: sk.stage(Batch(3))]),  # type: ignore[arg-type]  # on purpose
        case("batch", sk.batch(3), [["a", "b", "c"], ["d"]], refuses=[lambda: sk.batch(0), lambda: sk.batch(2, within=0)]),
        case("batch within", sk.batch(3, within=0.5), [["a", "b", "c"], ["d"]]),
        case("buffer", sk.buffer(2), ITEMS, ahead=4, refuses=[lambda: sk.buffer(0), lambda: sk.buffer(1, overflow="lost")]),  # type: ignore[arg-type]  # on purpose
        case("two buffers", sk.buffer(1) | sk.buffer(1), ITEMS),
        case("coalesce", sk.coalesce(), ["abcd"], refuses=[lambda: sk.coalesce(0)]),
        case("timeout", sk.timeout(first=5, idle=1, total=60), ITEMS, refuses=[lambda: sk.timeout(), lambda: sk.timeout(idle=-1)]),
        case("merge", lambda s: sk.merge(s, sk.stream(list)), ITEMS, refuses=[lambda: sk.merge(), lambda: sk.merge(size=0)]),
        case(
            "an operator of one's own",
            numbered(2),
            [("a", 1), ("b", 0), ("c", 1), ("d", 0)],
            refuses=[lambda: numbered(), lambda: sk.operator(upper)],  # type: ignore[call-arg, arg-type]  # on purpose
        ),
        case("a chain", sk.map(str.upper) | sk.batch(2) | sk.buffer(1) | sk.flat_map(list) | sk.take(3), ["A", "B", "C"]),
        case("a chain with clocks", sk.timeout(idle=1) | sk.map(str.upper) | sk.batch(2, within=1), [["A", "B"], ["C", "D"]]),
    ],
)
async def test_an_operator_holds_the_contract(op: Any, expected: Sequence[object], options: dict[str, Any]) -> None:
    report = await check_operator(op, items=ITEMS, expected=expected, **options)
    assert {1, 2, 3, 6, 8} <= set(report.rules)
    assert 60 <= report.cases or expected == []


@pytest.mark.parametrize("policy", ["suspend", "drop_oldest", "drop_newest", "latest", "coalesce", "error"])
async def test_a_buffer_with_room_holds_the_contract_whatever_its_policy(policy: Any) -> None:
    # No room is ever missing here but for "latest", whose room is one: what policies do without room is in test_overflow.
    if policy in ("latest", "drop_newest", "drop_oldest", "coalesce", "error"):
        await check_operator(sk.buffer(9000, overflow=policy), items=["a"], expected=["a"])
    else:
        await check_operator(sk.buffer(2, overflow=policy), items=ITEMS, expected=ITEMS)


SHAPES: list[Callable[[sk.Stream[Any]], sk.Stream[Any]]] = [
    lambda s: s.map(str).filter(bool).skip(0).tap(id),
    lambda s: s.scan(lambda total, item: total + str(item), "").take_while(bool),
    lambda s: s.batch(2).flat_map(tuple),
]


@pytest.mark.parametrize("shape", SHAPES)
async def test_methods_hold_the_contract_as_operators_do(shape: Callable[[sk.Stream[Any]], sk.Stream[Any]]) -> None:
    report = await check_operator(shape, items=["x", "y", "z"])
    assert 70 <= report.cases
