"""`MarkdownBlocks`: top-level blocks, as another parser finds them, however the text was cut."""

from __future__ import annotations

import re

import pytest
from hard_texts import HARD_TEXTS
from hypothesis import given
from hypothesis import strategies as st
from law_of_stages import emits_early, given_alike, holds_at_most, segments_alike, snapshots_alike
from markdown_it import MarkdownIt
from markdown_texts import BLOCK_FUTURES, MARKDOWN_BLOCKS, MARKDOWN_TEXTS
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.markdown_blocks import MarkdownBlocks

PARSER = MarkdownIt("commonmark").enable("table")

# What is no CommonMark, and what that parser reads in a way of its own: definitions give no token; in containers it takes
# lines indented by four for the beginning of blocks; an empty item ends its list at two blank lines; and a line that lazily
# goes on with a paragraph in a container can be a table's header row.
_DISPUTED = re.compile(
    r"(?m)^[ \t]*(?:\$\$|\\\[)|^\[[^\]]+\]:"
    r"|^ {0,3}(?:    |\t)[ \t]*(?:[^\w\s]|[_\d])"
    r"|^ *(?:[-+*]|\d\.)[ \t]*\n(?:[ \t]*\n)[ \t]*\n"
)
_CONTAINER = re.compile(r"(?m)^ *(?:>|[-+*][ \t]|\d+[.)])")
_TABLE = re.compile(r"(?m)^[ >-]*(?:\|---\|---\||--- \| ---|\|:-\|)$")


def undisputed(text: str) -> str:
    text = _DISPUTED.sub("a", text)
    return _TABLE.sub("a", text) if _CONTAINER.search(text) else text


WORDS = [
    *["a", "b *c*", "# h", "#x", "```", "```py", "~~~", "````", "- x", "-", "* y", "+ z", "1. q", "2. w", "3) e", "10. r"],
    *["> q", ">", "> - a", "> ```", "---", "===", "***", "_ _ _", "- - -", "<div>", "</div>", "<b>", "<!-- c", "-->", "<?php"],
    *["<script>", "</script>", "| a | b |", "|---|---|", "a | b", "--- | ---", "|:-|", "| x |", "", "", "", "", "- \tx", ">\tq"],
    *["- ```", "- # h", "> # h", "- > q", "1.\tx", "    code", "\tcode", "  ", "`x`", "=", "--", "<a href='x'>", "1.", "- - x"],
]


def written(lines: list[tuple[str, str]]) -> str:
    return "\n".join(indent + word for indent, word in lines)


lines = st.tuples(st.sampled_from(["", "", "", " ", "  ", "   ", "    ", "> ", "- "]), st.sampled_from(WORDS))
markdown = st.lists(lines, max_size=9).map(written)


def starts_by_the_parser(text: str) -> list[int]:
    """The lines on which top-level blocks begin."""
    return [token.map[0] for token in PARSER.parse(text) if token.level == 0 and token.map and token.nesting >= 0]


def starts(blocks: list[str]) -> list[int]:
    found: list[int] = []
    line = 0
    for block in blocks:
        leading = len(block) - len(block.lstrip(" \t\r\n"))
        if leading < len(block):
            found.append(line + block.count("\n", 0, leading))
        line += block.count("\n")
    return found


@pytest.mark.parametrize("name", MARKDOWN_BLOCKS)
def test_hard_texts_are_cut_into_their_blocks(name: str) -> None:
    assert MARKDOWN_BLOCKS[name] == run(MarkdownBlocks(), [MARKDOWN_TEXTS[name]])


@pytest.mark.parametrize("text", [*MARKDOWN_TEXTS.values(), *HARD_TEXTS.values()], ids=[*MARKDOWN_TEXTS, *HARD_TEXTS])
@pytest.mark.parametrize("items", [False, True])
def test_hard_texts_hold_the_law(text: str, items: bool) -> None:
    assert text == "".join(run(MarkdownBlocks(items), [text]))
    segments_alike(lambda: MarkdownBlocks(items), text)
    given_alike(lambda: MarkdownBlocks(items), text)
    snapshots_alike(lambda: MarkdownBlocks(items), text)
    holds_at_most(MarkdownBlocks, text, len(text) + 32)


@pytest.mark.parametrize("text", MARKDOWN_TEXTS.values(), ids=list(MARKDOWN_TEXTS))
def test_nothing_is_held_that_is_certain(text: str) -> None:
    emits_early(MarkdownBlocks, text, BLOCK_FUTURES, places=len(text) + 2)


@pytest.mark.parametrize("text", [*MARKDOWN_TEXTS.values(), *HARD_TEXTS.values()], ids=[*MARKDOWN_TEXTS, *HARD_TEXTS])
def test_hard_texts_begin_their_blocks_where_another_parser_does(text: str) -> None:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    text = _DISPUTED.sub("a", text)
    assert starts_by_the_parser(text) == starts(run(MarkdownBlocks(), [text]))


