"""The real SDKs, and plain HTTP, against providers that fail: an answer is whole, or an error says why it is not.

Each test runs for each way to an answer: what the SDKs give (async, sync, raw), and a response of httpx2. On all event
loops run those tests in which something is left, cancelled or broken; the others do the same on each.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from held_clock import HeldClock, held_clock
from provider_scripts import leisurely

import streamkit as sk
from streamkit.clients.anthropic import from_anthropic
from streamkit.clients.http_responses import from_http
from streamkit.clients.openai import from_openai
from streamkit.dialects import registry
from streamkit.errors import RemoteProtocolError
from streamkit.testing import servers

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
openai: Any = pytest.importorskip("openai")
anthropic: Any = pytest.importorskip("anthropic")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too;
    # trio warns of that. The response itself is closed, which is what these tests look at.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

TEXT = "One two three four five"
WORDS = ["One", " two", " three", " four", " five"]
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Count."}]}
PATHS = {"openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses", "anthropic": "/v1/messages"}
BROKEN = {
    "openai-chat": b'data: {"choices":[{"del\n\n',
    "openai-responses": b'event: response.output_text.delta\ndata: {"type":"response.out\n\n',
    "anthropic": b'event: content_block_delta\ndata: {"type":"content_bl\n\n',
}
BROKEN_CONNECTION = (httpx.TransportError, httpx2.TransportError, openai.APIConnectionError, anthropic.APIConnectionError)
REFUSED_BY_SDK = (openai.APIStatusError, anthropic.APIStatusError)


@dataclass(frozen=True)
class Way:
    """One way to an answer: a client for an address, and the stream that it gives."""

    name: str
    dialect: str
    client: Callable[[str, int], Any]
    stream: Callable[[Any], sk.Stream[sk.Event]]
    is_sdk: bool = True

    def __str__(self) -> str:
        return self.name


def openai_async(url: str, retries: int) -> Any:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=retries)


def openai_sync(url: str, retries: int) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=retries)


def anthropic_async(url: str, retries: int) -> Any:
    return anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=retries)


def anthropic_sync(url: str, retries: int) -> Any:
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=retries)


def plain_async(url: str, retries: int) -> Any:
    return httpx2.AsyncClient(base_url=url, timeout=90)


def plain_sync(url: str, retries: int) -> Any:
    return httpx2.Client(base_url=url, timeout=90)


def chat(client: Any) -> sk.Stream[sk.Event]:
    return from_openai(lambda: client.chat.completions.create(**CHAT, stream=True))


def chat_raw(client: Any) -> sk.Stream[sk.Event]:
    return from_openai(lambda: client.chat.completions.with_streaming_response.create(**CHAT, stream=True))


def responses(client: Any) -> sk.Stream[sk.Event]:
    return from_openai(lambda: client.responses.create(model="m", input="Count.", stream=True))


def responses_raw(client: Any) -> sk.Stream[sk.Event]:
    return from_openai(lambda: client.responses.with_streaming_response.create(model="m", input="Count.", stream=True))


def messages(client: Any) -> sk.Stream[sk.Event]:
    return from_anthropic(lambda: client.messages.create(**CHAT, max_tokens=99, stream=True))


def messages_helper(client: Any) -> sk.Stream[sk.Event]:
    return from_anthropic(lambda: client.messages.stream(**CHAT, max_tokens=99))


def over_http(dialect: str) -> Callable[[Any], sk.Stream[sk.Event]]:
    return lambda client: from_http(lambda: client.stream("POST", PATHS[dialect], json={**CHAT, "stream": True}), dialect)


WAYS = [
    Way("openai", "openai-chat", openai_async, chat),
    Way("openai raw", "openai-chat", openai_async, chat_raw),
    Way("openai sync", "openai-chat", openai_sync, chat),
    Way("openai sync raw", "openai-chat", openai_sync, chat_raw),
    Way("responses", "openai-responses", openai_async, responses),
    Way("responses sync raw", "openai-responses", openai_sync, responses_raw),
    Way("anthropic", "anthropic", anthropic_async, messages),
    Way("anthropic helper", "anthropic", anthropic_async, messages_helper),
    Way("anthropic sync", "anthropic", anthropic_sync, messages),
    *(Way(f"http {dialect}", dialect, plain_async, over_http(dialect), is_sdk=False) for dialect in PATHS),
    Way("http sync", "openai-chat", plain_sync, over_http("openai-chat"), is_sdk=False),
]
WAYS = [way for way in WAYS if registry.get(way.dialect).encoder is not None]

one_loop = pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {}), id="asyncio")], indirect=True)
every_way = pytest.mark.parametrize("way", WAYS, ids=str)
sdk_ways = pytest.mark.parametrize("way", [way for way in WAYS if way.is_sdk], ids=str)
ASYNC_WAYS = [way for way in WAYS if "sync" not in way.name]
async_ways = pytest.mark.parametrize("way", ASYNC_WAYS, ids=str)
plain_ways = pytest.mark.parametrize("way", [way for way in WAYS if not way.is_sdk], ids=str)


@asynccontextmanager
async def asking(way: Way, *faults: servers.Fault, script: servers.Script = TEXT, retries: int = 0) -> AsyncIterator[Any]:
    """A provider with these faults, and the stream of an answer from it."""
    with servers.provider(way.dialect, script, *faults) as server:
        client = way.client(server.url, retries)
        try:
            yield server, way.stream(client)
        finally:
            if hasattr(client, "aclose"):
                await client.aclose()
            elif "Async" in type(client).__name__:
                await client.close()
            else:
                client.close()


async def left(server: servers.Server) -> None:
    """Wait, with the event loop going on, until the client has left in the middle of the answer."""
    await anyio.to_thread.run_sync(server.wait_left)


def text_of(message: object) -> str:
    assert isinstance(message, sk.Message)
    return message.text


async def read_until(text: str, stream: sk.Stream[sk.Event], clock: HeldClock) -> None:
    """Read to the end; time passes when so much text has come."""
    came = ""
    async for event in stream:
        came += event.text if isinstance(event, sk.TextDelta) else ""
        if came.startswith(text):
            clock.go_on()


def telling(asked: threading.Event) -> servers.Fault:
    """Changes nothing, and says when the server has taken a request, and has sent the headers if there are any."""

    def change(answer: servers.Answer) -> None:
        steps = answer.steps

        def told() -> Iterator[servers.Step]:
            asked.set()
            yield from steps

        answer.steps = told()

    return servers.Fault("telling()", change)


async def phase_of_silence(way: Way, fault: servers.Fault) -> str:
    """The clock that a provider runs into which says nothing; who gives up before he has asked leaves nobody."""
    asked = threading.Event()

    async def begin() -> None:
        await anyio.to_thread.run_sync(asked.wait, 60)
        clock.go_on()

    async with asking(way, fault, telling(asked)) as (server, stream):
        with held_clock() as clock:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(begin)
                with pytest.raises(sk.StreamTimeout) as caught:
                    await (stream | sk.timeout(first=0.2)).collect()
        await left(server)
    return caught.value.phase


# ---- whole answers ------------------------------------------------------------------------------


@one_loop
@every_way
@pytest.mark.parametrize(
    "fault",
    [
        servers.pieces(1),
        servers.pieces(40),
        servers.together(3),
        servers.together(99),
        servers.gzipped(),
        servers.slow(0.001),
        servers.pings(after=2, every=0.0, count=50),
        servers.first(0, servers.status(500)),
    ],
    ids=repr,
)
async def test_the_answer_is_whole_however_it_is_cut_and_packed(way: Way, fault: servers.Fault) -> None:
    async with asking(way, fault) as (server, stream):
        message = await stream.message()
    assert (TEXT, True) == (message.text, message.complete)
    assert 5 == message.usage.output_tokens
    assert not server.left.is_set()


@sdk_ways
async def test_a_retry_of_the_sdk_after_429_is_one_whole_answer(way: Way) -> None:
    async with asking(way, servers.first(2, servers.status(429, retry_after=0.001)), retries=2) as (server, stream):
        assert TEXT == (await stream.message()).text
    assert 3 == len(server.requests)


# ---- bodies that end early ----------------------------------------------------------------------


@one_loop
@every_way
async def test_a_body_that_is_cut_at_any_event_is_truncated_and_what_came_is_kept(way: Way) -> None:
    for after in range(6):  # five words, and the usage: the finish is the seventh
        async with asking(way, servers.cut(after=after)) as (_, stream):
            with pytest.raises(sk.StreamTruncated) as caught:
                await stream.collect()
        assert "".join(WORDS[:after]) == text_of(caught.value.partial)


@every_way
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_breaks_is_the_clients_own_error_and_what_came_is_kept(way: Way, reset: bool) -> None:
    async with asking(way, servers.torn(after=3, reset=reset)) as (_, stream), stream as run:
        with pytest.raises(BROKEN_CONNECTION):
            async for _ in run:
                pass
        assert "One two three" == text_of(run.partial)


# ---- providers that say no ----------------------------------------------------------------------


@one_loop
@every_way
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("overloaded", sk.OverloadedError),
        ("rate-limited", sk.RateLimitError),
        ("bad-request", sk.BadRequestError),
        ("content-blocked", sk.ContentBlockedError),
        ("auth", sk.AuthError),
    ],
)
async def test_an_error_in_the_stream_is_one_of_the_tree_with_what_came_before_it(
    way: Way, code: str, kind: type[sk.SourceError]
) -> None:
    async with asking(way, servers.error(after=2, code=code)) as (_, stream):
        with pytest.raises(sk.SourceError) as caught:
            await stream.collect()
    assert kind is type(caught.value)
    assert "One two" == text_of(caught.value.partial)
    assert "req-1" == caught.value.request_id
    assert (code in ("overloaded", "rate-limited")) == caught.value.retryable


@one_loop
@every_way
async def test_an_error_before_the_first_event_is_the_same_error(way: Way) -> None:
    async with asking(way, servers.error()) as (_, stream):
        with pytest.raises(sk.OverloadedError) as caught:
            await stream.collect()
    assert "" == text_of(caught.value.partial)


@one_loop
@every_way
async def test_an_error_may_be_yielded_instead(way: Way) -> None:
    with servers.provider(way.dialect, TEXT, servers.error(after=1, code="rate-limited", retry_after=2.0)) as server:
        body = [httpx2.post(f"{server.url}{PATHS[way.dialect]}", json={**CHAT, "stream": True}).content]
        events = await sk.decode(body, way.dialect, errors="yield").collect()
    last = events[-1]
    assert isinstance(last, sk.ErrorEvent)
    assert ("rate-limited", True) == (last.code, last.retryable)


@one_loop
@plain_ways
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, sk.BadRequestError),
        (401, sk.AuthError),
        (404, sk.BadRequestError),
        (429, sk.RateLimitError),
        (500, sk.OverloadedError),
        (503, sk.OverloadedError),
        (529, sk.OverloadedError),
    ],
)
async def test_a_refusal_over_plain_http_is_one_of_the_tree(way: Way, status: int, kind: type[sk.SourceError]) -> None:
    async with asking(way, servers.status(status, retry_after=7)) as (_, stream):
        with pytest.raises(sk.SourceError) as caught:
            await stream.collect()
    assert kind is type(caught.value)
    assert (status, "req-1", 7.0) == (caught.value.status, caught.value.request_id, caught.value.retry_after)


@one_loop
@sdk_ways
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_refusal_to_the_sdk_is_the_sdks_own_error(way: Way, status: int) -> None:
    async with asking(way, servers.status(status)) as (_, stream):
        with pytest.raises(REFUSED_BY_SDK) as caught:
            await stream.collect()
    assert status == caught.value.status_code


# ---- providers that say nothing, or nothing of use ------------------------------------------------


@every_way
@pytest.mark.parametrize("fault", [servers.silent(), servers.pings()], ids=repr)
async def test_a_provider_without_a_first_event_runs_into_the_first_clock_and_is_left(way: Way, fault: servers.Fault) -> None:
    assert "first" == await phase_of_silence(way, fault)


# A sync client that waits for headers has no response yet that could be closed: it ends by its own timeout.
@async_ways
async def test_a_provider_that_does_not_answer_at_all_runs_into_the_first_clock_and_is_left(way: Way) -> None:
    assert "first" == await phase_of_silence(way, servers.mute())


@every_way
@pytest.mark.parametrize("fault", [servers.stall(after=2), servers.pings(after=2)], ids=repr)
async def test_a_provider_that_goes_silent_runs_into_the_idle_clock_and_what_came_is_kept(way: Way, fault: servers.Fault) -> None:
    async with asking(way, fault) as (server, stream):
        with held_clock() as clock, pytest.raises(sk.StreamTimeout) as caught:
            await read_until("One two", stream | sk.timeout(first=10, idle=0.2), clock)
        await left(server)
    assert ("idle", "One two") == (caught.value.phase, text_of(caught.value.partial))


@one_loop
async def test_a_provider_that_pings_for_longer_than_the_wire_clock_is_alive() -> None:
    texts: dict[str, object] = {}

    async def read(way: Way) -> None:
        async with asking(way, servers.pings(after=1, every=0.02, count=150)) as (_, stream):
            texts[way.name] = await (stream | sk.timeout(first=60, idle=60, wire=2.5)).join()

    async with anyio.create_task_group() as tasks:  # all at once: the clock of each is one that a machine may stall for long
        for way in ASYNC_WAYS:
            tasks.start_soon(read, way)
    assert {way.name: TEXT for way in ASYNC_WAYS} == texts


@one_loop
@async_ways
async def test_a_provider_that_does_not_even_ping_runs_into_the_wire_clock_and_is_left(way: Way) -> None:
    async with asking(way, servers.stall(after=1)) as (server, stream):
        with held_clock() as clock, pytest.raises(sk.StreamTimeout) as caught:
            await read_until("One", stream | sk.timeout(first=20, idle=20, wire=0.4), clock)
        await left(server)
    assert ("wire", "One") == (caught.value.phase, text_of(caught.value.partial))


@every_way
async def test_content_that_never_ends_runs_into_the_total_clock(way: Way) -> None:
    async with asking(way, servers.slow(0.002), script=servers.endless("on ")) as (server, stream):
        with held_clock() as clock, pytest.raises(sk.StreamTimeout) as caught:
            await read_until("on on on ", stream | sk.timeout(total=0.2), clock)
        await left(server)
    assert "total" == caught.value.phase
    assert text_of(caught.value.partial).startswith("on on on ")


@one_loop
@every_way
@pytest.mark.parametrize(
    "fault",
    [
        servers.garbage(),
        servers.garbage(b'{"id":"1","choices":[]}', content_type="application/json"),
        servers.garbage(b"", content_type="text/plain"),
        servers.garbage(b"Hello there", content_type="text/plain"),
    ],
    ids=repr,
)
async def test_a_body_that_is_no_stream_is_an_error_and_never_an_empty_answer(way: Way, fault: servers.Fault) -> None:
    async with asking(way, fault) as (_, stream):
        with pytest.raises((RemoteProtocolError, sk.StreamTruncated)):
            await stream.collect()


@one_loop
@every_way
async def test_a_frame_that_cannot_be_read_ends_the_stream_after_what_stood_before_it(way: Way) -> None:
    async with asking(way, servers.bad_frame(BROKEN[way.dialect], after=3)) as (_, stream):
        with pytest.raises(RemoteProtocolError) as caught:
            await stream.collect()
    assert "One two three" == text_of(caught.value.partial)


# ---- leaving ------------------------------------------------------------------------------------


@every_way
async def test_leaving_at_event_k_stops_the_server_with_the_stream_still_referenced(way: Way) -> None:
    for k in (1, 2, 5):
        async with asking(way, script=leisurely) as (server, stream):
            seen = 0
            async with stream as run:
                async for event in run:
                    seen += isinstance(event, sk.TextDelta)
                    if seen == k:
                        sent = server.sent[0]
                        break
            await left(server)
            assert server.sent[0] - sent <= 10
            assert run is not None
            assert stream is not None


@every_way
async def test_a_cancel_in_the_middle_stops_the_server(way: Way) -> None:
    async with asking(way, script=leisurely) as (server, stream):
        with anyio.CancelScope() as scope:
            async for event in stream:
                if isinstance(event, sk.TextDelta) and not scope.cancel_called:
                    sent = server.sent[0]
                    scope.cancel()
        await left(server)
    assert scope.cancelled_caught
    assert server.sent[0] - sent <= 10
