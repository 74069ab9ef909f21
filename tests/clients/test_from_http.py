"""`sk.from_http` on what every HTTP client gives: one answer, one text; refusals, compressed bodies and leaving early."""

from __future__ import annotations

import gzip
import urllib.request
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from awake_time import awake_time
from byte_server import Answer, Server, byte_server
from chat_bodies import DONE, answer, chunk
from event_loops import asyncio_only

import streamkit as sk
from streamkit.wire import inflate

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
httpx_sse: Any = pytest.importorskip("httpx_sse")
aiohttp: Any = pytest.importorskip("aiohttp")
requests: Any = pytest.importorskip("requests")
urllib3: Any = pytest.importorskip("urllib3")
brotli: Any = pytest.importorskip("brotli")
zstandard: Any = pytest.importorskip("zstandard")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

HALF = [chunk("Hel"), chunk("lo")]


# ---- every client --------------------------------------------------------------------------------


@asynccontextmanager
async def asynchronous(library: Any, wrap: Callable[[Any, str], Any]) -> AsyncIterator[Callable[[str], Any]]:
    async with library.AsyncClient() as client:
        yield lambda url: wrap(client, url)


@asynccontextmanager
async def blocking(client: Any, wrap: Callable[[Any, str], Any]) -> AsyncIterator[Callable[[str], Any]]:
    try:
        yield lambda url: wrap(client, url)
    finally:
        if hasattr(client, "close"):
            client.close()


async def sent(client: Any, url: str) -> Any:
    return await client.send(client.build_request("GET", url), stream=True)


WAYS: dict[str, Callable[[], Any]] = {
    "httpx stream": lambda: asynchronous(httpx, lambda client, url: client.stream("GET", url)),
    "httpx response": lambda: asynchronous(httpx, sent),
    "httpx2 stream": lambda: asynchronous(httpx2, lambda client, url: client.stream("GET", url)),
    "httpx2 callable": lambda: asynchronous(httpx2, lambda client, url: lambda: client.stream("GET", url)),
    "httpx-sse manager": lambda: asynchronous(httpx, lambda client, url: httpx_sse.aconnect_sse(client, "GET", url)),
    "httpx sync": lambda: blocking(httpx.Client(), lambda client, url: client.stream("GET", url)),
    "httpx2 sync": lambda: blocking(httpx2.Client(), lambda client, url: client.stream("GET", url)),
    "httpx-sse sync": lambda: blocking(httpx.Client(), lambda client, url: httpx_sse.connect_sse(client, "GET", url)),
    "requests": lambda: blocking(requests.Session(), lambda client, url: client.get(url, stream=True, timeout=20)),
    "urllib3": lambda: blocking(
        urllib3, lambda client, url: client.PoolManager().request("GET", url, preload_content=False, retries=False)
    ),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@EVERY_WAY
async def test_one_answer_one_text(way: Callable[[], Any]) -> None:
    with byte_server({"/": Answer(answer("Hello", " ", "world"))}) as server:
        async with way() as get:
            assert "Hello world" == await sk.from_http(get(server.url + "/"), "openai-chat").join()


@EVERY_WAY
async def test_a_refusal_is_a_typed_error_with_what_the_headers_say(way: Callable[[], Any]) -> None:
    headers = {"request-id": "req_5", "retry-after": "3"}
    body = b'{"error":{"message":"slow down","type":"rate_limit_error"}}'
    with byte_server({"/": Answer([body], 429, "application/json", headers)}) as server:
        async with way() as get:
            with pytest.raises(sk.RateLimitError, match="slow down") as caught:
                await sk.from_http(get(server.url + "/"), "openai-chat", provider="them").collect()
    error = caught.value
    assert (429, "req_5", 3.0, True, "them") == (error.status, error.request_id, error.retry_after, error.retryable, error.provider)


@EVERY_WAY
async def test_the_server_sees_a_reader_leave_at_once_though_a_variable_holds_the_response(way: Callable[[], Any]) -> None:
    with byte_server({"/": Answer(HALF, end="hold")}) as server:
        async with way() as get:
            source = get(server.url + "/")
            if hasattr(source, "__await__"):
                source = await source
            with awake_time() as awake:
                async with sk.from_http(source, "openai-chat") as events:
                    async for event in events:
                        if isinstance(event, sk.TextDelta):
                            break
                assert await _left(server)
                assert awake.seconds < 3
            assert source is not None


@EVERY_WAY
async def test_a_compressed_body_comes_as_it_is_flushed(way: Callable[[], Any]) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    pieces = [squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH) for piece in HALF]
    with byte_server({"/": Answer(pieces, headers={"content-encoding": "gzip"}, end="hold")}) as server:
        async with way() as get:
            texts: list[str] = []
            async with sk.from_http(get(server.url + "/"), "openai-chat") as events:
                async for event in events:
                    if isinstance(event, sk.TextDelta):
                        texts.append(event.text)
                    if len(texts) == 2:
                        break
            assert ["Hel", "lo"] == texts
            assert await _left(server)


