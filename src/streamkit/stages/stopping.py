"""Stop sequences: text passes until the first of them is complete, wherever the tokens were cut.

An Aho-Corasick automaton over all sequences at once. Its state after a text is the longest suffix of
that text which begins a sequence; that suffix, and nothing else, is ambiguous and held back. So what
has been given depends on the text so far and not on its cuts, and no character is given which a
later one could turn into part of a stop sequence.

The first sequence to be COMPLETE wins: a stream cannot wait to see whether a longer one that began
earlier would become complete too. Of two that are complete at the same character the longer wins, the one
that began first: `["END", "THE END"]` stops "THE END" before "THE". A sequence that contains
another one inside, or begins with one, is therefore never reached.

The held text needs no buffer: it is the beginning of a known sequence, and is read from there. Each
character costs an amortised constant number of steps, however many sequences there are; text that
begins none of them is skipped by one search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Stop"]


@final
class Stop(Stage[str, str]):
    """Text up to the first stop sequence; the sequence and all behind it are dropped.

    Args:
        sequences: The texts to stop at, at least one, none of them empty.

    Attributes:
        done: A sequence is complete; further text is ignored.
        matched: That sequence, or None.

    Memory: the sequences; of the text nothing. `flush` gives a suffix that was held back, since
    no sequence will be completed any more.

    >>> stop = Stop(["END"])
    >>> [*stop.feed("the E")], [*stop.feed("N")], [*stop.feed("ough EN")], [*stop.feed("D of")], stop.matched
    (['the '], [], ['ENough '], [], 'END')
    """

    state = ("_node", "matched")

    def __init__(self, sequences: Iterable[str]) -> None:
        """Raises TypeError if `sequences` is one str or holds anything but str, ConfigError if it or one of them is empty."""
        if isinstance(sequences, (str, bytes)):
            raise TypeError(f"stop takes a list of texts, got one {type(sequences).__name__}: write [{sequences!r}]")
        given = tuple(sequences)
        for sequence in given:
            if not isinstance(sequence, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
                raise TypeError(f"a stop sequence is a str, got {sequence!r}")
            if not sequence:
                raise ConfigError("a stop sequence must not be empty: it would stop every text before its first character")
        if not given:
            raise ConfigError("stop needs at least one sequence")
        # Sorted, so that a node's number means the same in another process, whatever order a set has there.
        self._automaton = _automaton(tuple(sorted(given)))
        self._node = _ROOT
        self.matched: str | None = None

    def feed(self, item: str) -> tuple[str, ...]:
        """The text that can no longer be part of a stop sequence."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("stop", item)
        if self.done or not item:
            return ()
        automaton = self._automaton
        before = self._node
        node, end = automaton.run(before, item)
        self._node = node
        matched = automaton.ending[node]
        if matched is not None:
            self.matched = matched
            self.done = True
            kept = len(matched)
        else:
            kept = automaton.depth[node]
            if not kept and not automaton.depth[before]:
                return (item,)
        given = automaton.depth[before] + end - kept
        held = automaton.text(before, given)
        text = held + item[: given - len(held)]
        return (text,) if text else ()

    def flush(self) -> tuple[str, ...]:
        """What was held back, unless a sequence is complete."""
        if self.done:
            return ()
        node, self._node = self._node, _ROOT
        depth = self._automaton.depth[node]
        return (self._automaton.text(node, depth),) if depth else ()


_ROOT = 0


class _Automaton:
    """The sequences as one machine, built once in the time of their total length and shared by all its users."""

    __slots__ = ("_first", "_step", "_through", "back", "depth", "ending")

    def __init__(self, sequences: tuple[str, ...]) -> None:
        self._step: list[dict[str, int]] = [{}]
        self._through: list[str] = [""]  # a sequence that begins with the node's text
        self.depth: list[int] = [0]
        self.back: list[int] = [_ROOT]  # the node of the longest proper suffix
        self.ending: list[str | None] = [None]  # the longest sequence that the node's text ends with
        for sequence in sequences:
            self._add(sequence)
        self._link()
        self._first = re.compile("[" + "".join(re.escape(char) for char in self._step[_ROOT]) + "]")

    def _add(self, sequence: str) -> None:
        node = _ROOT
        for char in sequence:
            after = self._step[node].get(char)
            if after is None:
                after = len(self._step)
                self._step[node][char] = after
                self._step.append({})
                self._through.append(sequence)
                self.depth.append(self.depth[node] + 1)
                self.back.append(_ROOT)
                self.ending.append(None)
            node = after
        self.ending[node] = sequence

    def _link(self) -> None:
        """Suffix links and what ends where, nodes in the order of their depth."""
        level = list(self._step[_ROOT].values())
        while level:
            deeper: list[int] = []
            for node in level:
                if self.ending[node] is None:
                    self.ending[node] = self.ending[self.back[node]]
                for char, after in self._step[node].items():
                    self.back[after] = self._after(self.back[node], char)
                    deeper.append(after)
            level = deeper

    def _after(self, node: int, char: str) -> int:
        step = self._step
        while char not in step[node]:
            if node == _ROOT:
                return _ROOT
            node = self.back[node]
        return step[node][char]

    def run(self, node: int, text: str) -> tuple[int, int]:
        """The node after `text`, or after the first part of it that completes a sequence, and that part's length."""
        step, back, ending = self._step, self.back, self.ending
        at, end = 0, len(text)
        while at < end:
            if node == _ROOT:
                found = self._first.search(text, at)
                if found is None:
                    return _ROOT, end
                at = found.start()
            char = text[at]
            at += 1
            while node != _ROOT and char not in step[node]:
                node = back[node]
            node = step[node].get(char, _ROOT)
            if ending[node] is not None:
                return node, at
        return node, end

    def text(self, node: int, length: int) -> str:
        """The first `length` characters of the node's text, at most all of it."""
        return self._through[node][: min(length, self.depth[node])]


# A pipeline makes a stage per Run, and a lifted one per content block, all of the same sequences.
@lru_cache(maxsize=32)
def _automaton(sequences: tuple[str, ...]) -> _Automaton:
    return _Automaton(sequences)
