"""Markdown while it is written: whole blocks of it, the code in it, and a page that renders at any moment."""

from __future__ import annotations

from streamkit.flow.plan import Op, Step, call_label, check_count, unless
from streamkit.stages.code_blocks import CodeBlock, CodeBlocks
from streamkit.stages.markdown_blocks import MarkdownBlocks
from streamkit.stages.markdown_healing import Healed, HealMarkdown

__all__ = ["code_blocks", "heal_markdown", "markdown_blocks"]


def markdown_blocks(*, items: bool = False, max_chars: int = 1_048_576) -> Op[str, str]:
    r"""Cut a Markdown text into its top-level blocks.

    Args:
        items: Whether lists are cut, too, between their top-level items.
        max_chars: Longest block, in characters.

    Yields:
        Blocks whose concatenation is the text, blank lines staying with the block before them: paragraphs, headings, whole lists
        and quotes, code, tables, HTML, rules, definitions, math. Each as soon as it is certain that the next one
        begins; code is never cut. The rules are CommonMark 0.31.2's (chapters 4 and 5) and those of GFM's tables (4.10). How
        the text was cut before changes nothing.

    Memory: one block.
    Cancellation: an open block is dropped; the source is closed.
    Raises:
        TypeError, ConfigError: items that is no bool, a max_chars that is no int of at least 1, at the call.
        RemoteProtocolError: a block longer than max_chars, behind the blocks before it.

    >>> run((stream(["# Plan\n\nFirst", " this:\n```\na\n\n", "b\n```\nThen"]) | markdown_blocks()).collect())
    ['# Plan\n\n', 'First this:\n', '```\na\n\nb\n```\n', 'Then']
    """
    if not isinstance(items, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"markdown_blocks(items=...) takes a bool, got {type(items).__name__}")
    check_count("markdown_blocks", "max_chars", max_chars, 1)
    label = call_label("markdown_blocks", items=unless(False, items), max_chars=unless(1_048_576, max_chars))
    return Op(Step("stage", label, lambda: MarkdownBlocks(items, max_chars)))


def code_blocks(*, max_chars: int = 1_048_576) -> Op[str, CodeBlock]:
    r"""Take the fenced code out of a Markdown text while it is written.

    Args:
        max_chars: Longest block of code, in characters.

    Yields:
        `CodeBlock`s: one without code when a fence opens, with its language; then the code as it comes; then one with the whole
        as `text`, and whether it is `complete`: False where the text ended inside. What a fence is, and how code stands in
        lists and quotes: CommonMark 0.31.2, section 4.5 and chapter 5. Text outside is dropped. How the text was cut before
        changes only how the code of one block is cut.

    Memory: one block.
    Cancellation: a line's beginning that may close the fence is dropped; the source is closed.
    Raises:
        TypeError, ConfigError: a max_chars that is no int of at least 1, at the call.
        RemoteProtocolError: a block longer than max_chars, behind its first max_chars characters.

    >>> answer = stream(["Run\n```py\npri", "nt(1)\n```\n"])
    >>> run((answer | code_blocks()).map(lambda part: (part.language, part.delta, part.text)).collect())
    [('py', '', None), ('py', 'pri', None), ('py', 'nt(1)\n', None), ('py', '', 'print(1)\n')]
    """
    check_count("code_blocks", "max_chars", max_chars, 1)
    return Op(Step("stage", call_label("code_blocks", max_chars=unless(1_048_576, max_chars)), lambda: CodeBlocks(max_chars)))


def heal_markdown() -> Op[str, Healed]:
    """Let a Markdown text be shown at any moment: hold back what is half there, close what is open.

    Yields:
        `Healed(delta, closing)`: more of the text, and what to show behind it until the next item. All deltas joined are the text;
        with the last closing behind them they render without half-written links, marks, tags or tables. What is shown for a
        text depends on no cut. `HealedText` gathers items to what is to be shown.

    Memory: some 10,000 characters at most. The deltas cost the text once: time is linear in it.
    Cancellation: what is held back is dropped; the source is closed.

    >>> run((stream(["See **the", " docs** at [st", "reamkit](http"]) | heal_markdown()).collect())[:2]
    [Healed(delta='See **the', closing='**'), Healed(delta=' docs** at [st', closing='](streamkit:incomplete-link)')]
    """
    return Op(Step("stage", "heal_markdown()", HealMarkdown))
