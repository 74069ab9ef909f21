"""`Replace`: what `re.sub` gives for the whole text, at any cut, with nothing held back that is decided."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from os.path import commonprefix

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.matching import one_of
from streamkit.stages.replacing import Replace

letters = st.text(alphabet="ab-1 \n", max_size=40)


def replaced(stage: Replace, text: str, cuts: list[int]) -> str:
    return "".join(run(stage, cut_at(text, cuts)))


PATTERNS = [
    *(
        "ab",
        "a",
        "ab|a",
        "a|ab",
        "ab?",
        "a+",
        "a+b",
        "a*b",
        "[ab]+",
        "[^a]b",
        "a.b",
        "(?s:a.b)",
        "b-?1",
        "a{2}",
        "a{2,3}",
        "a{2,}1",
    ),
    *(
        "a+?",
        "a.*?b",
        "a.*b",
        "<?a",
        r"\ba",
        r"a\b",
        r"\bab\b",
        r"\Ba",
        "^a",
        "a$",
        r"a\Z",
        "(?m:^a)",
        "(?m:a$)",
        "(?m:b$\n)",
        "(?i:AB)",
    ),
    *(
        "a(?=b)",
        "a(?!b)",
        "(?<=b)a",
        "(?<!b)a",
        "(?<=ab)1",
        "a(?=.*1)",
        "a(?!.*1)",
        "(a)(b)?-",
        r"(a|b)\1",
        r"(a+)b\1",
        "(a)?b(?(1)1|-)",
    ),
    *(
        "a++b",
        "(?>a+|ab)b",
        "(?:ab)++1",
        "(?:a-)*1",
        "(?:ab|-){2,3}",
        "(?:a(?!-)|1)+",
        "a|b|1",
        r"\w+\s",
        r"\d+",
        "(?:[^a\\-]|-.)+a",
        "a(?=b|$)",
    ),
    *(r"a(?!\n$)", "(?<!a)(?<!b)1", "ab(?<=ab)1", "a(?#note)b", "(?x: a  b )", r"(?P<x>a)-(?P=x)", "(?s:a.{3}b)", "1{0,2}a{0,2}b"),
]


@pytest.mark.parametrize("source", PATTERNS)
@settings(max_examples=60)
@given(text=letters, cuts=places)
def test_a_pattern_gives_what_re_gives_for_the_whole_text(source: str, text: str, cuts: list[int]) -> None:
    pattern = re.compile(source)
    for by in ("X", lambda found: f"[{found[0]}]"):
        meant = pattern.sub(by if callable(by) else lambda _: "X", text)
        for at in (cuts, [], list(range(len(text)))):
            assert meant == replaced(Replace(pattern, by, trusted=True), text, at)


@given(
    st.dictionaries(st.text(alphabet="ab1", min_size=1, max_size=5), st.text(alphabet="XY", max_size=2), min_size=1),
    letters,
    places,
)
def test_of_several_texts_the_leftmost_and_then_the_longest_is_replaced(texts: dict[str, str], text: str, cuts: list[int]) -> None:
    meant, at = "", 0
    while at < len(text):
        here = max((one for one in texts if text.startswith(one, at)), key=len, default=None)
        meant += text[at] if here is None else texts[here]
        at += 1 if here is None else len(here)
    for places_of in (cuts, [], list(range(len(text)))):
        assert meant == replaced(Replace(texts), text, places_of)


@pytest.mark.parametrize("source", ["ab|b1", "a+b", r"\bab\b", "a(?!b)", "a{2,3}", "a.{2}b", "a.*?b", "b$", "(a)(?:b|1)"])
@settings(max_examples=40)
@given(text=letters)
def test_nothing_is_held_back_that_no_continuation_could_change(source: str, text: str) -> None:
    def by(found: re.Match[str]) -> str:
        return chr(0x100 + len(found[0]))  # one character, another one for each length

    stage = Replace(re.compile(source, re.DOTALL), by)
    given_so_far = "".join(piece for char in text for piece in stage.feed(char))
    futures = ["", *"ab1- \n", "b1", "aab", "1b", "  b", "b ", "1\n"]
    whole = [re.sub(source, by, text + future, flags=re.DOTALL) for future in futures]
    assert commonprefix(whole) == given_so_far  # noqa: RUF071  # these are texts, not paths


def test_a_text_cut_into_characters_is_replaced_and_a_false_beginning_given_at_once() -> None:
    assert [["x"], [], [], ["dog"], [], ["c!"]] == given_after_each(Replace("cat", "dog"), "xcatc!")


def test_of_two_texts_that_begin_alike_the_shorter_waits_for_the_longer() -> None:
    stage = Replace({"colour": "color", "colours": "colors"})
    assert [[], ["color"], ["color "], []] == [list(stage.feed(part)) for part in ["colour", "colour", " ", "col"]]
    assert ("col",) == stage.flush()


def test_what_takes_the_place_is_not_looked_at_again() -> None:
    assert "bbbb" == "".join(run(Replace({"a": "bb", "b": "a"}), ["aa"]))
    assert "aab" == "".join(run(Replace("ab", "a"), ["aab", "b"]))


def test_a_text_takes_the_place_as_it_stands() -> None:
    assert r"\1 \g<0>" == "".join(run(Replace(re.compile("(a)"), r"\1 \g<0>"), ["a"]))
    assert "" == "".join(run(Replace(re.compile("a"), ""), ["aaa", "a"]))


def test_special_characters_of_a_text_mean_themselves() -> None:
    for text in ["^", "]", "\\", "-", "[", "a-z", "\n", " ", ".*", "👨‍👩‍👧", "停"]:
        assert "xX!" == "".join(run(Replace(text, "X"), ["x" + text[:1], text[1:] + "!"]))


def test_a_function_is_called_once_for_each_match_with_its_groups() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def swap(found: re.Match[str]) -> str:
        seen.append((found[0], found.groupdict()))
        return f"{found['host']}@{found['name']}"

    assert "to b@a, ok" == "".join(run(Replace(re.compile(r"(?P<name>\w+)@(?P<host>\w+)"), swap), list("to a@b, ok")))
    assert [("a@b", {"name": "a", "host": "b"})] == seen


def test_a_match_that_goes_on_at_its_end_is_replaced_at_once_and_the_rest_dropped_however_long() -> None:
    stage = Replace(re.compile("key-[a-z]+"), "KEY")
    assert ["KEY"] == [*stage.feed("key-a")]
    assert [] == [*stage.feed("b" * 100_000)]
    assert "" == stage._held
    assert [" no"] == [*stage.feed("c no")]


def test_repeats_without_a_limit_have_one() -> None:
    assert "aaaX" == "".join(run(Replace(re.compile("a+b"), "X", max_repeat=2), list("aaaaab")))
    assert 3 == one_of(re.compile("a+b"), 2, False, False).longest


def test_the_end_and_a_failure_give_what_was_held() -> None:
    for end in (Replace.flush, Replace.abort):
        stage = Replace({"END": "-", "EN": "+"})
        assert ("Hi",) == stage.feed("HiEN")
        assert ("+",) == end(stage)
        assert () == end(stage)


def test_an_end_is_seen_at_the_end_alone() -> None:
    stage = Replace(re.compile("a$"), "X")
    assert [[], ["ab"], [], [], ["a\nb"]] == [list(stage.feed(part)) for part in ["a", "b", "a", "\n", "b"]]
    assert "abX" == "".join(run(Replace(re.compile("a$"), "X"), list("aba")))
    assert "abX\n" == "".join(run(Replace(re.compile("a$"), "X"), list("aba\n")))


def test_text_without_a_beginning_passes_as_the_same_object() -> None:
    for what in ("\n\nUser:", re.compile(r"\d+-\d+")):
        chunk = "".join(["plain ", "text"])
        assert chunk is Replace(what, "x").feed(chunk)[0]
    chunk = "".join(["a foo ", "b"])
    assert chunk is Replace("fa", "x").feed(chunk)[0]


def test_a_saved_stage_goes_on_inside_a_match_that_was_replaced() -> None:
    one, other = (Replace(re.compile("key-[a-z]+"), "KEY") for _ in range(2))
    assert ("KEY",) == one.feed("key-abc")
    other.restore(one.snapshot())
    assert ("!",) == other.feed("def!")


@pytest.mark.parametrize("cut", [1, 4, 10_000])
@pytest.mark.parametrize("source", ["a+$", "a{1,64}b", "a.*?b", r"(?:\w+\.)+com", "aaaaaaaaab|aaab"])
def test_work_grows_with_the_text_even_on_the_worst_of_texts(source: str, cut: int) -> None:
    def work(length: int) -> int:
        text = "a" * length
        stage = Replace(re.compile(source), "X")
        return steps(lambda: run(stage, [text[at : at + cut] for at in range(0, length, cut)]))

    assert work(8000) <= 2.3 * work(4000)


def test_time_grows_with_the_text() -> None:
    def seconds(length: int) -> float:
        text = "a" * length
        stage = Replace(re.compile("a+b"), "X", max_repeat=64)
        begun = time.process_time()
        run(stage, [text[at : at + 4] for at in range(0, length, 4)])
        return time.process_time() - begun

    # A busy machine spoils one try or another; a square is one each time.
    assert min(seconds(40_000) / seconds(20_000) for _ in range(5)) <= 2.3


@pytest.mark.parametrize(
    "source",
    [
        "(a+)+$",
        "(a*)*b",
        "(?:a|aa)+$",
        r"x(\w+\s?)*$",
        "(a{1,2}){10,}b",
        "(?:a?)*b",
        "((?:ab?)+)+c",
        "(?:(?:a+)-?)+b",
        "(?:a|a?b)+c",
    ],
)
def test_op_13_a_pattern_that_may_explode_is_refused_at_once(source: str) -> None:
    begun = time.process_time()
    with pytest.raises(ConfigError, match="exponential time"):
        Replace(re.compile(source), "X")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "source", [r"(?:\w+\.)+com", r"(?:-?\d)*1", '"(?:[^"\\\\]|\\\\.)*"', "(?:a++)+b", "(?:ab|cd)+", "(?:a?b){1,8}"]
)
def test_op_13_a_repeat_with_one_reading_is_taken(source: str) -> None:
    assert ["x"] == run(Replace(re.compile(source), "-"), ["x"])


def test_op_13_a_hundred_thousand_characters_of_the_worst_kind_take_bounded_time() -> None:
    begun = time.process_time()
    text = "a" * 100_000
    got = run(Replace(re.compile("a+$"), "X"), [text[at : at + 4] for at in range(0, len(text), 4)])
    assert "a" * (100_000 - 256) + "X" == "".join(got)
    assert time.process_time() - begun < 10


def test_op_13_a_trusted_pattern_means_what_it_means_in_re() -> None:
    assert "bX" == "".join(run(Replace(re.compile("(a+)+$"), "X", max_repeat=8, trusted=True), list("b" + "a" * 12)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Replace("", "x"), ConfigError, "empty text"),
        (lambda: Replace({}), ConfigError, "at least one"),
        (lambda: Replace({"": "x"}), ConfigError, "empty text"),
        (lambda: Replace(re.compile("a*"), "x"), ConfigError, "may match the empty text"),
        (lambda: Replace(re.compile(r"\b"), "x"), ConfigError, "may match the empty text"),
        (lambda: Replace(re.compile("a{2000000}"), "x"), ConfigError, "limit its repeats"),
        (lambda: Replace("a", "b", max_repeat=0), ConfigError, "max_repeat=0"),
        (lambda: Replace("a", "b", max_repeat=True), ConfigError, "max_repeat=True"),
        (lambda: Replace("a"), TypeError, "got NoneType"),
        (lambda: Replace("a", 3), TypeError, "got int"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Replace({"a": "b"}, "c"), TypeError, "mapping alone"),
        (lambda: Replace({"a": 3}), TypeError, "from str to str"),  # type: ignore[dict-item]  # the mistake under test
        (lambda: Replace(re.compile(b"a"), "x"), TypeError, "pattern of str"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Replace(3, "x"), TypeError, "got 3"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Replace("a", "b").feed(b"a"), TypeError, "replace takes text, got bytes"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Replace("a", lambda _: 3).feed("ab"), TypeError, "gave a int"),  # type: ignore[arg-type]  # the mistake under test
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_many_texts_are_one_search() -> None:
    text = "".join(random.Random(1).choices("abcdefgh ", k=3000))
    few = Replace({"abcdefgh": "-"})
    many = Replace({"abcdefgh" + str(n): "-" for n in range(200)})
    assert steps(lambda: run(many, [text])) <= 1.1 * steps(lambda: run(few, [text]))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\d-", "\u0663- 3-"),
        (r"(?a:\d)-", "\u0663- 3-"),
        (r"\w!", "\u00e9! \u60f3! a!"),
        (r"key-\w+", "key-\u00e9\u60f3 no"),
        (r"(?i)\u00c9t", "\u00e9t \u00c9T"),
        (r"(?i:k)x", "\u212ax Kx"),
        (r"(?:x?y|\u60f3)z", "yz xyz \u60f3z xz"),
        (r"(?:a|(?i:b))?c", "c ac Bc"),
    ],
)
def test_characters_of_all_scripts_are_what_they_are_to_re(source: str, text: str) -> None:
    meant = re.sub(source, "X", text)
    assert meant != text
    for chunks in ([text], list(text)):
        assert meant == "".join(run(Replace(re.compile(source), "X"), chunks))