@given(markdown, places)
def test_generated_texts_begin_their_blocks_where_another_parser_does(text: str, cuts: list[int]) -> None:
    text = undisputed(text)
    blocks = run(MarkdownBlocks(), cut_at(text, cuts))
    assert text == "".join(blocks)
    assert starts_by_the_parser(text) == starts(blocks)


@given(st.one_of(markdown, st.text("`~#->|=*_1. \n\r\tab<$[]:\\/!?", max_size=60)), places, st.booleans())
def test_any_cut_gives_the_same_blocks(text: str, cuts: list[int], items: bool) -> None:
    blocks = run(MarkdownBlocks(items), [text])
    assert text == "".join(blocks)
    assert blocks == run(MarkdownBlocks(items), cut_at(text, cuts))
    assert blocks == run(MarkdownBlocks(items), list(text))


@given(markdown, st.integers(1, 12))
def test_any_cut_fails_at_the_same_place(text: str, most: int) -> None:
    segments_alike(lambda: MarkdownBlocks(max_chars=most), text)


def test_a_block_is_given_with_the_first_character_of_the_next() -> None:
    outs = given_after_each(MarkdownBlocks(), "a\n\n  b")
    assert [[], [], [], [], [], ["a\n\n"]] == outs


def test_a_line_under_a_paragraph_ends_it_as_soon_as_that_is_certain() -> None:
    assert [[], [], [], ["a\n"]] == given_after_each(MarkdownBlocks(), "a\n# ")
    assert [[], [], ["a\n"]] == given_after_each(MarkdownBlocks(), "a\n>")
    assert [[], [], [], [], ["a\n"]] == given_after_each(MarkdownBlocks(), "a\n- b")
    assert [[], [], [], [], ["a\n"], []] == given_after_each(MarkdownBlocks(), "a\n~~~x")
    assert [[], [], [], [], [], ["a\n"]] == given_after_each(MarkdownBlocks(), "a\n```\n")


def test_a_table_ends_the_paragraph_above_its_header_at_its_delimiter_row() -> None:
    blocks = MarkdownBlocks()
    assert [] == list(blocks.feed("text\n| a |\n| - |"))
    assert ["text\n"] == list(blocks.feed("\n"))


def test_lists_can_be_cut_at_their_top_level_items() -> None:
    text = "1. a\n   - b\n   - c\n\n2. d\n\ntext\n- e\n- f\n> - g\n> - h\n"
    meant = ["1. a\n   - b\n   - c\n\n", "2. d\n\n", "text\n", "- e\n", "- f\n", "> - g\n> - h\n"]
    assert meant == run(MarkdownBlocks(items=True), [text])


def test_a_code_block_is_never_cut() -> None:
    code = "```\n" + "# a\n\n- b\n\n> c\n| d |\n| - |\n***\n" * 50 + "```\n"
    assert ["a\n", code, "b"] == run(MarkdownBlocks(), list("a\n" + code + "b"))


def test_a_block_above_the_bound_fails_behind_the_blocks_before_it() -> None:
    blocks = MarkdownBlocks(max_chars=8)
    given: list[str] = []
    with pytest.raises(RemoteProtocolError, match="max_chars=8"):
        given.extend(blocks.feed("# a\n\nlong paragraph\n\nnext"))
    assert ["# a\n\n"] == given
    with pytest.raises(RemoteProtocolError, match="max_chars=8"):
        blocks.feed("x")
    with pytest.raises(RemoteProtocolError, match="max_chars=8"):
        blocks.flush()
    assert [] == list(blocks.abort())


@pytest.mark.parametrize("most", [0, -1, True, 1.0, float("nan"), "8", None])
def test_a_bound_that_is_none_is_refused(most: int) -> None:
    with pytest.raises(ConfigError, match="max_chars"):
        MarkdownBlocks(max_chars=most)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        MarkdownBlocks().feed(b"a")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "a\n",
        "\n",
        "- a\n",
        "> ",
        "> - a\n",
        "```\n",
        "| a | b |\n",
        "`",
        "-",
        "$$",
        "<",
        " ",
        "\t",
        "\r",
        "[a]: b\n",
        "1. ",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_time_is_linear(unit: str, size: int) -> None:
    def work(count: int) -> int:
        text = unit * count
        return steps(lambda: run(MarkdownBlocks(), [text[at : at + size] for at in range(0, len(text), size)]))

    small = 400 if len(unit) < 4 else 100
    assert 2.3 >= work(2 * small) / work(small)


@pytest.mark.parametrize("begin", ["- ", "> ", "1. "])
def test_deep_containers_cost_no_more_than_their_bound(begin: str) -> None:
    def work(depth: int) -> int:
        return steps(lambda: run(MarkdownBlocks(), [begin * depth + "a" + "\n" * 50 + "b"]))

    assert 2.3 >= work(800) / work(400)
    assert ["- " * 800 + "a\n"] == run(MarkdownBlocks(), ["- " * 800 + "a\n"])
