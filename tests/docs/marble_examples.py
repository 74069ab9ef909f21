"""What is drawn on the operators' pages: each operator as one writes it, over inputs that are drawn themselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

import streamkit as sk
from streamkit.flow.clock import current_clock


class Reader(NamedTuple):
    """Who reads what comes out: from which second on, and how many seconds it takes for each item."""

    begins: float = 0
    busy: float = 0


class Example(NamedTuple):
    """One picture.

    Attributes:
        code: The operator over inputs a, b, c ...; or a tuple of several streams.
        inputs: Their pictures. The letter of a later input stands for that stream.
        values: What other characters stand for.
        error: What `#` raises.
        readers: Who reads the outputs.
        each: What one of several outputs is called.
    """

    code: str
    inputs: tuple[str, ...]
    values: Mapping[str, object] = {}
    error: Exception = ValueError()
    readers: tuple[Reader, ...] = (Reader(),)
    each: str = "branch"


async def slow(letter: str) -> str:
    """A call that takes five seconds for x, and one for the others."""
    await current_clock().sleep(5 if letter == "x" else 1)
    return letter.upper()


def in_turn(*streams: sk.Stream[Any]) -> sk.Stream[Any]:
    """A stream that is another one each time it is run."""
    turns: Iterator[sk.Stream[Any]] = iter(streams)
    return sk.stream(lambda: next(turns))


@sk.operator
async def every(items: AsyncIterator[Any], n: int) -> AsyncIterator[Any]:
    """One item of n."""
    at = 0
    async for item in items:
        if at % n == 0:
            yield item
        at += 1


# What the code may name beside its inputs.
NAMES = {"re": re, "Any": Any, "slow": slow, "in_turn": in_turn, "every": every}

NUMBERS = {digit: int(digit) for digit in "0123456789"}
PING = {"p": sk.Ping()}


def texts(*pieces: str) -> tuple[tuple[str], dict[str, object]]:
    """An input of pieces of text, one each second, and what its letters stand for."""
    letters = "klmnopqrstuvw"[: len(pieces)]
    return ("".join(letters) + "|",), dict(zip(letters, pieces, strict=True))


ITEMS = {
    "map": Example("a.map(str.upper)", ("x-y--z|",)),
    "map_concurrent": Example("a.map(slow, concurrency=2)", ("xyz-|",)),
    "map_unordered": Example("a.map(slow, concurrency=2, ordered=False)", ("xyz-|",)),
    "filter": Example("a.filter(lambda n: n % 2)", ("1-23--4-5|",), NUMBERS),
    "flat_map": Example("a.flat_map(str.split)", ("k--l|",), {"k": "x y", "l": "z"}),
    "scan": Example("a.scan(lambda total, n: total + n, 0)", ("1-2--3|",), NUMBERS),
    "enumerate": Example("a.enumerate(1)", ("x-y--z|",)),
    "pairwise": Example("a.pairwise()", ("x-y--z|",)),
}

SELECTION = {
    "take": Example("a.take(2)", ("x-y--z|",)),
    "skip": Example("a.skip(2)", ("x-y--z|",)),
    "take_while": Example("a.take_while(lambda n: n < 5)", ("1-2-9-1|",), NUMBERS),
    "drop_while": Example("a.drop_while(lambda n: n < 5)", ("1-2-9-1|",), NUMBERS),
    "take_until": Example("a | sk.take_until(b)", ("x-y-z-|", "---u|")),
    "distinct": Example("a.distinct()", ("1-2-1-3-2|",), NUMBERS),
    "changes": Example("a.changes()", ("1-1-2-2-1|",), NUMBERS),
    "start_with": Example('a.start_with("s")', ("--x-y|",)),
    "default_if_empty": Example('a.default_if_empty("nothing")', ("---|",)),
    "limit_bytes": Example("a | sk.limit_bytes(12)", *texts("to be ", "or not ", "to be")),
}

SEVERAL = {
    "merge": Example("sk.merge(a, b)", ("x---y--|", "-u-v--w|")),
    "merge_of_streams": Example("sk.merge(a, concurrency=2)", ("b-c-|", "x---y--|", "-u-v--|")),
    "concat": Example("sk.concat(a, b)", ("x--y|", "u-v|")),
    "zip": Example("sk.zip(a, b)", ("x--y--z|", "u---v|")),
    "combine_latest": Example("sk.combine_latest(a, b)", ("x---y--|", "-u-v--w|")),
    "interleave": Example("sk.interleave(a, b)", ("xyz----|", "-u--v|")),
    "flatten": Example("a | sk.flatten()", ("b-c-|", "x---y--|", "-u-v--|")),
    "switch": Example("a | sk.switch()", ("b--c-|", "x-y-z-|", "u-v-|")),
    "race": Example("sk.race(a, b)", ("---x-y|", "-u--v-|")),
    "hedge": Example("sk.hedge(a, b, after=2)", ("-----x|", "-u-v|")),
}

GATHERING = {
    "batch": Example("a.batch(2, within=3)", ("x-y--z-----w|",)),
    "batch_weight": Example('a.batch(weight="characters", max_weight=8)', *texts("to ", "be ", "or ", "not ", "to be")),
    "batch_until": Example('a.batch(until=lambda piece: piece.endswith("."))', *texts("One ", "two.", "Thr", "ee.", "Fo")),
    "window": Example("a.window(3)", ("x-y-z-w|",)),
    "window_apart": Example("a.window(2, 2, partial=True)", ("x-y-z-w-v|",)),
    "buffer": Example("a | sk.buffer(2)", ("xyzw|",), readers=(Reader(busy=3),)),
    "buffer_drop": Example('a | sk.buffer(2, overflow="drop_oldest")', ("xyzwv----s|",), readers=(Reader(busy=3),)),
    "coalesce": Example("a | sk.coalesce()", *texts("to ", "be ", "or ", "not ", "to ", "be"), readers=(Reader(busy=3),)),
}

TIME = {
    "timeout": Example("a | sk.timeout(first=5, idle=3)", ("---x-y-----z|",)),
    "timestamped": Example("a | sk.timestamped()", ("x-y--z|",)),
    "delay": Example("a | sk.delay(2)", ("x-y--z|",)),
    "debounce": Example("a.debounce(2)", ("xyz----w-|",)),
    "throttle": Example("a.throttle(3)", ("xyzw----v-|",)),
    "sample": Example("a | sk.sample(3)", ("xyzw-----v|",)),
    "pace": Example("a | sk.pace(1, max_lag=60)", ("k-l------m|",), {"k": "Hel", "l": "lo ", "m": "you"}),
    "heartbeat": Example("a | sk.heartbeat(3)", ("x-------y--|",)),
}

SHARING = {
    "tee": Example("sk.tee(a, 2)", ("x-y--z|",), readers=(Reader(), Reader(busy=3))),
    "share": Example("sk.share(a, replay=1)", ("x-y--z-w|",), readers=(Reader(), Reader(begins=3)), each="reader"),
}

RESILIENCE = {
    "retry": Example('in_turn(a, b) | sk.retry(2, backoff=2, jitter="none")', ("-#", "-x-y|"), error=ConnectionError()),
    "retry_too_late": Example("in_turn(a, b) | sk.retry(2)", ("-x#", "-x-y|"), error=ConnectionError()),
    "catch": Example('a | sk.catch(lambda error: ["sorry"])', ("-x-#",), error=ConnectionError()),
    "fallback": Example("a | sk.fallback(b)", ("--#", "-x-y|"), error=ConnectionError()),
    "continue_on_cut": Example(
        "a | sk.continue_on_cut(lambda so_far: b)",
        ("k-l-#", "-mf|"),
        {
            "k": sk.TextDelta("The quick "),
            "l": sk.TextDelta("brown fox"),
            "m": sk.TextDelta("brown fox jumps."),
            "f": sk.Finish(),
        },
        error=sk.StreamTruncated("the body ended"),
    ),
}

TEXT = {
    "on_text": Example(
        "a | sk.on_text(sk.sentences())",
        ("k-pl-f|",),
        {"k": sk.TextDelta("One. T"), "l": sk.TextDelta("wo."), "f": sk.Finish(), **PING},
    ),
    "texts": Example(
        "a | sk.texts()",
        ("k-pl-f|",),
        {"k": sk.TextDelta("One. T"), "l": sk.TextDelta("wo."), "f": sk.Finish(), **PING},
    ),
    "characters": Example("a | sk.characters()", *texts("no", "e", "\u0308l!")),
    "words": Example("a | sk.words()", *texts("To b", "e, or", " not")),
    "chunks": Example("a | sk.chunks(8)", *texts("To b", "e, or ", "not to", " be")),
    "sentences": Example("a | sk.sentences()", *texts("Dr. Hu", "th paid $3.", "50. He ", "left.")),
    "lines": Example("a | sk.lines()", *texts("one\ntw", "o\r", "\nthree")),
    "paragraphs": Example("a | sk.paragraphs()", *texts("One.\nTwo.\n", "\n\n", "Three.")),
    "stop": Example('a | sk.stop(["END"])', *texts("Hello E", "gon. E", "N", "D of it")),
    "strip": Example("a | sk.strip()", *texts("\n ", " Hello ", "you \n")),
    "normalize": Example(r'a | sk.normalize(newlines="\n")', *texts("Cafe", "\u0301 au ", "lait\r\n")),
    "printable": Example("a | sk.printable()", *texts("red: \x1b[3", "1mno\n")),
}

MARKDOWN = {
    "markdown_blocks": Example("a | sk.markdown_blocks()", *texts("# Plan\n\nFi", "rst:\n``", "`\na\n\nb\n", "```\nThen")),
    "code_blocks": Example("a | sk.code_blocks()", *texts("Run\n```py\npri", "nt(1)\n", "```\nDone")),
    "heal_markdown": Example("a | sk.heal_markdown()", *texts("See **the", " docs** at", " [here](ht", "tps://x.example)")),
}

TAGS = {
    "split_tags": Example('a | sk.split_tags("think")', *texts("<thi", "nk>2 < 3", "</th", "ink>Yes")),
    "split_other_tags": Example('a | sk.split_tags("file")', *texts('Here: <file name="', 'a.py">x = 1', "</file> Done")),
    "replace": Example('a | sk.replace("colour", "color")', *texts("a col", "our, a co", "lumn")),
    "redact": Example('a | sk.redact("email", "card")', *texts("to ada@", "mail.example", ", 4111 1111 ", "1111 1111.")),
}

STRUCTURED = {
    "parse": Example("a.parse(dict[str, Any])", *texts('{"city": "Par', 'is", "da', 'ys": 14', "}")),
    "json_values": Example('a | sk.json_values("items.*")', *texts('{"items": [{"n": 1}', ', {"n"', ": 2}]}")),
    "partial_json": Example("a | sk.partial_json()", *texts('{"city": "Par', 'is", "da', 'ys": 14', "}")),
}

OWN = {
    "operator": Example("a | every(2)", ("x-y-z-w-v|",)),
}

EXAMPLES: dict[str, Example] = {
    **ITEMS,
    **SELECTION,
    **SEVERAL,
    **GATHERING,
    **TIME,
    **SHARING,
    **RESILIENCE,
    **TEXT,
    **MARKDOWN,
    **TAGS,
    **STRUCTURED,
    **OWN,
}
