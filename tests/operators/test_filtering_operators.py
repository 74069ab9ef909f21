"""`split_tags`, `replace` and `redact` as operators: the contract, fused and unfused, and lifted over events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streamkit.errors import ConfigError
from streamkit.events import Custom, Event, Finish, ReasoningDelta, TextDelta
from streamkit.flow.plan import Op
from streamkit.flow.streams import stream
from streamkit.operators.filtering import redact, replace, split_tags
from streamkit.operators.text import on_text, sentences, stop
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio

CARD = ["4111 11", "11 1111 ", "1111!"]


@pytest.mark.parametrize(
    ("op", "items", "expected", "flushes"),
    [
        pytest.param(
            split_tags("think"),
            ["<thi", "nk>a", "</think>b<"],
            [ReasoningDelta("a"), TextDelta("b"), TextDelta("<")],
            True,
            id="split_tags",
        ),
        pytest.param(replace({"cat": "dog"}), ["a ca", "t, c", "a"], ["a ", "dog, ", "ca"], True, id="replace texts"),
        pytest.param(
            replace(re.compile(r"\d+-"), lambda found: f"<{found[0]}>"),
            ["a1", "2-", "3"],
            ["a", "<12->", "3"],
            True,
            id="replace a pattern",
        ),
        pytest.param(redact("card"), ["no ", *CARD], ["no ", "[redacted]!"], False, id="redact"),
        pytest.param(
            on_text(redact("card", by="*")),
            [TextDelta("a"), *map(TextDelta, CARD)],
            [TextDelta("a"), TextDelta("*!")],
            False,
            id="lifted",
        ),
    ],
)
async def test_the_operators_hold_the_contract(op: Op[Any, Any], items: list[Any], expected: list[Any], flushes: bool) -> None:
    report = await check_operator(
        op,
        items=items,
        expected=expected,
        flushes=flushes,
        refuses=[
            lambda: split_tags("<a>"),
            lambda: split_tags("a", max_depth=0),
            lambda: replace("", "x"),
            lambda: redact(),
        ],
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)


@pytest.mark.parametrize("fused", [True, False])
async def test_text_with_tags_becomes_reasoning_of_its_block(fused: bool) -> None:
    answer: list[Event] = [TextDelta("<think>so", 1), TextDelta("</th", 1), TextDelta("ink>Yes, 4111111111111111.", 1), Finish()]
    plan = stream(answer) | on_text(redact("card") | replace("Yes", "No") | split_tags())
    async with plan.open(fused=fused) as items:
        got = [item async for item in items]
    assert [ReasoningDelta("so", 1), TextDelta("No, [redacted].", 1), Finish()] == got


async def test_what_gives_events_is_lifted_as_the_last_of_a_row_alone() -> None:
    assert isinstance(on_text(stop(["END"]) | sentences() | split_tags("a")), Op)
    with pytest.raises(TypeError, match="put what gives events last"):
        await (stream([TextDelta("One.")]) | on_text(split_tags("a") | sentences())).collect()  # type: ignore[operator]  # on purpose


@pytest.mark.parametrize("fused", [True, False])
async def test_a_source_that_fails_leaves_no_part_of_a_secret_behind(fused: bool) -> None:
    async def failing() -> AsyncIterator[str]:
        yield "card "
        yield "4111 1111 11"
        raise ConnectionError("cut")

    got: list[str] = []
    with pytest.raises(ConnectionError, match="cut"):
        async with (stream(failing()) | redact("card")).open(fused=fused) as items:
            async for item in items:
                got.append(item)
    assert ["card "] == got


@pytest.mark.parametrize("fused", [True, False])
async def test_a_function_that_fails_is_raised_behind_what_came_before(fused: bool) -> None:
    def broken(found: re.Match[str]) -> str:
        raise LookupError(found[0])

    got: list[str] = []
    with pytest.raises(LookupError, match="b"):
        async with (stream(["a", "b", "c"]) | replace("b", broken)).open(fused=fused) as items:
            async for item in items:
                got.append(item)
    assert ["a"] == got


async def test_a_plan_gives_each_run_a_stage_of_its_own() -> None:
    plan = stream(lambda: stream(["<note>", "a"])) | split_tags("note")
    for _ in range(2):
        assert ["start", "text"] == [event.data["part"] for event in await plan.collect() if isinstance(event, Custom)]  # type: ignore[index]


async def test_a_mapping_that_changes_later_changes_nothing() -> None:
    texts = {"a": "b"}
    op = replace(texts)
    texts["a"] = "c"
    assert "b" == await (stream(["a"]) | op).join()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: split_tags("think", reasoning="think"), TypeError, r"write \['think'\]"),
        (lambda: split_tags("a", open="b"), ConfigError, "none of the tags a"),
        (lambda: split_tags("a", max_tag_chars=1.5), TypeError, "takes an int"),  # type: ignore[arg-type]  # on purpose
        (lambda: replace(re.compile("(a+)+"), "b"), ConfigError, "exponential time"),
        (lambda: replace(re.compile("a"), "b", max_repeat=0), ConfigError, "at least 1"),
        (lambda: replace("a"), TypeError, "got NoneType"),  # type: ignore[call-overload]  # on purpose
        (lambda: redact("cart"), ConfigError, "none of card, email, iban, ipv4, key, phone, ssn"),
        (lambda: redact("card", max_repeat=True), TypeError, "takes an int"),
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


async def test_op_12_a_sequence_in_single_letters_is_matched_exactly_and_held_text_is_given_at_the_end() -> None:
    assert ["a"] == await (stream(["a", "E", "N", "D", "b"]) | stop(["END", "ENDE"])).collect()
    assert "a-b" == await (stream(["a", "E", "N", "D", "b"]) | replace("END", "-")).join()
    assert "EN" == await (stream(["E", "N"]) | stop(["END"])).join()
    assert "EEN" == await (stream(["E", "E", "N"]) | replace("END", "-")).join()
    assert "E-ND" == await (stream(["E", "E", "N", "D", "N", "D"]) | replace({"END": "-", "NDN": "+"})).join()