@asyncio_only
@pytest.mark.parametrize("form", ["manager", "awaited", "response"])
async def test_aiohttp_gives_the_same(form: str) -> None:
    refusal = Answer([b"no"], 503, "text/plain", {"x-request-id": "req_6", "retry-after-ms": "1500"})
    packed = Answer([gzip.compress(b"".join(answer("zip")))], headers={"content-encoding": "gzip"})
    held = Answer(HALF, end="hold")
    with byte_server({"/": Answer(answer("Hi")), "/no": refusal, "/zip": packed, "/hold": held}) as server:
        async with aiohttp.ClientSession() as session:

            async def get(path: str) -> Any:
                request = session.get(server.url + path)
                return await request if form == "response" else request if form == "manager" else _awaiting(request)

            assert "Hi" == await sk.from_http(await get("/"), "openai-chat").join()
            assert "zip" == await sk.from_http(await get("/zip"), "openai-chat").join()
            with pytest.raises(sk.OverloadedError) as caught:
                await sk.from_http(await get("/no"), "openai-chat").collect()
            assert ("req_6", 1.5) == (caught.value.request_id, caught.value.retry_after)
            source = await get("/hold")
            async with sk.from_http(source, "openai-chat") as events:
                async for event in events:
                    if isinstance(event, sk.TextDelta):
                        break
            assert await _left(server)


async def _awaiting(request: Any) -> Any:
    return await request


@pytest.mark.parametrize("library", ["httpx-sse", "httpx2"])
async def test_event_sources_are_read_and_so_are_their_events(library: str) -> None:
    client_of, source_of = (httpx, httpx_sse.EventSource) if library == "httpx-sse" else (httpx2, httpx2.EventSource)
    with byte_server({"/": Answer(answer("a", "b")), "/cut": Answer(HALF)}) as server:
        async with client_of.AsyncClient() as client:
            assert "ab" == await sk.from_http(source_of(await sent(client, server.url + "/")), "openai-chat").join()
            source = source_of(await sent(client, server.url + "/"))
            events = source.aiter_sse() if library == "httpx-sse" else aiter(source)
            assert "ab" == await sk.from_http(events, "openai-chat").join()
            source = source_of(await sent(client, server.url + "/cut"))
            events = source.aiter_sse() if library == "httpx-sse" else aiter(source)
            with pytest.raises(sk.StreamTruncated) as caught:
                await sk.from_http(events, "openai-chat").collect()
            assert "Hello" == cast("sk.Message", caught.value.partial).text


async def test_the_standard_librarys_response_is_read_by_pieces_and_not_by_lines() -> None:
    body = zlib.compress(b"".join(answer("a")))
    with byte_server({"/": Answer([body], headers={"content-encoding": "deflate"})}) as server:
        response = await anyio.to_thread.run_sync(urllib.request.urlopen, server.url + "/")
        assert "a" == await sk.from_http(response, "openai-chat").join()


async def test_a_body_without_length_or_chunks_is_not_waited_for() -> None:
    with byte_server({"/": Answer(HALF, headers={"connection": "close"}, end="hold")}) as server, requests.Session() as session:
        stream = sk.from_http(session.get(server.url + "/", stream=True, timeout=20), "openai-chat") | sk.take(2)
        assert 2 == len(await stream.collect())


# ---- what the headers say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "40", "retry-after": "9"}, 0.04),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "x-date": "kept"}, 0.0),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    with byte_server({"/": Answer([b"no"], 503, headers=headers)}) as server:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(sk.OverloadedError) as caught:
                await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat").collect()
    assert seconds == caught.value.retry_after


def test_a_date_counts_from_the_answers_own() -> None:
    from streamkit.clients.http_headers import retry_after_of

    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert 30.0 == retry_after_of(headers)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/octet-stream", "text/html", ""])
async def test_a_stream_is_read_whatever_it_is_called(content_type: str) -> None:
    with byte_server({"/": Answer(answer("Hi"), content_type=content_type)}) as server:
        async with httpx2.AsyncClient() as client:
            assert "Hi" == await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat").join()


@pytest.mark.parametrize("status", [301, 302, 307, 304])
async def test_a_redirect_that_the_client_did_not_follow_is_told(status: int) -> None:
    with byte_server({"/": Answer([], status, headers={"location": "https://u:pw@else.example/v1?key=k"})}) as server:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(sk.RemoteProtocolError, match=rf"status {status}.*https://else.example/v1,"):
                await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat").collect()


async def test_a_status_that_fails_is_an_error_though_a_stream_comes_with_it() -> None:
    with byte_server({"/": Answer(HALF, 500)}) as server:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(sk.OverloadedError) as caught:
                await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat").collect()
    assert "Hello" == cast("sk.Message", caught.value.partial).text


