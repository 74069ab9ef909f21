"""`markdown_blocks`, `code_blocks` and `heal_markdown` as operators: the contract, events, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamkit.errors import ConfigError, RemoteProtocolError, SourceError
from streamkit.events import Event, Finish, TextDelta
from streamkit.flow.streams import stream
from streamkit.operators.markdown import code_blocks, heal_markdown, markdown_blocks
from streamkit.operators.text import on_text
from streamkit.stages.code_blocks import CodeBlock
from streamkit.stages.markdown_healing import Healed, HealedText
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio

ITEMS = ["# A\n\nb **c", "**\n```py\nd", "\n```\n", "e"]

BLOCKS = ["# A\n\n", "b **c**\n", "```py\nd\n```\n", "e"]
CODE = [
    CodeBlock(0, "py", "", "py"),
    CodeBlock(0, "py", "d", "py"),
    CodeBlock(0, "py", "\n", "py"),
    CodeBlock(0, "py", "", "py", "d\n", True),
]
HEALED = [Healed("# A\n\nb **c", "**"), Healed("**\n```py\nd", "\n```"), Healed("\n```\n", ""), Healed("e", "")]


@pytest.mark.parametrize(
    ("op", "expected", "refuses"),
    [
        (
            markdown_blocks(),
            BLOCKS,
            [
                lambda: markdown_blocks(max_chars=0),
                lambda: markdown_blocks(max_chars=True),
                lambda: markdown_blocks(max_chars=float("nan")),  # type: ignore[arg-type]  # on purpose
                lambda: markdown_blocks(items="yes"),  # type: ignore[arg-type]  # on purpose
            ],
        ),
        (code_blocks(), CODE, [lambda: code_blocks(max_chars=-1), lambda: code_blocks(max_chars="9")]),  # type: ignore[arg-type]  # on purpose
        (heal_markdown(), HEALED, []),
    ],
    ids=["markdown_blocks", "code_blocks", "heal_markdown"],
)
async def test_they_hold_the_contract_of_operators(op: Any, expected: list[Any], refuses: list[Callable[[], object]]) -> None:
    report = await check_operator(op, items=ITEMS, expected=expected, refuses=refuses)
    assert {1, 2, 3, 6, 8} <= set(report.rules)


async def test_blocks_of_the_text_of_events_end_with_the_block() -> None:
    events: list[Event] = [TextDelta("a\n\nb"), TextDelta(" c\n# "), TextDelta("d"), Finish()]
    got = await (stream(events) | on_text(markdown_blocks())).collect()
    assert [TextDelta("a\n\n"), TextDelta("b c\n"), TextDelta("# d"), Finish()] == got


async def test_lists_can_be_cut_at_their_items() -> None:
    assert ["- a\n", "- b\n  - c\n"] == await (stream(["- a\n- b\n", "  - c\n"]) | markdown_blocks(items=True)).collect()


@pytest.mark.parametrize(
    ("op", "given"), [(markdown_blocks(max_chars=4), ["a\n\n"]), (code_blocks(max_chars=4), [])], ids=["blocks", "code"]
)
async def test_what_is_too_long_fails_behind_what_came_before(op: Any, given: list[object]) -> None:
    with pytest.raises(RemoteProtocolError, match="max_chars=4") as caught:
        await (stream(["a\n\n", "```\nlong code\n"]) | op).collect()
    partial = caught.value.partial
    assert isinstance(partial, list)
    assert given == partial[: len(given)]


async def test_a_source_that_fails_leaves_the_text_that_was_held() -> None:
    def source() -> Any:
        yield "a **b*"
        raise SourceError("gone")

    got: list[Healed] = []
    with pytest.raises(SourceError):
        await (stream(source) | heal_markdown()).tap(got.append).collect()
    assert "a **b*" == "".join(item.delta for item in got)


async def test_a_page_shows_what_came_closed() -> None:
    page = HealedText()
    shown: list[str] = []
    async with stream(["**bo", "ld", "** [li", "nk](u)", " end"]) | heal_markdown() as items:
        async for item in items:
            page.add(item)
            shown.append(str(page))
    link = "](streamkit:incomplete-link)"
    assert ["**bo**", "**bold**", "**bold** [li" + link, "**bold** [link](u)", "**bold** [link](u) end"] == shown


def test_a_bound_that_is_none_is_refused_at_the_call() -> None:
    with pytest.raises(ConfigError, match="max_chars"):
        markdown_blocks(max_chars=0)
    with pytest.raises(TypeError, match="items"):
        markdown_blocks(items=1)  # type: ignore[arg-type]  # on purpose
