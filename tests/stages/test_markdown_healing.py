"""`HealMarkdown`: any beginning of a text renders, the closing is a function of the beginning, and the deltas are the text."""

from __future__ import annotations

from collections import Counter

import pytest
from hard_texts import HARD_TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st
from law_of_stages import given_alike, holds_at_most, snapshots_alike
from markdown_it import MarkdownIt
from markdown_texts import MARKDOWN_TEXTS
from stage_runs import cut_at, places, steps

from streamkit.stages.markdown_healing import Healed, HealedText, HealMarkdown

PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")

INLINES = {
    "emphasis": "This is **bold** and *it*, __both__ and ***all*** of ~~no~~ **a *b* c** done",
    "code in text": "then `a ** b` and ``x ` y`` and `[no](` and ` ` ` ok",
    "links": 'See [one](http://a) and [two][ref] and [li**n**k](http://x.y/z_(1) "T)") and [three] and arr[0] = 1.',
    "images": '[**b**](u) then [![alt *x*](i.png)](u) and ![a [b] c](<d e> "t") wow! Yes!',
    "tags": "a <b class='x>y'>bold</b> and <https://x.y/_z_> and 1 < 2 and i<j and <br/> x",
    "no marks": "2 * 3 * 4, snake_case_name, a*b, 5 ** 2 and \\*no\\* \\` \\[x\\](y) ~ 1~2 $5 and $6",
    "math in text": "so $$a * b*c$$ and \\(a * c*\\) and \\[ x * y \\] end",
    "boxes": "- [ ] a **b**\n- [x] c `d`\n  1. *e*\n     > f **g**\n\n* h\n+ i\n",
    "emphasis over lines": "**bold\nover** lines *and\n> quote* `co\nde` end\n\n**never\n\nclosed** by\n# **that**\n",
    "marks in cells": "| a **b** | `c` | \\| |\n|---|:--|--|\n| 1 | **2** | *3*\n| *4* | 5\n\n**end**",
    "code in items": "1. **Run**:\n\n   ```sh\n   a=`**`\n\n   # b\n   ```\n2. > ~~~\n   > **x\n   > ~~~\n3. *d*\n",
}
TEXTS = MARKDOWN_TEXTS | HARD_TEXTS | INLINES

# What a reader should not see where the whole text does not show it; and blocks that should not come and go.
MARKS = ["**", "`", "~~", "](", "image"]
BLOCKS = ["heading_open", "hr", "fence", "code_block", "bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open"]


def shown(chunks: list[str]) -> list[str]:
    """What is shown behind each chunk."""
    heal, text, closing = HealMarkdown(), "", ""
    pages: list[str] = []
    for chunk in chunks:
        for item in heal.feed(chunk):
            text, closing = text + item.delta, item.closing
        pages.append(text + closing)
    return pages


def deltas(chunks: list[str]) -> str:
    heal = HealMarkdown()
    return "".join(item.delta for chunk in chunks for item in heal.feed(chunk)) + "".join(item.delta for item in heal.flush())


def seen(text: str) -> Counter[str]:
    """How often a page shows each block, and each mark as text."""
    found: Counter[str] = Counter()
    for token in PARSER.parse(text):
        found[token.type] += 1
        for child in token.children or []:
            found["image"] += child.type == "image"
            if child.type == "text":
                found.update({mark: child.content.count(mark) for mark in MARKS})
    return found


