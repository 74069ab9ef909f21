"""The law, for every stage over text and every hard text, and for texts and cuts nobody thought of.

One line for each stage: a segmenter has no channel, and its lists are compared; what passes text on has one. A stage that
holds text back until something else than the common continuations (`FUTURES`) decides names its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple

import pytest
from hard_texts import HARD_TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st
from law_of_stages import (
    Channel,
    Failed,
    Maker,
    cuts_of,
    emits_early,
    given_alike,
    holds_at_most,
    joined,
    outputs,
    pieces_alike,
    segments_alike,
    snapshots_alike,
    text_channel,
)
from markdown_texts import BLOCK_FUTURES, CODE_FUTURES
from stage_runs import cut_at

from streamkit.errors import RemoteProtocolError
from streamkit.events import Custom, ReasoningDelta, TextDelta
from streamkit.flow.plan import Op
from streamkit.flow.streams import stream
from streamkit.operators import filtering, markdown, structured
from streamkit.operators import text as operators
from streamkit.stages.code_blocks import CodeBlock, CodeBlocks
from streamkit.stages.counting import CountTokens, TokenCounter
from streamkit.stages.graphemes import Characters
from streamkit.stages.limiting import Limit, utf8_bytes
from streamkit.stages.lines import Lines
from streamkit.stages.markdown_blocks import MarkdownBlocks
from streamkit.stages.normalizing import Normalize
from streamkit.stages.paragraphs import Paragraphs
from streamkit.stages.printable import Printable
from streamkit.stages.redacting import Redact
from streamkit.stages.replacing import Replace
from streamkit.stages.sentences import Sentences
from streamkit.stages.stopping import Stop
from streamkit.stages.tagging import SplitTags
from streamkit.stages.values_in_text import JsonValues
from streamkit.stages.whitespace import Strip
from streamkit.stages.words import Words

FUTURES: Final = (
    *("a", "A", " ", "\n", ".", "\u3002", "1", "<", "`", "\u0301", "\u4e2d", "\ufe0f", "\u200d", "\r\n", "\x1b"),
    *(
        " a",
        " A.",
        "\n\nA",
        "\n\n\n",
        "...",
        "The end. A",
        " The end. A",
        "\n```\n\nA",
        " then so. B",
        '" He. She',
        "\u3002\u4e2d\u3002",
    ),
)


class Row(NamedTuple):
    """A stage under the law, how it passes text on, the operator over it, what decides, and what it may remember."""

    name: str
    make: Maker
    channel: Channel | None = None
    operator: Callable[[], Op[str, Any]] | None = None
    futures: Sequence[str] = ()
    most: int | None = None
    held_longer: Sequence[str] = ()  # texts in which it holds more back than it must, up to its bound


STOPS: Final = ["END", "\n\nHuman:", "<|im_end|>", "\u3002\u4e2d", "``` ", "\U0001f468"]

# A letter under marks that shut out all others is given with them.
MARKED: Final = ["zalgo"]


def compatible() -> Op[str, str]:
    return operators.normalize("NFKC", newlines="\n")


def tokens() -> Op[str, str]:
    return operators.count_tokens(TokenCounter(len))


STOPPED: Final = [*FUTURES, *(stop[at:] for stop in STOPS for at in range(len(stop)))]

# What may follow in JSON, and what may not.
JSONS: Final = [*FUTURES, *'{}[]:,"\\1e ', '":1}', '": 1}]}', "]}", "rue", "\n"]

# The marks that change what stands before them, for every kind of it.
COMPOSED: Final = [
    *FUTURES,
    *"\u0334\u0323\u0301\u0308\u0338\u0327\u0303\u0302\u0307\u0304\u1161\u11a8\u3099\u309a\u0345\u09be\u0653\u0655\udc00",
]

TAGS: Final = ("think", "note", "b")
TAGGED: Final = [
    *FUTURES,
    *(name[at:] + end for name in TAGS for at in range(len(name) + 1) for end in (">", " '>")),
    *(quote + ">" for quote in ("'", '"')),
]


def tag_channel(item: Any) -> tuple[Hashable, str | None]:
    """Text, reasoning, and the text of each tag have one channel each; where a tag begins and ends stays by itself."""
    match item:
        case TextDelta() | ReasoningDelta():
            return (item.type, item.text)
        case Custom(data={"tag": tag, "text": str(text)}):
            return (tag, text)
        case _:
            return (None, None)


REPLACED: Final = {
    "END": "1",
    "EN": "2",
    "\n\n": "3",
    "a": "4",
    "\u3002\u4e2d": "5",
    "``` ": "6",
    "\U0001f468": "7",
    "The end": "8",
}
REPLACED_ENDS: Final = [*FUTURES, *(text[at:] for text in REPLACED for at in range(len(text)))]
NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?![0-9A-Za-z])")
PERSONAL: Final = [*FUTURES, *(text[at:] for text in ("a@b.co ", "123-45-6789 ") for at in range(len(text)))]


def code_channel(item: Any) -> tuple[Hashable, str | None]:
    """The parts with code of one block; its first and its last part stay by themselves."""
    return ((item.index, item.info), item.delta) if isinstance(item, CodeBlock) and item.delta else (None, None)


BLOCK_ENDS: Final = [*FUTURES, *BLOCK_FUTURES]
CODE_ENDS: Final = [*FUTURES, *CODE_FUTURES]


def by_length(found: re.Match[str]) -> str:
    return chr(0x1000 + len(found[0]))


ROWS: Final = [
    Row("lines", Lines, operator=operators.lines),
    Row("lines with ends", lambda: Lines(keep_ends=True), operator=lambda: operators.lines(keep_ends=True)),
    Row("short lines", lambda: Lines(max_chars=40), operator=lambda: operators.lines(max_chars=40), most=240),
    Row("sentences", Sentences, operator=operators.sentences),
    Row("long sentences", lambda: Sentences(min_chars=24), operator=lambda: operators.sentences(min_chars=24)),
    Row("cut sentences", lambda: Sentences(max_chars=24), operator=lambda: operators.sentences(max_chars=24), most=50),
    Row("stop", lambda: Stop(STOPS), text_channel, lambda: operators.stop(STOPS), STOPPED, most=20),
    Row("printable", Printable, text_channel, operators.printable, most=20),
    Row("characters", Characters, operator=operators.characters),
    Row("short characters", lambda: Characters(4), operator=lambda: operators.characters(max_chars=4), most=4),
    Row("words", Words, operator=operators.words),
    Row("cut words", lambda: Words(1, 9), operator=lambda: operators.words(max_chars=9), most=9),
    Row("chunks", lambda: Words(12, 4096), operator=lambda: operators.chunks(12)),
    Row("cut chunks", lambda: Words(12, 16), operator=lambda: operators.chunks(12, max_chars=16), most=16),
    Row("paragraphs", Paragraphs, operator=operators.paragraphs),
    Row("cut paragraphs", lambda: Paragraphs(20), operator=lambda: operators.paragraphs(max_chars=20), most=40),
    Row("strip", Strip, text_channel, operators.strip),
    Row("strip some", lambda: Strip("a \n", 3), text_channel, lambda: operators.strip("a \n", max_chars=3), most=3),
    Row("normalize", Normalize, text_channel, operators.normalize, COMPOSED, most=100, held_longer=MARKED),
    Row("compatible", lambda: Normalize("NFKC", "\n"), text_channel, compatible, COMPOSED, held_longer=MARKED),
    Row("half characters", lambda: Normalize(None), text_channel, lambda: operators.normalize(None), COMPOSED, most=1),
    Row("counted", lambda: CountTokens(TokenCounter()), text_channel, lambda: operators.count_tokens(TokenCounter()), most=0),
    Row("tokens", lambda: CountTokens(TokenCounter(len)), text_channel, tokens, most=1024),
    Row("json values", JsonValues, operator=structured.json_values, futures=JSONS),
    Row("json lines", lambda: JsonValues(strict=True), operator=lambda: structured.json_values(strict=True), futures=JSONS),
    Row("json items", lambda: JsonValues("*"), operator=lambda: structured.json_values("*"), futures=JSONS),
    Row("split_tags", lambda: SplitTags(TAGS), tag_channel, lambda: filtering.split_tags(*TAGS), TAGGED, most=1200),
    Row("replace texts", lambda: Replace(REPLACED), text_channel, lambda: filtering.replace(REPLACED), REPLACED_ENDS, most=9),
    Row(
        "replace a pattern",
        lambda: Replace(NUMBER, by_length),
        text_channel,
        lambda: filtering.replace(NUMBER, by_length),
        most=520,
    ),
    Row(
        "redact",
        lambda: Redact(["email", "ssn"], "\0"),
        text_channel,
        lambda: filtering.redact("email", "ssn", by="\0"),
        PERSONAL,
        610,
    ),
    Row("limited", lambda: Limit(60, utf8_bytes, "limit_bytes"), text_channel, most=0),
    Row("markdown_blocks", MarkdownBlocks, operator=markdown.markdown_blocks, futures=BLOCK_ENDS),
    Row("items", lambda: MarkdownBlocks(items=True), operator=lambda: markdown.markdown_blocks(items=True), futures=BLOCK_ENDS),
    Row("short blocks", lambda: MarkdownBlocks(max_chars=40), operator=lambda: markdown.markdown_blocks(max_chars=40), most=90),
    Row("code_blocks", CodeBlocks, code_channel, markdown.code_blocks, CODE_ENDS),
]

of_rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def alike(row: Row, text: str, cuts: Sequence[Sequence[str]]) -> None:
    if row.channel is None:
        segments_alike(row.make, text, cuts)
    else:
        pieces_alike(row.make, text, cuts, channel=row.channel)


@of_rows
def test_any_cut_of_a_hard_text_gives_the_same(row: Row) -> None:
    assert len(HARD_TEXTS) >= 45
    for text in HARD_TEXTS.values():
        alike(row, text, cuts_of(text))


@of_rows
def test_what_is_out_before_the_end_depends_on_no_cut(row: Row) -> None:
    for text in HARD_TEXTS.values():
        given_alike(row.make, text, channel=row.channel)


@of_rows
def test_a_stage_saved_anywhere_and_taken_up_gives_the_same(row: Row) -> None:
    for text in HARD_TEXTS.values():
        snapshots_alike(row.make, text, channel=row.channel)


@of_rows
def test_nothing_certain_is_held_back(row: Row) -> None:
    for text in [text for name, text in HARD_TEXTS.items() if name not in row.held_longer]:
        emits_early(row.make, text, row.futures or FUTURES, channel=row.channel, places=5)


@pytest.mark.parametrize("row", [row for row in ROWS if row.most is not None], ids=lambda row: row.name)
def test_what_is_held_back_has_a_bound(row: Row) -> None:
    assert row.most is not None
    for text in HARD_TEXTS.values():
        holds_at_most(row.make, text * 2, row.most)


any_text = st.text(st.characters(), max_size=40)
of_pieces = st.lists(
    st.sampled_from([*"aA1. \n\r<>`*|$#-\"'", *FUTURES, "```", "<think>", "</think>", "\U0001f1e9", "\ud83d"]), max_size=30
)


@of_rows
@settings(max_examples=20)
@given(text=any_text | of_pieces.map("".join), places=st.lists(st.integers(0, 60), max_size=12))
def test_any_cut_of_any_text_gives_the_same(row: Row, text: str, places: list[int]) -> None:
    alike(row, text, [list(text), cut_at(text, places)])


@pytest.mark.parametrize("row", [row for row in ROWS if row.operator is not None], ids=lambda row: row.name)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_a_stream_gives_what_its_stage_gives(row: Row, fused: bool) -> None:
    assert row.operator is not None
    op = row.operator()

    async def streamed(chunks: Sequence[str]) -> list[Any]:
        out: list[Any] = []
        try:
            async with (stream(chunks) | op).open(fused=fused) as items:
                async for item in items:
                    out.append(item)
        except RemoteProtocolError as error:
            out.append(Failed.by(error))
        return out

    async def all_of_them() -> None:
        for name in IN_STREAMS:
            for chunks in cuts_of(HARD_TEXTS[name], 1):
                meant, got = outputs(row.make(), chunks), await streamed(chunks)
                assert meant == got if row.channel is None else joined(meant, row.channel) == joined(got, row.channel)

    asyncio.run(all_of_them())


IN_STREAMS: Final = ("chinese", "emoji families", "markdown", "tags", "stop words", "mixed line ends")