# ---- sizes ------------------------------------------------------------------------------------------


async def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    body = b"".join(answer("Hel", "lo"))
    with byte_server({"/": Answer([body])}) as server:
        async with httpx2.AsyncClient() as client:
            url = server.url + "/"
            stream = sk.from_http(client.stream("GET", url), "openai-chat", max_body_bytes=len(body))
            assert "Hello" == await stream.join()
            stream = sk.from_http(client.stream("GET", url), "openai-chat", max_body_bytes=len(body) - len(DONE) - 1)
            with pytest.raises(sk.RemoteProtocolError, match="max_body_bytes=") as caught:
                await stream.collect()
    assert "Hello" == cast("sk.Message", caught.value.partial).text


async def test_the_limit_counts_what_comes_out_of_a_compressed_body() -> None:
    body = b"".join([*HALF, b": " + b"x" * 100_000 + b"\n", *answer()])
    with byte_server({"/": Answer([gzip.compress(body)], headers={"content-encoding": "gzip"})}) as server:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(sk.RemoteProtocolError, match="max_body_bytes=50000") as caught:
                await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat", max_body_bytes=50_000).collect()
    assert "Hello" == cast("sk.Message", caught.value.partial).text


# ---- compressed bodies ------------------------------------------------------------------------------

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: str(library.__name__))
@pytest.mark.parametrize("blocks", [False, True])
async def test_every_coding_is_opened(coding: str, library: Any, blocks: bool) -> None:
    packed = CODINGS[coding](b"".join(answer("Hi ä")))
    refused = CODINGS[coding](b'{"error":{"message":"not today"}}')
    answers = {
        "/": Answer([packed[:20], packed[20:]], headers={"content-encoding": coding}),
        "/no": Answer([refused], 400, "application/json", {"content-encoding": coding}),
        "/cut": Answer([CODINGS[coding](b"".join(HALF))[:-4]], headers={"content-encoding": coding}),
        "/bad": Answer([b"\x00this is not compressed at all" * 9], headers={"content-encoding": coding}),
    }
    with byte_server(answers) as server:
        async with blocking(library.Client(), _stream) if blocks else asynchronous(library, _stream) as get:
            assert "Hi ä" == await sk.from_http(get(server.url + "/"), "openai-chat").join()
            with pytest.raises(sk.BadRequestError, match="not today"):
                await sk.from_http(get(server.url + "/no"), "openai-chat").collect()
            with pytest.raises(sk.StreamTruncated):
                await sk.from_http(get(server.url + "/cut"), "openai-chat").collect()
            with pytest.raises(sk.RemoteProtocolError, match="Content-Encoding"):
                await sk.from_http(get(server.url + "/bad"), "openai-chat").collect()


def _stream(client: Any, url: str) -> Any:
    return client.stream("GET", url)


@pytest.mark.parametrize("kind", ["httpx2", "httpx.Client", "requests"])
async def test_a_coding_that_is_not_known_here_is_left_to_the_client(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_maker", lambda name: None)
    packed = gzip.compress(b"".join(answer("Hi")))
    with byte_server({"/": Answer([packed], headers={"content-encoding": "gzip"})}) as server:
        way = {
            "httpx2": lambda: asynchronous(httpx2, _stream),
            "httpx.Client": lambda: blocking(httpx.Client(), _stream),
            "requests": WAYS["requests"],
        }[kind]
        async with way() as get:
            assert "Hi" == await sk.from_http(get(server.url + "/"), "openai-chat").join()


async def test_a_complete_answer_in_a_cut_compression_is_complete() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    body = squeeze.compress(chunk("Hi") + chunk(finish="stop")) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    with byte_server({"/": Answer([body], headers={"content-encoding": "gzip"})}) as server:
        async with httpx2.AsyncClient() as client:
            assert "Hi" == await sk.from_http(client.stream("GET", server.url + "/"), "openai-chat").join()


# ---- arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"data: x\n\n", "text", [b"data: x\n\n"], {}, 3, None])
def test_what_no_http_client_gives_is_told_at_the_call(value: object) -> None:
    with pytest.raises(TypeError):
        sk.from_http(value, "openai-chat")


@pytest.mark.parametrize(
    "options",
    [{"errors": "hide"}, {"max_event_bytes": 0}, {"max_body_bytes": 0}, {"max_body_bytes": 1.5}, {"max_body_bytes": True}],
)
def test_wrong_options_are_told_at_the_call(options: dict[str, Any]) -> None:
    for make in (sk.from_http, sk.decode):
        with pytest.raises(sk.ConfigError):
            make(aiter_nothing(), "openai-chat", **options)


async def aiter_nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def test_something_else_in_place_of_an_event_is_told() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="server-sent event was expected, got a int"):
        await sk.from_http(numbers(), "openai-chat").collect()


async def _left(server: Server) -> bool:
    return await anyio.to_thread.run_sync(server.left.wait, 60)
