"""Real HTTP from a loopback server that sends what it is told: cuts, refusals, silence, kept connections."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest
from awake_time import awake_time
from byte_server import Answer, Server, byte_server
from chat_bodies import DONE, answer, chunk, error
from held_clock import held_clock

import streamkit as sk
from streamkit.errors import RemoteProtocolError, SourceError, StreamTruncated

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
openai: Any = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

SECRET = "sk-abcdefghijklmnop1234567890"
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: str(library.__name__))
HALF = [chunk("Hel"), chunk("lo")]


def ask(client: Any) -> dict[str, Any]:
    """The way in of a call to either kind of SDK client."""
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def sdk(server: Server, kind: str = "async", **options: Any) -> Any:
    make = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
    return make(base_url=server.url, api_key=SECRET, max_retries=0, **options)


CHAT = "/chat/completions"


@LIBRARIES
async def test_a_body_that_ends_half_way_is_truncated(library: Any) -> None:
    with byte_server({"/": Answer(HALF)}) as server:
        async with library.AsyncClient() as client:
            with pytest.raises(StreamTruncated) as caught:
                await sk.decode(client.stream("GET", server.url + "/"), "openai-chat").collect()
    assert "Hello" == cast("sk.Message", caught.value.partial).text


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("way", ["create", "with_streaming_response.create"])
async def test_the_cut_that_the_sdk_hides_is_seen(kind: str, way: str) -> None:
    with byte_server({CHAT: Answer(HALF)}) as server:
        client = sdk(server, kind)
        create = client.chat.completions.create if way == "create" else client.chat.completions.with_streaming_response.create
        with pytest.raises(StreamTruncated) as caught:
            await sk.from_openai(create(**ask(client))).collect()
        await _close(client)
    assert "Hello" == cast("sk.Message", caught.value.partial).text


@LIBRARIES
async def test_a_torn_connection_is_the_librarys_own_error(library: Any) -> None:
    with byte_server({"/": Answer(HALF, end="torn")}) as server:
        async with library.AsyncClient() as client:
            run = sk.decode(client.stream("GET", server.url + "/"), "openai-chat").open()
            events: list[sk.Event] = []
            with pytest.raises(library.RemoteProtocolError):
                async with run:
                    async for event in run:
                        events.append(event)
    assert "Hello" == sk.Message(events).text == cast("sk.Message", run.partial).text


@LIBRARIES
async def test_an_error_status_is_an_error_of_its_kind(library: Any) -> None:
    body = b'{"error":{"message":"no such key ' + SECRET.encode() + b'","type":"invalid_request_error","code":"invalid_api_key"}}'
    bodies = {
        "/auth": Answer([body], 401, "application/json", {"x-request-id": "req-7"}),
        "/busy": Answer([b"<html><h1>Bad Gateway</h1></html>"], 502, "text/html"),
        "/limit": Answer([b"slow down"], 429, "text/plain"),
        "/empty": Answer([], 503),
    }
    kinds = {"/auth": sk.AuthError, "/busy": sk.OverloadedError, "/limit": sk.RateLimitError, "/empty": sk.OverloadedError}
    with byte_server(bodies) as server:
        async with library.AsyncClient() as client:
            for path, kind in kinds.items():
                with pytest.raises(SourceError) as caught:
                    await sk.decode(client.stream("GET", server.url + path), "openai-chat", provider="them").collect()
                assert kind is type(caught.value)
                assert (bodies[path].status, "them") == (caught.value.status, caught.value.provider)
                assert SECRET not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
                assert ("req-7" if path == "/auth" else None) == caught.value.request_id


async def test_a_page_with_status_200_is_refused() -> None:
    with byte_server({"/": Answer([b"<!doctype html>", b"<p>Please sign in</p>"], content_type="text/html")}) as server:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(RemoteProtocolError, match=r"HTML.*sign in"):
                await sk.decode(client.stream("GET", server.url + "/"), "openai-chat").collect()


async def test_a_status_that_the_sdk_refuses_is_the_sdks_own_error() -> None:
    with byte_server({CHAT: Answer([b'{"error":{"message":"no"}}'], 401, "application/json")}) as server:
        async with sdk(server) as client:
            for errors in ("raise", "yield"):
                stream = sk.from_openai(client.chat.completions.create(**ask(client)), errors=cast("Any", errors))
                with pytest.raises(openai.AuthenticationError):
                    await stream.collect()


async def test_an_error_after_http_200_keeps_the_request_id() -> None:
    pieces = [chunk("a"), error(f"your key {SECRET} is over its limit", "rate_limit_exceeded")]
    with byte_server({CHAT: Answer(pieces, headers={"x-request-id": "req-9"})}) as server:
        async with sdk(server) as client:
            with pytest.raises(sk.RateLimitError) as caught:
                await sk.from_openai(client.chat.completions.create(**ask(client))).collect()
    assert ("openai", "rate_limit_exceeded", "req-9") == (caught.value.provider, caught.value.code, caught.value.request_id)
    assert "a" == cast("sk.Message", caught.value.partial).text
    assert SECRET not in f"{caught.value} {caught.value!r}"


@LIBRARIES
async def test_a_finished_answer_leaves_its_connection_to_the_next(library: Any) -> None:
    with byte_server({"/": Answer(answer("a"))}) as server:
        async with library.AsyncClient() as client:
            for _ in range(3):
                assert "a" == await sk.decode(client.stream("GET", server.url + "/"), "openai-chat").join()
        assert [server.ports[0]] * 3 == server.ports


async def test_a_server_that_keeps_silent_after_the_end_marker_holds_nobody() -> None:
    with byte_server({"/": Answer([chunk("a"), chunk(finish="stop"), DONE], end="hold")}) as server:
        async with httpx2.AsyncClient() as client:
            with awake_time() as awake:
                assert "a" == await sk.decode(client.stream("GET", server.url + "/"), "openai-chat").join()
                assert awake.seconds < 3
        assert await _left(server)


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("way", ["create", "with_streaming_response.create"])
async def test_leaving_a_silent_server_is_seen_at_once(kind: str, way: str) -> None:
    with byte_server({CHAT: Answer([chunk("a"), chunk("b")], end="hold")}) as server:
        client = sdk(server, kind)
        create = client.chat.completions.create if way == "create" else client.chat.completions.with_streaming_response.create
        source = create(**ask(client))
        with awake_time() as awake:
            async with sk.from_openai(source) as events:
                async for event in events:
                    if event == sk.TextDelta("b"):
                        break
            assert await _left(server)
            assert awake.seconds < 3
        assert source is not None
        await _close(client)


async def test_a_timeout_while_a_sync_sdk_blocks_is_raised_and_the_server_sees_it() -> None:
    with byte_server({CHAT: Answer([chunk("a")], end="hold")}) as server:
        client = sdk(server, "sync")
        stream = sk.from_openai(client.chat.completions.create(**ask(client))) | sk.timeout(idle=0.2)
        with held_clock() as clock, pytest.raises(sk.StreamTimeout):
            async with stream as run:
                async for event in run:
                    if event == sk.TextDelta("a"):
                        clock.go_on()
        assert "a" == cast("sk.Message", run.partial).text
        assert await _left(server)
        client.close()


async def test_a_cancel_closes_the_response() -> None:
    with byte_server({"/": Answer([chunk("a")], end="hold")}) as server:
        async with httpx2.AsyncClient() as client:
            with anyio.move_on_after(60) as scope:
                async with sk.decode(client.stream("GET", server.url + "/"), "openai-chat") as events:
                    async for event in events:
                        if isinstance(event, sk.TextDelta):
                            scope.cancel()
            assert scope.cancelled_caught
            assert await _left(server)


async def test_compressed_bodies_are_read() -> None:
    import gzip

    body = gzip.compress(b"".join(answer("a", "b")))
    with byte_server({"/": Answer([body], headers={"content-encoding": "gzip"})}) as server:
        async with httpx2.AsyncClient() as client:
            assert "ab" == await sk.decode(client.stream("GET", server.url + "/"), "openai-chat").join()


async def test_bodies_of_requests_and_of_the_standard_library_are_read() -> None:
    import urllib.request

    requests = pytest.importorskip("requests")
    with byte_server({"/": Answer(answer("a", "b"))}) as server:
        with requests.Session() as session:
            assert "ab" == await sk.decode(session.get(server.url + "/", stream=True, timeout=10), "openai-chat").join()
        with await anyio.to_thread.run_sync(urllib.request.urlopen, server.url + "/") as response:
            assert "ab" == await sk.decode(response, "openai-chat").join()


async def _left(server: Server) -> bool:
    return await anyio.to_thread.run_sync(server.left.wait, 60)


async def _close(client: Any) -> None:
    closing = client.close()
    if closing is not None:
        await closing
