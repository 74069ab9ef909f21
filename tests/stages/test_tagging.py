"""`SplitTags`: what is inside of tags and what is not, at any cut, and text that only looks like a tag."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, places, steps

from streamkit.errors import ConfigError
from streamkit.events import Custom, ReasoningDelta, TextDelta
from streamkit.stages.tagging import REASONING_TAGS, SplitTags, TextPart

# What came out, as written in the cases below: text as it is, reasoning in (), other tags in [name ... name].
Shown = str


def shown(parts: Iterable[TextPart]) -> Shown:
    out: list[str] = []
    for part in parts:
        if isinstance(part, TextDelta):
            out.append(part.text)
        elif isinstance(part, ReasoningDelta):
            out.append(f"({part.text})")
        else:
            data: dict[str, Any] = part.data  # type: ignore[assignment]  # what the stage gives
            match data["part"]:
                case "start":
                    out.append(f"[{data['tag']}" + "".join(f" {key}={value}" for key, value in data["attributes"].items()) + "|")
                case "text":
                    out.append("{" + data["text"] + "}")
                case _:
                    out.append(f"|{data['tag']}]")
    return "".join(out).replace(")(", "").replace("}{", "")


def parts_of(stage: SplitTags, chunks: Iterable[str]) -> list[TextPart]:
    return [*(part for chunk in chunks for part in stage.feed(chunk)), *stage.flush()]


def splitting() -> SplitTags:
    return SplitTags(["think", "thinking", "note", "x-y"])


LONG = "a" * 1024

CASES = {
    "plain": "plain",
    "": "",
    "<think>a</think>b": "(a)b",
    "a<think>b</think>c<think>d</think>": "a(b)c(d)",
    "<think></think>x": "x",
    "<THINK>a</Think>b": "(a)b",
    "<think\n>a</think \t>b": "(a)b",
    "<think>\n a \n</think>\n\nb": "(\n a \n)\n\nb",
    "<think>a": "(a)",
    "<think>a</thin": "(a</thin)",
    "<think>a</think": "(a</think)",
    "a<": "a<",
    "a</": "a</",
    "a<think": "a<think",
    "a <think b": "a <think b",
    "a < b and b > c": "a < b and b > c",
    "if a<b: c</b>d": "if a<b: c</b>d",
    "a <b>bold</b>": "a <b>bold</b>",
    "<thinker>a</thinker>": "<thinker>a</thinker>",
    "< think>a</ think>": "< think>a</ think>",
    "</think>a": "</think>a",
    "a</think></think>b": "a</think></think>b",
    "<think>a</think></think>b": "(a)</think>b",
    "<think>a<think>b</think>c</think>d": "(abc)d",
    "<think>a<thinking>b</thinking>c</think>d": "(abc)d",
    "<thinking>a</think>b</thinking>c": "(a</think>b)c",
    "<<think>a</think>": "<(a)",
    "<think<think>a</think>": "<think(a)",
    "<think <think>a</think>": "<think (a)",
    "<</think>>": "<</think>>",
    "<think/>a": "a",
    "<think />a": "a",
    "<note/>a": "[note||note]a",
    "<note>a</note>b": "[note|{a}|note]b",
    "<note>a<think>b</think>c</note>d": "[note|{a}(b){c}|note]d",
    "<think>a<note>b</note>c</think>d": "(a)[note|{b}|note](c)d",
    "<note>a<note>b</note>c</note>d": "[note|{a}[note|{b}|note]{c}|note]d",
    "<note>a<x-y>b</note>c": "[note|{a}[x-y|{b}|x-y]|note]c",
    "<think>a<note>b</think>c</note>d": "(a)[note|{b}|note]c</note>d",
    "<note>a": "[note|{a}",
    "<note kind='a' n=\"2\" flag>b</note>": "[note kind=a n=2 flag=|{b}|note]",
    "<note a='>' b=\"</note>\">c</note>": "[note a=> b=</note>|{c}|note]",
    "<note a = 'b'>c</note>": "[note a=b|{c}|note]",
    "<note a=b/c>d</note>": "[note a=b/c|{d}|note]",
    "<note a=b/>c": "[note a=b||note]c",
    "<note a=''>b</note>": "[note a=|{b}|note]",
    "<note a='b>c</note>": "<note a='b>c</note>",
    "<note it's>a</note>": "[note it= s=|{a}|note]",
    "<note =>a</note>": "[note|{a}|note]",
    "<note a='1' a='2'>b</note>": "[note a=2|{b}|note]",
    "</note a='b'>": "</note a='b'>",
    "<note>a</note b>c</note>d": "[note|{a</note b>c}|note]d",
    f"<note {LONG}>a</note>": f"<note {LONG}>a</note>",
    f"<note {LONG[:1000]}>a": f"[note {LONG[:1000]}=|{{a}}",
    "`<think>` is a tag</think>`": "`(` is a tag)`",
    "```xml\n<note>a</note>\n```": "```xml\n[note|{a}|note]\n```",
    "<思考>想</思考><think>想一想。</think>好的": "<思考>想</思考>(想一想。)好的",
    "<think>🤔👨‍👩‍👧</think>👍🏽": "(🤔👨‍👩‍👧)👍🏽",
    "<thin\u212a>a</think>b": "<thin\u212a>a</think>b",  # the Kelvin sign is no k
    "<think\u00a0>a": "<think\u00a0>a",
    "<think>1 < 2 && 3 > 2</think>ok": "(1 < 2 && 3 > 2)ok",
    "\ufeff<think>a</think>\r\nb": "\ufeff(a)\r\nb",
    "<!-- <think>a</think> -->": "<!-- (a) -->",
    "<think>a</think><note>b</note><think>c": "(a)[note|{b}|note](c)",
}


@pytest.mark.parametrize("text", CASES, ids=lambda text: text[:40])
def test_a_hard_text_is_split_as_written_at_every_cut(text: str) -> None:
    assert len(CASES) >= 40
    for chunks in (
        [text],
        list(text),
        [text[at : at + 4] for at in range(0, len(text), 4)],
        *(cut_at(text, [at]) for at in range(40)),
    ):
        assert CASES[text] == shown(parts_of(splitting(), chunks))


pieces = st.lists(
    st.sampled_from(
        [*"ab <>/='\"\n`", "<think>", "</think>", "<note a='", "<note>", "</note>", "<x-y/>", "<thi", "think", "想", "🤔"]
    ),
    max_size=25,
).map("".join)


@given(pieces, places)
@settings(max_examples=300)
def test_any_cut_gives_the_same_once_neighbours_are_joined(text: str, cuts: list[int]) -> None:
    meant = shown(parts_of(splitting(), [text]))
    assert meant == shown(parts_of(splitting(), cut_at(text, cuts)))
    assert meant == shown(parts_of(splitting(), list(text)))


@given(pieces)
@settings(max_examples=300)
def test_no_character_is_lost_outside_of_tags(text: str) -> None:
    kept = "".join(
        part.text if not isinstance(part, Custom) else part.data.get("text", "")  # type: ignore[attr-defined]  # a dict
        for part in parts_of(splitting(), list(text))
    )
    tags = re.compile(r"""</?(?:think|thinking|note|x-y)(?:[\s/](?:=\s*"[^"]*"|=\s*'[^']*'|[^<>])*)?>""", re.IGNORECASE)
    rest = iter(text)
    assert all(char in rest for char in kept)
    assert len(text) - len(kept) <= sum(len(tag) for tag in tags.findall(text))


