"""Tokens counted as text goes by.

Without a tokenizer they are estimated as everywhere in streamkit (`streamkit.events.stats`): a quarter of the UTF-8 bytes,
rounded up, at any time and for any cut exactly that.

A tokenizer counts whole words: tokens of a text do not add up over arbitrary pieces of it, and to count the whole text again at
each piece would be quadratic. Byte-pair tokenizers split text before the white space in front of a word anyway, so the sum
over runs of whole words is what they give for the whole text, or differs by very little; one that adds a mark at the
beginning of each text adds it once for each run. How the text was cut changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from inspect import iscoroutine
from typing import Final, Protocol, TypeAlias, final

from streamkit.events.stats import estimated_tokens, utf8_size
from streamkit.stages.stage import Stage, not_text
from streamkit.stages.words import Words

__all__ = ["CountTokens", "TokenCounter", "Tokenizer"]


class Encoder(Protocol):
    """An object that cuts text into tokens, as tiktoken's and Hugging Face's do."""

    def encode(self, text: str, /) -> Sized:
        """The tokens."""
        ...


Tokenizer: TypeAlias = Callable[[str], int] | Encoder

# What a tokenizer is given at once: calls cost, and words that are still held back are only estimated.
_RUN: Final = 64


@final
class TokenCounter:
    """How many tokens have gone by; read it at any time.

    Everything that is counted with it adds up: the blocks of an answer, several answers, several Runs.

    Args:
        tokenizer: A callable that gives a text's number of tokens, or an object whose `encode` gives its tokens. None estimates.

    >>> counter = TokenCounter(lambda text: len(text.split()))
    >>> stage = CountTokens(counter)
    >>> [*stage.feed("Four tok"), *stage.feed("ens in all"), *stage.flush()], counter.total
    (['Four tok', 'ens in all'], 4)
    """

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        """Raises TypeError if `tokenizer` is neither callable nor has an `encode`."""
        self._count = None if tokenizer is None else _counting(tokenizer)
        self._tokens = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<TokenCounter total={self.total} estimated={self.estimated}>"

    @property
    def estimated(self) -> bool:
        """Whether there is no tokenizer."""
        return self._count is None

    @property
    def total(self) -> int:
        """Tokens so far. With a tokenizer the last words of a text that goes on are estimated."""
        return self._tokens + estimated_tokens(self._bytes)

    def count(self, text: str) -> int:
        """The tokens of one text; adds nothing.

        Raises:
            TypeError: the tokenizer gave something else than a number.
        """
        if self._count is None:
            return estimated_tokens(utf8_size(text))
        tokens = self._count(text)
        if not isinstance(tokens, int) or isinstance(tokens, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            if iscoroutine(tokens):
                tokens.close()
            raise TypeError(f"count_tokens(): the tokenizer gives a text's number of tokens as an int, got {type(tokens).__name__}")
        return tokens

    def add(self, tokens: int, utf8_bytes: int) -> None:
        """Count so many tokens more, and so many bytes that are estimated; less, if they are negative."""
        self._tokens += tokens
        self._bytes += utf8_bytes


@final
class CountTokens(Stage[str, str]):
    """Text as it is, counted.

    Memory: with a tokenizer the last words, at most 1,024 characters; without one, two numbers.
    """

    state = ("_tokens", "_bytes")

    def __init__(self, counter: TokenCounter) -> None:
        """Raises TypeError if `counter` is no TokenCounter."""
        if not isinstance(counter, TokenCounter):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"count_tokens() takes a TokenCounter, got {type(counter).__name__}")
        self._counter = counter
        self._words = None if counter.estimated else Words(min_chars=_RUN)
        # What of the counter's numbers came from here.
        self._tokens = 0
        self._bytes = 0

    def feed(self, item: str) -> tuple[str, ...]:
        """The same text."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("count_tokens", item)
        if not item:
            return ()
        self._add(0, utf8_size(item))
        if self._words is not None:
            for run in self._words.feed(item):
                self._settle(run)
        return (item,)

    def flush(self) -> tuple[str, ...]:
        """Nothing; the last words are counted."""
        if self._words is not None:
            for run in self._words.flush():
                self._settle(run)
        return ()

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own."""
        return super().snapshot() | {"_words": None if self._words is None else self._words.snapshot()}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another one, made in the same way, was saved; its counter then holds what that one's held of it."""
        tokens, utf8_bytes = self._tokens, self._bytes
        words = saved["_words"]
        super().restore({name: value for name, value in saved.items() if name != "_words"})
        self._counter.add(self._tokens - tokens, self._bytes - utf8_bytes)
        if self._words is not None and isinstance(words, dict):
            self._words.restore(words)  # pyright: ignore[reportUnknownArgumentType]  # what `snapshot` gave

    def _settle(self, run: str) -> None:
        """A run of whole words: what was estimated of it is counted."""
        self._add(self._counter.count(run), -utf8_size(run))

    def _add(self, tokens: int, utf8_bytes: int) -> None:
        self._tokens += tokens
        self._bytes += utf8_bytes
        self._counter.add(tokens, utf8_bytes)


def _counting(tokenizer: Tokenizer) -> Callable[[str], int]:
    encode: Callable[[str], Sized] | None = getattr(tokenizer, "encode", None)
    if encode is not None and not isinstance(tokenizer, str):  # a name, whose `encode` gives bytes
        return lambda text: len(encode(text))
    if not callable(tokenizer):
        raise TypeError(f"TokenCounter(tokenizer=...) takes a callable or an object with encode(), got {type(tokenizer).__name__}")
    return tokenizer
