"""Token processors beside a hand-written loop: CPU time per token of four characters.

    python benchmarks/bench_text.py [rounds]

`ratio` is what a stream costs with the processor over a loop that only appends the tokens. "t(2n) / t(n)" is how time
grows with the text: the promise is that it is linear. The best round of each counts, all of a row in turns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from bench_operators import Job, Row, best_of, ours, row_of

import streamkit as sk

TOKENS = 10_000


PARAGRAPH = (
    '## Part {n}\n\nThe *first* stop was at 9 a.m.; Dr. Weiss paid 3.50 for it. She said: "It is **not** far!" '
    "Then they went on, over the `old_bridge()` and [into town](https://example.org/{n}).\n\n"
    "- apples, {n} of them\n- <b>pears</b>\n\n```python\nfor i in range({n}):\n    print(i)\n```\n\n"
    "| a | b |\n|---|---|\n| {n} | x |\n\n"
)


def prose(chars: int) -> list[str]:
    """An answer of about so many characters, in tokens of four."""
    text = "".join([PARAGRAPH.format(n=n) for n in range(chars // 300 + 1)])[:chars]
    return [text[start : start + 4] for start in range(0, chars, 4)]


def structured(chars: int) -> list[str]:
    """A list of objects as JSON, in tokens of four."""
    people = [{"name": f"Person {n}", "age": n % 90, "tags": ["a", "b"], "note": "said \\u00e9 twice"} for n in range(chars // 70)]
    text = json.dumps({"people": people})
    return [text[start : start + 4] for start in range(0, len(text), 4)]


class Person(msgspec.Struct):
    name: str = ""
    age: int = 0
    tags: list[str] = []
    note: str = ""


class People(msgspec.Struct):
    people: list[Person] = []


def text_job(tokens: list[str], op: Any) -> Job:
    async def source() -> AsyncIterator[str]:
        for token in tokens:
            yield token

    return ours(op, source=source)


def hand_text(tokens: list[str]) -> Job:
    async def job() -> list[str]:
        async def source() -> AsyncIterator[str]:
            for token in tokens:
                yield token

        out: list[str] = []
        async for token in source():
            out.append(token)  # the loop that people write is what is measured
        return out

    return job


TEXT: dict[str, Callable[[], Any]] = {
    "characters": sk.characters,
    "words": sk.words,
    "chunks of 20": lambda: sk.chunks(20),
    "sentences": sk.sentences,
    "lines": sk.lines,
    "paragraphs": sk.paragraphs,
    "markdown_blocks": sk.markdown_blocks,
    "code_blocks": sk.code_blocks,
    "heal_markdown": sk.heal_markdown,
    "split_tags": lambda: sk.split_tags("think"),
    "stop, 2 sequences": lambda: sk.stop(["</answer>", "User:"]),
    "replace": lambda: sk.replace("colour", "color"),
    "redact emails and keys": lambda: sk.redact("email", "key"),
    "strip": sk.strip,
    "normalize": sk.normalize,
}


def _text_rows(rounds: int) -> list[Row]:
    tokens = prose(TOKENS * 4)
    jobs: dict[str, Job] = {"hand loop": hand_text(tokens)}
    jobs |= {name: text_job(tokens, make()) for name, make in TEXT.items()}
    best = best_of(jobs, rounds)
    base = best["hand loop"]
    rows = [_token_row(name, best[name] / len(tokens), base / len(tokens)) for name in TEXT]
    tokens = structured(TOKENS * 4)
    best = best_of({"hand loop": hand_text(tokens), "parse": text_job(tokens, sk.parse(People))}, rounds)
    return [*rows, _token_row("parse(Struct), of JSON", best["parse"] / len(tokens), best["hand loop"] / len(tokens))]


def _token_row(name: str, cost: float, base: float) -> Row:
    return row_of(f"{name}, per token", cost, base, "hand loop", None, unit="ns/token")


def _growth_rows(rounds: int) -> list[Row]:
    """How time grows with the text: 40,000 characters and twice that."""
    out: list[Row] = []
    makers: dict[str, tuple[Callable[[], Any], Callable[[int], list[str]]]] = {
        "heal_markdown": (sk.heal_markdown, prose),
        "redact": (TEXT["redact emails and keys"], prose),
        "parse": (lambda: sk.parse(People), structured),
    }
    for name, (make, text) in makers.items():
        once, again = text(TOKENS * 4), text(TOKENS * 8)
        best = best_of({"n": text_job(once, make()), "2n": text_job(again, make())}, rounds)
        n, twice_n = best["n"] / 1e6, best["2n"] / 1e6
        out.append(row_of(f"{name}, t(2n) / t(n)", twice_n, n, f"{TOKENS * 4:,} characters", 2.3, unit="ms"))
    return out


def rows(rounds: int) -> list[Row]:
    """One row per processor; see the module's docstring."""
    return _text_rows(rounds) + _growth_rows(rounds)


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 7):
        print(json.dumps(row))