def assert_nothing_dangles(text: str) -> None:
    whole = seen(text)
    for end, page in enumerate(shown(list(text)), 1):
        now = seen(page)
        odd = [name for name in MARKS + BLOCKS if now[name] > whole[name]]
        assert not odd, f"{odd} of {page[-80:]!r} behind {text[:end][-80:]!r}"


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_every_beginning_of_a_hard_text_renders(text: str) -> None:
    assert_nothing_dangles(text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hard_texts_hold_the_law(text: str) -> None:
    pages = shown(list(text))
    assert text == deltas(list(text)) == deltas([text])
    assert pages == [shown([text[:end]])[-1] for end in range(1, len(text) + 1)]
    given_alike(HealMarkdown, text, channel=lambda item: ("text", item.delta))
    snapshots_alike(HealMarkdown, text, channel=lambda item: ("text", item.delta))
    holds_at_most(HealMarkdown, text, 10_000)


def test_a_stage_that_was_taken_up_shows_the_same() -> None:
    text = INLINES["code in items"] + INLINES["links"]
    meant = shown(list(text))
    for cut in range(0, len(text), 7):
        stage, page, closing = HealMarkdown(), "", ""
        for item in stage.feed(text[:cut]):
            page, closing = page + item.delta, item.closing
        other = HealMarkdown()
        other.restore(stage.snapshot())
        pages: list[str] = []
        for char in text[cut:]:
            for item in other.feed(char):
                page, closing = page + item.delta, item.closing
            pages.append(page + closing)
        assert meant[cut:] == pages


PIECES = [
    *[
        "*",
        "**",
        "_",
        "`",
        "``",
        "```",
        "~~",
        "~",
        "[",
        "]",
        "(",
        ")",
        "](",
        "![",
        "<",
        "<b>",
        ">",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
    ],
    *["    ", "- ", "1. ", "# ", "> ", "|", "| a |", "|---|", "$$", "$", "\\", "\\[", "\\]", "\\(", "\\)", "a", "bc", "é", "\t"],
    *["---", "===", "\n```py\n", "\n```\n", "!", "<!--", "-->", '"', "1", "- [ ] ", "[x]: y"],
]


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join), places)
def test_what_is_shown_depends_on_the_text_alone(text: str, cuts: list[int]) -> None:
    chunks = [chunk for chunk in cut_at(text, cuts) if chunk]
    assert text == deltas(chunks)
    assert shown([text] if text else [])[-1:] == shown(chunks)[-1:] == shown(list(text))[-1:]


words = st.sampled_from(["word", "two words", "é", "snake_case", "2 * 3", "a < b", "x.", "(p)", "\\*no\\*", "中文", "don't!"])
emphasis = st.one_of(words, words.map("*{}*".format), st.just("`a ** b`"), st.just("``a ` b``"))
inlines = st.one_of(
    *[words, emphasis, words.map("_{}_".format), words.map("~~{}~~".format), emphasis.map("[{}](http://a.b/c_d)".format)],
    *[st.lists(emphasis, min_size=1, max_size=3).map(lambda some: f"**{' and '.join(some)}**"), words.map("![{}](i.png)".format)],
    *[st.just("<https://x.y/z>"), st.just("$$x + 1$$")],
)
line = st.lists(inlines, min_size=1, max_size=4).map(" ".join)
block = st.one_of(
    *[
        line,
        line.map("## {}".format),
        st.tuples(line, line).map("\n".join),
        st.tuples(line, line).map(lambda two: f"> {two[0]}\n> {two[1]}"),
    ],
    *[
        st.tuples(line, line).map(lambda two: f"- {two[0]}\n  - {two[1]}\n"),
        line.map("1. {}\n\n   ```py\n   x = `**`\n   ```\n2. b".format),
    ],
    *[
        line.map("| a | b |\n|---|---|\n| {} | c |".format),
        st.just("```js\nlet a = `**b**`\n\n# c\n```"),
        line.map("- [ ] {}".format),
    ],
)


