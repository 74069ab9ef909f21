"""`http.Response` as an ASGI callable: NDJSON, text and bytes, and how the client learns how they ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from asgi_client import App, Client

import streamkit as sk
from streamkit.dialects.native import NativeDecoder
from streamkit.hub.hub import Hub
from streamkit.sinks import http, sse
from streamkit.sinks.resuming import HubResponse
from streamkit.testing import VirtualClock, assert_no_leaks, timed
from streamkit.wire.sse import Frame

pytestmark = pytest.mark.anyio

SECRET = "sk-SECRET /etc/passwd"
TRAILERS = {"te": "trailers"}


class Extended(Client):
    """A client behind a server that can send trailers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scope["extensions"] = {"http.response.trailers": {}}

    @property
    def trailers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[-1]["headers"]}

    @property
    def writes(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:] if message["type"] == "http.response.body"]

    async def call(self, app: App) -> Extended:
        await super().call(app)
        return self


def failing(*items: object, error: BaseException | None = None) -> sk.Stream[Any]:
    async def events() -> AsyncIterator[object]:
        for item in items:
            yield item
        raise error or ValueError(SECRET)

    return sk.stream(events)


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


# -- formats


async def test_ndjson_is_a_line_per_event_and_a_last_one_that_says_the_end() -> None:
    client = await Client().call(http.Response(["H\n", "i"], "ndjson"))
    assert ["open", "text-delta", "text-delta", "finish", "end"] == [line["type"] for line in lines(client.body)]
    assert "application/x-ndjson" == client.headers["content-type"]
    assert "no-cache, no-transform" in client.headers["cache-control"]
    assert client.complete


async def test_text_is_the_text_and_nothing_else() -> None:
    events = [sk.Start(model="m"), "Hi ", sk.ReasoningDelta("hm"), sk.TextDelta("wörld 😀"), sk.Finish("stop")]
    client = await Client().call(http.Response(events, "text"))
    assert "Hi wörld 😀" == client.body.decode()
    assert "text/plain; charset=utf-8" == client.headers["content-type"]
    assert client.complete


async def test_half_a_character_is_no_reason_to_stop_a_text() -> None:
    client = await Client().call(http.Response(["a\ud83d", "b"], "text"))
    assert ("a\ufffdb".encode(), True) == (client.body, client.complete)


async def test_bytes_are_what_the_items_hold() -> None:
    items = [b"\x00\xff", bytearray(b"ab"), memoryview(b"cd"), sk.DataDelta(b"\r\n", "audio/pcm"), sk.TextDelta("not this")]
    client = await Client().call(http.Response(items, "bytes", content_type="audio/pcm"))
    assert b"\x00\xffabcd\r\n" == client.body
    assert "audio/pcm" == client.headers["content-type"]


async def test_bytes_are_those_of_the_first_choice() -> None:
    events = [sk.DataDelta(b"a", "x/y"), sk.DataDelta(b"no", "x/y", choice=1), sk.DataDelta(b"b", "x/y")]
    assert b"ab" == (await Client().call(http.Response(events, "bytes"))).body


async def test_bytes_have_a_type_that_no_browser_shows_unless_one_is_told() -> None:
    client = await Client().call(http.Response([b"<script>"], "bytes"))
    assert "application/octet-stream" == client.headers["content-type"]


async def test_a_dialect_is_written_in_its_own_framing() -> None:
    client = await Client().call(http.Response(["Hi"], "openai-chat", model="m"))
    assert "[DONE]" == client.frames[-1].data
    assert "text/event-stream; charset=utf-8" == client.headers["content-type"]


async def test_a_head_request_gets_the_headers() -> None:
    client = await Client(method="HEAD").call(http.Response(["Hi"], "text"))
    assert (200, b"", True) == (client.status, client.body, client.complete)


# -- how it ended


async def test_a_failure_is_the_last_line_of_ndjson_and_says_nothing_of_its_text() -> None:
    client = await Client().call(http.Response(failing("a"), "ndjson"))
    last = lines(client.body)[-1]
    assert ("error", "error") == (last["type"], last["code"])
    assert last["correlation_id"]
    assert SECRET not in client.body.decode()
    assert client.complete


@pytest.mark.parametrize("format", ["text", "bytes"])
async def test_a_failure_leaves_a_body_unfinished_that_has_no_word_for_it(format: str) -> None:
    client = Client()
    with pytest.raises(sk.StreamInterrupted, match=r"unfinished.*code error, correlation id \w{16}") as raised:
        await client.call(http.Response(failing(b"a" if format == "bytes" else "a"), format))
    assert (b"a", False) == (client.body, client.complete)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "items",
    [["a", sk.ErrorEvent("overloaded", code="overloaded")], ["a", object()], ["a", b"bytes in a text"]],
    ids=["an error event", "an object", "bytes"],
)
async def test_an_item_that_ends_the_stream_breaks_a_text_too(items: list[object]) -> None:
    client = Client()
    with pytest.raises(sk.StreamInterrupted):
        await client.call(http.Response(items, "text"))
    assert (b"a", False) == (client.body, client.complete)


