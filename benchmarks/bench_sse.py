"""SSE decode and encode beside the libraries people use today: CPU time, best of several rounds.

    python benchmarks/bench_sse.py [rounds]

The decoding peer is what `httpx_sse.EventSource.iter_sse` runs below its HTTP client: incremental
UTF-8 decoding, its line decoder, its event decoder. Each round times ours and the peer's one after
the other, so that a busy machine slows both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from time import process_time_ns
from typing import TypeAlias

from streamkit.wire import sse

Row: TypeAlias = dict[str, object]
Work: TypeAlias = Callable[[], int]

EVENTS = 2_000
READ_BYTES = 65_536


def rows(rounds: int) -> list[Row]:
    """One row per figure: `ours` and `peer` in nanoseconds per event, `ratio` how many times faster ours is.

    A row whose peer is not installed has None for `peer` and `ratio`.
    """
    openai, anthropic = _openai_stream(), _anthropic_stream()
    httpx_sse, starlette = _httpx_sse(), _sse_starlette()
    text = "The quick brown fox jumps over the lazy dog"
    value = {"type": "text-delta", "id": "0", "delta": " jumps over"}
    decoding: list[tuple[str, list[bytes], float | None]] = [
        ("decode, 64 KB reads", _reads(openai), 1.7),
        ("decode, 64 KB reads, event and data", _reads(anthropic), 1.7),
        ("decode, 64 KB reads, CRLF", _reads([one.replace(b"\n", b"\r\n") for one in openai]), None),
        ("decode, one event per read", openai, 1.3),
        ("decode, one event per read, event and data", anthropic, 1.3),
        ("decode, one event per read, CRLF", [one.replace(b"\n", b"\r\n") for one in openai], None),
        ("decode, each event in two reads", [half for one in openai for half in (one[:90], one[90:])], None),
    ]
    out = [
        _row(what, "httpx-sse", hold, rounds, _decode(reads), None if httpx_sse is None else httpx_sse(reads))
        for what, reads, hold in decoding
    ]
    peers = {} if starlette is None else starlette(text, value)
    encoding: list[tuple[str, Work, float | None]] = [
        ("encode str", _encode(text), 6.0),
        ("encode str, with event and id", _encode_named(text), None),
        ("encode dict", _encode_json(value), 10.0),
    ]
    out += [_row(what, "sse-starlette", hold, rounds, ours, peers.get(what)) for what, ours, hold in encoding]
    return out


def _row(what: str, peer_name: str, hold: float | None, rounds: int, ours: Work, peer: Work | None) -> Row:
    best_ours = best_peer = float("inf")
    for _ in range(rounds):
        best_ours = min(best_ours, _per_event(ours))
        if peer is not None:
            best_peer = min(best_peer, _per_event(peer))
    row: Row = {
        "what": f"SSE {what}",
        "ours": round(best_ours),
        "peer_name": peer_name,
        "unit": "ns/event",
        "hold": hold,
        "bound": "least",
    }
    if peer is None:
        return row | {"peer": None, "ratio": None, "peer_name": f"{peer_name} (not installed)"}
    return row | {"peer": round(best_peer), "ratio": round(best_peer / best_ours, 2)}


def _per_event(work: Work) -> float:
    begin = process_time_ns()
    count = work()
    return (process_time_ns() - begin) / count


def _decode(reads: list[bytes]) -> Work:
    def run() -> int:
        decoder = sse.Decoder()
        count = 0
        for read in reads:
            for _ in decoder.feed(read):
                count += 1
        return count

    return run


# The loops are written out: a call per event would be a third of what is measured.


def _encode(text: str) -> Work:
    def run() -> int:
        for _ in range(EVENTS):
            sse.encode(text)
        return EVENTS

    return run


def _encode_named(text: str) -> Work:
    def run() -> int:
        for _ in range(EVENTS):
            sse.encode(text, event="message_delta", id="17")
        return EVENTS

    return run


def _encode_json(value: dict[str, str]) -> Work:
    def run() -> int:
        for _ in range(EVENTS):
            sse.encode_json(value)
        return EVENTS

    return run


def _httpx_sse() -> Callable[[list[bytes]], Work] | None:
    try:
        from codecs import getincrementaldecoder

        from httpx_sse import ServerSentEvent
        from httpx_sse._decoders import SSEDecoder, SSELineDecoder
    except ImportError:
        return None
    text_decoder = getincrementaldecoder("utf-8")

    def lines(reads: list[bytes]) -> Iterator[str]:
        text, decoder = text_decoder("replace"), SSELineDecoder()
        for read in reads:
            yield from decoder.decode(text.decode(read))
        yield from decoder.flush()

    def events(reads: list[bytes]) -> Iterator[ServerSentEvent]:
        decoder = SSEDecoder()
        for line in lines(reads):
            event = decoder.decode(line.rstrip("\n"))
            if event is not None:
                yield event

    def work(reads: list[bytes]) -> Work:
        return lambda: sum(1 for _ in events(reads))

    return work


def _sse_starlette() -> Callable[[str, dict[str, str]], dict[str, Work]] | None:
    try:
        from sse_starlette.event import JSONServerSentEvent, ServerSentEvent
    except ImportError:
        return None

    def work(text: str, value: dict[str, str]) -> dict[str, Work]:
        def plain() -> int:
            for _ in range(EVENTS):
                ServerSentEvent(text).encode()
            return EVENTS

        def named() -> int:
            for _ in range(EVENTS):
                ServerSentEvent(text, event="message_delta", id="17").encode()
            return EVENTS

        def from_dict() -> int:
            for _ in range(EVENTS):
                JSONServerSentEvent(value).encode()
            return EVENTS

        return {"encode str": plain, "encode str, with event and id": named, "encode dict": from_dict}

    return work


def _openai_stream() -> list[bytes]:
    def chunk(word: str) -> object:
        choice = {"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    return [f"data: {json.dumps(chunk(f' word{n}'))}\n\n".encode() for n in range(EVENTS)]


def _anthropic_stream() -> list[bytes]:
    def delta(word: str) -> object:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}

    return [f"event: content_block_delta\ndata: {json.dumps(delta(f' word{n}'))}\n\n".encode() for n in range(EVENTS)]


def _reads(events: list[bytes]) -> list[bytes]:
    body = b"".join(events)
    return [body[at : at + READ_BYTES] for at in range(0, len(body), READ_BYTES)]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for row in rows(rounds):
        hold = "" if row["hold"] is None else f"hold >= {row['hold']}"
        figures = f"{row['ours']!s:>7} ns  {row['peer_name']!s:>29} {row['peer']!s:>7} ns  {row['ratio']!s:>6}x"
        print(f"{row['what']!s:47} {figures}  {hold}")


if __name__ == "__main__":
    main()
