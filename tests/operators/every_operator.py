"""Every operator there is: how it is put on a stream, what goes in, and what may come out.

    EVERY["take"].over(stream)     the operator on a stream
    EVERY["take"].law(row, told)   holds what came out of a run against what may

A row's name begins with the operator's; a second row of an operator says behind a comma what is different. A row is for a
source that waits, fails and is left anywhere (see `seeded_runs`), so that its law is either

    exact      what came out without fusion, in one go, of the items before the failure
    or one of the looser ones below, where the time or the order of wake-ups decides what comes out
"""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import streamkit as sk
import streamkit.operators
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.operators.timing import timed_stage
from streamkit.stages.batching import Batch
from streamkit.stages.thinning import Debounce
from streamkit.testing import run_seeded

How: TypeAlias = Literal["end", "error", "left", "cancelled"]
Law: TypeAlias = "Callable[[Row, Told], None]"
T = TypeVar("T")
Heard: TypeAlias = Callable[[T, "Told"], None]
Over: TypeAlias = Callable[[sk.Stream[Any]], sk.Stream[Any]]


class SourceFailed(Exception):
    """What a source raises, unless its row says otherwise."""


@dataclass
class Told:
    """What came of one run.

    Attributes:
        out: What the consumer had.
        how: How it ended.
        given: The items that the source gives at most: those before its failure, or all.
        fails: Whether its source fails behind these.
    """

    out: list[Any]
    how: How
    given: int
    fails: bool


@dataclass
class Row:
    """One operator.

    Attributes:
        name: The operator's, and what is special.
        over: Puts it on a stream.
        items: What goes in.
        expected: What comes out of all items, where that is one thing; None where it is not.
        law: What may come out.
        early: It may end before its source does, and so without the source's error.
        flushes: An error lets out what an end in its place would.
        reopens: It may open its source several times, one after the other.
        waits: It has wake-ups of its own; one without is given a buffer to stand behind.
        failure: Makes what its source fails with.
        others: What it may raise of its own.
    """

    name: str
    over: Over
    items: Sequence[Any]
    expected: list[Any] | None
    law: Law
    early: bool = False
    flushes: bool = True
    reopens: bool = False
    waits: bool = False
    failure: Callable[[], Exception] = SourceFailed
    others: tuple[type[Exception], ...] = field(default=())

    @cached_property
    def outputs(self) -> list[list[Any]]:
        """What comes out if the source ends behind none, one, two ... of the items, without fusion or waiting."""
        return [run_seeded(lambda k=k: self._output(k), seed=0) for k in range(len(self.items) + 1)]  # type: ignore[misc]  # the default argument binds it now

    async def _output(self, count: int) -> list[Any]:
        async with self.over(sk.stream(lambda: list(self.items[:count]))).open(fused=False) as items:
            return [item async for item in items]


# -- laws

SWALLOWED = "the source's error was swallowed"


def begins(whole: Sequence[Any], part: Sequence[Any]) -> bool:
    """Whether the second is the first's beginning, or all of it."""
    return list(whole[: len(part)]) == list(part)


def exact(row: Row, told: Told) -> None:
    """One thing comes out, whatever the order of wake-ups."""
    whole, until = row.outputs[-1], row.outputs[told.given]
    if told.how == "end":
        assert row.early or not told.fails, SWALLOWED
        assert whole == told.out
    elif told.how == "error" and row.flushes:
        assert until == told.out
    elif told.how == "error":
        assert begins(until, told.out)
    else:
        assert begins(until, told.out) or begins(whole, told.out)


def joined(of: Callable[[list[Any]], Sequence[Any]]) -> Law:
    """The same in other pieces: `of` makes one text or list of what came, and of what went in."""

    def law(row: Row, told: Told) -> None:
        given = of(list(row.items[: told.given]))
        came = of(told.out)
        if told.how in ("end", "error"):
            assert given == came
        assert begins(given, came)
        assert told.how != "end" or not told.fails, SWALLOWED

    return law


def prefix(row: Row, told: Told) -> None:
    """The first items, in order; an end may come anywhere."""
    assert begins(row.items[: told.given], told.out)


