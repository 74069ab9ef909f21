"""`sse.Response` as an ASGI callable: what it sends, when, and how it ends. Without sockets and without real time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from asgi_client import Client, frames_of

import streamkit as sk
from streamkit.dialects import Dialect, Outcome, OutFrame
from streamkit.dialects.native import NativeEncoder
from streamkit.dialects.own_frames import mapping
from streamkit.flow.tasks import current_backend
from streamkit.sinks import sse
from streamkit.testing import VirtualClock, assert_no_leaks, timed

pytestmark = pytest.mark.anyio


class Source:
    """A generator that tells how it was left."""

    def __init__(self, *items: object, then: Callable[[], Any] | None = None) -> None:
        self.items = items
        self.then = then
        self.given = 0
        self.closed = 0
        self.cleaned_up = False

    async def events(self) -> AsyncIterator[object]:
        try:
            for item in self.items:
                self.given += 1
                yield item
            if self.then is not None:
                await self.then()
        finally:
            self.closed += 1
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.cleaned_up = True


async def endlessly() -> None:
    await anyio.sleep_forever()


def failing(error: Exception, *items: object) -> sk.Stream[Any]:
    async def events() -> AsyncIterator[object]:
        for item in items:
            yield item
        raise error

    return sk.stream(events())


# ---- a stream that goes well


async def test_an_answer_has_the_headers_that_proxies_and_browsers_need() -> None:
    async with assert_no_leaks():
        client = await Client().call(sse.Response(sk.stream(["a"])))
    assert 200 == client.status
    assert {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform, no-store, private",
        "x-accel-buffering": "no",
    } == client.headers
    assert client.complete


async def test_strings_are_streamed_and_a_plain_end_is_closed_with_finish_and_end() -> None:
    client = await Client().call(sse.Response(sk.stream(["Hel", "lo\n\u2028"])))
    assert "Hello\n\u2028" == client.text
    assert [{"type": "finish"}, {"type": "end"}] == client.values[-2:]


async def test_each_item_of_a_generator_is_one_write() -> None:
    source = Source("a", "b", "c")
    client = await Client().call(sse.Response(sk.stream(source.events())))
    assert ["open text-delta", "text-delta", "text-delta", "finish end"] == [
        " ".join(json.loads(frame.data)["type"] for frame in frames_of(write)) for write in client.writes
    ]
    assert source.cleaned_up


async def test_what_is_ready_together_goes_out_in_one_write() -> None:
    client = await Client().call(sse.Response(sk.stream(["a", "b", "c"])))
    assert [4, 2] == [len(frames_of(write)) for write in client.writes]


async def test_coalesce_joins_what_became_ready_while_the_client_was_slow() -> None:
    sender, source = sk.channel(16)
    for token in "abcd":
        sender.push(token)
    sender.close()
    client = await Client().call(sse.Response(source, coalesce=True))
    assert "abcd" == client.text
    assert 1 == sum(value["type"] == "text-delta" for value in client.values)


async def test_an_empty_stream_is_an_answer_that_ends() -> None:
    client = await Client().call(sse.Response(sk.stream([])))
    assert (200, ["open", "finish", "end"]) == (client.status, [value["type"] for value in client.values])


async def test_events_that_the_dialect_has_no_word_for_cost_no_write() -> None:
    client = await Client().call(sse.Response(sk.stream(Source("a", sk.Custom("x"), sk.Usage(1, 1), "b").events()), "openai-chat"))
    assert 3 == len(client.writes)
    assert all(client.writes)


async def test_a_stream_given_as_a_callable_answers_any_number_of_requests() -> None:
    response = sse.Response(sk.stream(lambda: ["a"]))
    first, second = await Client().call(response), await Client().call(response)
    assert "a" == first.text == second.text


async def test_a_stream_that_can_be_read_once_answers_the_second_request_with_a_500() -> None:
    response = sse.Response(sk.stream(Source("a").events()))
    assert 200 == (await Client().call(response)).status
    assert 500 == (await Client().call(response)).status


async def test_the_openai_dialect_names_the_model_it_was_told() -> None:
    client = await Client().call(sse.Response(["a"], "openai-chat", id="chat-1", model="m-1"))
    assert {("chat-1", "m-1")} == {(value["id"], value["model"]) for value in client.values}
    assert client.values[0]["created"] > 1_700_000_000
    assert "[DONE]" == client.frames[-1].data


# ---- ends that are no success

FAILURES: list[tuple[Exception, str, bool]] = [
    (ValueError("secret"), "error", False),
    (sk.StreamTruncated("secret"), "truncated", True),
    (sk.StreamDraining("secret"), "draining", True),
    (sk.StreamInterrupted("secret"), "interrupted", True),
    (sk.StreamTimeout("secret", phase="idle", seconds=1), "timeout", True),
    (sk.OverloadedError("secret"), "overloaded", True),
]


@pytest.mark.parametrize(("error", "code", "retryable"), FAILURES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("dialect", ["native", "openai-chat"])
async def test_a_failure_in_the_middle_ends_in_an_error_frame_that_tells_no_secret(
    error: Exception, code: str, retryable: bool, dialect: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "streamkit.sinks"):
        async with assert_no_leaks():
            client = await Client().call(sse.Response(failing(error, "kept"), dialect))
    assert b"kept" in client.body
    last = json.loads(client.frames[-1].data)
    told = last.get("error", last)
    assert (code, retryable) == (told["code"], told.get("retryable", False))
    assert b"secret" not in client.body
    assert client.complete
    # The operator finds the exception by what the client can quote.
    assert told["correlation_id"] in caplog.text
    assert "secret" in caplog.text


async def test_a_stream_stopped_on_request_ends_well_and_says_so() -> None:
    client = await Client().call(sse.Response(sk.stream(["kept", sk.Finish("cancelled")])))
    assert [{"type": "finish", "reason": "cancelled"}, {"type": "end"}] == client.values[-2:]


async def test_an_error_event_in_the_stream_is_its_end_and_closes_the_source() -> None:
    source = Source("kept", sk.ErrorEvent("Sorry.", code="overloaded", retryable=True), "never", then=endlessly)
    client = await Client().call(sse.Response(sk.stream(source.events())))
    assert "kept" == client.text
    last = client.values[-1]
    assert ("error", "Sorry.", "overloaded") == (last["type"], last["message"], last["code"])
    assert last["correlation_id"]
    assert source.cleaned_up


async def test_an_item_that_cannot_be_written_ends_the_stream_behind_what_could() -> None:
    source = Source("kept", {"no": "event"}, then=endlessly)
    client = await Client().call(sse.Response(sk.stream(source.events())))
    assert ("kept", "error") == (client.text, client.values[-1]["type"])
    assert source.cleaned_up


async def test_an_encoder_that_fails_at_the_end_is_told_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Encoder(NativeEncoder):
        def close(self, outcome: Outcome) -> list[OutFrame]:
            if not outcome.failed:
                raise sk.LocalProtocolError("what was held back cannot be written")
            return super().close(outcome)

    client = await Client().call(sse.Response(["kept"], Dialect("holding", "sse", encoder=Encoder)))
    assert ("kept", "error", True) == (client.text, client.values[-1]["type"], client.complete)
    assert client.values[-1]["correlation_id"] in caplog.text


async def test_a_failing_clean_up_is_told_as_a_failure() -> None:
    async def events() -> AsyncIterator[str]:
        try:
            yield "kept"
        finally:
            raise ValueError("secret")

    client = await Client().call(sse.Response(sk.stream(events())))
    assert ("kept", "error") == (client.text, client.values[-1]["code"])


# ---- failures before the first byte


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (sk.RateLimitError("secret", retry_after=2.2), 429, "rate-limited", "3"),
        (sk.RateLimitError("secret"), 429, "rate-limited", None),
        (sk.OverloadedError("secret", retry_after=7), 503, "overloaded", "7"),
        (sk.AuthError("secret"), 502, "auth", None),
        (sk.BadRequestError("secret"), 400, "bad-request", None),
        (sk.ContentBlockedError("secret"), 422, "content-blocked", None),
        (sk.SourceError("secret"), 502, "error", None),
        (sk.StreamTruncated("secret"), 502, "truncated", None),
        (sk.RemoteProtocolError("secret"), 502, "protocol", None),
        (sk.StreamInterrupted("secret"), 502, "interrupted", None),
        (sk.StreamDraining("secret"), 503, "draining", None),
        (sk.StreamTimeout("secret", phase="first", seconds=1), 504, "timeout", None),
        (sk.BufferFull("secret", size=1), 503, "buffer-full", None),
        (ValueError("secret"), 500, "error", None),
    ],
)
async def test_a_failure_before_the_first_item_is_a_real_status(
    error: Exception, status: int, code: str, retry_after: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with assert_no_leaks():
        client = await Client().call(sse.Response(failing(error)))
    assert status == client.status
    assert "application/json" == client.headers["content-type"]
    assert str(len(client.body)) == client.headers["content-length"]
    assert retry_after == client.headers.get("retry-after")
    told = json.loads(client.body)["error"]
    assert code == told["code"]
    assert told["correlation_id"] in caplog.text
    assert b"secret" not in client.body
    assert client.complete


async def test_an_error_event_as_the_first_item_is_a_real_status() -> None:
    client = await Client().call(sse.Response(sk.stream([sk.ErrorEvent("Slow down.", code="rate-limited", retry_after=1)])))
    assert (429, "1", "Slow down.") == (client.status, client.headers["retry-after"], json.loads(client.body)["error"]["message"])


async def test_a_first_item_that_cannot_be_written_is_a_500() -> None:
    client = await Client().call(sse.Response(sk.stream([{"no": "event"}])))
    assert 500 == client.status


async def test_failures_that_somebody_else_answers_are_raised_before_the_first_byte_and_only_then() -> None:
    early, late = Client(), Client()
    with pytest.raises(LookupError):
        await early.call(sse.Response(failing(LookupError()), lets_through=(LookupError,)))
    assert [] == early.messages
    await late.call(sse.Response(failing(LookupError(), "kept"), lets_through=(LookupError,)))
    assert "error" == late.values[-1]["type"]


# ---- heartbeats


async def test_a_heartbeat_is_one_comment_line_while_the_source_is_silent(clock: VirtualClock) -> None:
    async with assert_no_leaks():
        client = await Client().call(sse.Response(timed("a", 40.0, "b"), heartbeat=15.0))
    assert [b": hb\n", b": hb\n"] == client.writes[1:3]
    assert ("ab", 5) == (client.text, len(client.writes))
    assert (40.0, 0) == (clock.now(), clock.pending)


async def test_no_heartbeat_is_sent_while_items_flow(clock: VirtualClock) -> None:
    script = [step for _ in range(20) for step in ("a", 10.0)]
    client = await Client().call(sse.Response(timed(*script), heartbeat=15.0))
    assert b": hb" not in client.body
    assert 200.0 == clock.now()


async def test_the_silence_is_counted_from_the_last_write(clock: VirtualClock) -> None:
    beats: list[float] = []
    client = Client(on_send=lambda number: beats.append(clock.now()))
    await client.call(sse.Response(timed("a", 10.0, "b", 31.0), heartbeat=15.0))
    # Headers, a, b, beats 15 and 30 seconds after b, the end.
    assert [0.0, 0.0, 10.0, 25.0, 40.0, 41.0] == beats


async def test_headers_wait_for_the_first_item_but_not_longer_than_a_heartbeat(clock: VirtualClock) -> None:
    sent: list[float] = []
    client = Client(on_send=lambda number: sent.append(clock.now()))
    await client.call(sse.Response(timed(20.0, "late"), heartbeat=15.0, retry=1000))
    assert [15.0, 15.0, 20.0, 20.0] == sent
    assert b": hb\n" == client.writes[0]
    assert client.writes[1].startswith(b"retry: 1000\ndata: ")
    assert "late" == client.text


async def test_a_failure_after_the_first_heartbeat_is_an_error_frame(clock: VirtualClock) -> None:
    client = await Client().call(sse.Response(timed(20.0, sk.OverloadedError("x")), heartbeat=15.0))
    assert (200, "overloaded") == (client.status, client.values[-1]["code"])


async def test_without_heartbeat_headers_wait_and_nothing_is_sent_in_silence(clock: VirtualClock) -> None:
    client = await Client().call(sse.Response(timed(100.0, sk.OverloadedError("x")), heartbeat=None))
    assert (503, 100.0) == (client.status, clock.now())


async def test_a_slow_client_gets_no_heartbeats_on_top(clock: VirtualClock) -> None:
    client = Client(reads=2)
    response = sse.Response(timed("a", 1.0, "b", 100.0, "c"), heartbeat=15.0)
    async with anyio.create_task_group() as group:
        group.start_soon(client.call, response)
        await clock.sleep(200)
        assert 2 == len(client.messages)
        client.leave()
    assert client.returned
    assert b": hb" not in client.body


# ---- the client leaves


async def leave_when(client: Client, response: sse.Response, ready: Callable[[], object]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(client.call, response)
        while not ready():
            await anyio.lowlevel.checkpoint()
        client.leave()
    assert client.returned


async def test_leaving_while_the_source_is_silent_closes_it_in_order() -> None:
    source, client = Source("a", then=endlessly), Client()
    async with assert_no_leaks():
        await leave_when(client, sse.Response(sk.stream(source.events())), lambda: client.text if len(client.messages) > 1 else "")
    assert (1, True, False) == (source.closed, source.cleaned_up, client.complete)


async def test_leaving_before_the_first_item_closes_the_source() -> None:
    source, client, waits = Source(then=endlessly), Client(), anyio.Event()

    async def wait() -> None:
        waits.set()
        await endlessly()

    source.then = wait
    async with assert_no_leaks():
        await leave_when(client, sse.Response(sk.stream(source.events())), waits.is_set)
    assert (1, True, []) == (source.closed, source.cleaned_up, client.messages)


async def test_leaving_while_the_server_cannot_send_closes_the_source() -> None:
    source, client = Source("a", "b", "c", "d", then=endlessly), Client(reads=3)
    async with assert_no_leaks(), anyio.create_task_group() as group:
        group.start_soon(client.call, sse.Response(sk.stream(source.events())))
        await client.until_blocked()
        # Who does not read is not read for: the source was asked for nothing more.
        assert 3 == source.given
        client.leave()
    assert (True, True) == (client.returned, source.cleaned_up)


async def test_leaving_closes_a_source_behind_a_buffer() -> None:
    source, client = Source("a", then=endlessly), Client()
    async with assert_no_leaks():
        await leave_when(client, sse.Response(sk.stream(source.events()) | sk.buffer(8)), lambda: len(client.messages) > 1)
    assert (1, True) == (source.closed, source.cleaned_up)


async def test_a_client_that_leaves_while_the_source_is_being_closed_does_not_cut_that_short() -> None:
    closing, closed, client = anyio.Event(), anyio.Event(), Client()

    class Manager:
        async def __aenter__(self) -> AsyncIterator[object]:
            return Source("a").events()

        async def __aexit__(self, *_: object) -> None:
            closing.set()
            for _turn in range(20):
                await anyio.lowlevel.checkpoint()
            closed.set()

    async with assert_no_leaks():
        await leave_when(client, sse.Response(sk.stream(Manager())), closing.is_set)
    assert closed.is_set()


@pytest.mark.parametrize("step", range(1, 9))
async def test_leaving_at_any_step_closes_the_source_once(step: int) -> None:
    source = Source(*"abcdef")
    client = Client(on_send=lambda number: client.leave() if number == step else None)
    async with assert_no_leaks():
        await client.call(sse.Response(sk.stream(source.events())))
    assert (1, True) == (source.closed, source.cleaned_up)
    assert step - 1 == len(client.messages)


async def test_a_source_that_swallows_the_cancel_is_left_at_its_next_item() -> None:
    stubborn = anyio.Event()

    async def events() -> AsyncIterator[str]:
        yield "a"
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            stubborn.set()
        yield "b"
        raise AssertionError("asked for more after the client had left")

    client = Client()
    async with assert_no_leaks():
        await leave_when(client, sse.Response(sk.stream(events())), lambda: len(client.messages) > 1)
    assert stubborn.is_set()
    assert "a" == client.text


async def test_a_source_that_swallows_the_cancel_and_waits_again_is_cancelled_again(
    clock: VirtualClock, anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    swallowed: list[float] = []

    async def events() -> AsyncIterator[str]:
        yield "a"
        for _ in range(3):
            try:
                await clock.sleep(3600)
            except anyio.get_cancelled_exc_class():
                swallowed.append(clock.now())

    client = Client(on_send=lambda number: clock.call_at(1.0, client.leave) if number == 2 else None)
    async with assert_no_leaks():
        await client.call(sse.Response(sk.stream(events()).close_within(4.0)))
    # A cancelled scope of trio's cancels at every wait.
    assert ([1.0, 1.0, 1.0] if anyio_backend_name == "trio" else [1.0, 5.0, 9.0]) == swallowed
    assert (anyio_backend_name != "trio") == ("cancelled again" in caplog.text)
    assert (False, 0) == (client.complete, clock.pending)


async def test_a_source_that_fails_after_the_client_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            await anyio.sleep_forever()
        finally:
            raise ValueError("in its clean-up")

    client = Client()
    await leave_when(client, sse.Response(sk.stream(events())), lambda: len(client.messages) > 1)
    assert "in its clean-up" in caplog.text


async def test_a_server_that_tells_by_an_os_error_in_send_is_understood() -> None:
    def lost(number: int) -> None:
        if number == 3:
            raise ConnectionResetError

    source, client = Source("a", "b", "c", then=endlessly), Client(on_send=lost)
    async with assert_no_leaks():
        await client.call(sse.Response(sk.stream(source.events())))
    assert (2, True) == (source.given, source.cleaned_up)


async def test_a_failure_of_the_server_in_send_is_raised_to_it_with_the_source_closed() -> None:
    def broken(number: int) -> None:
        if number == 3:
            raise RuntimeError("the server's own")

    source, client = Source("a", "b", "c", then=endlessly), Client(on_send=broken)
    async with assert_no_leaks():
        with pytest.raises(RuntimeError, match="the server's own"):
            await client.call(sse.Response(sk.stream(source.events())))
    assert (2, True) == (source.given, source.cleaned_up)


# ---- the request is cancelled


async def test_a_cancelled_request_closes_the_source_and_lets_the_cancel_through() -> None:
    source, client = Source("a", then=endlessly), Client()
    async with assert_no_leaks(), anyio.create_task_group() as group:
        group.start_soon(client.call, sse.Response(sk.stream(source.events())))
        while len(client.messages) < 2:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert (1, True) == (source.closed, source.cleaned_up)
    assert not client.returned


# Not on trio: there a cancellation belongs to a scope and cannot leak out of another task.
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": uvloop}) for uvloop in (False, True)])
async def test_a_cancel_that_leaked_out_of_another_task_is_a_failure_of_the_source() -> None:
    async def events() -> AsyncIterator[str]:
        yield "a"
        worker = asyncio.create_task(asyncio.sleep(60))
        worker.cancel()
        await worker

    client = await Client().call(sse.Response(sk.stream(events())))
    assert ("a", "interrupted") == (client.text, client.values[-1]["code"])


# ---- servers and stand-ins of servers


async def test_a_receive_that_gives_the_body_for_ever_is_no_hindrance() -> None:
    messages: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)
        await anyio.lowlevel.checkpoint()

    async with assert_no_leaks():
        await sse.Response(Source(*"abc").events())({"type": "http", "method": "POST"}, receive, send)
    assert messages[-1]["more_body"] is False


async def test_a_receive_that_fails_is_logged_and_the_answer_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    messages: list[Any] = []

    async def receive() -> dict[str, object]:
        raise LookupError("no such thing")

    async def send(message: Any) -> None:
        messages.append(message)
        await anyio.lowlevel.checkpoint()

    async with assert_no_leaks():
        await sse.Response(Source(*"abc").events())({"type": "http", "method": "POST"}, receive, send)
    assert messages[-1]["more_body"] is False
    assert "receive() failed" in caplog.text


async def test_a_head_request_gets_the_headers_and_does_not_start_the_source() -> None:
    source = Source("a")
    async with assert_no_leaks():
        client = await Client(method="HEAD").call(sse.Response(sk.stream(source.events()), "openai-chat"))
    assert (200, "text/event-stream; charset=utf-8", b"") == (client.status, client.headers["content-type"], client.body)
    assert (0, True) == (source.given, client.complete)


async def test_who_asks_what_may_be_asked_does_not_start_the_source() -> None:
    source = Source("a")
    async with assert_no_leaks():
        client = await Client(method="OPTIONS").call(sse.Response(sk.stream(source.events())))
    assert (204, "GET, HEAD, OPTIONS, POST", b"") == (client.status, client.headers["allow"], client.body)
    assert (0, True) == (source.given, client.complete)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_a_middleware_adds_to_the_headers_of_one_answer_is_not_on_the_next(method: str) -> None:
    app = sse.Response(lambda: ["Hi"])

    async def marking(scope: Any, receive: Any, send: Any) -> None:
        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start" and (b"x-mark", b"1") in scope["headers"]:
                message["headers"].append((b"content-encoding", b"gzip"))
            await send(message)

        await app(scope, receive, send_marked)

    marked = await Client(method=method, headers={"x-mark": "1"}).call(marking)
    assert "gzip" == marked.headers["content-encoding"]
    assert "content-encoding" not in (await Client(method=method).call(marking)).headers


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_a_scope_that_is_no_request_is_refused_by_name(kind: str) -> None:
    client = Client()
    client.scope["type"] = kind
    with pytest.raises(sk.ConfigError, match=kind):
        await client.call(sse.Response(["a"]))
    assert [] == client.messages


# ---- arguments


async def test_a_users_header_replaces_ours_of_the_same_name() -> None:
    client = await Client().call(sse.Response(["a"], headers={"Cache-Control": "no-store", "X-Run": "7"}, status=201))
    assert (201, "no-store", "7") == (client.status, client.headers["cache-control"], client.headers["x-run"])
    assert 4 == len(client.messages[0]["headers"])


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nset-cookie: b"},
        {"x": "a\nb"},
        {"x": "a\0b"},
        {"x\r\ny": "a"},
        {"": "a"},
        {"x y": "a"},
        {"x": "\u20ac"},
        {"Connection": "keep-alive"},
        {"Transfer-Encoding": "chunked"},
        [("content-length", "3")],
    ],
)
async def test_headers_that_would_break_the_response_are_refused_at_the_call(headers: Any) -> None:
    with pytest.raises(sk.ConfigError):
        sse.Response(["a"], headers=headers)


async def test_arguments_that_cannot_work_are_refused_at_the_call() -> None:
    wrongs: list[dict[str, Any]] = [{"status": 204}, {"status": 99}, {"heartbeat": 0}, {"heartbeat": -1.0}, {"dialect": "nonsense"}]
    for wrong in wrongs:
        with pytest.raises(sk.ConfigError):
            sse.Response(["a"], **wrong)
    untyped: list[dict[str, Any]] = [
        {"hearbeat": 1.0},
        {"id": 7},
        {"model": 7},
        {"coalesce": "yes"},
        {"lets_through": ValueError},
        {"lets_through": [ValueError]},
        {"lets_through": (int,)},
        {"headers": {"x": 3}},
        {"headers": {b"x": b"y"}},
        {"headers": ["x-y"]},
    ]
    for wrong in untyped:
        with pytest.raises(TypeError, match=next(iter(wrong)).rstrip("s")):
            sse.Response(["a"], **wrong)
    with pytest.raises(sk.LocalProtocolError):
        sse.Response(["a"], retry=-1)
    with pytest.raises(TypeError):
        sse.Response("text is no stream")


async def test_a_response_that_never_waits_is_over_before_anybody_watches_its_client() -> None:
    asked: list[int] = []
    sent: list[Any] = []

    async def receive() -> Any:
        asked.append(len(sent))
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    await sse.Response(["a", "b"])({"type": "http", "method": "GET"}, receive, send)
    assert b"".join(message.get("body", b"") for message in sent).endswith(b'{"type":"end"}\n\n')
    # Trio has no callback that could be taken back.
    assert len(asked) <= (1 if current_backend().name == "trio" else 0)


@pytest.mark.parametrize(
    "end", [sk.ErrorEvent("half \ud83d"), sk.ErrorEvent("no", code="x\ud83d\n"), sk.ErrorEvent("no", retry_after=-1.0)]
)
async def test_whatever_an_error_event_says_it_is_a_status_before_the_first_byte_and_an_error_behind_it(end: sk.ErrorEvent) -> None:
    early = await Client().call(sse.Response([end]))
    assert 502 == early.status
    error = json.loads(early.body)["error"]
    assert (end.message.replace("\ud83d", "\ufffd"), end.code.replace("\ud83d", "\ufffd")) == (error["message"], error["code"])
    late = await Client().call(sse.Response(["a", end]))
    told = json.loads(frames_of(late.body)[-1].data)
    assert ("error", error["message"], error["code"]) == (told["type"], told["message"], told["code"])
    assert "retry_after" not in error and "retry_after" not in told


async def test_an_opening_of_ones_own_that_fails_is_told_where_no_item_comes_either() -> None:
    chat = mapping(lambda event: None, opening=lambda: {"a": 1 // 0})
    client = await Client().call(sse.Response([], chat))
    assert ["error"] == [frame.type for frame in frames_of(client.body)]
    assert client.complete
