"""Which sections fit a question: words, light stems, BM25.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), section 3.2, with
the words of title and heading counted more than once. Small enough to be built at the first
question and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from math import log

from streamkit.clients.local.corpus import Page, pages

__all__ = ["Index", "index", "stem", "terms", "words"]

K1 = 1.2  # the smaller, the sooner a repeated word stops to count
B = 0.6  # how much a long section pays for its length, 0 to 1
TITLE_WEIGHT = 1.5
HEADING_WEIGHT = 3.0

_LONGEST = 40  # characters of a word that are looked at; no word of the pages is longer

_WORD = re.compile(r"\w++(?:-\w++)*+")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_COMPOUND = re.compile(r"[-_]|[a-z][A-Z]")

_NO_CONTENT = frozenset(
    re.findall(
        r"\w+",
        """
        a about after again all also am an and another any are as at be because been before being between both but by can
        could did do does doing don down each every for from further get gets give gives go had happen happens has have having
        he her here hers him his how i if in into is it its just kind know let like make makes many may me mean means might
        more most much must my need no nor not now of off ok on once one only or other our out over own please re s same set
        shall she should show so some such t take tell than that the their them then there these they thing this those through
        to too under until up us use used using ve very want was way we were what when where which while who whom whose why
        will with would you your yours explain describe able add avoid best better change configure deal difference enable
        example find good handle help happening learn look mode possible prevent problem question really see someone something
        app application apps code correctly exactly production program project properly quickly service simple simply
        support supports supported trying try understand useful wonder
        """,
    )
)


class Index:
    """The sections of some pages, ready to be asked.

    Args:
        pages: What to index.

    Memory: a few numbers per distinct word and section.

    >>> found = Index(pages())
    >>> best = max(range(len(found.sections)), key=found.scores({"timeout": 1.0}).__getitem__)
    >>> found.sections[best].page
    'timeouts'
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = tuple(pages)
        self.sections = tuple(section for page in self.pages for section in page.sections)
        self.unit_terms = tuple(tuple(frozenset(_all_terms(unit.words)) for unit in section.units) for section in self.sections)
        self.summary_terms = {page.name: frozenset(_all_terms(page.summary)) for page in self.pages}
        self._postings: dict[str, dict[int, float]] = {}
        self._lengths: list[float] = []
        for number, section in enumerate(self.sections):
            weighted: dict[str, float] = {}
            for text, weight in (
                (section.title, TITLE_WEIGHT),
                (section.heading, HEADING_WEIGHT),
                *((u.words, 1.0) for u in section.units),
            ):
                for term in _all_terms(text):
                    weighted[term] = weighted.get(term, 0.0) + weight
            for term, weight in weighted.items():
                self._postings.setdefault(term, {})[number] = weight
            self._lengths.append(sum(weighted.values()))
        self._mean_length = sum(self._lengths) / max(len(self._lengths), 1)

    def __contains__(self, term: object) -> bool:
        return term in self._postings

    def idf(self, term: str) -> float:
        """How much a term tells: a rare one more; one that no page has counts as the rarest."""
        found = len(self._postings.get(term, ()))
        return log(1 + (len(self.sections) - found + 0.5) / (found + 0.5))

    def has(self, section: int, term: str) -> bool:
        """Whether a section has a term, in its title or heading or below."""
        return section in self._postings.get(term, ())

    def scores(self, query: Mapping[str, float]) -> list[float]:
        """BM25 of every section for weighted terms."""
        scores = [0.0] * len(self.sections)
        for term, weight in query.items():
            postings = self._postings.get(term)
            if postings is None:
                continue
            gain = weight * self.idf(term) * (K1 + 1)
            for number, frequency in postings.items():
                scores[number] += gain * frequency / (frequency + K1 * (1 - B + B * self._lengths[number] / self._mean_length))
        return scores


@cache
def index() -> Index:
    """The index of the packaged pages, built at the first call.

    >>> index() is index()
    True
    """
    return Index(pages())


def words(text: str) -> Iterator[str]:
    """The words of a text as written, without those that carry no meaning.

    >>> list(words("What is the overflow of `sk.buffer`?"))
    ['overflow', 'sk', 'buffer']
    """
    for match in _WORD.finditer(text):
        word = match[0][:_LONGEST]
        if word.lower() not in _NO_CONTENT:
            yield word


@lru_cache(maxsize=4096)
def terms(word: str) -> tuple[str, ...]:
    """What a word is looked up by: its stem first, then those of its parts.

    >>> terms("StreamTruncated"), terms("back-pressure"), terms("closing")
    (('streamtrunc', 'stream', 'trunc'), ('backpressur', 'back', 'pressur'), ('clos',))
    """
    whole = stem(word.replace("-", "").replace("_", "").lower())
    if not _COMPOUND.search(word):
        return (whole,)
    parts = [part.lower() for part in _PART.findall(word)]
    return (whole, *(stem(part) for part in parts if part not in _NO_CONTENT and part != whole))


def stem(word: str) -> str:
    """A lower-case English word without its commonest endings; good enough to meet its kin, no more.

    >>> [stem(word) for word in ("timeouts", "cancelled", "cancellation", "closes", "truncated", "truncation")]
    ['timeout', 'cancel', 'cancel', 'clos', 'trunc', 'trunc']
    """
    if len(word) <= 3:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ation", "ating", "ated", "ate", "ing", "ed", "tion", "er", "e"):
        rest = word.removesuffix(ending)
        if rest is not word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            word = rest + "t" if ending == "tion" else rest
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word


_VOWELS = frozenset("aeiouy")


def _all_terms(text: str) -> list[str]:
    return [term for word in words(text) for term in terms(word)]