@given(pieces)
@settings(max_examples=300)
def test_only_what_may_become_a_tag_is_held_back(text: str) -> None:
    stage = splitting()
    for char in text:
        list(stage.feed(char))
        if stage._held:
            assert re.match(r"</?(?:t|n|x|$)", stage._held)
            # Some way to go on makes a tag of it, and another one does not: both are open.
            assert "\x00<" in gone_on(stage, "\x00<")
            assert any(stage._held not in gone_on(stage, end) for end in ENDS)


ENDS = [name[at:] + ">" for name in ("think", "thinking", "note", "x-y") for at in range(len(name))] + [">", "'>", '">', "x>", "k>"]


def gone_on(stage: SplitTags, end: str) -> Shown:
    """What comes of a copy of the stage if the text ends like this."""
    other = splitting()
    other.restore(stage.snapshot())
    return shown(parts_of(other, [end]))


def test_a_tag_cut_into_characters_gives_nothing_until_it_is_whole() -> None:
    stage = splitting()
    assert [[]] * 7 == [list(stage.feed(char)) for char in "<think>"]
    assert [ReasoningDelta("a")] == list(stage.feed("a"))


def test_what_cannot_become_a_tag_is_given_at_once() -> None:
    stage = splitting()
    assert [TextDelta("a < b")] == list(stage.feed("a < b"))
    assert [TextDelta("<b")] == list(stage.feed("<b"))
    assert [] == list(stage.feed("<t"))
    assert [TextDelta("<ta")] == list(stage.feed("a"))
    assert [TextDelta("</b> ")] == list(stage.feed("</b> <"))


