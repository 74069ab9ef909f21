"""`CountTokens`: the same tokens for any cut, and the text as it came."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hard_texts import HARD_TEXTS
from law_of_stages import cuts_of
from stage_runs import run, steps

from streamkit.events.stats import estimated_tokens, utf8_size
from streamkit.stages.counting import CountTokens, TokenCounter


def words(text: str) -> int:
    return len(text.split())


class Encoding:
    """A tokenizer with `encode`, and one that can be called for something else, as some can."""

    def encode(self, text: str) -> list[str]:
        return text.split()

    def __call__(self, text: str) -> dict[str, list[str]]:
        return {"input_ids": self.encode(text)}


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_the_estimate_is_that_of_the_whole_text_for_any_cut(name: str) -> None:
    text = HARD_TEXTS[name]
    for chunks in cuts_of(text):
        counter = TokenCounter()
        assert text == "".join(run(CountTokens(counter), chunks))
        assert estimated_tokens(utf8_size(text)) == counter.total


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_a_tokenizer_counts_the_same_for_any_cut(name: str) -> None:
    totals = set()
    for chunks in cuts_of(HARD_TEXTS[name]):
        counter = TokenCounter(lambda text: len(text.encode("utf-8", "surrogatepass")) // 3 + 1)
        run(CountTokens(counter), chunks)
        totals.add(counter.total)
    assert 1 == len(totals)


def test_words_are_counted_whole() -> None:
    text = "one two three " * 50
    for tokenizer in (words, Encoding()):
        counter = TokenCounter(tokenizer)
        run(CountTokens(counter), text)
        assert 150 == counter.total


def test_the_total_is_there_while_the_text_goes_on() -> None:
    counter = TokenCounter(lambda text: 1000 * len(text))
    stage = CountTokens(counter)
    stage.feed("12345678")
    assert 2 == counter.total  # nothing has ended: estimated
    stage.feed("x" * 60 + " y")
    assert 1000 * 68 + 1 == counter.total
    list(stage.flush())
    assert 1000 * 70 == counter.total
    assert not counter.estimated
    assert "<TokenCounter total=70000 estimated=False>" == repr(counter)


def test_several_texts_add_up() -> None:
    counter = TokenCounter(words)
    run(CountTokens(counter), ["a b"])
    run(CountTokens(counter), ["c"])
    assert 3 == counter.total
    assert 2 == counter.count("d e")
    assert 3 == counter.total


@pytest.mark.parametrize("tokenizer", [None, words])
def test_a_counter_taken_up_elsewhere_ends_with_the_same_total(tokenizer: object) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 5
    meant = TokenCounter(tokenizer)  # type: ignore[arg-type]
    run(CountTokens(meant), [text])
    for at in range(0, len(text), 17):
        first, second = TokenCounter(tokenizer), TokenCounter(tokenizer)  # type: ignore[arg-type]
        stage, other = CountTokens(first), CountTokens(second)
        stage.feed(text[:at])
        other.feed("something else, which is forgotten")
        other.restore(deepcopy(stage.snapshot()))
        assert first.total == second.total
        run(other, [text[at:]])
        assert meant.total == second.total


def test_a_tokenizer_is_given_each_text_once() -> None:
    def work(length: int) -> int:
        stage = CountTokens(TokenCounter(words))
        return steps(lambda: [stage.feed(piece) for piece in ["hel", "lo ", "wor", "ld "] * length])

    assert work(400) / work(200) < 2.3


@pytest.mark.parametrize("wrong", [1, "gpt", object()])
def test_what_cannot_count_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="tokenizer"):
        TokenCounter(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="TokenCounter"):
        CountTokens(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, 1.5, True, "3", [1]])
def test_a_tokenizer_that_gives_no_number_says_so(given: object) -> None:
    stage = CountTokens(TokenCounter(lambda text: given))  # type: ignore[arg-type]
    stage.feed("text")
    with pytest.raises(TypeError, match="as an int"):
        list(stage.flush())


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="count_tokens takes text, got bytes"):
        CountTokens(TokenCounter()).feed(b"a")  # type: ignore[arg-type]