async def test_a_truncated_answer_breaks_a_text() -> None:
    client = Client()
    with pytest.raises(sk.StreamInterrupted, match="code truncated"):
        await client.call(http.Response(failing("a", error=sk.StreamTruncated("cut")), "text"))
    assert not client.complete


async def test_nothing_is_raised_to_the_server_when_the_client_left_a_failing_text() -> None:
    client = Client()

    async def events() -> AsyncIterator[str]:
        yield "a"
        client.leave()
        await anyio.sleep_forever()

    await client.call(http.Response(sk.stream(events), "text"))
    assert client.returned


async def test_a_failure_goes_into_trailers_for_who_asks_for_them() -> None:
    client = await Extended(headers=TRAILERS).call(http.Response(failing("a"), "text"))
    assert {"x-stream-end": "error", "x-stream-code": "error"}.items() <= client.trailers.items()
    assert 16 == len(client.trailers["x-stream-correlation-id"])
    assert client.headers["trailer"].startswith("x-stream-end")
    assert [True, False] == [message["more_body"] for message in client.messages if message["type"] == "http.response.body"]


async def test_a_whole_text_says_so_in_its_trailers() -> None:
    client = await Extended(headers=TRAILERS).call(http.Response(["a"], "text"))
    assert {"x-stream-end": "done"} == client.trailers


async def test_a_client_that_does_not_read_trailers_is_told_by_a_broken_body() -> None:
    client = Extended()
    with pytest.raises(sk.StreamInterrupted):
        await client.call(http.Response(failing("a"), "text"))
    assert "trailer" not in client.headers


async def test_a_stop_on_request_is_an_end_and_not_a_failure() -> None:
    client = await Extended(headers=TRAILERS).call(http.Response(["a", sk.Finish("cancelled")], "ndjson"))
    assert "cancelled" in client.body.decode()
    assert {"x-stream-end": "cancelled"} == client.trailers
    text = await Extended(headers=TRAILERS).call(http.Response(["a", sk.Finish("cancelled")], "text"))
    assert {"x-stream-end": "cancelled"} == text.trailers


async def test_a_refusal_has_a_length_and_no_trailers() -> None:
    client = await Extended(headers=TRAILERS).call(http.Response(failing(), "text"))
    assert 500 == client.status
    assert "http.response.body" == client.messages[-1]["type"]


# -- the same options as SSE


async def test_the_sign_of_life_of_ndjson_is_a_space_that_no_parser_of_json_minds(clock: VirtualClock) -> None:
    client = await Client().call(http.Response(timed("a", 25.0, "b"), "ndjson", heartbeat=10))
    assert [b" ", b" "] == [write for write in client.writes if not write.strip()]
    assert ["open", "text-delta", "text-delta", "finish", "end"] == [
        json.loads(line)["type"] for line in client.body.split(b"\n")[:-1]
    ]
    assert 25.0 == clock.now()


async def test_text_has_no_sign_of_life(clock: VirtualClock) -> None:
    client = await Client().call(http.Response(timed("a", 100.0, "b"), "text", heartbeat=10))
    assert [b"a", b"b", b""] == client.writes
    assert 100.0 == clock.now()


async def test_a_slow_client_gets_joined_pieces() -> None:
    whole = "".join(f"{n} " for n in range(1000))
    client = await Client().call(http.Response([f"{n} " for n in range(1000)], "text", coalesce=True))
    assert whole == client.body.decode()
    assert len(client.writes) < 100


async def test_the_source_is_closed_when_the_client_leaves() -> None:
    closed = []
    client = Client()

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            client.leave()
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async with assert_no_leaks():
        await client.call(http.Response(sk.stream(events), "ndjson"))
    assert [True] == closed