def thinned(keeps: Literal["first", "last", "any"]) -> Law:
    """Some of the items, in order, none twice; the first or the last of all is among them."""

    def law(row: Row, told: Told) -> None:
        given = list(row.items[: told.given])
        rest = iter(given)
        assert all(item in rest for item in told.out), "not a selection of the items, in order"
        if told.how in ("end", "error") and keeps != "any":
            at = 0 if keeps == "first" else -1
            assert given[at:][:1] == told.out[at:][:1]
        assert told.how != "end" or not told.fails, SWALLOWED

    return law


def in_any_order(row: Row, told: Told) -> None:
    """All of them, each once, in any order; of a source that fails, what was under way may be missing."""
    rest = list(row.outputs[told.given])
    for item in told.out:
        rest.remove(item)  # ValueError: it came twice, or from nowhere
    if told.how == "end":
        assert not rest
        assert not told.fails, SWALLOWED


OTHERS = ["x", "y"]


def of_one(row: Row, told: Told) -> None:
    """All of the source or all of the other; a source that fails before its first item has lost."""
    given = list(row.items[: told.given])
    assert begins(given, told.out) or begins(OTHERS, told.out)
    if told.how == "error":
        assert given == told.out != []
    if told.how == "end":
        assert told.out == OTHERS or (told.out == given and not told.fails)


def of_both(row: Row, told: Told) -> None:
    """All of the source and all of the other, each in order, mixed."""
    given = list(row.items[: told.given])
    ours = [item for item in told.out if item not in OTHERS]
    theirs = [item for item in told.out if item in OTHERS]
    assert begins(given, ours)
    assert begins(OTHERS, theirs)
    if told.how in ("end", "error"):
        assert given == ours
    if told.how == "end":
        assert OTHERS == theirs
        assert not told.fails, SWALLOWED


def each_branch(row: Row, told: Told) -> None:
    """Pairs of a branch and an item: the same items in each branch, in order."""
    given = list(row.items[: told.given])
    for branch in (0, 1):
        came = [item for number, item in told.out if number == branch]
        assert begins(given, came)
        assert told.how != "end" or given == came
    assert told.how != "end" or not told.fails, SWALLOWED
    if told.how == "error":
        assert any([item for number, item in told.out if number == branch] == given for branch in (0, 1))


def tried_again(row: Row, told: Told) -> None:
    """All items; or those before an error behind the first one; never one twice."""
    given = list(row.items[: told.given])
    if told.how == "end":
        assert list(row.items) == told.out
        assert not told.fails or told.given == 0, "an error behind an output was tried again"
    elif told.how == "error":
        assert given == told.out
    else:
        assert begins(row.items, told.out)


def instead(row: Row, told: Told) -> None:
    """Another stream in the place of one that failed before its first item."""
    given = list(row.items[: told.given])
    if told.how == "error":
        assert given == told.out != []
    elif told.how == "end":
        assert told.out == (OTHERS if told.fails else given)
        assert not told.fails or told.given == 0
    else:
        assert begins(given, told.out) or begins(OTHERS, told.out)


def caught(row: Row, told: Told) -> None:
    """The items, and another stream behind them in the place of an error."""
    whole = [*row.items[: told.given], *(OTHERS if told.fails else [])]
    assert told.how != "error"
    assert whole == told.out if told.how == "end" else begins(whole, told.out)


def text_of(events: Sequence[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, sk.TextDelta))


def continued(row: Row, told: Told) -> None:
    """One whole answer, also where its source was cut; not if that was before its first word, or behind its end."""
    whole, came = text_of(row.items), text_of(told.out)
    assert whole.startswith(came)
    if told.how == "end":
        assert whole == came
    if told.how == "error":
        assert not came or isinstance(told.out[-1], sk.Finish)


def without_pings(row: Row, told: Told) -> None:
    """The items, with signs of life between them."""
    exact(row, Told([item for item in told.out if not isinstance(item, sk.Ping)], told.how, told.given, told.fails))


def in_time(row: Row, told: Told) -> None:
    """The items, each with a time that never goes back."""
    prefix(row, Told([item for _, item in told.out], told.how, told.given, told.fails))
    times = [when for when, _ in told.out]
    assert sorted(times) == times
    assert told.how not in ("end", "error") or told.given == len(told.out)
    assert told.how != "end" or not told.fails, SWALLOWED


