"""The HTTP sinks beside raw ASGI apps and sse-starlette: encoding, end to end on uvicorn, idle connections, leaving.

    python benchmarks/bench_sinks.py [rounds] [asyncio|uvloop]

End to end is CPU time of the server's process per event: client and server are two processes, and
what the client costs is not counted. The raw app sends one hand-encoded frame per event, and so do
all others unless the row says that they coalesce; in the rows of formats, ids and gzip the raw app writes these by hand, too. Each
round asks every app once, in turn. The paced rows are as streams of models are: each token is waited for. The server's
HTTP parser is whichever uvicorn finds, and the rows name it: with httptools the server itself costs a
third of what it costs with h11, so that ours weighs three times as much.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import process_time_ns
from typing import Any, TypeAlias

import streamkit as sk
from streamkit.sinks import http, sse
from streamkit.sinks.codec import Codec
from streamkit.sinks.replaying import ResumableResponse

Row: TypeAlias = dict[str, object]

EVENTS = 20_000
STREAMS = 200
EVENTS_EACH = 200
PACED = 100
PACED_EVENTS = 200
PER_SECOND = 100
IDLE = 500
IDLE_BYTES = 20_480
CLOSED_MS = 5.0
HOST = "127.0.0.1"
TOKEN = " jumps over"


def rows(rounds: int, loop: str = "asyncio") -> list[Row]:
    """One row per figure: `ratio` is how many times better ours is than the peer; `hold` is the least it may be, or with `bound`
    "figure" the most that ours may be, in its unit.
    """
    out = [_encoding(rounds)]
    with _server(loop) as port:
        out += _end_to_end(port, rounds, "1 stream", 1, EVENTS, 0.75)
        out += _end_to_end(port, rounds, f"{STREAMS} streams", STREAMS, EVENTS_EACH, 0.8)
        out += _paced_rows(port, rounds)
        out += [_format(port, rounds, *named) for named in FORMATS]
        out.append(_disconnect(port, rounds))
    return out + _idle(loop)


# ---- encoding


def _encoding(rounds: int) -> Row:
    event = sk.TextDelta(TOKEN)
    codec = Codec("native")
    ours = _per_event(rounds, lambda: _each(codec.encode, [event]))
    peer: float | None = None
    name = "sse-starlette"
    try:
        from sse_starlette.event import ServerSentEvent
    except ImportError:
        name += " (not installed)"
    else:
        value = {"type": "text-delta", "text": TOKEN}
        peer = _per_event(rounds, lambda: _each(lambda item: ServerSentEvent(data=json.dumps(item)).encode(), value))
    return _row("encode one event", ours, peer, name, "ns/event", None if peer is None else peer / ours, None)


def _each(call: Callable[[Any], object], item: object) -> None:
    for _ in range(EVENTS):
        call(item)


def _per_event(rounds: int, work: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(rounds):
        begin = process_time_ns()
        work()
        best = min(best, process_time_ns() - begin)
    return best / EVENTS


# ---- end to end


def _end_to_end(port: int, rounds: int, what: str, streams: int, events: int, hold: float) -> list[Row]:
    best = _best(port, rounds, ["raw", "ours", "starlette", "together", "coalesced", "sse-starlette"], streams, events)
    raw, peer = best["raw"], best.get("sse-starlette")
    bare = f"raw ASGI, {_parser()}"
    return [
        _row(f"end to end, {what}", best["ours"], raw, bare, "us/event", raw / best["ours"], hold),
        _row(f"end to end, {what}, Starlette", best["starlette"], raw, bare, "us/event", raw / best["starlette"], None),
        _row(f"end to end, {what}, ready together", best["together"], raw, bare, "us/event", raw / best["together"], None),
        _row(f"end to end, {what}, coalesced", best["coalesced"], raw, bare, "us/event", raw / best["coalesced"], 2.5),
        _row(
            f"end to end, {what}", best["ours"], peer, _named(peer), "us/event", None if peer is None else peer / best["ours"], None
        ),
    ]


def _paced_rows(port: int, rounds: int) -> list[Row]:
    best = _best(port, rounds, ["raw-paced", "paced", "sse-starlette-paced"], PACED, PACED_EVENTS)
    ours, raw, peer = best["paced"], best["raw-paced"], best.get("sse-starlette-paced")
    what = f"{PACED} streams at {PER_SECOND} tokens/s, heartbeat, watchdog, ids, 3 operators"
    return [
        _row(what, ours, raw, f"raw ASGI with ids, {_parser()}", "us/token", ours / raw, 1.5, "most"),
        _row(what, ours, peer, _named(peer), "us/token", None if peer is None else ours / peer, 0.85, "most"),
    ]


def _format(port: int, rounds: int, what: str, ours: str, raw: str) -> Row:
    best = _best(port, rounds, [raw, ours], 1, EVENTS)
    return _row(
        f"end to end, 1 stream, {what}", best[ours], best[raw], "the same by hand", "us/event", best[raw] / best[ours], None
    )


def _best(port: int, rounds: int, apps: list[str], streams: int, events: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for round_ in range(rounds):
        # Another one first each time: who comes after a pause pays for cold caches.
        turn = round_ % len(apps)
        for app in apps[turn:] + apps[:turn]:
            cost = asyncio.run(_cost(port, app, streams, events))
            if cost is not None:
                best[app] = min(best.get(app, cost), cost)
    return best


def _named(peer: float | None) -> str:
    return "sse-starlette" if peer is not None else "sse-starlette (not installed)"


async def _cost(port: int, app: str, streams: int, events: int) -> float | None:
    """Microseconds of the server's CPU per event, or None where the app is not there."""
    before = float(await _get(port, "/cpu"))
    path = f"/{app}/{events}"
    bodies = (
        _looked_at(port, path, streams) if "paced" in app else await asyncio.gather(*[_get(port, path) for _ in range(streams)])
    )
    after = float(await _get(port, "/cpu"))
    if any(body == b"missing" for body in bodies):
        return None
    if "gzip" in app:
        bodies = [_gunzipped(body) for body in bodies]
    if not all(body.count(b"jumps") == events for body in bodies):
        raise RuntimeError(f"{app} lost events: {bodies[0][-200:]!r}")
    return (after - before) * 1e6 / (streams * events)


