"""An answer in Markdown, made of the sentences, lists and code that fit the question best.

The best section leads, up to two others follow if they fit nearly as well, and within a section the
units compete by how much of the question they meet. Where several fit about equally well the seed
decides, as far as the temperature lets it. A question that nothing fits is told so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from random import Random

from streamkit.clients.local.corpus import Unit
from streamkit.clients.local.index import Index, index, terms, words

__all__ = ["DEFAULT_TEMPERATURE", "compose"]

DEFAULT_TEMPERATURE = 0.7

_EARLIER_WEIGHTS = (0.4, 0.2, 0.1)  # of the user's messages before the last one, newest first
_PART_WEIGHT = 0.4  # of a part of a compound word that is known as a whole
_LEAST_COVER = 0.32  # share of the question, by weight of its words, that the best section must meet ...
_LEAST_WORDS = 6  # ... or so many of its words: a long question has much around its point
_NEARLY_AS_GOOD = 0.6
_UNITS = (4, 2, 1)  # at most, from the best section, the second and the third
_SPREAD = 0.15  # by how much temperature 1 lets the seed move a unit's score
_TOPIC_WORDS = 4
_HOUSE_WORDS = frozenset({"streamkit", "sk"})  # on every page: they tell next to nothing
_HOUSE_WEIGHT = 0.2
_SUMMARY_GAIN = 0.5  # a page's summary leads where no sentence of the section does better
_LEAD_EARLY = 3.0  # how much more the first place counts for the sentence that leads
_ASIDE = 0.3  # how much the first place counts in a section that is not the best
_WHAT = re.compile(
    r"\s*what(?:'s|\s+is|\s+are)\b", re.IGNORECASE
)  # asks for a definition; sections that give one say "What ..." too
_WHAT_GAIN = 1.4
_LEANING = re.compile(r"(?:It|Its|So|Then|This|They|These|Both|Given) |.* instead\.$")  # makes sense only behind another sentence
_NAME = re.compile(r"_|[a-z][A-Z]")  # a word that only code writes so

_LEADS = (
    "**{topic}**, in short: {sentence}",
    "About **{topic}**: {sentence}",
    "The short answer on **{topic}**: {sentence}",
    "What matters most for **{topic}**: {sentence}",
)
_SOURCES = ("Sources: ", "From the pages: ", "Read more in: ")
_UNKNOWN = (
    "I only know streamkit's own documentation, and nothing in it fits that question.",
    "I cannot answer that: I know streamkit's own documentation and nothing else.",
    "Nothing in streamkit's documentation, which is all I know, answers that.",
)
_NOT_ASKED = (
    "There is no question in what you sent; ask me about streamkit.",
    "Ask me something about streamkit: your message has no words in it.",
)
_TOPICS = ("These are the topics that I know:", "What I can tell you about:")


def compose(questions: Sequence[str], *, seed: int = 0, temperature: float = DEFAULT_TEMPERATURE) -> str:
    """The answer to the last of `questions`, read in the light of the ones before it.

    Args:
        questions: What the user said, oldest first.
        seed: The same seed gives the same text.
        temperature: 0 takes the best of everything, whatever the seed.

    >>> compose(["What is an idle timeout?"]) == compose(["What is an idle timeout?"])
    True
    """
    found = index()
    asked = _Asked(found, questions)
    choice = _Choice(f"{seed}:{questions[-1] if questions else ''}", temperature)
    if not asked.weights:
        return _topics(found, choice, _NOT_ASKED)
    ranked = asked.ranking()
    if not asked.fits(ranked[0]):
        return _topics(found, choice, _UNKNOWN)
    return _answer(found, asked, ranked, choice)


class _Choice:
    """Everything that the seed decides. Only `Random.random` is used: its numbers are the same in every Python."""

    def __init__(self, seed: str, temperature: float) -> None:
        # As bytes: a question may hold half of a surrogate pair, which `Random` cannot take as text.
        self._random = Random(seed.encode("utf-8", "surrogatepass")).random
        self._temperature = min(temperature, 2.0)

    def one(self, texts: Sequence[str]) -> str:
        number = self._random()
        return texts[int(number * len(texts))] if self._temperature else texts[0]

    def vary(self, score: float) -> float:
        return score * (1 + _SPREAD * self._temperature * (2 * self._random() - 1))


class _Asked:
    """The question as the index sees it."""

    def __init__(self, found: Index, questions: Sequence[str]) -> None:
        self._found = found
        self._seen: set[str] = set()
        self.weights: dict[str, float] = {}  # of the terms to look for
        self._looked_up: dict[str, tuple[str, ...]] = {}  # the user's words as written, and their terms
        self._words: dict[str, float] = {}  # the same words, and how much they tell
        for text, weight in zip(reversed(questions), (1.0, *_EARLIER_WEIGHTS), strict=False):
            for word in dict.fromkeys(words(text)):
                self._take(word, weight * _HOUSE_WEIGHT if word.lower() in _HOUSE_WORDS else weight)
        self._total = sum(self._words.values())
        self._scores = found.scores(self.weights)
        if questions and _WHAT.match(questions[-1]):
            for number, section in enumerate(found.sections):
                if section.heading.startswith("What "):
                    self._scores[number] *= _WHAT_GAIN

    def _take(self, word: str, weight: float) -> None:
        looked_up = terms(word)
        if looked_up[0] in self._seen:
            return
        self._seen.add(looked_up[0])
        whole = looked_up[0] in self._found
        if not whole and len(looked_up) > 1:
            looked_up = looked_up[1:]
        self._looked_up[word] = looked_up
        self._words[word] = weight * max(map(self._found.idf, looked_up))
        for position, term in enumerate(looked_up):
            part = _PART_WEIGHT if whole and position else 1.0
            self.weights[term] = max(self.weights.get(term, 0.0), weight * part)

    def ranking(self) -> list[int]:
        """The sections, the best first."""
        return sorted(range(len(self._scores)), key=lambda section: -self._scores[section])

    def nearly_as_good(self, section: int, best: int) -> bool:
        return self._scores[section] >= _NEARLY_AS_GOOD * self._scores[best]

    def fits(self, section: int) -> bool:
        """Whether a section meets enough of the question to speak to it at all."""
        met = self.met(section)
        return len(met) >= _LEAST_WORDS or sum(self._words[word] for word in met) >= _LEAST_COVER * self._total > 0

    def met(self, section: int) -> list[str]:
        """The user's words that a section has, in the order they came, the last question's first."""
        return [word for word, looked_up in self._looked_up.items() if any(self._found.has(section, term) for term in looked_up)]

    def fit(self, unit: frozenset[str]) -> float:
        """How much of the question a unit meets; a long unit must meet more."""
        return sum(self.weights[term] * self._found.idf(term) for term in self.weights.keys() & unit) / (1 + len(unit) / 80)


def _answer(found: Index, asked: _Asked, ranked: list[int], choice: _Choice) -> str:
    best = ranked[0]
    near = [number for number in ranked[: len(_UNITS)] if asked.nearly_as_good(number, best)]
    lead = _lead(found, asked, best, choice)
    blocks = [choice.one(_LEADS).format(topic=_topic(found, asked, best), sentence=lead)]
    sources: list[str] = []
    for number, most in zip(near, _UNITS, strict=False):
        section = found.sections[number]
        units = [unit for unit in _pick(found, asked, number, most, choice) if unit.text != lead]
        if units:
            blocks.append(f"## {section.heading}")
            blocks += _markdown(units)
        if units or number == best:
            sources.append(f"{section.title} (`{section.page}.md`)")
    blocks.append(choice.one(_SOURCES) + ", ".join(dict.fromkeys(sources)))
    return "\n\n".join(blocks) + "\n"


def _lead(found: Index, asked: _Asked, best: int, choice: _Choice) -> str:
    """The one sentence to read: of the best section, or the one that sums up its page."""
    section = found.sections[best]
    summary = next(page.summary for page in found.pages if page.name == section.page)
    sentences = [(choice.vary(asked.fit(found.summary_terms[section.page]) + _SUMMARY_GAIN), summary)]
    for position, (unit, unit_terms) in enumerate(zip(section.units, found.unit_terms[best], strict=True)):
        if unit.kind == "sentence" and not _LEANING.match(unit.text):
            sentences.append((choice.vary(asked.fit(unit_terms) + _LEAD_EARLY * _early(position)), unit.text))
    return max(sentences)[1]


def _pick(found: Index, asked: _Asked, number: int, most: int, choice: _Choice) -> list[Unit]:
    """The units of a section that are worth saying, in the order of the page."""
    units = found.sections[number].units
    early = 1.0 if most == _UNITS[0] else _ASIDE
    scores = [
        choice.vary(asked.fit(unit_terms) + early * _early(position))
        for position, unit_terms in enumerate(found.unit_terms[number])
    ]
    kept = set(sorted(range(len(units)), key=lambda at: -scores[at])[:most])
    for at in sorted(kept, reverse=True):
        while at and units[at].kind == "sentence" and _LEANING.match(units[at].text):
            at -= 1
            kept.add(at)
    return [units[at] for at in sorted(kept)]


def _early(position: int) -> float:
    """What a unit gains by its place: writers put first what matters, and it needs no other to be understood."""
    return 1.5 / (1 + position)


def _markdown(units: Sequence[Unit]) -> Iterator[str]:
    """The blocks of some units: neighbouring sentences make a paragraph."""
    for kind, group in groupby(units, key=lambda unit: unit.kind):
        if kind == "sentence":
            yield " ".join(unit.text for unit in group)
            continue
        for unit in group:
            if unit.intro:
                yield unit.intro
            yield unit.text if kind == "code" else "\n".join(f"- {item}" for item in unit.items)


def _topic(found: Index, asked: _Asked, best: int) -> str:
    """The user's own words that the best section has, as Markdown; they are words only, so nothing can be smuggled in."""
    met = asked.met(best)[:_TOPIC_WORDS]
    telling = [word for word in met if word.lower() not in _HOUSE_WORDS] or met
    return " ".join(f"`{word}`" if _NAME.search(word) else word.lower() for word in telling) or found.sections[best].title


def _topics(found: Index, choice: _Choice, leads: Sequence[str]) -> str:
    """What to say where there is nothing to answer: so, and what may be asked instead."""
    listed = "\n".join(f"- **{page.title}**: {page.summary}" for page in found.pages)
    return f"{choice.one(leads)}\n\n{choice.one(_TOPICS)}\n\n{listed}\n"