@pytest.mark.parametrize("option", [{"retry": 100}, {"pad": 64}])
@pytest.mark.parametrize("format", ["ndjson", "text", "bytes"])
async def test_what_only_sse_has_is_refused_at_the_call(format: str, option: dict[str, Any]) -> None:
    with pytest.raises(sk.ConfigError, match=next(iter(option))):
        http.Response([], format, **option)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"heartbeat": 0}, sk.ConfigError),
        ({"heartbeat": float("nan")}, sk.ConfigError),
        ({"heartbeat": True}, TypeError),
        ({"status": 204}, sk.ConfigError),
        ({"status": True}, sk.ConfigError),
        ({"compress": ["lzma"]}, sk.ConfigError),
        ({"compress": "gzip"}, TypeError),
        ({"compress": 1}, TypeError),
        ({"compres": True}, TypeError),
        ({"headers": {"a": "b\r\nc: d"}}, sk.ConfigError),
        ({"content_type": "text/plain\r\nset-cookie: a=b"}, sk.ConfigError),
    ],
)
async def test_an_option_that_cannot_work_is_refused_at_the_call(option: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        http.Response([], "text", **option)
    if "content_type" not in option:
        with pytest.raises(error):
            sse.Response([], **option)


async def test_an_unknown_format_is_refused_at_the_call() -> None:
    with pytest.raises(sk.ConfigError, match="yaml"):
        http.Response([], "yaml")


async def test_a_scope_that_is_no_http_is_refused() -> None:
    client = Client()
    client.scope["type"] = "websocket"
    with pytest.raises(sk.ConfigError, match=r"http\.Response answers HTTP"):
        await client.call(http.Response([], "text"))


# -- bad inputs


@pytest.mark.parametrize("format", ["ndjson", "native", "openai-chat"])
async def test_http_09_an_exception_behind_the_headers_is_told_without_its_text(
    format: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = await Client().call(http.Response(failing("a"), format))
    assert SECRET not in client.body.decode()
    assert "Traceback" not in client.body.decode()
    [record] = [record for record in caplog.records if record.name == "streamkit.sinks"]
    assert record.exc_info is not None
    assert record.getMessage().rpartition("correlation id ")[2].rstrip(")") in client.body.decode()


@pytest.mark.parametrize("format", ["ndjson", "text", "bytes", "native"])
@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError(SECRET), 500), (sk.RateLimitError(SECRET, retry_after=7), 429), (TimeoutError(SECRET), 500)],
    ids=["ValueError", "RateLimitError", "TimeoutError"],
)
async def test_http_10_an_exception_before_the_first_byte_is_a_real_status(format: str, error: Exception, status: int) -> None:
    client = await Client().call(http.Response(failing(error=error), format))
    assert status == client.status
    assert "application/json" == client.headers["content-type"]
    assert SECRET not in client.body.decode()
    assert ("7" if status == 429 else None) == client.headers.get("retry-after")


@pytest.mark.parametrize("format", ["ndjson", "text"])
@pytest.mark.parametrize(
    "error", [ExceptionGroup("g", [ValueError(SECRET)]), GeneratorExit(SECRET)], ids=["group", "GeneratorExit"]
)
async def test_http_11_what_generators_raise_by_mistake_is_a_failure_like_any_other(format: str, error: BaseException) -> None:
    client = Client()
    closed = []

    class Odd:
        """A source whose `__anext__` raises the error itself."""

        async def __anext__(self) -> str:
            raise error

        def __aiter__(self) -> Odd:
            return self

        async def aclose(self) -> None:
            closed.append(True)

    outcome: BaseException | None = None
    try:
        await client.call(http.Response(sk.stream(Odd()), format))
    except BaseException as raised:
        outcome = raised
    if isinstance(error, Exception):
        assert (None, 500) == (outcome, client.status)
    else:
        assert isinstance(outcome, GeneratorExit)  # not ours to swallow
        assert not client.complete
    assert [True] == closed
    assert SECRET.encode() not in client.body if client.messages else True


@pytest.mark.parametrize("format", ["ndjson", "text"])
async def test_http_11_an_interrupt_goes_through_and_the_source_is_closed(format: str) -> None:
    closed = []

    class Interrupted:
        async def __anext__(self) -> str:
            raise _Interrupt

        def __aiter__(self) -> Interrupted:
            return self

        async def aclose(self) -> None:
            closed.append(True)

    with pytest.raises(_Interrupt):
        await Client().call(http.Response(sk.stream(Interrupted()), format))
    assert [True] == closed


class _Interrupt(BaseException):
    """Stands for KeyboardInterrupt, which event loops treat by rules of their own."""


@pytest.mark.parametrize("name", ["x-name\r\nset-cookie", "x name", "", "x-näme"])
async def test_http_12_a_header_name_that_is_none_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(sk.ConfigError):
        http.Response([], "text", headers={name: "value"})


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b=c", "a\nb", "a\rb", "a\x00b"])
async def test_http_12_a_header_value_cannot_begin_another_header(value: str) -> None:
    for options in ({"headers": {"content-disposition": f"attachment; filename={value}"}}, {"content_type": value}):
        with pytest.raises(sk.ConfigError):
            http.Response([], "bytes", **options)


# -- of a hub


async def test_a_failure_of_a_hubs_stream_breaks_a_text_too() -> None:
    async with Hub() as hub:
        await hub.start("x", failing("a"))
        client = Client()
        with pytest.raises(sk.StreamInterrupted, match="code error"):
            await client.call(HubResponse(hub, "x", "text"))
        assert (b"a", False) == (client.body, client.complete)


async def test_a_whole_text_of_a_hub_is_finished() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a", "b"])
        client = await Client().call(HubResponse(hub, "x", "text"))
        assert (b"ab", True) == (client.body, client.complete)


async def test_our_own_reader_reads_ndjson_with_signs_of_life_in_it(clock: VirtualClock) -> None:
    client = await Client().call(http.Response(timed(20.0, "a", 25.0, "b", 12.0), "ndjson", heartbeat=10))
    assert b" " == client.writes[0]
    decoder = NativeDecoder()
    events = decoder.decode_many([Frame("message", line) for line in client.body.decode().split("\n")[:-1]]) + decoder.finish()
    assert [sk.TextDelta("a"), sk.TextDelta("b"), sk.Finish("stop")] == events
    assert 57.0 == clock.now()