def after_calls(row: Row, told: Told) -> None:
    """The events in order, and the result of each call somewhere behind it, before the `Finish`."""
    events = [event for event in told.out if not isinstance(event, sk.ToolResult)]
    results = [event.id for event in told.out if isinstance(event, sk.ToolResult)]
    calls = [event.id for event in events if isinstance(event, sk.ToolCall)]
    assert begins(row.items[: told.given], events)
    assert begins(calls, results)
    for event in told.out:
        if isinstance(event, sk.ToolResult):
            assert event.output == int(event.id) + 1
    if told.how == "end":
        assert not told.fails
        assert (len(row.items), calls) == (len(events), results)
        assert isinstance(told.out[-1], sk.Finish)
    if told.how == "error":
        assert len(events) == told.given


# -- what rows are made with


def text(pieces: Sequence[Any]) -> str:
    return "".join(pieces)


def one_list(lists: Sequence[Any]) -> list[Any]:
    return [item for part in lists for item in (part if isinstance(part, list | tuple) else [part])]


async def upper_later(item: str) -> str:
    """Takes a turn for some, and a while for others."""
    if item in "ab":
        await current_backend().checkpoint()
    if item in "bd":
        await current_clock().sleep(0.5)
    return item.upper()


async def twice(item: str) -> AsyncIterator[str]:
    yield item
    await current_backend().checkpoint()
    yield item


@sk.operator
async def numbered(items: AsyncIterator[Any], n: int) -> AsyncIterator[Any]:
    at = 0
    async for item in items:
        at += 1
        yield (item, at % n)


async def plus_one(n: int) -> int:
    await current_clock().sleep(0.25 * (n % 3))
    return n + 1


async def others() -> AsyncIterator[str]:
    await current_clock().sleep(0.5)
    for item in OTHERS:
        yield item


async def pause() -> None:
    await current_clock().sleep(2)


class SlowSink:
    """A sink that takes its time."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.closed = 0

    async def send(self, batch: list[Any], /) -> None:
        await current_clock().sleep(0.2 * len(batch))
        self.got += batch

    async def aclose(self, error: BaseException | None, /) -> None:
        self.closed += 1
        await current_backend().checkpoint()


def beside(name: str, make: Callable[[], T], over: Callable[[sk.Stream[Any], T], sk.Stream[Any]], heard: Heard[T]) -> Row:
    """An operator that has something stand beside each run, made anew for it, which hears of its items and its end."""
    made: list[T] = []

    def put(stream: sk.Stream[Any]) -> sk.Stream[Any]:
        made[:] = [make()]
        return over(stream, made[0])

    def law(row: Row, told: Told) -> None:
        exact(row, told)
        heard(made[0], told)

    return part(name, put, ABCD, law, ABCD)


ENDED: dict[How, str] = {"end": "done", "error": "error", "left": "left", "cancelled": "cancelled"}


def heard_by_function(calls: list[sk.Ended], told: Told) -> None:
    """Once, how it ended; not at all of a run that was cancelled before it began. A reader's own error counts as one."""
    how = [call.status for call in calls]
    assert [ENDED[told.how]] == how or (told.how == "left" and how == ["error"]) or (told.how == "cancelled" and not told.out)


def heard_by_stats(stats: sk.Stats, told: Told) -> None:
    assert stats.ended_as in (ENDED[told.how], None)
    assert stats.ended_as is not None or not told.out


def heard_by_file(file: io.StringIO, told: Told) -> None:
    """One line, ended."""
    assert file.getvalue().count("\n") == 1 or not told.out


def heard_by_sink(sink: SlowSink, told: Told) -> None:
    """Closed once; it had what passed, and all of it if nobody left."""
    assert sink.closed == 1 or (sink.closed == 0 and not told.out)
    assert begins(ABCD[: told.given], sink.got)
    if told.how in ("end", "error"):
        assert told.out == sink.got


class Oslo(sk.Stage[str, str]):
    """Text with a value behind it: `parse` refuses a text without one."""

    state = ()

    def feed(self, item: str) -> tuple[str, ...]:
        return (item,)

    def flush(self) -> tuple[str, ...]:
        return ('{"name": "Oslo"}',)


def both_branches(branches: Sequence[sk.Stream[Any]]) -> sk.Stream[Any]:
    """Two branches read at once, each item with its branch's number."""
    one, two = branches
    return sk.merge(one.map(lambda item: (0, item)), two.map(lambda item: (1, item)), size=1)


def rest_of(message: sk.Message) -> list[sk.Event]:
    return [*[sk.TextDelta(letter) for letter in "abc"[len(message.text) :]], sk.Finish()]