async def _get(port: int, path: str) -> bytes:
    """The body, chunk sizes and all: what it costs the client is nobody's figure."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 20)
    try:
        writer.write(_request(path))
        pieces = []
        while piece := await reader.read(1 << 18):
            pieces.append(piece)
    finally:
        writer.close()
    _, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    return body


def _looked_at(port: int, path: str, count: int) -> list[bytes]:
    """The bodies that clients get who look a hundred times a second whether there is something.

    One that waits is woken by each write, and on one machine the writer pays for that: microseconds per token, and more of them the
    longer the client has slept. On a network it does not.
    """
    found: dict[socket.socket, list[bytes]] = {}
    for _ in range(count):
        connection = socket.create_connection((HOST, port))
        connection.sendall(_request(path))
        connection.setblocking(False)
        found[connection] = []
    unread = set(found)
    while unread:
        time.sleep(0.01)
        for connection in list(unread):
            with suppress(BlockingIOError):
                piece = connection.recv(1 << 18)
                found[connection].append(piece)
                if not piece:
                    connection.close()
                    unread.discard(connection)
    return [b"".join(pieces).partition(b"\r\n\r\n")[2] for pieces in found.values()]


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: bench\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n".encode()


def _gunzipped(body: bytes) -> bytes:
    plain = zlib.decompressobj(31)
    found = []
    while body:
        size, _, body = body.partition(b"\r\n")
        found.append(plain.decompress(body[: int(size, 16)]))
        body = body[int(size, 16) + 2 :]
    return b"".join(found)


# ---- leaving


def _disconnect(port: int, rounds: int) -> Row:
    """From the moment that the client closes its socket to the source's own `finally`, both on the machine's clock."""
    found: list[float] = []
    for _ in range(max(3, rounds) * 5):
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(b"GET /open HTTP/1.1\r\nhost: bench\r\n\r\n")
            while b"jumps" not in connection.recv(65536):
                pass
            left = time.monotonic()
        while not (closed := float(asyncio.run(_get(port, "/closed")))) > left:
            pass
        found.append((closed - left) * 1000)
    median = sorted(found)[len(found) // 2]
    return _row("disconnect to source closed", median, None, "none closes it by default", "ms", None, CLOSED_MS, "figure")


# ---- idle connections


def _idle(loop: str) -> list[Row]:
    ours = _idle_bytes(loop, "wait")
    raw = _idle_bytes(loop, "raw-wait")
    peer = _idle_bytes(loop, "sse-starlette-wait")
    assert ours is not None
    assert raw is not None
    what, unit = "idle connection, all of it", "bytes"
    return [
        _row(what, ours, peer, _named(peer), unit, None if peer is None else peer / ours, IDLE_BYTES, "figure"),
        _row(what, ours, raw, f"raw ASGI, {_parser()}", unit, raw / ours, None),
    ]


def _idle_bytes(loop: str, app: str) -> float | None:
    with _server(loop) as port:
        asyncio.run(_get(port, f"/{app.removesuffix('-wait') if app != 'wait' else 'ours'}/10"))
        warm = [_open(port, app) for _ in range(20)]
        if any(first is None for _, first in warm):
            return None
        before = float(asyncio.run(_get(port, "/rss")))
        held = [_open(port, app) for _ in range(IDLE)]
        after = float(asyncio.run(_get(port, "/rss")))
        for connection, _ in warm + held:
            connection.close()
    return (after - before) / IDLE


def _open(port: int, app: str) -> tuple[socket.socket, bytes | None]:
    connection = socket.create_connection((HOST, port))
    connection.sendall(f"GET /{app} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    data = b""
    while b"jumps" not in data and b"missing" not in data:
        data += connection.recv(65536)
    return connection, None if b"missing" in data else data


# ---- the server


@contextmanager
def _server(loop: str) -> Iterator[int]:
    with socket.socket() as kept:  # nobody else gets the port; it does not listen, and the server may
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((HOST, 0))
        port = int(kept.getsockname()[1])
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(port), loop])
        try:
            for _ in range(1200):
                try:
                    socket.create_connection((HOST, port), timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=60)


def _serve(port: int, loop: str) -> None:
    import uvicorn

    uvicorn.run(
        _app, host=HOST, port=port, loop=loop, log_level="critical", lifespan="off", access_log=False, timeout_graceful_shutdown=1
    )


_closed_at = 0.0


async def _app(scope: Any, receive: Any, send: Any) -> None:
    _, name, *rest = scope["path"].split("/")
    if name == "cpu":
        await _say(send, str(time.process_time()))
    elif name == "rss":
        await _say(send, str(_resident_bytes()))
    elif name == "closed":
        await _say(send, str(_closed_at))
    elif name == "open":
        await sse.Response(sk.stream(_one_then_wait()))(scope, receive, send)
    elif name.endswith("wait"):
        await WAITING[name](scope, receive, send)
    else:
        await APPS[name](int(rest[0]))(scope, receive, send)


def _resident_bytes() -> int:
    import gc

    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _say(send: Any, text: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text.encode()})


async def _tokens(count: int) -> AsyncIterator[sk.TextDelta]:
    for _ in range(count):
        yield sk.TextDelta(TOKEN)


async def _one_then_wait() -> AsyncIterator[str]:
    global _closed_at
    try:
        yield TOKEN
        await asyncio.sleep(3600)
    finally:
        _closed_at = time.monotonic()


async def _paced_tokens(count: int) -> AsyncIterator[tuple[int, str]]:
    for number in range(count):
        await asyncio.sleep(1 / PER_SECOND)
        yield number, TOKEN


def _raw(count: int) -> Any:
    """As bare as can be: no disconnect, no heartbeat, no end but the body's; the frame is written by hand."""
    return _by_hand(lambda: _tokens(count), _frame)


