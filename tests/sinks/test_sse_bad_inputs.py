"""What text and names can do on the wire of an event stream, and what the grammar makes of the bytes: SSE-01 to 14, HTTP-19.

Each goes through a real server. The encoder's own refusals are tested in `tests/wire/test_sse_encoder.py`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from served import served

import streamkit as sk
from streamkit.dialects.own_frames import frame, mapping
from streamkit.dialects.protocol import OutFrame
from streamkit.errors import LocalProtocolError
from streamkit.hub.hub import Hub
from streamkit.sinks import http, sse
from streamkit.sinks.resuming import HubResponse
from streamkit.wire.sse import Decoder, Frame

TEXT = 'data: x\n\nevent: done\r\n\r\nid: 7\r: c\n \ufeff\u2028\u2029\x85\x0b\x0c[DONE]<img src=x onerror=alert(1)>"\\\x00'
TOKENS = ("yes", "no, not at all", " ", "x" * 100)
hub = Hub()


async def tokens() -> AsyncIterator[str]:
    for token in TOKENS:
        await asyncio.sleep(0)
        yield token


def named(name: str) -> Any:
    return mapping(lambda event: frame("x", event=name) if isinstance(event, sk.TextDelta) else None)


RESPONSES: dict[str, Any] = {
    "lf-in-event": lambda: sse.Response(["a"], named("msg\ndata: INJ")),
    "cr-in-event": lambda: sse.Response(["a"], named("msg\rdata: INJ")),
    "crlf-in-event": lambda: sse.Response(["a"], named("1\r\nevent: admin")),
    "nul-in-event": lambda: sse.Response(["a"], named("1\x00")),
    "lines-in-frame": lambda: sse.Response(["a"], mapping(lambda event: OutFrame(b"x\n\ndata: INJ"))),
    "name-of-tool": lambda: sse.Response([sk.ToolCall("1\ndata: INJ", "f\n\ndata: INJ", "{}")], "anthropic"),
    "custom": lambda: sse.Response([sk.Custom("x\n\ndata: INJ", TEXT)]),
    "half": lambda: sse.Response(["a\ud83d", "\ude00b"], "openai-chat"),
    "empty": lambda: sse.Response(["x"], mapping(lambda event: [frame(""), frame("", event=""), frame("", event="kind")])),
    "large": lambda: sse.Response(["x" * 10_485_760]),
    "failing": lambda: sse.Response([sk.Custom("x", object())]),
    "markup": lambda: sse.Response(["<img src=x onerror=alert(1)>"], "message-text"),
    "padded": lambda: sse.Response(tokens, pad=256),
    "padded-flushes": lambda: sse.Response(["Hi"], "sse-text", pad=64),
    "http-text": lambda: http.Response(["Hi"], "text"),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    _, name, *rest = scope["path"].split("/")
    if name == "text":
        await sse.Response([TEXT, " x", "\ufeffx"], rest[0])(scope, receive, send)
    elif name == "hub":
        id = "a"
        await hub.start(id, ["one", "two\nlines"], if_exists="replace")
        await HubResponse(hub, id, "sse-text")(scope, receive, send)
    else:
        await RESPONSES[name]()(scope, receive, send)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(app) as url:
        yield url


def got(url: str, path: str) -> httpx.Response:
    answer = httpx.get(f"{url}/{path}", timeout=60, trust_env=False)
    assert 200 == answer.status_code
    return answer


def frames(body: bytes) -> list[Frame]:
    return Decoder(max_event_bytes=1 << 24).feed(body)


@pytest.mark.parametrize(
    "path",
    ["lf-in-event", "cr-in-event", "crlf-in-event", "nul-in-event", "lines-in-frame"],
    ids=["SSE-01", "SSE-02", "SSE-03", "SSE-06", "SSE-04"],
)
def test_sse_01_02_03_06_a_name_that_would_begin_another_field_never_reaches_the_wire(url: str, path: str) -> None:
    answer = httpx.get(f"{url}/{path}", trust_env=False, timeout=60)
    # Nothing had been sent: an early failure has a status.
    assert 500 == answer.status_code
    assert b"INJ" not in answer.content
    assert b"admin" not in answer.content
    assert "error" == answer.json()["error"]["code"]


def test_sse_02_03_ids_that_others_chose_stay_inside_their_json(url: str) -> None:
    for path in ("name-of-tool", "custom"):
        body = got(url, path).content
        assert not [line for line in body.split(b"\n") if line.startswith(b"data: INJ")]
        assert all(isinstance(json.loads(frame.data), dict) for frame in frames(body))


DIALECTS = [
    "native",
    "openai-chat",
    "anthropic",
    "openai-responses",
    "ag-ui",
    "ai-sdk",
    "token-text",
    "message-content",
    "sse-text",
    "htmx",
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sse_04_08_10_14_no_text_begins_a_field_a_frame_or_an_end(url: str, dialect: str) -> None:
    body = got(url, f"text/{dialect}").content
    own = b"".join(line for line in body.splitlines(keepends=True) if not line.startswith((b"data: ", b"event: ")))
    assert set(own) <= {10}  # beside data and the dialect's own events there are empty lines alone
    assert b"\r" not in body
    read = frames(body)
    assert not {frame.type for frame in read} & {"admin"}
    assert {""} == {frame.id for frame in read}
    if dialect == "sse-text":
        assert "[DONE]" == read[-1].data
        lf = TEXT.replace("\r\n", "\n").replace("\r", "\n")
        assert f"{lf} x\ufeffx" == "".join(frame.data for frame in read[:-1])


@pytest.mark.parametrize("dialect", ["native", "token-text", "message-content"])
def test_sse_08_10_text_comes_back_exactly(url: str, dialect: str) -> None:
    field = {"native": "text", "token-text": "text", "message-content": "content"}[dialect]
    said = [json.loads(frame.data) for frame in frames(got(url, f"text/{dialect}").content)]
    assert f"{TEXT} x\ufeffx" == "".join(event.get(field, "") for event in said)


def test_sse_05_07_heartbeats_and_retry_are_checked_where_they_are_set(url: str) -> None:
    for retry in (-5, 1.5, "1\n", 10**12, True):
        with pytest.raises(LocalProtocolError, match="retry"):
            sse.Response(["a"], retry=retry)  # type: ignore[arg-type]  # that is the point


def test_sse_09_half_a_character_is_replaced_and_the_answer_goes_on(url: str) -> None:
    body = got(url, "half").content
    deltas = [json.loads(frame.data)["choices"][0]["delta"].get("content", "") for frame in frames(body)[:-1]]
    assert "a\ufffd\ufffdb" == "".join(deltas)
    assert body.endswith(b"data: [DONE]\n\n")


def test_sse_11_empty_data_is_a_message_and_an_empty_name_is_the_default(url: str) -> None:
    assert [("message", ""), ("message", ""), ("kind", "")] == [
        (frame.type, frame.data) for frame in frames(got(url, "empty").content)
    ][:3]


def test_sse_12_a_token_of_10_MiB_goes_out_whole_and_a_bounded_reader_says_so(url: str) -> None:
    body = got(url, "large").content
    assert 10_485_760 == len(json.loads(frames(body)[1].data)["text"])
    reader = Decoder()
    reader.feed(body)
    assert "max_event_bytes" in str(reader.error)


def test_sse_13_markup_is_not_touched_in_json(url: str) -> None:
    assert "<img src=x onerror=alert(1)>" == json.loads(frames(got(url, "markup").content)[0].data)["text"]


def test_an_item_that_no_json_can_say_is_an_error_without_its_text(url: str) -> None:
    answer = httpx.get(f"{url}/failing", trust_env=False, timeout=60)
    assert 500 == answer.status_code
    assert b"object" not in answer.content


def test_lines_of_a_hubs_stream_have_the_id_on_the_events_last_frame(url: str) -> None:
    read = frames(got(url, "hub").content)
    assert ["one", "two\nlines", "[DONE]"] == [frame.data for frame in read]
    assert 3 == len({frame.id for frame in read})
    assert all(frame.id for frame in read)


def test_padding_makes_writes_of_one_size(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /padded HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    rest = answer.split(b"\r\n\r\n", 1)[1]
    writes: list[bytes] = []
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        writes.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert {0} == {len(write) % 256 for write in writes}
    # One for each token, however short or long; the first has the opening too, the last the end.
    assert [256] * (len(TOKENS) - 1) == [len(write) for write in writes[1:-1]]
    assert "".join(TOKENS) == "".join(json.loads(frame.data).get("text", "") for frame in frames(b"".join(writes)))


def test_padded_and_plain_read_the_same_to_clients_that_know_comments(url: str) -> None:
    read = frames(got(url, "padded-flushes").content)
    assert ["Hi", "[DONE]"] == [frame.data for frame in read]


@pytest.mark.parametrize("path", ["markup", "hub", "http-text", "padded"])
def test_http_19_no_cache_keeps_a_stream(url: str, path: str) -> None:
    answer = got(url, path)
    directives = {word.strip() for word in answer.headers["cache-control"].split(",")}
    assert {"no-store", "private", "no-cache", "no-transform"} == directives
    assert "no" == answer.headers["x-accel-buffering"]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\x00b", "…"])
def test_http_12_a_header_of_a_users_value_is_refused_before_anything_is_sent(value: str) -> None:
    for headers in ({"x-name": value}, {value: "x"}):
        with pytest.raises(sk.ConfigError):
            sse.Response(["a"], headers=headers)
        with pytest.raises(sk.ConfigError):
            http.Response(["a"], "text", headers=headers)
