"""Token processors as operators: the contract on each event loop, over text and lifted over events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from streamkit.events.model import Event, Finish, Ping, TextDelta
from streamkit.flow.plan import Op
from streamkit.flow.streams import stream
from streamkit.operators.text import (
    characters,
    chunks,
    count_tokens,
    lines,
    normalize,
    on_text,
    paragraphs,
    printable,
    sentences,
    stop,
    strip,
    words,
)
from streamkit.stages.counting import TokenCounter
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio


class Case(NamedTuple):
    """An operator, text that it holds back here and there, what comes out, and calls that it refuses."""

    label: str
    make: Callable[[], Op[str, str]]
    given: Sequence[str]
    expected: Sequence[str]
    refuses: Sequence[Callable[[], object]] = ()


NAN = float("nan")

CASES = [
    Case(
        "characters()",
        characters,
        ["ab", "\u0308c", "\r", "\n"],
        ["a", "b\u0308", "c", "\r\n"],
        [lambda: characters(max_chars=0), lambda: characters(max_chars=True), lambda: characters(max_chars=NAN)],  # type: ignore[arg-type]
    ),
    Case(
        "words()",
        words,
        ["To b", "e,", " or 不", "是"],
        ["To", " be,", " or", " 不", "是"],
        [lambda: words(max_chars=0), lambda: words(max_chars="9")],  # type: ignore[arg-type]
    ),
    Case(
        "chunks(6)",
        lambda: chunks(6),
        ["To b", "e, or", " not", " to be"],
        ["To be,", " or not", " to be"],
        [lambda: chunks(0), lambda: chunks(5, max_chars=4), lambda: chunks(-1), lambda: chunks(True), lambda: chunks(NAN)],  # type: ignore[arg-type]
    ),
    Case(
        "paragraphs()",
        paragraphs,
        ["One.\nT", "wo.\r", "\n\r\n", "Three."],
        ["One.\nTwo.", "Three."],
        [lambda: paragraphs(max_chars=1), lambda: paragraphs(max_chars=None)],  # type: ignore[arg-type]
    ),
    Case(
        "strip()",
        strip,
        ["\n ", " Hello ", "you", " \n"],
        ["Hello", " you"],
        [lambda: strip(""), lambda: strip(max_chars=0), lambda: strip(5)],  # type: ignore[arg-type]
    ),
    Case(
        "normalize(newlines='\\n')",
        lambda: normalize(newlines="\n"),
        ["\ufeffCafe", "\u0301 \ud83d", "\ude00\r", "\n!"],
        ["Caf", "\xe9 ", "\U0001f600\n", "!"],
        [lambda: normalize("NFD"), lambda: normalize(newlines="\t"), lambda: normalize(True)],  # type: ignore[arg-type]
    ),
    Case(
        "count_tokens()",
        lambda: count_tokens(TokenCounter()),
        ["Hello w", "orld.", " Bye."],
        ["Hello w", "orld.", " Bye."],
        [lambda: count_tokens(None), lambda: count_tokens(len), lambda: TokenCounter(3)],  # type: ignore[arg-type]
    ),
    Case("lines()", lines, ["a\r", "\nb", "\n\nc"], ["a", "b", "", "c"], [lambda: lines(max_chars=0)]),
    Case(
        "sentences()", sentences, ["Mr. A c", "ame. He", " left. "], ["Mr. A came. ", "He left. "], [lambda: sentences(min_chars=0)]
    ),
    Case(
        "stop(['END'])", lambda: stop(["END"]), ["a E", "N b EN", "D c"], ["a ", "EN b "], [lambda: stop([]), lambda: stop("END")]
    ),
    Case("printable()", printable, ["a\x1b[3", "1mb", "\x07c"], ["a", "b", "c"]),
]

of_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)


@of_cases
async def test_an_operator_over_text_keeps_the_contract(case: Case) -> None:
    assert case.label == repr(case.make())
    report = await check_operator(case.make(), items=case.given, expected=case.expected, refuses=case.refuses)
    assert 7 in report.rules or not case.refuses


@of_cases
@pytest.mark.parametrize("fused", [True, False])
async def test_lifted_over_events_it_works_on_the_text_of_each_block(case: Case, fused: bool) -> None:
    events: list[Event] = []
    for piece in case.given:
        events += [TextDelta(piece, index=0), Ping(), TextDelta(piece, index=1)]
    texts: dict[int, list[str]] = {0: [], 1: []}
    rest: list[str] = []
    async with (stream([*events, Finish()]) | on_text(case.make())).open(fused=fused) as items:
        async for event in items:
            if isinstance(event, TextDelta):
                texts[event.index].append(event.text)
            elif not isinstance(event, Ping):
                rest.append(event.type)
    # `stop` ends the answer at the first block that is stopped; the other one gives what it had.
    assert list(case.expected) == texts[0]
    assert list(case.expected) == texts[1] or case.label == "stop(['END'])"
    assert ["finish"] == rest


@of_cases
async def test_lifted_it_keeps_the_contract_too(case: Case) -> None:
    if case.label == "stop(['END'])":
        expected: list[Any] = [TextDelta(text) for text in case.expected] + [Finish("stop", raw_reason="stop_sequence")]
    else:
        expected = [TextDelta(text) for text in case.expected]
    items = [TextDelta(piece) for piece in case.given]
    report = await check_operator(on_text(case.make()), items=items, expected=expected)
    assert 1 in report.rules


async def test_operators_join_and_are_lifted_together() -> None:
    counter = TokenCounter(lambda text: len(text.split()))
    op = normalize() | strip() | count_tokens(counter) | sentences()
    text = [" Cafe\u0301 is o", "pen. Com", "e in. \n"]
    assert ["Caf\xe9 is open. ", "Come in."] == await (stream(text) | op).collect()
    assert 5 == counter.total
    events: list[Event] = [*map(TextDelta, text), Finish()]
    lifted = await (stream(events) | on_text(op)).collect()
    assert [TextDelta("Caf\xe9 is open. "), TextDelta("Come in."), Finish()] == lifted
    assert 10 == counter.total


async def test_each_run_begins_anew() -> None:
    plan = stream(lambda: ["  a b", " "]) | strip() | words()
    assert [["a", " b"]] * 2 == [await plan.collect(), await plan.collect()]


async def test_what_is_no_text_is_said_by_the_operator() -> None:
    for case in CASES:
        with pytest.raises(TypeError, match=r"takes text, got bytes"):
            await (stream([b"bytes"]) | case.make()).collect()  # type: ignore[operator]
