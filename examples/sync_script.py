"""Plain Python without async: ask, and show what comes while it comes.

    python examples/sync_script.py "What is a buffer?"
    python examples/sync_script.py "What is a buffer?" > answer.txt

The embedded model answers, so nothing but `pip install streamkit-ai` is needed. The answer goes to stdout. Where that is
no terminal, a line of progress on stderr shows that it grows.
"""

from __future__ import annotations

import sys

import streamkit as sk


def main(question: str) -> None:
    stats = sk.Stats()
    answer = sk.model("local", seed=1).stream(question).measure(stats)
    if not sys.stdout.isatty():  # on one terminal the line would be drawn over the text
        answer = answer.progress(label="local")
    for event in (answer | sk.on_text(sk.printable())).iter():  # leaving this loop closes the source
        if isinstance(event, sk.TextDelta):
            print(event.text, end="", flush=True)
    print()
    print(f"{stats.tokens} tokens, ended: {stats.ended_as}", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is a buffer?")