def tool_call(number: int) -> sk.ToolCall:
    return sk.ToolCall(str(number), "plus_one", f'{{"n": {number}}}')


ABCD = ["a", "b", "c", "d"]
ABC = ["a", "b", "c"]
ANSWER = [sk.Start(), sk.TextDelta("a"), sk.TextDelta("b"), sk.TextDelta("c"), sk.Finish()]
CALLS = [sk.TextDelta("a"), tool_call(1), tool_call(2), sk.TextDelta("b"), sk.Finish()]
MARKDOWN = ["# A\n\nb **c", "**\n```py\nd", "\n```\n", "e"]

Piped: TypeAlias = "sk.Op[Any, Any] | sk.Same"


def step(name: str, op: Piped, items: Sequence[Any], expected: list[Any], **options: Any) -> Row:
    """An operator that is a step of a fused loop, or stages in one: one thing comes out, and nothing waits."""
    return Row(name, lambda s: s | op, items, expected, exact, **options)


def part(name: str, over: Over, items: Sequence[Any] = ABCD, law: Law = exact, expected: Any = None, **options: Any) -> Row:
    """An operator with tasks, timers or streams of its own."""
    return Row(name, over, items, expected, law, waits=True, **options)


ROWS = [
    # transform
    step("map", sk.map(str.upper), ABC, ["A", "B", "C"]),
    step("map, a coroutine function", sk.map(upper_later), ABCD, ["A", "B", "C", "D"], waits=True),
    part("map, three at once", lambda s: s.map(upper_later, concurrency=3), expected=["A", "B", "C", "D"]),
    part("map, three at once in any order", lambda s: s.map(upper_later, concurrency=3, ordered=False), law=in_any_order),
    step("filter", sk.filter(lambda item: item != "b"), ABC, ["a", "c"]),
    step("flat_map", sk.flat_map(lambda item: [item, item]), ABC, ["a", "a", "b", "b", "c", "c"]),
    step("flat_map, an async generator", sk.flat_map(twice), ABC, ["a", "a", "b", "b", "c", "c"], waits=True),
    step("scan", sk.scan(lambda so_far, item: so_far + item, ""), ABC, ["a", "ab", "abc"]),
    step("tap", sk.tap(len), ABC, ABC),
    step("enumerate", sk.enumerate(start=1), ABC, [(1, "a"), (2, "b"), (3, "c")]),
    step("pairwise", sk.pairwise(), ABC, [("a", "b"), ("b", "c")]),
    step("stage", sk.stage(lambda: Batch[str](2)), ABC, [["a", "b"], ["c"]]),
    step("operator", numbered(2), ABC, [("a", 1), ("b", 0), ("c", 1)]),
    # selection
    step("take", sk.take(2), ABCD, ["a", "b"], early=True),
    step("skip", sk.skip(1), ABC, ["b", "c"]),
    step("take_while", sk.take_while(lambda item: item < "c"), ABCD, ["a", "b"], early=True),
    step("drop_while", sk.drop_while(lambda item: item < "b"), ABC, ["b", "c"]),
    step("distinct", sk.distinct(), ["a", "b", "a", "c"], ABC),
    step("changes", sk.changes(), ["a", "a", "b", "a"], ["a", "b", "a"]),
    step("start_with", sk.start_with("0", "1"), ABC, ["0", "1", *ABC]),
    step("default_if_empty", sk.default_if_empty("0"), ABC, ABC, flushes=False),
    step("limit_bytes", sk.limit_bytes(2), ABCD, ["a", "b"], early=True),
    # gathering
    step("batch", sk.batch(2), ABC, [["a", "b"], ["c"]]),
    part("batch, within a time", lambda s: s | sk.batch(3, within=0.75), law=joined(one_list)),
    step("window", sk.window(2), ABC, [("a", "b"), ("b", "c")]),
    part("buffer", lambda s: s | sk.buffer(2), expected=ABCD),
    part("buffer, drop_oldest", lambda s: s | sk.buffer(1, overflow="drop_oldest"), law=thinned("last")),
    part("buffer, drop_newest", lambda s: s | sk.buffer(1, overflow="drop_newest"), law=thinned("first")),
    part("buffer, latest", lambda s: s | sk.buffer(1, overflow="latest"), law=thinned("last")),
    part("buffer, coalesce", lambda s: s | sk.buffer(1, overflow="coalesce"), law=joined(text)),
    part("buffer, error", lambda s: s | sk.buffer(1, overflow="error"), law=prefix, others=(sk.BufferFull,)),
    part("coalesce", lambda s: s | sk.coalesce(), law=joined(text)),
    # several streams
    part("merge", lambda s: sk.merge(s, others, size=1), law=of_both, expected=[*ABCD, *OTHERS]),
    part("concat", lambda s: sk.concat(others, s), ABC, expected=[*OTHERS, *ABC]),
    part("zip", lambda s: sk.zip(s, lambda: [1, 2, 3, 4]), ABC, expected=[("a", 1), ("b", 2), ("c", 3)]),
    part("interleave", lambda s: sk.interleave(s, list), expected=ABCD),
    part("combine_latest", lambda s: sk.combine_latest(s, size=1), ABC, expected=[("a",), ("b",), ("c",)]),
    part("flatten", lambda s: s.map(lambda item: [item]) | sk.flatten(), ABC, expected=ABC),
    part("flatten, two at once", lambda s: s.map(lambda item: [item]) | sk.flatten(concurrency=2), law=in_any_order),
    part("switch", lambda s: s.map(lambda item: [item]) | sk.switch(), law=thinned("last")),
    part("race", lambda s: sk.race(s, others), law=of_one, early=True),
    part("hedge", lambda s: sk.hedge(s, others, after=0.5), law=of_one, early=True),
    part("take_until", lambda s: s | sk.take_until(pause), law=prefix, early=True),
    part("tee", lambda s: both_branches(sk.tee(s, 2, size=1)), ABC, law=each_branch),
    part("share", lambda s: sk.share(s, size=1), expected=ABCD),
    part("share, two readers", lambda s: both_branches([sk.share(s, size=1, replay=4)] * 2), ABC, law=each_branch),
    # what goes on after an error
    part("retry", lambda s: s | sk.retry(on=SourceFailed, rng=random.Random(0)), ABC, law=tried_again, reopens=True),
    part("catch", lambda s: s | sk.catch(lambda error: others, SourceFailed), ABC, law=caught),
    part("fallback", lambda s: s | sk.fallback(others, on=SourceFailed), ABC, law=instead),
    part(
        "continue_on_cut",
        lambda s: s | sk.continue_on_cut(rest_of, overlap=0),
        ANSWER,
        law=continued,
        failure=lambda: sk.StreamTruncated("cut"),
    ),
    part("circuit_breaker", lambda s: s | sk.circuit_breaker(sk.CircuitBreaker()), ABC, expected=ABC),
    part("rate_limit", lambda s: s | sk.rate_limit(sk.RateLimiter(requests_per_minute=60)), ABC, expected=ABC),
    beside("on_end", list[sk.Ended], lambda s, calls: s | sk.on_end(calls.append), heard_by_function),
    # time
    part("timeout", lambda s: s | sk.timeout(first=60, idle=60, total=600), expected=ABCD),
    part("timeout, that is short", lambda s: s | sk.timeout(idle=0.75), law=prefix, others=(sk.StreamTimeout,)),
    part("timeout, of the wire", lambda s: s | sk.timeout(wire=60), expected=ABCD),
    part("debounce", lambda s: s | sk.debounce(0.75), law=thinned("last")),
    part("throttle", lambda s: s | sk.throttle(0.75), law=thinned("last")),
    part("throttle, the first alone", lambda s: s | sk.throttle(0.75, trailing=False), law=thinned("first")),
    part("sample", lambda s: s | sk.sample(0.75), law=thinned("last")),
    part("timed_stage", lambda s: s | timed_stage(lambda: Debounce[str](0.75)), law=thinned("last")),
    part("delay", lambda s: s | sk.delay(0.75, size=2), expected=ABCD),
    part("pace", lambda s: s | sk.pace(10), law=joined(text)),
    part("pace, in items", lambda s: s | sk.pace(2, unit="items", max_lag=60), expected=ABCD),
    part("heartbeat", lambda s: s | sk.heartbeat(0.75), law=without_pings),
    part("timestamped", lambda s: s | sk.timestamped(), ABC, law=in_time, expected=[(0.0, "a"), (0.0, "b"), (0.0, "c")]),
    # beside the stream
    beside("measure", sk.Stats, lambda s, stats: s | sk.measure(stats), heard_by_stats),
    beside("progress", io.StringIO, lambda s, file: s | sk.progress(file=file), heard_by_file),
    beside("also_to", SlowSink, lambda s, sink: s | sk.also_to(sink), heard_by_sink),
    # tools and structure
    part("run_tools", lambda s: s | sk.run_tools([plus_one]), CALLS, law=after_calls),
    step(
        "partial_json",
        sk.partial_json() | sk.map(lambda value: value.complete),
        ['{"a": [1', "]", "}"],
        [False, False, True],
    ),
    step("json_values", sk.json_values(), ['{"a": 1}', "so [2] ", "[3]"], [{"a": 1}, [2], [3]]),
    step(
        "parse",
        sk.stage(Oslo) | sk.parse(dict) | sk.map(lambda parsed: (str(parsed.value), parsed.complete)),
        ['{"name": "Rome"}', " as", " asked"],
        [("{'name': 'Rome'}", True)],
    ),
    # text
    step("characters", sk.characters(), ["e", "\u0301x", "y"], ["e\u0301", "x", "y"]),
    step("words", sk.words(), ["on", "e two", " three"], ["one", " two", " three"]),
    step("chunks", sk.chunks(3), ["ab ", "cd ", "ef"], ["ab cd", " ef"]),
    step("texts", sk.texts(), [sk.Start(), sk.TextDelta("a"), sk.TextDelta("b", choice=1), sk.TextDelta("c")], ["a", "c"]),
    step("sentences", sk.sentences(), ["Mr. A c", "ame. He", " left. "], ["Mr. A came. ", "He left. "]),
    step("lines", sk.lines(), ["a\r", "\nb", "\n\nc"], ["a", "b", "", "c"]),
    step("paragraphs", sk.paragraphs(), ["One.\nT", "wo.\r", "\n\r\n", "Three."], ["One.\nTwo.", "Three."]),
    step("stop", sk.stop(["END"]), ["a E", "N b EN", "D c"], ["a ", "EN b "], early=True),
    step("strip", sk.strip(), ["\n ", " Hello ", "you", " \n"], ["Hello", " you"]),
    step("normalize", sk.normalize(newlines="\n"), ["\ufeffCafe", "\u0301 a\r", "\n!"], ["Caf", "\xe9 a\n", "!"]),
    step("count_tokens", sk.count_tokens(sk.TokenCounter()), ["Hello w", "orld.", " Bye."], ["Hello w", "orld.", " Bye."]),
    step("printable", sk.printable(), ["a\x1b[3", "1mb", "\x07c"], ["a", "b", "c"]),
    step(
        "on_text",
        sk.on_text(sk.sentences()),
        [sk.TextDelta("One. T"), sk.Ping(), sk.TextDelta("wo."), sk.Finish()],
        [sk.TextDelta("One. "), sk.Ping(), sk.TextDelta("Two."), sk.Finish()],
    ),
    step("replace", sk.replace(re.compile(r"\d+-"), "<n>"), ["a1", "2-", "3"], ["a", "<n>", "3"]),
    step("redact", sk.redact("card"), ["no ", "4111 11", "11 1111 ", "1111!"], ["no ", "[redacted]!"], flushes=False),
    step(
        "split_tags",
        sk.split_tags("think"),
        ["<thi", "nk>a", "</think>b<"],
        [sk.ReasoningDelta("a"), sk.TextDelta("b"), sk.TextDelta("<")],
    ),
    step("markdown_blocks", sk.markdown_blocks(), MARKDOWN, ["# A\n\n", "b **c**\n", "```py\nd\n```\n", "e"]),
    step(
        "code_blocks",
        sk.code_blocks() | sk.map(lambda block: (block.delta, block.text)),
        MARKDOWN,
        [("", None), ("d", None), ("\n", None), ("", "d\n")],
    ),
    step("heal_markdown", sk.heal_markdown() | sk.map(lambda healed: healed.delta), MARKDOWN, MARKDOWN),
]

EVERY: dict[str, Row] = {row.name: row for row in ROWS}


def exported() -> set[str]:
    """The functions that the modules of operators offer."""
    names: set[str] = set()
    for module in pkgutil.iter_modules(streamkit.operators.__path__):
        home = importlib.import_module(f"streamkit.operators.{module.name}")
        names.update(name for name in getattr(home, "__all__", ()) if inspect.isfunction(getattr(home, name)))
    return names