@settings(max_examples=25)
@given(st.lists(block, min_size=1, max_size=3).map("\n\n".join))
def test_every_beginning_of_generated_texts_renders(text: str) -> None:
    assert_nothing_dangles(text)


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("a **bold", "a **bold**"),
        ("a **bold ", "a **bold**"),
        ("a **bold*", "a **bold**"),
        ("a **", "a "),
        ("*a **b", "*a **b***"),
        ("__a _b", "__a _b___"),
        ("snake_ca", "snake_ca"),
        ("2 * 3", "2 * 3"),
        ("- *", ""),
        ("`co", "`co`"),
        ("``co`", "``co``"),
        ("`a ** b", "`a ** b`"),
        ("~~gone", "~~gone~~"),
        ("[lab", "[lab](streamkit:incomplete-link)"),
        ("[lab](http://x", "[lab](streamkit:incomplete-link)"),
        ("[**lab", "[**lab**](streamkit:incomplete-link)"),
        ("[lab](http://x)", "[lab](http://x)"),
        ("see ![alt](http", "see "),
        ("a <b cl", "a "),
        ("a < b", "a < b"),
        ("a \\", "a "),
        ("a \\*b", "a \\*b"),
        ("Title\n-", "Title\n"),
        ("Title\n--", "Title\n"),
        ("Title\n---\n", "Title\n---\n"),
        ("Text\n\n- ", "Text\n\n"),
        ("1", ""),
        ("1. ", ""),
        ("1. a", "1. a"),
        ("##", ""),
        ("> ", ""),
        ("- [ ", ""),
        ("- [x] d", "- [x] d"),
        ("```p", ""),
        ("```py\n", "```py\n```"),
        ("```py\nx", "```py\nx\n```"),
        ("```py\nx\n``", "```py\nx\n```"),
        ("````\nx\n```\n", "````\nx\n```\n````"),
        ("- ```\n  **x", "- ```\n  **x\n  ```"),
        ("> ~~~\n> x\n", "> ~~~\n> x\n> ~~~"),
        ("> ~~~\n> x\n\n", "> ~~~\n> x\n\n"),
        ("- ~~~\n  x\ny", "- ~~~\n  x\ny"),
        ("| a | *b", ""),
        ("| a | b |\n", "| a | b |\n| --- | --- |"),
        ("| a | b |\n|--", "| a | b |\n| --- | --- |"),
        ("| a |\n|---|\n| **b", "| a |\n|---|\n| **b**"),
        ("| a |\n|---|\n| **b | c", "| a |\n|---|\n| **b | c"),
        ("$$\nx", "$$\nx\n$$"),
        ("so $$x", "so $$x$$"),
        ("\\(x_1", "\\(x_1\\)"),
        ("\\[\nx\n", "\\[\nx\n\\]"),
        ("    **co", "    **co"),
        ("**a\n\nb", "**a\n\nb"),
    ],
)
def test_what_is_half_there_is_held_or_closed(text: str, page: str) -> None:
    assert page == (["", *shown(list(text))])[-1]
    assert text == deltas([text])


def test_a_delta_changes_the_closing_and_nothing_before_it() -> None:
    heal = HealMarkdown()
    assert [Healed("a **b", "**")] == list(heal.feed("a **b"))
    assert [] == list(heal.feed("*"))
    assert [Healed("** c", "")] == list(heal.feed("* c"))
    assert [] == list(heal.flush())


def test_the_end_of_the_text_takes_the_closing_back() -> None:
    heal = HealMarkdown()
    assert [Healed("**b", "**")] == list(heal.feed("**b"))
    assert [Healed("", "")] == list(heal.flush())


def test_a_page_is_joined_from_its_items() -> None:
    page, heal = HealedText(), HealMarkdown()
    for chunk in ["**bo", "ld", "** and `co"]:
        for item in heal.feed(chunk):
            page.add(item)
    assert "**bold** and `co`" == str(page) == str(page)


@pytest.mark.parametrize(
    "text", ["[" + "a" * 50 + "](" + "b" * 3000, "a <b " + "c " * 400, "![" + "d" * 3000, "*" * 3000 + "e", " " * 9000 + "x"]
)
def test_what_is_held_is_bounded(text: str) -> None:
    assert text == deltas(list(text)) == deltas([text])
    heal, page, given = HealMarkdown(), HealedText(), 0
    for end in range(len(text)):
        for item in heal.feed(text[end]):
            page.add(item)
            given += len(item.delta)
        assert end + 1 - given <= 4100
    assert str(page) == shown([text])[-1]


def test_closings_are_bounded() -> None:
    assert 200 >= len(HealMarkdown().feed("**a _b " * 500)[0].closing)  # type: ignore[index]  # one item


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        HealMarkdown().feed(b"a")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "unit",
    [
        *[
            "word ",
            "**a** ",
            "**a ",
            "*",
            "`",
            "``a` ",
            "[",
            "[a](b) ",
            "[a](",
            "![",
            "<b ",
            "<",
            "\\",
            "$$",
            "a\n",
            "\n",
            "- a\n",
            "> ",
        ],
        *["```\n", "| a | b |\n", " ", "\t", "\r", "~~a ", "_a_b", "- [ ] ", "    a\n", "1"],
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_time_is_linear(unit: str, size: int) -> None:
    def work(count: int) -> int:
        text = unit * count
        return steps(lambda: deltas([text[at : at + size] for at in range(0, len(text), size)]))

    # Above all bounds, below which a line's beginning is read again.
    assert 2.3 >= work(2400 // len(unit)) / work(1200 // len(unit))
