"""`CodeBlocks`: fenced code as it grows, in parts that join to what another parser finds."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hard_texts import HARD_TEXTS
from hypothesis import given
from hypothesis import strategies as st
from law_of_stages import emits_early, given_alike, holds_at_most, outputs, pieces_alike, snapshots_alike
from markdown_it import MarkdownIt
from markdown_texts import CODE_FUTURES, MARKDOWN_TEXTS
from stage_runs import steps

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.code_blocks import CodeBlock, CodeBlocks

PARSER = MarkdownIt("commonmark")
TEXTS = MARKDOWN_TEXTS | HARD_TEXTS


def code_channel(part: object) -> tuple[Hashable, str | None]:
    """Parts with code of one block join; its first and last stay by themselves."""
    if isinstance(part, CodeBlock) and part.delta:
        return (part.index, part.language, part.info), part.delta
    return None, None


def whole(text: str) -> list[CodeBlock]:
    return [part for part in outputs(CodeBlocks(), [text]) if part.text is not None]


def codes_by_the_parser(text: str) -> list[tuple[str, str]]:
    return [(token.info.strip(), token.content) for token in PARSER.parse(text) if token.type == "fence"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hard_texts_hold_the_law(text: str) -> None:
    pieces_alike(CodeBlocks, text, channel=code_channel)
    given_alike(CodeBlocks, text, channel=code_channel)
    snapshots_alike(CodeBlocks, text, channel=code_channel)
    holds_at_most(CodeBlocks, text, len(text) + 32)


@pytest.mark.parametrize("text", MARKDOWN_TEXTS.values(), ids=list(MARKDOWN_TEXTS))
def test_no_code_is_held_that_is_certain(text: str) -> None:
    emits_early(CodeBlocks, text, CODE_FUTURES, channel=code_channel, places=len(text) + 2)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hard_texts_have_the_code_that_another_parser_finds(text: str) -> None:
    # That parser knows neither math nor NUL, and no text ends without a line end to it.
    if "$$" in text or "\\[" in text:
        text = text.replace("$$", "").replace("\\[", "")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "") + "\n"
    assert codes_by_the_parser(text) == [(part.info, part.text) for part in whole(text)]


PIECES = [
    "```",
    "```py x",
    "````",
    "~~~",
    "a",
    "  b",
    "   ```",
    "    ```",
    "\tc",
    "",
    "",
    "- ```",
    "- d",
    "> ```",
    "> e",
    "  ```",
    "``",
    "` `",
]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(lambda lines: "\n".join([*lines, ""])), st.randoms())
def test_generated_texts_have_the_code_that_another_parser_finds(text: str, chance: object) -> None:
    # In containers it takes lines indented by four for the beginning of blocks.
    text = text.replace("    ```", "   ```").replace("\tc", "  c") if "- " in text or "> " in text else text
    assert codes_by_the_parser(text) == [(part.info, part.text) for part in whole(text)]
    pieces_alike(CodeBlocks, text, channel=code_channel)


def test_code_comes_as_it_grows() -> None:
    blocks = CodeBlocks()
    assert [] == list(blocks.feed("Run:\n```py title=x"))
    assert [CodeBlock(0, "py", "", "py title=x")] == list(blocks.feed("\n"))
    assert [CodeBlock(0, "py", "pri", "py title=x")] == list(blocks.feed("pri"))
    assert [CodeBlock(0, "py", "nt(1)\n", "py title=x")] == list(blocks.feed("nt(1)\n``"))
    assert [CodeBlock(0, "py", "", "py title=x", "print(1)\n", True)] == list(blocks.feed("`\n"))


def test_code_inside_a_list_or_quote_comes_without_their_marks() -> None:
    text = "1. a:\n   ```sh\n   ls\n     -l\n\n   ```\n> ~~~\n> x\n>  y\n> ~~~\n"
    assert [("sh", "ls\n  -l\n\n"), ("", "x\n y\n")] == [(part.language, part.text) for part in whole(text)]


def test_a_tab_of_which_a_list_takes_a_part_leaves_spaces() -> None:
    assert ["  x\n\ty\n"] == [part.text for part in whole("- ```\n\tx\n  \ty\n  ```\n")]


def test_a_block_in_a_list_is_complete_where_the_list_ends() -> None:
    assert [("x\n", True)] == [(part.text, part.complete) for part in whole("- ```\n  x\nafter")]


def test_a_block_that_the_text_ends_in_is_not_complete() -> None:
    assert [("x\ny", False)] == [(part.text, part.complete) for part in whole("```\nx\ny")]
    assert [("x\n", True)] == [(part.text, part.complete) for part in whole("```\nx\n```")]
    assert [("", False)] == [(part.text, part.complete) for part in whole("```")]


def test_a_longer_fence_holds_shorter_ones() -> None:
    assert ["```py\nx\n```\n"] == [part.text for part in whole("````md\n```py\nx\n```\n````\n")]


def test_backticks_in_a_line_are_no_fence() -> None:
    assert [] == whole("Use ```x``` or\n```y``` or ` ``` `.\n")


def test_a_block_above_the_bound_fails_behind_its_first_characters() -> None:
    for chunks in (["```\nabcdef\n"], list("```\nabcdef\n")):
        blocks = CodeBlocks(max_chars=4)
        given: list[CodeBlock] = []
        with pytest.raises(RemoteProtocolError, match="max_chars=4"):
            for chunk in chunks:
                given.extend(blocks.feed(chunk))
        assert "abcd" == "".join(part.delta for part in given)
        with pytest.raises(RemoteProtocolError, match="max_chars=4"):
            blocks.flush()
        assert [] == list(blocks.abort())


@pytest.mark.parametrize("most", [0, -1, True, 1.0, float("nan"), "8", None])
def test_a_bound_that_is_none_is_refused(most: int) -> None:
    with pytest.raises(ConfigError, match="max_chars"):
        CodeBlocks(max_chars=most)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        CodeBlocks().feed(b"a")  # type: ignore[arg-type]  # on purpose


def test_text_outside_is_not_kept() -> None:
    blocks = CodeBlocks()
    for _ in range(200):
        blocks.feed("x" * 1000)
    assert 4096 >= sum(len(part) for part in blocks.snapshot()["_line"])  # type: ignore[attr-defined, misc]  # a list of str


@pytest.mark.parametrize("begin", ["", "```\n", "- a\n  ```\n", "> ```\n"])
@pytest.mark.parametrize("unit", ["word ", "a\n", "\n", "- a\n", "> ", "> a\n", "`", "  `", "```\n", " ", "\t", "\r"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_time_is_linear(begin: str, unit: str, size: int) -> None:
    def work(count: int) -> int:
        text = begin + unit * count
        return steps(lambda: outputs(CodeBlocks(), [text[at : at + size] for at in range(0, len(text), size)]))

    assert 2.3 >= work(1600 // len(unit)) / work(800 // len(unit))
