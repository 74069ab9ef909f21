"""Bodies of chat completions, written here and recorded from our own llama.cpp server."""

from __future__ import annotations

import json
import random
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = sorted(FIXTURES.glob("*.sse"))
DONE = b"data: [DONE]\n\n"


def chunk(text: str | None = None, *, finish: str | None = None, **delta: object) -> bytes:
    """One chunk as a block of the wire."""
    if text is not None:
        delta["content"] = text
    body = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def error(message: str, code: str) -> bytes:
    """An error as it comes after HTTP 200."""
    return b"data: " + json.dumps({"error": {"message": message, "code": code}}).encode() + b"\n\n"


def answer(*texts: str) -> list[bytes]:
    """A complete answer, one block per item."""
    return [*(chunk(text) for text in texts), chunk(finish="stop"), DONE]


def recut(body: bytes, rng: random.Random) -> list[bytes]:
    """A body in random pieces, empty ones among them."""
    points = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((1, 3, 20, 200))))
    return [body[start:end] for start, end in zip([0, *points], [*points, len(body)], strict=True)]


def text_of(body: bytes) -> str:
    """The text of a body, by the plainest reading there is."""
    texts: list[str] = []
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices") or []:
                content = (choice.get("delta") or {}).get("content")
                if isinstance(content, str):
                    texts.append(content)
                elif content:  # Mistral: parts, of which only some are text
                    texts += [part["text"] for part in content if part["type"] == "text"]
    return "".join(texts)
