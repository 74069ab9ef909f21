"""The contract holds for every operator on every event loop: those that no family's tests check are checked here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract_tests import files_of_tests, held_to_the_contract
from every_operator import EVERY, exported

import streamkit as sk
from streamkit.operators.timing import timed_stage
from streamkit.stages.thinning import Debounce
from streamkit.testing import check_operator

ITEMS = ["a", "b", "b", "c"]


def case(name: str, op: object, expected: list[Any], *refuses: Callable[[], object], **options: Any) -> Any:
    return pytest.param(op, expected, refuses, options, id=name)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("op", "expected", "refuses", "options"),
    [
        case("changes", sk.changes(), ["a", "b", "c"], lambda: sk.changes(3)),  # type: ignore[call-overload]  # on purpose
        # An error is no empty stream: nothing comes before it.
        case("default_if_empty", sk.default_if_empty("z"), ITEMS, ahead=0, flushes=False),
        case("distinct", sk.distinct(), ["a", "b", "c"], lambda: sk.distinct(size=0), lambda: sk.distinct(3)),  # type: ignore[call-overload]  # on purpose
        case("drop_while", sk.drop_while(lambda item: item < "b"), ["b", "b", "c"], lambda: sk.drop_while("a")),  # type: ignore[arg-type]  # on purpose
        case("enumerate", sk.enumerate(start=1), [(1, "a"), (2, "b"), (3, "b"), (4, "c")], lambda: sk.enumerate("1"), ahead=0),  # type: ignore[arg-type]  # on purpose
        case("pairwise", sk.pairwise(), [("a", "b"), ("b", "b"), ("b", "c")]),
        case("start_with", sk.start_with("x", "y"), ["x", "y", *ITEMS]),
        case("texts", sk.map(sk.TextDelta) | sk.texts(), ITEMS, lambda: sk.texts(choice=-1), ahead=0),
        case("timed_stage", timed_stage(lambda: Debounce[str](0.5)), ["c"], lambda: timed_stage(Debounce(1))),  # type: ignore[arg-type]  # on purpose
    ],
)
async def test_an_operator_holds_the_contract(
    op: Any, expected: list[object], refuses: tuple[Callable[[], object], ...], options: dict[str, Any]
) -> None:
    report = await check_operator(op, items=ITEMS, expected=expected, refuses=refuses, **options)
    assert {1, 2, 3, 4, 6, 8} <= set(report.rules)
    assert (7 in report.rules) == bool(refuses)
    assert 60 <= report.cases


def test_every_operator_is_held_to_the_contract_by_some_test() -> None:
    operators = exported()
    assert 70 < len(operators)
    assert set() == operators - set(held_to_the_contract(operators, files_of_tests()))


def test_every_operator_has_a_row_in_the_table() -> None:
    assert exported() == {name.split(",")[0] for name in EVERY}


@pytest.mark.parametrize("name", [name for name, row in EVERY.items() if row.expected is not None])
def test_a_row_says_what_comes_out(name: str) -> None:
    row = EVERY[name]
    assert row.expected == row.outputs[-1]


def test_a_test_counts_for_the_operators_that_it_names_and_not_for_those_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "test_sample.py"
    file.write_text(
        """
import streamkit as sk
from streamkit.operators.combining import zip as zip_streams

pytestmark = 1
CASES = [lambda s: zip_streams(s)]

async def test_one():
    await check_operator(sk.map(str) | CASES[0], refuses=[lambda: sk.take(-1)])

async def test_two():
    assert sk.skip(1)

@asyncio_only
async def test_three():
    await check_operator(sk.scan(max))
"""
    )
    everything = {"map", "zip", "take", "skip", "scan"}
    assert {"map": {file.name}, "zip": {file.name}} == held_to_the_contract(everything, [file])
