"""Regular expressions over a text that goes on: what is decided by now, and from where on it is not.

`re` answers for a text that has ended. `OpenPattern` asks the same pattern for a text of which only a beginning is known: each
place where the matcher would read past the end takes a way of its own there and leaves a mark. The rest of the pattern
then lets the end pass. So the first way that the rewritten pattern finds is the way of `re` itself, and either
it never needed a character more (the match is decided, whatever follows) or it carries the mark (it is not).

    ab*c        "xab"    undecided from "ab" on
                "xabbd"  no match, decided
    <.*?>       "<a>"    decided at the ">": a lazy repeat is as lazy here

A repeat without an upper limit has one here, so that what is held back has one too. A pattern that repeats something of
varying length many times over can take `re` exponential time on a hostile text (CWE-1333), and is refused.

The rewriting works on the parsed pattern and leaves that to `re._parser`, which is not documented but the same since 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, TypeAlias

from streamkit.errors import ConfigError

__all__ = ["LONGEST", "OpenPattern", "first_of", "one_of"]

LONGEST: Final = 1_048_576

# Nobody has typed these two: everything that comes out of them is Any, and stays in this file.
_parser: Any = import_module("re._parser")
_compiler: Any = import_module("re._compiler")
_op: Any = import_module("re._constants")

Node: TypeAlias = tuple[Any, Any]

_ONE: Final = frozenset({_op.LITERAL, _op.NOT_LITERAL, _op.ANY, _op.IN})
_REPEATS: Final = frozenset({_op.MAX_REPEAT, _op.MIN_REPEAT, _op.POSSESSIVE_REPEAT})
_FLAGS: Final = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.ASCII
_END: Final[Node] = (_op.AT, _op.AT_END_STRING)
_FAIL: Final[Node] = (_op.FAILURE, ())
_ANYTHING: Final[Node] = (_op.IN, [(_op.CATEGORY, _op.CATEGORY_SPACE), (_op.CATEGORY, _op.CATEGORY_NOT_SPACE)])

# More turns than this of something that varies in length are too many ways to try.
_MANY: Final = 8


class OpenPattern:
    """One pattern, or the first of several that matches, for a text that comes in pieces.

    Attributes:
        pattern: What it means, as `re` has it: repeats limited, a swallowed tail left out.
        first: Finds a character that may begin a match, where that can be told.
        longest: Most characters of a match, with what it looks at ahead.
        behind: Characters that must be kept before a place that is searched from.
        more: For each of the patterns, what a match goes on with, however long; None where it just ends.
    """

    __slots__ = ("_mark", "_open", "behind", "first", "longest", "more", "pattern")

    def __init__(self, trees: Sequence[Any], flags: int, more: tuple[re.Pattern[str] | None, ...]) -> None:
        meant, self.pattern = _compiled(trees, flags, mark=None)
        self._mark: int = meant.state.groups
        self._open = _compiled(trees, flags, mark=self._mark)[1]
        begins = _beginnings(list(meant))
        self.first = _char(begins, flags) if begins else None
        self.longest: int = meant.getwidth()[1] + _ahead(meant)
        self.behind: int = _behind(meant) + 1
        self.more = more
        if self.longest > LONGEST:
            raise ConfigError(
                f"the pattern may match {self.longest} characters, more than {LONGEST}: limit its repeats, as in \\w{{1,64}}"
            )

    def search(self, text: str, at: int) -> re.Match[str] | None:
        """The first place from `at` on where the pattern matches, or where it cannot be told yet. None is rare: see `undecided`."""
        return self._open.search(text, at)

    def match(self, text: str, at: int) -> re.Match[str] | None:
        """The same for the one place `at`."""
        return self._open.match(text, at)

    def undecided(self, found: re.Match[str]) -> bool:
        """Whether what `search` found depends on what follows. It always is at the end of the text, where all begins."""
        return found.end(self._mark) >= 0


@lru_cache(maxsize=64)
def one_of(pattern: re.Pattern[str], max_repeat: int, trusted: bool, swallow: bool) -> OpenPattern:
    """For one pattern, its groups kept.

    Args:
        max_repeat: What `*`, `+` and `{n,}` mean at most.
        trusted: Take a pattern whose time may explode.
        swallow: Cut a last `x+` down to what it needs; `more` finds the rest of it, without a limit.

    Raises:
        ConfigError: it may match the empty text, may take exponential time, or may match too much.
    """
    tree = _parsed(pattern, trusted)
    more = _cut_tail(tree, _flags_of(tree)) if swallow else None
    return OpenPattern([_limited(tree, max_repeat)], _flags_of(tree), (more,))


@lru_cache(maxsize=64)
def first_of(patterns: tuple[re.Pattern[str], ...], max_repeat: int, trusted: bool) -> OpenPattern:
    """For the first of several, each a group of its own (`lastindex` tells which) and all swallowed; groups inside are dropped.

    Raises:
        ConfigError: as `one_of`, or a pattern refers to its own groups.
    """
    trees: list[Any] = []
    more: list[re.Pattern[str] | None] = []
    for pattern in patterns:
        tree = _parsed(pattern, trusted)
        flags = _flags_of(tree)
        more.append(_cut_tail(tree, flags))
        inner = _limited(_without_groups(tree, pattern.pattern), max_repeat)
        trees.append([(_op.SUBPATTERN, (None, flags, 0, inner))])
    return OpenPattern([_sub(_parser.State(), tree) for tree in trees], 0, tuple(more))


def _parsed(pattern: re.Pattern[str], trusted: bool) -> Any:
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    if not tree.getwidth()[0]:
        raise ConfigError(f"the pattern {pattern.pattern!r} may match the empty text, which is everywhere: let it need a character")
    if not trusted and _explodes(tree, many=False, flags=_flags_of(tree)):
        raise ConfigError(
            f"the pattern {pattern.pattern!r} repeats what varies in length itself, which can take exponential time on a hostile "
            "text: repeat it without giving back (`a++`), limit the outer repeat to 8, or say trusted=True"
        )
    return tree


def _flags_of(tree: Any) -> int:
    return int(tree.state.flags) & _FLAGS


def _sub(state: Any, items: Iterable[Node]) -> Any:
    return _parser.SubPattern(state, list(items))


def _state(flags: int) -> Any:
    """What the parser has to say besides a tree: that text is Unicode, where no flag says otherwise."""
    state = _parser.State()
    state.flags = flags if flags & re.ASCII else flags | re.UNICODE
    state.str = ""
    return state


def _compiled(trees: Sequence[Any], flags: int, mark: int | None) -> tuple[Any, re.Pattern[str]]:
    """The patterns as one; with `mark`, the number of a group that no pattern has, as one for a text that goes on."""
    state = _state(flags)
    if len(trees) == 1:
        state.groupdict = dict(trees[0].state.groupdict)
        state.groupwidths = list(trees[0].state.groupwidths)
        items = list(trees[0])
    else:
        numbered: list[Any] = []
        for tree in trees:
            group = state.opengroup()
            state.closegroup(group, tree)
            numbered.append(_sub(state, [(_op.SUBPATTERN, (group, 0, 0, tree))]))
        items = [(_op.BRANCH, (None, numbered))]
    whole = _sub(state, items)
    if mark is not None:
        state.groupwidths.append((0, 0))
        begins = [_sub(state, [node]) for node in _beginnings(items)]
        whole = _Opened(state, mark).row(whole)
        if begins:  # most places are told by their first character, which is cheaper
            whole.insert(0, (_op.ASSERT, (1, _sub(state, [(_op.BRANCH, (None, [*begins, _sub(state, [_END])]))]))))
    return whole, _compiler.compile(whole, flags)


class _Opened:
    """Rewrites a tree so that the end of the text is no end."""

    def __init__(self, state: Any, mark: int) -> None:
        self._state = state
        self._mark: Node = (_op.SUBPATTERN, (mark, 0, 0, _sub(state, ())))
        # Past the end nothing can be looked at: what looks back there lets it pass.
        self._passed: Node = (_op.GROUPREF_EXISTS, (mark, _sub(state, ()), _sub(state, [_FAIL])))

    def row(self, tree: Any) -> Any:
        return _sub(self._state, [new for node in tree for new in self._node(*node)])

    def _either(self, *ways: list[Node]) -> list[Node]:
        return [(_op.BRANCH, (None, [_sub(self._state, way) for way in ways]))]

    def _node(self, op: Any, av: Any) -> list[Node]:
        at_end = [_END, self._mark]
        if op in _ONE:
            return self._either([(op, av)], at_end)
        if op in _REPEATS:
            return self._repeat(op, *av)
        if op is _op.SUBPATTERN:
            group, add, drop, inner = av
            return [(op, (group, add, drop, self.row(inner)))]
        if op is _op.BRANCH:
            return [(op, (None, [self.row(way) for way in av[1]]))]
        if op is _op.ATOMIC_GROUP:
            return [(op, self.row(av))]
        if op is _op.AT:
            return self._place(av)
        if op is _op.ASSERT and av[0] > 0:
            return [(op, (1, self.row(av[1])))]
        if op is _op.ASSERT_NOT and av[0] > 0:
            open_in = [(_op.ATOMIC_GROUP, self.row(av[1])), self._passed]
            return self._either([(_op.ASSERT, (1, _sub(self._state, open_in))), self._mark], [(op, av)])
        if op is _op.GROUPREF:
            width = self._state.groupwidths[av][1]
            cut = [(_op.MAX_REPEAT, (0, min(width, LONGEST) - 1, _sub(self._state, [_ANYTHING]))), *at_end] if width else []
            return self._either([self._passed], [(op, av)], cut)
        if op is _op.GROUPREF_EXISTS:
            group, yes, no = av
            return self._either([self._passed], [(op, (group, self.row(yes), no and self.row(no)))])
        return self._either([self._passed], [(op, av)])  # a look behind

    def _repeat(self, op: Any, least: int, most: int, inner: Any) -> list[Node]:
        if op is _op.MIN_REPEAT or not _is_one(inner) or not most:
            return [(op, (least, most, self.row(inner)))]
        reaching: list[Node] = [(_op.POSSESSIVE_REPEAT, (0, most - 1, inner)), _END, self._mark]
        return self._either(reaching, [(op, (least, most, inner))])

    def _place(self, place: Any) -> list[Node]:
        at_end = [_END, self._mark]
        if place is _op.AT_END:  # the end, or a line feed that is the last character
            line_end = _sub(self._state, [(_op.MAX_REPEAT, (0, 1, _sub(self._state, [(_op.LITERAL, 10)]))), _END])
            return self._either([(_op.ASSERT, (1, line_end)), self._mark], [(_op.AT, place)])
        if place in (_op.AT_BEGINNING, _op.AT_BEGINNING_STRING):
            return self._either([self._passed], [(_op.AT, place)])
        return self._either(at_end, [(_op.AT, place)])


def _is_one(tree: Any) -> bool:
    return len(tree) == 1 and tree[0][0] in _ONE


def _inner(op: Any, av: Any) -> list[Any]:
    """The trees that a node is made of."""
    if op in _REPEATS:
        return [av[2]]
    if op is _op.SUBPATTERN:
        return [av[3]]
    if op is _op.BRANCH:
        return list(av[1])
    if op is _op.ATOMIC_GROUP:
        return [av]
    if op in (_op.ASSERT, _op.ASSERT_NOT):
        return [av[1]]
    if op is _op.GROUPREF_EXISTS:
        return [part for part in av[1:] if part is not None]
    return []


def _with_inner(op: Any, av: Any, trees: list[Any]) -> Node:
    """The node with other trees in it, in the order of `_inner`."""
    if op in _REPEATS:
        return op, (*av[:2], trees[0])
    if op is _op.SUBPATTERN:
        return op, (*av[:3], trees[0])
    if op is _op.BRANCH:
        return op, (None, trees)
    if op is _op.ATOMIC_GROUP:
        return op, trees[0]
    if op in (_op.ASSERT, _op.ASSERT_NOT):
        return op, (av[0], trees[0])
    if op is _op.GROUPREF_EXISTS:
        return op, (av[0], *trees, *[None] * (2 - len(trees)))
    return op, av


def _limited(tree: Any, max_repeat: int) -> Any:
    """With an upper limit for each repeat that has none."""
    items: list[Node] = []
    for op, av in tree:
        if op in _REPEATS and av[1] == _op.MAXREPEAT:
            av = (av[0], max(av[0], max_repeat), av[2])
        inner = [_limited(one, max_repeat) for one in _inner(op, av)]
        if op is _op.SUBPATTERN and av[0] is not None:
            tree.state.groupwidths[av[0]] = inner[0].getwidth()  # what refers to it is no longer than it
        items.append(_with_inner(op, av, inner))
    return _sub(tree.state, items)


def _without_groups(tree: Any, source: str) -> Any:
    items: list[Node] = []
    for op, av in tree:
        if op in (_op.GROUPREF, _op.GROUPREF_EXISTS):
            raise ConfigError(f"the pattern {source!r} refers to a group of its own, which is lost beside other patterns")
        if op is _op.SUBPATTERN:
            av = (None, *av[1:])
        items.append(_with_inner(op, av, [_without_groups(inner, source) for inner in _inner(op, av)]))
    return _sub(tree.state, items)


def _cut_tail(tree: Any, flags: int) -> re.Pattern[str] | None:
    """Take what a last, greedy, endless repeat of one character need not have, and give what finds it."""
    if not len(tree):
        return None
    op, av = tree[-1]
    if op is _op.SUBPATTERN and not av[1] and not av[2]:
        return _cut_tail(av[3], flags)
    if op not in (_op.MAX_REPEAT, _op.POSSESSIVE_REPEAT) or av[1] != _op.MAXREPEAT or not _is_one(av[2]):
        return None
    tree[-1] = (op, (av[0], av[0], av[2]))
    state = _state(flags)
    return _compiler.compile(_sub(state, [(_op.POSSESSIVE_REPEAT, (0, _op.MAXREPEAT, _sub(state, av[2])))]), flags)  # type: ignore[no-any-return]


def _beginnings(items: list[Node]) -> list[Node]:
    """Nodes of one character, one of which every match begins with; none if that cannot be told."""
    found: list[Node] = []
    for op, av in items:
        if op in _ONE:
            return [*found, (op, av)]
        if op in (_op.AT, _op.ASSERT, _op.ASSERT_NOT):
            continue
        inner = _inner(op, av)
        several = [_beginnings(list(way)) for way in inner]
        if op is _op.GROUPREF_EXISTS or not several or not all(several):
            return []
        nodes = [node for way in several for node in way]
        if op is _op.SUBPATTERN and (av[1] or av[2]):
            # With other flags inside, each of these nodes keeps them.
            nodes = [(op, (None, av[1], av[2], _sub(inner[0].state, [node]))) for node in nodes]
        found += nodes
        if op not in _REPEATS or av[0]:
            return found
    return []


def _char(nodes: list[Node], flags: int) -> re.Pattern[str]:
    """One character that one of these nodes takes."""
    state = _state(flags)
    return _compiler.compile(_sub(state, [(_op.BRANCH, (None, [_sub(state, [node]) for node in nodes]))]), flags)  # type: ignore[no-any-return]


def _ahead(tree: Any) -> int:
    """Most characters that are looked at behind a match."""
    widths: list[int] = [
        inner.getwidth()[1] for op, av in tree if op in (_op.ASSERT, _op.ASSERT_NOT) and av[0] > 0 for inner in _inner(op, av)
    ]
    deeper = [_ahead(inner) for op, av in tree for inner in _inner(op, av)]
    return max([0, *widths, *deeper])


def _behind(tree: Any) -> int:
    """Most characters that are looked at before a match."""
    widths: list[int] = [av[1].getwidth()[1] for op, av in tree if op in (_op.ASSERT, _op.ASSERT_NOT) and av[0] < 0]
    deeper = [_behind(inner) for op, av in tree for inner in _inner(op, av)]
    return max([0, *widths, *deeper])


def _explodes(tree: Any, many: bool, flags: int) -> bool:
    """Whether something of varying length, or of several readings, stands in what is repeated many times."""
    for at, (op, av) in enumerate(tree):
        if op in (_op.POSSESSIVE_REPEAT, _op.ATOMIC_GROUP):
            # What has matched is not tried in another way.
            if any(_explodes(inner, False, flags) for inner in _inner(op, av)):
                return True
            continue
        again = many
        if op in _REPEATS:
            # `(?:-?[0-9])*` has one reading: what follows begins with something else.
            if many and av[0] != av[1] and _overlap([av[2], _sub(tree.state, list(tree)[at + 1 :])], flags):
                return True
            again = many or av[1] > _MANY
        elif op is _op.BRANCH and many and _overlap(av[1], flags):
            return True
        if any(_explodes(inner, again, flags) for inner in _inner(op, av)):
            return True
    return False


def _overlap(ways: list[Any], flags: int) -> bool:
    """Whether two ways may begin with the same character, as far as Latin letters and signs tell."""
    taken: set[int] = set()
    for way in ways:
        begins = _beginnings(list(way))
        if not begins:
            return True
        char = _char(begins, flags)
        new = {code for code in range(0x250) if char.match(chr(code))}
        if taken & new:
            return True
        taken |= new
    return False