def _frame(event: sk.TextDelta) -> bytes:
    return ('data: {"type":"text-delta","text":' + json.dumps(event.text) + "}\n\n").encode()


def _by_hand(items: Callable[[], AsyncIterator[Any]], written: Callable[[Any], bytes], *headers: tuple[bytes, bytes]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"content-type", b"text/event-stream"), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        async for item in items():
            await send({"type": "http.response.body", "body": written(item), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def _raw_paced(count: int) -> Any:
    return _by_hand(lambda: _paced_tokens(count), _frame_with_id)


def _frame_with_id(pair: tuple[int, str]) -> bytes:
    return ('data: {"type":"text-delta","text":' + json.dumps(pair[1]) + f"}}\nid: {pair[0]}\n\n").encode()


async def _pairs(count: int) -> AsyncIterator[tuple[int, str]]:
    for number in range(count):
        yield number, TOKEN


def _raw_ids(count: int) -> Any:
    return _by_hand(lambda: _pairs(count), _frame_with_id)


def _raw_ndjson(count: int) -> Any:
    return _by_hand(
        lambda: _tokens(count), lambda event: ('{"type":"text-delta","text":' + json.dumps(event.text) + "}\n").encode()
    )


def _raw_text(count: int) -> Any:
    return _by_hand(lambda: _tokens(count), lambda event: event.text.encode())


async def _chunks(count: int) -> AsyncIterator[bytes]:
    data = TOKEN.encode()
    for _ in range(count):
        yield data


def _raw_bytes(count: int) -> Any:
    return _by_hand(lambda: _chunks(count), lambda data: data)


def _raw_gzip(count: int) -> Any:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)

    def packed(event: sk.TextDelta) -> bytes:
        return packer.compress(_frame(event)) + packer.flush(zlib.Z_SYNC_FLUSH)

    return _by_hand(lambda: _tokens(count), packed, (b"content-encoding", b"gzip"))


def _ours(count: int) -> Any:
    return sse.Response(sk.stream(_tokens(count)))


def _paced(count: int) -> Any:
    def resume(after: str | None) -> sk.Stream[tuple[int, sk.TextDelta]]:
        told = sk.stream(_paced_tokens(count)).filter(lambda pair: pair[1]).map(lambda pair: (pair[0], sk.TextDelta(pair[1])))
        return told | sk.timeout(idle=60)

    return ResumableResponse(resume)


def _ids(count: int) -> Any:
    async def resume(after: str | None) -> AsyncIterator[tuple[int, sk.TextDelta]]:
        async for number, text in _pairs(count):
            yield number, sk.TextDelta(text)

    return ResumableResponse(resume)


def _sse_starlette_paced(count: int) -> Any:
    try:
        from sse_starlette import EventSourceResponse
    except ImportError:
        return _missing

    async def values() -> AsyncIterator[dict[str, str]]:
        async for number, text in _paced_tokens(count):
            yield {"data": json.dumps({"type": "text-delta", "text": text}), "id": str(number)}

    return EventSourceResponse(values())


def _together(count: int) -> Any:
    return sse.Response(sk.stream(_tokens(count)) | sk.buffer(64))


def _coalesced(count: int) -> Any:
    return sse.Response(sk.stream(_tokens(count)), coalesce=True)


def _starlette(count: int) -> Any:
    from streamkit.integrations.starlette import EventStreamResponse

    return EventStreamResponse(sk.stream(_tokens(count)))


def _sse_starlette(count: int) -> Any:
    try:
        from sse_starlette import EventSourceResponse
    except ImportError:
        return _missing

    async def values() -> AsyncIterator[dict[str, str]]:
        async for event in _tokens(count):
            yield {"data": json.dumps({"type": "text-delta", "text": event.text})}

    return EventSourceResponse(values())


async def _missing(scope: Any, receive: Any, send: Any) -> None:
    await _say(send, "missing")


async def _wait(scope: Any, receive: Any, send: Any) -> None:
    await sse.Response(sk.stream(_one_then_wait()))(scope, receive, send)


async def _raw_wait(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    async for token in _one_then_wait():
        await send({"type": "http.response.body", "body": token.encode(), "more_body": True})


async def _sse_starlette_wait(scope: Any, receive: Any, send: Any) -> None:
    try:
        from sse_starlette import EventSourceResponse
    except ImportError:
        await _missing(scope, receive, send)
    else:
        await EventSourceResponse(_one_then_wait())(scope, receive, send)


APPS: dict[str, Callable[[int], Any]] = {
    "raw": _raw,
    "ours": _ours,
    "starlette": _starlette,
    "together": _together,
    "coalesced": _coalesced,
    "sse-starlette": _sse_starlette,
    "paced": _paced,
    "raw-paced": _raw_paced,
    "sse-starlette-paced": _sse_starlette_paced,
    "ids": _ids,
    "raw-ids": _raw_ids,
    "ndjson": lambda count: http.Response(sk.stream(_tokens(count)), "ndjson"),
    "raw-ndjson": _raw_ndjson,
    "text": lambda count: http.Response(sk.stream(_tokens(count)), "text"),
    "raw-text": _raw_text,
    "bytes": lambda count: http.Response(sk.stream(_chunks(count)), "bytes"),
    "raw-bytes": _raw_bytes,
    "gzip": lambda count: sse.Response(sk.stream(_tokens(count)), compress=["gzip"]),
    "raw-gzip": _raw_gzip,
}
FORMATS = (
    ("ResumableResponse", "ids", "raw-ids"),
    ("NDJSON", "ndjson", "raw-ndjson"),
    ("text", "text", "raw-text"),
    ("bytes", "bytes", "raw-bytes"),
    ("gzip, each event flushed", "gzip", "raw-gzip"),
)
WAITING: dict[str, Any] = {"wait": _wait, "raw-wait": _raw_wait, "sse-starlette-wait": _sse_starlette_wait}


def _parser() -> str:
    """What uvicorn parses HTTP with here."""
    from importlib.util import find_spec

    return "httptools" if find_spec("httptools") else "h11"


def _row(
    what: str,
    ours: float,
    peer: float | None,
    peer_name: str,
    unit: str,
    ratio: float | None,
    hold: float | None,
    bound: str = "least",
) -> Row:
    return {
        "bound": bound,
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ratio,
        "hold": hold,
    }


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--serve"]:
        _serve(int(sys.argv[2]), sys.argv[3])
        return
    found = rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else "asyncio")
    for row in found:
        peer = "-" if row["peer"] is None else f"{row['peer']:.2f}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        hold = "" if row["hold"] is None else f"hold {row['hold']}"
        print(f"{row['what']:42} {row['ours']:>10.2f} {peer:>10} {row['unit']:18} {ratio:>6} {hold:12} {row['peer_name']}")


if __name__ == "__main__":
    main()
