"""`sk.sse` against a real server: every event once over any number of connections, and an end that says why."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from awake_time import awake_time
from byte_server import Answer, Asked, Server, byte_server
from event_loops import asyncio_only
from held_clock import HeldClock

import streamkit as sk
from streamkit.clients.event_source import sse
from streamkit.flow.clock import use_clock
from streamkit.flow.tasks import current_backend
from streamkit.wire.sse import Frame

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
aiohttp: Any = pytest.importorskip("aiohttp")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

GONE = Answer([], 204)


class Impatient:
    """A clock that runs as the loop's does, and on which a sleep is over at once; how long it was to be is kept."""

    def __init__(self) -> None:
        backend = current_backend()
        self.now = backend.now
        self.call_at = backend.call_at
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await anyio.lowlevel.checkpoint()


class Halting(HeldClock):
    """Stands still at each wait between attempts, none of which takes time; a test says when it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.stop()
        await anyio.lowlevel.checkpoint()


@pytest.fixture
async def halting(anyio_backend: object) -> Halting:
    """The clock of the test."""
    clock = Halting()
    use_clock(clock)
    return clock


class Leaving(Impatient):
    """A clock on which the reader is cancelled when it waits."""

    def __init__(self, reader: anyio.CancelScope) -> None:
        super().__init__()
        self._reader = reader

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._reader.cancel()
        await anyio.sleep_forever()


@pytest.fixture
async def waits(anyio_backend: object) -> list[float]:
    """The waits between attempts, none of which takes time."""
    clock = Impatient()
    use_clock(clock)
    return clock.waits


def frame(n: int | str, data: str = "") -> bytes:
    return f"id: {n}\ndata: {data or n}\n\n".encode()


def ids(frames: list[Frame]) -> list[str]:
    return [frame.id for frame in frames]


def sent_ids(server: Server) -> list[str | None]:
    return [asked.headers.get("last-event-id") for asked in server.asked]


async def test_a_stream_is_read_to_its_204(waits: list[float]) -> None:
    pieces = [b"retry: 250\n\n", b'event: tick\nid: 1\ndata: {"n"', b": 1}\n\n: comment\n\ndata: two\n\n"]
    with byte_server({"/": [Answer(pieces), GONE]}) as server:
        frames = await sse(server.url + "/", headers={"X-Mine": "yes"}, seed=1).collect()
    assert [Frame("tick", '{"n": 1}', "1"), Frame("message", "two", "1")] == frames
    assert [None, "1"] == sent_ids(server)
    assert ["text/event-stream", "no-store", "yes", "identity"] == [
        server.asked[0].headers[name] for name in ("accept", "cache-control", "x-mine", "accept-encoding")
    ]
    assert 1 == len(waits)
    assert 0.25 <= waits[0] <= 0.375


async def test_fifty_drops_at_random_places_lose_and_repeat_nothing(waits: list[float]) -> None:
    rng = random.Random(7)
    total = 300
    drops = 0

    def answer(asked: Asked) -> Answer:
        nonlocal drops
        after = int(asked.headers.get("last-event-id", -1))
        if after == total - 1:
            return GONE
        rest = b"".join(frame(n, f"event {n} ä") for n in range(after + 1, total))
        if drops == 50:
            return Answer([rest])
        drops += 1
        return Answer([rest[: rng.randrange(1, 300)]], end=rng.choice(("whole", "torn")))

    with byte_server({"/": answer}) as server:
        frames = await sse(server.url + "/", max_retries=50).collect()
        assert [f"event {n} ä" for n in range(total)] == [frame.data for frame in frames]
        assert [str(n) for n in range(total)] == ids(frames)
        assert 50 == drops
        assert 52 == len(server.asked)


async def test_the_id_is_kept_when_a_resumed_stream_dies_before_its_first_id(waits: list[float]) -> None:
    answers = [Answer([frame(4)]), Answer([b"data: no id of mine\n\n"]), Answer([b": nothing"], end="torn"), Answer([]), GONE]
    with byte_server({"/": answers}) as server:
        frames = await sse(server.url + "/", last_event_id="3").collect()
    assert ["3", "4", "4", "4", "4"] == sent_ids(server)
    assert ["4", "4"] == ids(frames)


async def test_an_empty_id_is_not_sent_and_one_that_no_header_holds_is_not_either(waits: list[float]) -> None:
    answers = [Answer([frame(1)]), Answer([b"id\ndata: x\n\n"]), Answer([b"id: a\x01b\ndata: x\n\n"]), Answer([frame("ä")]), GONE]
    with byte_server({"/": answers}) as server:
        await sse(server.url + "/").collect()
    seen = sent_ids(server)
    assert [None, "1", None, None] == seen[:4]
    assert "ä" == (seen[4] or "").encode("latin-1").decode()


@pytest.mark.parametrize(
    ("asked", "low", "high"), [("0", 0.1, 0.15), ("999999999999", 20, 30), ("9" * 400, 20, 30), ("2000", 2, 3), ("x", 1, 1.5)]
)
async def test_a_hostile_retry_is_kept_between_the_bounds(waits: list[float], asked: str, low: float, high: float) -> None:
    with byte_server({"/": [Answer([f"retry: {asked}\ndata: x\n\n".encode()]), GONE]}) as server:
        await sse(server.url + "/").collect()
    assert low <= waits[0] <= high


async def test_waits_grow_to_the_limit_are_spread_and_begin_anew_after_an_event(waits: list[float]) -> None:
    answers = [*[Answer([], 503)] * 8, Answer([frame(1)]), Answer([]), GONE]
    with byte_server({"/": answers}) as server:
        await sse(server.url + "/", seed=3).collect()
    for wait, low in zip(waits, [1, 2, 4, 8, 16, 20, 20, 20, 1, 2], strict=True):
        assert low <= wait <= min(low * 1.5, 30)
    assert len(set(waits)) == len(waits)


async def test_the_same_seed_waits_alike() -> None:
    seen: list[list[float]] = []
    with byte_server({"/": Answer([], 502)}) as server:
        for _ in range(2):
            clock = Impatient()
            use_clock(clock)
            with pytest.raises(sk.OverloadedError):
                await sse(server.url + "/", seed=5).collect()
            seen.append(clock.waits)
    assert seen[0] == seen[1]
    assert 8 == len(seen[0])


async def test_attempts_without_an_event_are_bounded(waits: list[float]) -> None:
    with byte_server({"/": Answer([b": hi\n\n"])}) as server:
        with pytest.raises(sk.StreamTruncated, match="3 attempts") as caught:
            await sse(server.url + "/", max_retries=3, last_event_id="7").collect()
        assert 4 == len(server.asked)
    assert "7" == caught.value.last_event_id  # type: ignore[attr-defined]  # set on whatever is raised


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: str(library.__name__))
async def test_a_server_that_is_not_there_is_the_librarys_own_error(waits: list[float], library: Any) -> None:
    async with library.AsyncClient() as client:
        with pytest.raises(library.ConnectError) as caught:
            await sse("http://127.0.0.1:1/", client=client, max_retries=2, last_event_id="9").collect()
    assert 2 == len(waits)
    assert "9" == caught.value.last_event_id


@pytest.mark.parametrize(("status", "kind"), [(400, sk.BadRequestError), (401, sk.AuthError), (404, sk.BadRequestError)])
async def test_a_refusal_is_raised_at_once(waits: list[float], status: int, kind: type[sk.SourceError]) -> None:
    refusal = Answer([b'{"error": {"message": "no"}}'], status, "application/json", {"x-request-id": "req-1"})
    with byte_server({"/": refusal}) as server:
        with pytest.raises(kind) as caught:
            await sse(server.url + "/").collect()
        assert 1 == len(server.asked)
    assert (status, "req-1") == (caught.value.status, caught.value.request_id)


async def test_retry_after_is_kept_to_and_one_that_is_too_long_is_told(waits: list[float]) -> None:
    limits = [Answer([], 429, headers={"retry-after": "12"}), Answer([frame(1)]), Answer([], 429, headers={"retry-after": "900"})]
    frames: list[Frame] = []
    with byte_server({"/": limits}) as server:
        with pytest.raises(sk.RateLimitError) as caught:
            async with sse(server.url + "/") as events:
                async for event in events:
                    frames.append(event)
        assert 3 == len(server.asked)
    assert ["1"] == ids(frames)
    assert 12 == waits[0]
    assert 900 == caught.value.retry_after


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-streams", ""])
async def test_another_content_type_is_refused_at_once(waits: list[float], content_type: str) -> None:
    page = Answer([b"<p>Sign in, Bearer abcdefgh12345678</p>"], content_type=content_type)
    with byte_server({"/": page}) as server:
        with pytest.raises(sk.RemoteProtocolError, match="status 200") as caught:
            await sse(server.url + "/").collect()
        assert 1 == len(server.asked)
    assert "abcdefgh" not in f"{caught.value} {caught.value.excerpt}"


async def test_a_content_type_with_parameters_in_any_case_is_the_right_one(waits: list[float]) -> None:
    with byte_server({"/": [Answer([frame(1)], content_type="Text/Event-Stream; charset=utf-8"), GONE]}) as server:
        assert ["1"] == ids(await sse(server.url + "/").collect())


async def test_an_event_that_is_too_large_ends_it(waits: list[float]) -> None:
    with byte_server({"/": Answer([frame(1), b"data: " + b"x" * 5000])}) as server:
        frames: list[Frame] = []
        with pytest.raises(sk.RemoteProtocolError, match="max_event_bytes"):
            async with sse(server.url + "/", max_event_bytes=1000) as events:
                async for event in events:
                    frames.append(event)
    assert ["1"] == ids(frames)


async def test_all_connections_together_are_bounded(waits: list[float]) -> None:
    with byte_server({"/": Answer([frame(1)])}) as server:
        frames: list[Frame] = []
        with pytest.raises(sk.RemoteProtocolError, match="max_body_bytes=40"):
            async with sse(server.url + "/", max_body_bytes=40) as events:
                async for event in events:
                    frames.append(event)
        assert 40 // len(frame(1)) == len(frames)
        assert len(frames) + 1 == len(server.asked)


# ---- requests that may do something ---------------------------------------------------------------


async def test_json_is_posted_and_its_end_is_the_end(waits: list[float]) -> None:
    with byte_server({"/": Answer([frame(1), frame(2)])}) as server:
        assert ["1", "2"] == ids(await sse(server.url + "/", json={"q": "hä?"}).collect())
        assert 1 == len(server.asked)
        assert ("POST", '{"q":"hä?"}', "application/json") == (
            server.asked[0].method,
            server.asked[0].body.decode(),
            server.asked[0].headers["content-type"],
        )


async def test_a_dropped_post_is_sent_again_only_with_an_id_to_go_on_from(waits: list[float]) -> None:
    with byte_server({"/": [Answer([frame(1)], end="torn"), Answer([frame(2)])]}) as server:
        assert ["1", "2"] == ids(await sse(server.url + "/", json={"q": 1}).collect())
        assert [None, "1"] == sent_ids(server)
        assert [b'{"q":1}', b'{"q":1}'] == [asked.body for asked in server.asked]
    with byte_server({"/": Answer([b"data: x\n\n"], end="torn")}) as server:
        with pytest.raises(httpx2.RemoteProtocolError):
            await sse(server.url + "/", json={"q": 1}).collect()
        assert 1 == len(server.asked)


@pytest.mark.parametrize(("status", "asked"), [(500, 1), (502, 1), (503, 2), (429, 2)])
async def test_a_post_that_was_not_carried_out_is_sent_again(waits: list[float], status: int, asked: int) -> None:
    with byte_server({"/": [Answer([], status), Answer([frame(1)])]}) as server:
        stream = sse(server.url + "/", method="POST")
        if asked == 2:
            assert ["1"] == ids(await stream.collect())
        else:
            with pytest.raises(sk.OverloadedError):
                await stream.collect()
        assert asked == len(server.asked)


async def test_reconnect_says_what_happens_whatever_the_method(waits: list[float]) -> None:
    with byte_server({"/": [Answer([b"data: x\n\n"], end="torn"), Answer([frame(1)]), GONE]}) as server:
        assert ["", "1"] == ids(await sse(server.url + "/", json={}, reconnect=True).collect())
    with byte_server({"/": [Answer([frame(1)]), GONE]}) as server:
        assert ["1"] == ids(await sse(server.url + "/", reconnect=False).collect())
        assert 1 == len(server.asked)
    with byte_server({"/": [Answer([], 503), GONE]}) as server:
        with pytest.raises(sk.OverloadedError):
            await sse(server.url + "/", reconnect=False).collect()
        assert 1 == len(server.asked)


# ---- leaving, silence, clients --------------------------------------------------------------------


async def test_the_server_sees_a_reader_leave_at_once() -> None:
    with byte_server({"/": Answer([frame(1), frame(2)], end="hold")}) as server:
        stream = sse(server.url + "/")
        with awake_time() as awake:
            async with stream as events:
                async for _ in events:
                    break
            assert await _left(server)
            assert awake.seconds < 3
        assert "sse(GET " in repr(stream)


async def test_a_cancel_closes_the_connection() -> None:
    with byte_server({"/": Answer([frame(1)], end="hold")}) as server:
        with anyio.move_on_after(60) as scope:
            async with sse(server.url + "/") as events:
                async for _ in events:
                    scope.cancel()
        assert scope.cancelled_caught
        assert await _left(server)


async def test_a_cancel_during_a_wait_is_let_through() -> None:
    with byte_server({"/": Answer([], 503)}) as server:
        with anyio.CancelScope() as scope:
            use_clock(clock := Leaving(scope))
            await sse(server.url + "/", min_wait=20).collect()
        assert scope.cancelled_caught
        assert (1, 1) == (len(clock.waits), len(server.asked))


async def test_silence_is_taken_for_a_dead_connection(halting: Halting) -> None:
    with byte_server({"/": [Answer([frame(1)], end="hold"), Answer([frame(2)]), GONE]}) as server:
        frames: list[Frame] = []
        async for got in sse(server.url + "/", idle=0.3):
            frames.append(got)
            if got.id == "1":
                halting.go_on()
        assert ["1", "2"] == ids(frames)
        assert [None, "1", "2"] == sent_ids(server)
        assert await _left(server)


async def test_silence_without_end_is_a_timeout(halting: Halting) -> None:
    from_thread = current_backend().soon_from_thread

    def silent(asked: Asked) -> Answer:
        from_thread(halting.go_on)
        return Answer([], end="hold")

    with byte_server({"/": silent}) as server:
        with pytest.raises(sk.StreamTimeout) as caught:
            await sse(server.url + "/", idle=0.1, max_retries=1).collect()
        assert ("wire", 0.1) == (caught.value.phase, caught.value.seconds)
        assert 2 == len(server.asked)


async def test_comments_are_signs_of_life(waits: list[float]) -> None:
    with byte_server({"/": [Answer([b": hb\n"] * 5 + [frame(1)]), GONE]}) as server:
        stream = sse(server.url + "/", idle=5) | sk.timeout(wire=5)
        assert ["1"] == ids(await stream.collect())


async def test_it_can_be_run_again_and_begins_at_its_beginning(waits: list[float]) -> None:
    with byte_server({"/": [Answer([frame(1)]), GONE, Answer([frame(1)]), GONE]}) as server:
        stream = sse(server.url + "/")
        assert ["1"] == ids(await stream.collect())
        assert ["1"] == ids(await stream.collect())
        assert [None, "1", None, "1"] == sent_ids(server)


def make_httpx() -> Any:
    return httpx.AsyncClient()


def make_httpx2() -> Any:
    return httpx2.AsyncClient()


@pytest.mark.parametrize("make", [make_httpx, make_httpx2, lambda: httpx.Client(), lambda: httpx2.Client()])
async def test_it_runs_on_the_users_client_and_leaves_it_open(waits: list[float], make: Callable[[], Any]) -> None:
    client = make()
    try:
        with byte_server({"/": [Answer([frame(1)], end="torn"), Answer([frame(2)]), GONE]}) as server:
            assert ["1", "2"] == ids(await sse(server.url + "/", client=client).collect())
        assert not client.is_closed
    finally:
        closing = client.aclose() if hasattr(client, "aclose") else client.close()
        if closing is not None:
            await closing


@asyncio_only
async def test_it_runs_on_a_session_of_aiohttp(halting: Halting) -> None:
    refused = Answer([b"no"], 403, "text/plain")
    answers = [Answer([frame(1)], end="torn"), Answer([frame("ä")], end="hold"), Answer([frame(3)]), refused]
    async with aiohttp.ClientSession() as session:
        with byte_server({"/": answers}) as server:
            frames: list[Frame] = []
            with pytest.raises(sk.AuthError):
                async with sse(server.url + "/", client=session, idle=0.3) as events:
                    async for event in events:
                        frames.append(event)
                        if event.id == "ä":
                            halting.go_on()
            assert ["1", "ä", "3"] == ids(frames)
            assert await _left(server)
        assert not session.closed
        with pytest.raises(aiohttp.ClientConnectorError):
            await sse("http://127.0.0.1:1/", client=session, max_retries=1).collect()
    assert 4 == len(halting.waits)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: str(library.__name__))
async def test_leaving_a_silent_server_is_seen_though_the_client_blocks(library: Any) -> None:
    with library.Client() as client, byte_server({"/": Answer([frame(1)], end="hold")}) as server, awake_time() as awake:
        async with sse(server.url + "/", client=client) as events:
            async for _ in events:
                break
        assert await _left(server)
        assert awake.seconds < 3


async def test_a_certificate_that_is_wrong_is_not_asked_for_again(waits: list[float]) -> None:
    def refuse(request: Any) -> Any:
        raise httpx2.ConnectError("no") from ssl.SSLCertVerificationError("self-signed")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as client:
        with pytest.raises(httpx2.ConnectError):
            await sse("https://api.example/", client=client).collect()
    assert [] == waits


async def test_a_bug_of_the_caller_is_not_tried_again(waits: list[float]) -> None:
    client = httpx2.AsyncClient()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await sse("http://127.0.0.1:1/", client=client).collect()
    assert [] == waits


def test_a_script_reads_it_without_async() -> None:
    with byte_server({"/": [Answer([b"retry: 100\n\n", frame(1)]), GONE, Answer([frame(2)]), GONE]}) as server:
        stream = sse(server.url + "/")
        assert ["1"] == ids(list(stream.iter()))
        assert ["2"] == ids(list(stream.iter()))


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, {"url": b"http://x/"}),
        (TypeError, {"client": object()}),
        (TypeError, {"last_event_id": 3}),
        (sk.ConfigError, {"url": "ftp://x/"}),
        (sk.ConfigError, {"method": "GET", "json": {}}),
        (sk.ConfigError, {"headers": {"x": "a\r\nb: c"}}),
        (sk.ConfigError, {"max_retries": -1}),
        (sk.ConfigError, {"min_wait": 0}),
        (sk.ConfigError, {"min_wait": 5, "max_wait": 1}),
        (sk.ConfigError, {"max_wait": float("inf")}),
        (sk.ConfigError, {"idle": 0}),
        (sk.ConfigError, {"max_event_bytes": 0}),
        (sk.ConfigError, {"max_body_bytes": 0}),
        (sk.LocalProtocolError, {"json": object()}),
    ],
)
def test_wrong_arguments_are_told_at_the_call(error: type[Exception], arguments: dict[str, Any]) -> None:
    with pytest.raises(error):
        sse(**{"url": "http://127.0.0.1/", **arguments})


async def _left(server: Server) -> bool:
    return await anyio.to_thread.run_sync(server.left.wait, 60)


def test_an_address_without_its_scheme_is_told_what_it_lacks() -> None:
    with pytest.raises(sk.ConfigError, match="must begin with http:// or https://, and not with 'localhost:'"):
        sse("localhost:8000/events")