def test_the_data_of_a_tag_is_json() -> None:
    got = parts_of(SplitTags(["Note"]), ["<note a='1' b>in</note>"])
    assert [
        Custom("tag", {"tag": "Note", "part": "start", "attributes": {"a": "1", "b": ""}}),
        Custom("tag", {"tag": "Note", "part": "text", "text": "in"}),
        Custom("tag", {"tag": "Note", "part": "end"}),
    ] == got
    assert got == msgspec.json.decode(msgspec.json.encode(got), type=list[Custom])


def test_without_names_all_that_hold_reasoning_are_tags() -> None:
    for name in REASONING_TAGS:
        assert "(a)b<note>" == shown(parts_of(SplitTags(), [f"<{name}>a</{name}>b<note>"]))


def test_other_names_may_hold_reasoning() -> None:
    stage = SplitTags(["think", "note"], reasoning=["Scratch", "note"])
    assert "(a)[think|{b}|think](c)" == shown(parts_of(stage, ["<scratch>a</scratch><think>b</think><note>c</note>"]))
    assert "(a)b" == shown(parts_of(SplitTags(reasoning=["scratch"]), ["<scratch>a</scratch>b"]))


@pytest.mark.parametrize("text", ["a</think>b", "<think>a</think>b", "\n<think>a</think>b", " \n<THINK>a</think>b"])
def test_a_text_that_begins_inside_of_a_tag_is_told_so(text: str) -> None:
    for chunks in ([text], list(text)):
        assert re.match(r"\(\s*a\)b$", shown(parts_of(SplitTags(open="think"), chunks)))


def test_a_tag_that_is_opened_again_later_is_nested() -> None:
    assert "(abc)d" == shown(parts_of(SplitTags(["think"], open="think"), ["a<think>b</think>c</think>d"]))


def test_tags_nested_too_deep_are_text() -> None:
    stage = SplitTags(["note"], max_depth=2)
    assert "[note|[note|{<note>a}|note]|note]</note>" == shown(parts_of(stage, ["<note>" * 3 + "a" + "</note>" * 3]))


def test_a_tag_that_is_longer_than_its_bound_is_text_as_soon_as_it_is() -> None:
    stage = SplitTags(["note"], max_tag_chars=12)
    assert [] == list(stage.feed("<note abcde"))
    assert [TextDelta("<note abcdef")] == list(stage.feed("f"))
    assert "[note abcde=|" == shown(parts_of(SplitTags(["note"], max_tag_chars=12), list("<note abcde>")))


def test_a_failure_gives_what_was_held_as_what_it_was_in() -> None:
    stage = splitting()
    assert [ReasoningDelta("a")] == list(stage.feed("<think>a</thi"))
    assert [ReasoningDelta("</thi")] == list(stage.abort())
    assert [] == list(stage.abort())


def test_a_saved_stage_knows_the_tags_it_is_in_and_what_it_held() -> None:
    one, other = splitting(), splitting()
    assert "[note|(a)" == shown(one.feed("<note><think>a</th"))
    other.restore(msgspec.json.decode(msgspec.json.encode(one.snapshot())))
    assert "{b}|note]c" == shown(other.feed("ink>b</note>c"))


@pytest.mark.parametrize("text", ["<", "<note a='", "<note ", "<think>a</think>", "<note a='<'", "</note", "<note><"])
@pytest.mark.parametrize("cut", [1, 4, 100_000])
def test_work_grows_with_the_text_even_on_the_worst_of_texts(text: str, cut: int) -> None:
    def work(length: int) -> int:
        stage = splitting()
        whole = (text * length)[:length]
        return steps(lambda: parts_of(stage, [whole[at : at + cut] for at in range(0, length, cut)]))

    assert work(8000) <= 2.3 * work(4000)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SplitTags("think"), TypeError, r"write \['think'\]"),
        (lambda: SplitTags(["a"], reasoning="think"), TypeError, r"write \['think'\]"),
        (lambda: SplitTags([3]), TypeError, "is a str, got 3"),  # type: ignore[list-item]  # the mistake under test
        (lambda: SplitTags(["<think>"]), ConfigError, "without < and >"),
        (lambda: SplitTags([""]), ConfigError, "the name ''"),
        (lambda: SplitTags(["a b"]), ConfigError, "'a b'"),
        (lambda: SplitTags(["a" * 65]), ConfigError, "aaa"),
        (lambda: SplitTags(["a"], open="b"), ConfigError, "none of the tags a"),
        (lambda: SplitTags(["a"], max_tag_chars=7), ConfigError, "max_tag_chars=7"),
        (lambda: SplitTags(["a"], max_depth=0), ConfigError, "max_depth=0"),
        (lambda: SplitTags(["a"], max_depth=True), ConfigError, "max_depth=True"),
        (lambda: SplitTags(["a"]).feed(b"a"), TypeError, "got bytes"),  # type: ignore[arg-type]  # the mistake under test
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
