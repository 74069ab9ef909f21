"""The WebSocket client against servers that cut, leave out, repeat, refuse and lie; and what it says, sends and closes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
from event_loops import asyncio_only
from websocket_script import Line, Scripted, scripted, words

from streamkit.clients.websocket.connection import WebSocketClient, connect
from streamkit.dialects.outcomes import CANCELLED, Outcome
from streamkit.dialects.websocket.messages import (
    Pong,
    RefusedMessage,
    Started,
    write,
    write_data,
)
from streamkit.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    InvalidToken,
    LocalProtocolError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamBusy,
    StreamDraining,
    StreamInterrupted,
    StreamTruncated,
    UnknownStream,
)
from streamkit.events import DataDelta, Finish, Message, TextDelta

pytestmark = [pytest.mark.anyio, asyncio_only]

DRAINING = Outcome("draining", "draining", "The server is shutting down.", retryable=True)
Script = Callable[[Line], Awaitable[None]]


def client_of(server: Scripted, **options: Any) -> WebSocketClient:
    """A client that loses no time."""
    return connect(**{"url": server.url, "min_wait": 0.001, "max_wait": 0.002, "seed": 1, **options})


def text(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


def came(error: BaseException) -> object:
    """The text that had come, as `join` keeps it."""
    return error.partial  # type: ignore[attr-defined]  # on every error of ours


async def so(happened: Callable[[], object]) -> None:
    """Wait until it is so; the time is a bound and no measure."""
    async with asyncio.timeout(50):
        while not happened():  # noqa: ASYNC110  # what happens is in another program's hands
            await asyncio.sleep(0.001)


def serving(count: int, *, after: int | None = None, cut: bool = False, kind: str = "send") -> Script:
    """Say hello, grant one request, send so many words from behind `after` on; then cut, or the end."""
    first = 0 if after is None else after + 1

    async def script(line: Line) -> None:
        await line.hello()
        name = await line.start(await line.hears(kind))
        if cut:
            await line.events(name, first, words(count - first, start=first))
            await line.connection.ping()
            line.connection.transport.close()  # behind what was sent
        else:
            await line.whole(name, first, count)

    return script


async def test_an_answer_arrives_whole_and_ends_with_its_finish() -> None:
    async with scripted(serving(5)) as server, client_of(server) as client:
        async with client.send({"prompt": "Hi"}, stream="chat-1").open() as run:
            events = [event async for event in run]
            assert "chat-1" == run.about["stream"]
        assert [*words(5), Finish()] == events
        assert [{"type": "send", "input": {"prompt": "Hi"}, "request": "1", "stream": "chat-1"}] == server.heard


async def test_a_cut_answer_goes_on_behind_the_last_event_on_another_connection() -> None:
    scripts = [serving(3, cut=True), serving(7, after=2, cut=True, kind="resume"), serving(12, after=6, kind="resume")]
    async with scripted(*scripts) as server, client_of(server) as client:
        assert text(12) == await client.send("Hi").join()
        assert 3 == client.connections == server.taken
        name = server.heard[0]["stream"]
        assert [(name, "abc.2"), (name, "abc.6")] == [(said["stream"], said["after"]) for said in server.all_heard("resume")]


async def test_a_start_that_may_have_arrived_is_looked_for_before_it_is_made_again() -> None:
    async def swallows(line: Line) -> None:
        await line.hello()
        await line.hears("send")
        line.cut()

    async with scripted(swallows, serving(4, kind="resume")) as server, client_of(server) as client:
        assert text(4) == await client.send("Hi").join()
        assert ["send", "resume"] == [said["type"] for said in server.heard]
        assert "after" not in server.heard[1]


async def test_a_start_that_never_arrived_is_made_on_the_next_connection() -> None:
    async def loses(line: Line) -> None:
        await line.hello()
        await line.hears("send")
        line.cut()

    async def knows_nothing(line: Line) -> None:
        await line.hello()
        asked = await line.hears("resume")
        await line.say(write(RefusedMessage("not-found", "There is no such stream.", asked["request"])))
        name = await line.start(await line.hears("send"))
        await line.whole(name, 0, 4)

    async with scripted(loses, knows_nothing) as server, client_of(server) as client:
        assert text(4) == await client.send("Hi").join()
        assert ["send", "resume", "send"] == [said["type"] for said in server.heard]


async def test_a_start_by_a_name_of_the_users_is_sent_again_as_it_was() -> None:
    async def swallows(line: Line) -> None:
        await line.hello()
        await line.hears("send")
        line.cut()

    async with scripted(swallows, serving(4)) as server, client_of(server) as client:
        assert text(4) == await client.send("Hi", stream="chat-1", if_running="interrupt").join()
        assert 2 == len(server.all_heard("send"))
        assert {"interrupt"} == {said["if_running"] for said in server.heard}


async def test_events_that_come_twice_are_given_once() -> None:
    async def repeats(line: Line) -> None:
        name = await line.begins(3)
        await line.events(name, 0, words(3))
        await line.events(name, 1, words(4, start=1))  # two of them were seen
        await line.whole(name, 5, 6)

    async with scripted(repeats) as server, client_of(server) as client:
        assert text(6) == await client.send("Hi").join()
        assert ["send"] == [said["type"] for said in server.heard]


@pytest.mark.parametrize("lie", ["left out", "joined across what was seen", "end too early"])
async def test_what_is_missing_is_asked_for_again_behind_the_last_event(lie: str) -> None:
    async def lies(line: Line) -> None:
        name = await line.begins(3)
        match lie:
            case "left out":
                await line.events(name, 4, words(2, start=4))
            case "joined across what was seen":
                await line.events(name, 1, [TextDelta("1 2 3 4 ")], last=4)
            case _:
                await line.end(name, 9)
        asked = await line.hears("resume")
        assert "abc.2" == asked["after"]
        await line.events(name, 5, words(1, start=5))  # of the reading that is given up: not taken
        await line.start(asked)
        await line.whole(name, 3, 8)

    async with scripted(lies) as server, client_of(server) as client:
        assert text(8) == await client.send("Hi").join()
        assert 1 == client.connections


async def test_a_server_that_leaves_out_the_same_events_again_and_again_is_not_believed() -> None:
    async def stubborn(line: Line) -> None:
        name = await line.begins(2)
        while True:
            await line.events(name, 5, words(1, start=5))
            await line.start(await line.hears("resume"))

    async with scripted(stubborn) as server, client_of(server) as client:
        with pytest.raises(RemoteProtocolError, match="left out the events from 2 on") as caught:
            await client.send("Hi").join()
        assert text(2) == came(caught.value)
        assert 3 == len(server.all_heard("resume"))


async def test_a_cut_that_cannot_be_mended_is_told_with_what_came() -> None:
    async with scripted(serving(3, cut=True)) as server, client_of(server, max_retries=0) as client:
        with pytest.raises(StreamTruncated, match="the connection broke") as caught:
            await client.send("Hi").join()
        assert text(3) == came(caught.value)
        assert isinstance(caught.value.__cause__, ConnectionError)
    async with scripted(serving(3, cut=True)) as server, client_of(server, max_retries=0) as client:
        with pytest.raises(StreamTruncated) as caught:
            await client.send("Hi").message()
        assert isinstance(caught.value.partial, Message)
        assert text(3) == caught.value.partial.text


async def test_a_server_that_has_forgotten_the_stream_means_that_it_is_cut() -> None:
    async def forgot(line: Line) -> None:
        await line.hello()
        asked = await line.hears("resume")
        await line.say(write(RefusedMessage("not-found", "There is no such stream.", asked["request"])))

    async with scripted(serving(3, cut=True), forgot) as server, client_of(server) as client:
        with pytest.raises(StreamTruncated, match="cannot be had any more") as caught:
            await client.send("Hi").join()
        assert isinstance(caught.value.__cause__, UnknownStream)
        assert text(3) == came(caught.value)


async def test_after_a_failure_the_client_connects_again_for_whoever_comes_next() -> None:
    async with scripted(serving(3, cut=True), serving(2)) as server, client_of(server, max_retries=0) as client:
        with pytest.raises(StreamTruncated):
            await client.send("Hi").join()
        assert text(2) == await client.send("Hi again").join()


async def test_a_server_that_drains_is_left_for_another_one() -> None:
    async def drains(line: Line) -> None:
        name = await line.begins(3)
        await line.end(name, 2, DRAINING)
        await line.connection.close(1001)

    async with scripted(drains, serving(6, after=2, kind="resume")) as server, client_of(server) as client:
        assert text(6) == await client.send("Hi").join()


async def test_a_stream_that_is_drained_wherever_it_is_asked_for_ends_with_where_to_resume() -> None:
    async def drains(line: Line) -> None:
        name = await line.begins(3)
        await line.end(name, 2, DRAINING)

    async def drained(line: Line) -> None:
        await line.hello()
        name = await line.start(await line.hears("resume"))
        await line.end(name, 2, DRAINING)

    async with scripted(drains, drained) as server, client_of(server) as client:
        with pytest.raises(StreamDraining) as caught:
            await client.send("Hi").join()
        assert "abc.2" == caught.value.last_id
        assert text(3) == came(caught.value)
        assert 3 == server.taken


@pytest.mark.parametrize(
    ("outcome", "kind", "retryable"),
    [
        (Outcome("error", "rate-limited", "Later.", True, 7.0, "cid"), RateLimitError, True),
        (Outcome("error", "overloaded", "Later.", True), OverloadedError, True),
        (Outcome("error", "error", "The stream failed."), SourceError, False),
        (Outcome("truncated", "truncated", "Cut.", True), StreamTruncated, None),
        (Outcome("interrupted", "interrupted", "Its worker died.", True), StreamInterrupted, None),
        (Outcome("error", "unauthorized", "The sign-in has expired.", True), AuthError, None),
    ],
)
async def test_how_an_answer_failed_is_raised_as_what_it_is(
    outcome: Outcome, kind: type[Exception], retryable: bool | None
) -> None:
    async def fails(line: Line) -> None:
        name = await line.begins(2)
        await line.end(name, 1, outcome)

    async with scripted(fails) as server, client_of(server) as client:
        with pytest.raises(kind) as caught:
            await client.send("Hi").join()
        assert text(2) == came(caught.value)
        if isinstance(caught.value, SourceError) and retryable is not None:
            assert (retryable, outcome.retry_after) == (caught.value.retryable, caught.value.retry_after)
        assert 1 == server.taken


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not-found", UnknownStream),
        ("bad-token", InvalidToken),
        ("busy", StreamBusy),
        ("unauthorized", AuthError),
        ("bad-request", BadRequestError),
        ("too-many-streams", SourceError),
    ],
)
async def test_a_request_that_was_refused_is_raised_as_what_it_is(code: str, kind: type[Exception]) -> None:
    async def refuses(line: Line) -> None:
        await line.hello()
        asked = await line.hears("resume")
        await line.say(write(RefusedMessage(code, "No.", asked["request"])))

    async with scripted(refuses) as server, client_of(server) as client:
        with pytest.raises(kind, match=r"^No[.]$"):
            await client.resume("chat-1", after="abc.1").join()


async def test_the_error_of_a_start_that_was_refused_finds_the_line_of_the_servers_log() -> None:
    async def refuses(line: Line) -> None:
        await line.hello()
        asked = await line.hears("send")
        await line.say(write(RefusedMessage("error", "The stream failed.", asked["request"], correlation_id="c0ffee")))

    async with scripted(refuses) as server, client_of(server) as client:
        with pytest.raises(SourceError) as caught:
            await client.send("Hi").join()
        assert "c0ffee" == caught.value.request_id


async def test_a_cancelled_answer_is_a_normal_end() -> None:
    async def stops(line: Line) -> None:
        name = await line.begins(2)
        asked = await line.hears("cancel")
        assert "chat-1" == asked["stream"]
        await line.events(name, 2, [Finish("cancelled")])
        await line.end(name, 2, CANCELLED)
        await line.say(write(Pong(asked["request"])))

    async with scripted(stops) as server, client_of(server) as client:
        async with client.send("Hi", stream="chat-1") as events:
            got = [await anext(events), await anext(events)]
            await client.cancel("chat-1")
            got += [event async for event in events]
        assert [*words(2), Finish("cancelled")] == got


async def test_a_cancel_of_what_is_not_there_says_so_and_is_sent_again_if_it_was_lost() -> None:
    async def loses(line: Line) -> None:
        await line.hello()
        await line.hears("cancel")
        line.cut()

    async def refuses(line: Line) -> None:
        await line.hello()
        asked = await line.hears("cancel")
        await line.say(write(RefusedMessage("not-found", "There is no such stream.", asked["request"], asked["stream"])))

    async with scripted(loses, refuses) as server, client_of(server) as client:
        with pytest.raises(UnknownStream):
            await client.cancel("nobody")
        assert 2 == len(server.all_heard("cancel"))


async def test_several_streams_share_a_connection_and_a_reader_that_does_not_read_holds_up_none() -> None:
    async def interleaves(line: Line) -> None:
        await line.hello(ack_every=1)
        slow = await line.start(await line.hears("send"))
        await line.events(slow, 0, words(1))
        fast = await line.start(await line.hears("send"))
        for number in range(50):
            await line.events(slow, number + 1, words(1, start=number + 1))
            await line.events(fast, number, words(1, start=number))
            while (said := await line.hears("ack"))["stream"] != fast or said["seq"] != number:
                assert said["stream"] == slow or said["seq"] < number
        assert [slow] == [said["stream"] for said in line.heard if said["type"] == "leave"]
        await line.whole(fast, 50, 60)
        asked = await line.hears("resume")
        assert slow == asked["stream"]
        first = int(asked["after"].split(".")[1]) + 1
        await line.start(asked)
        await line.whole(slow, first, 60)

    async with scripted(interleaves) as server, client_of(server, max_pending=2_000) as client:
        async with client.send("slow", stream="slow") as slow:
            first = await anext(slow)
            assert text(60) == await client.send("fast", stream="fast").join()
            rest = [event async for event in slow]
        assert [*words(60), Finish()] == [first, *rest]
        assert 1 == client.connections


async def test_a_slow_client_that_its_server_has_given_up_reads_on_from_there() -> None:
    async def impatient(line: Line) -> None:
        name = await line.begins(3)
        await line.end(name, 2, Outcome("error", "buffer-full", "The reader was too slow.", retryable=True))
        await line.connection.close(1013)

    async with scripted(impatient, serving(6, after=2, kind="resume")) as server, client_of(server) as client:
        assert text(6) == await client.send("Hi").join()


async def test_binary_parts_come_as_data() -> None:
    async def speaks(line: Line) -> None:
        await line.hello()
        name = await line.start(await line.hears("send"))
        await line.connection.send(write_data(name, 0, 0, "abc.0", DataDelta(b"\x00\xff", "audio/pcm")))
        await line.events(name, 1, [Finish()])
        await line.end(name, 1)

    async with scripted(speaks) as server, client_of(server) as client:
        assert [DataDelta(b"\x00\xff", "audio/pcm"), Finish()] == await client.send("Hi").collect()


async def test_a_server_that_asks_for_it_is_told_what_was_read() -> None:
    async def windowed(line: Line) -> None:
        await line.hello(ack_every=4)
        name = await line.start(await line.hears("send"))
        for number in range(8):
            await line.events(name, number, words(1, start=number))
        while 7 != (await line.hears("ack"))["seq"]:
            assert line.heard[-1]["seq"] < 7
        await line.whole(name, 8, 9)

    async with scripted(windowed) as server, client_of(server) as client:
        assert text(9) == await client.send("Hi").join()
    async with scripted(serving(40)) as server, client_of(server) as client:
        assert text(40) == await client.send("Hi").join()
        assert [] == server.all_heard("ack")


async def test_who_leaves_early_stops_what_nobody_else_knows_and_leaves_what_has_a_name() -> None:
    async def endless(line: Line) -> None:
        await line.begins(3)
        await line.hears("leave")

    for name, told in ((None, ["cancel", "leave"]), ("chat-1", ["leave"])):
        async with scripted(endless) as server, client_of(server) as client:
            async with client.send("Hi", stream=name) as events:
                assert TextDelta("0 ") == await anext(events)
            await so(partial(server.all_heard, "leave"))
            assert told == [said["type"] for said in server.heard[1:]]


async def test_who_leaves_before_the_start_was_granted_leaves_once_it_is() -> None:
    granted = asyncio.Event()

    async def slow(line: Line) -> None:
        await line.hello()
        asked = await line.hears("send")
        await granted.wait()
        await line.start(asked)
        await line.hears("leave")

    async with scripted(slow) as server, client_of(server) as client:
        reader = asyncio.create_task(client.send("Hi").join())
        await so(lambda: server.all_heard("send"))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert ["send"] == [said["type"] for said in server.heard]
        granted.set()
        await so(lambda: server.all_heard("leave"))
        assert ["send", "cancel", "leave"] == [said["type"] for said in server.heard]


async def test_who_leaves_while_there_is_no_connection_stops_what_nobody_else_knows_on_the_next_one() -> None:
    left = asyncio.Event()

    async def breaks(line: Line) -> None:
        await line.hello()
        await line.events(await line.start(await line.hears("send")), 0, words(1))
        line.cut()

    async def comes_back(line: Line) -> None:
        await left.wait()
        await line.hello()
        asked = await line.hears("cancel")
        await line.say(write(Pong(asked["request"])))

    async with scripted(breaks, comes_back) as server, client_of(server) as client:
        async with client.send("Hi") as events:
            assert words(1) == [await anext(events)]
            await so(lambda: server.taken == 2)
        left.set()
        await so(lambda: server.all_heard("cancel"))
        (asked,) = server.all_heard("send")
        assert [asked["stream"]] == [said["stream"] for said in server.all_heard("cancel")]
        assert ["send", "cancel"] == [said["type"] for said in server.heard]


async def test_a_start_that_was_left_and_never_answered_is_stopped_on_the_next_connection() -> None:
    left = asyncio.Event()

    async def breaks(line: Line) -> None:
        await line.hello()
        await line.hears("send")
        await left.wait()
        line.cut()

    async def comes_back(line: Line) -> None:
        await line.hello()
        asked = await line.hears("cancel")
        await line.say(write(RefusedMessage("not-found", "There is no such stream.", asked["request"])))

    async with scripted(breaks, comes_back) as server, client_of(server) as client:
        reader = asyncio.create_task(client.send("Hi").join())
        await so(lambda: server.all_heard("send"))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        left.set()
        await so(lambda: server.all_heard("cancel"))
        assert server.all_heard("send")[0]["stream"] == server.all_heard("cancel")[0]["stream"]


async def test_a_server_that_never_says_that_it_has_stopped_an_answer_is_not_asked_for_ever() -> None:
    async def starts(line: Line) -> None:
        await line.hello()
        await line.events(await line.start(await line.hears("send")), 0, words(1))
        await line.hears("cancel")
        line.cut()

    async def ignores(line: Line) -> None:
        await line.hello()
        await line.hears("cancel")
        line.cut()

    async def serves(line: Line) -> None:
        await line.hello()
        await line.whole(await line.start(await line.hears("send")), 0, 3)

    async with scripted(starts, ignores, ignores, serves) as server, client_of(server) as client:
        async with client.send("Hi") as events:
            await anext(events)
        await so(lambda: len(server.all_heard("cancel")) == 3 and not client.connected)
        assert "0 1 2 " == await client.send("Ho").join()
        assert (4, 3) == (server.taken, len(server.all_heard("cancel")))


async def test_who_leaves_before_the_start_was_granted_and_reads_again_is_not_told_that_it_is_being_read() -> None:
    granted = asyncio.Event()

    async def slow(line: Line) -> None:
        await line.hello()
        asked = await line.hears("send")
        await granted.wait()
        await line.start(asked)
        await line.hears("leave")
        await line.whole(await line.start(await line.hears("resume")), 0, 3)

    async with scripted(slow) as server, client_of(server) as client:
        first = asyncio.create_task(client.send("Hi", stream="a").join())
        await so(lambda: server.all_heard("send"))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(client.resume("a").join())
        await so(lambda: client._carrier is not None and "a" in client._carrier._readings)
        granted.set()
        assert "0 1 2 " == await second
        assert ["send", "leave", "resume"] == [said["type"] for said in server.heard]


async def test_an_address_in_capitals_is_the_same_origin() -> None:
    async def whole(line: Line) -> None:
        request = line.connection.request
        assert request is not None
        assert f"http://{request.headers['Host']}" == request.headers["Origin"]
        await line.hello()
        await line.whole(await line.start(await line.hears("send")), 0, 3)

    async with scripted(whole) as server, client_of(server, url=server.url.replace("127.0.0.1", "LocalHost")) as client:
        assert "0 1 2 " == await client.send("Hi").join()


async def test_the_server_may_name_a_stream_otherwise() -> None:
    async def renames(line: Line) -> None:
        await line.hello()
        asked = await line.hears("send")
        await line.say(write(Started("its-name", asked["request"])))
        await line.events("its-name", 0, words(2))
        line.connection.transport.close()

    async def goes_on(line: Line) -> None:
        await line.hello()
        asked = await line.hears("resume")
        assert "its-name" == asked["stream"]
        await line.start(asked)
        await line.whole("its-name", 2, 4)

    async with scripted(renames, goes_on) as server, client_of(server) as client:
        assert text(4) == await client.send("Hi").join()


# -- refused, broken, closed


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (401, AuthError, "refused: sign in, with headers="),
        (403, AuthError, "no WebSocket at this address (mounted at /ws, it is /ws/)"),
        (404, SourceError, "refused: there is nothing at this address"),
        (426, SourceError, "uvicorn needs the package websockets"),
        (400, BadRequestError, "the connection was refused"),
    ],
)
async def test_a_refused_connection_is_told_at_once_with_what_to_do_and_not_tried_again(
    status: int, kind: type[Exception], hint: str
) -> None:
    asked = 0

    def refuse(connection: Any, request: Any) -> Any:
        nonlocal asked
        asked += 1
        return connection.respond(HTTPStatus(status), "sk-secretsecretsecret")

    async with scripted(serving(1), process_request=refuse) as server:
        with pytest.raises(kind) as caught:
            async with client_of(server):
                raise AssertionError("it was refused")
        assert 1 == asked
        assert hint in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_a_server_that_is_busy_is_asked_again() -> None:
    asked = 0

    def busy(connection: Any, request: Any) -> Any:
        nonlocal asked
        asked += 1
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "later") if asked < 3 else None

    async with scripted(serving(2), process_request=busy) as server, client_of(server) as client:
        assert text(2) == await client.send("Hi").join()
        assert 3 == asked


@pytest.mark.parametrize(
    ("code", "kind"),
    [(4401, AuthError), (1008, SourceError), (1003, LocalProtocolError), (1009, LocalProtocolError), (4000, SourceError)],
)
async def test_a_close_that_says_never_again_is_not_tried_again(code: int, kind: type[Exception]) -> None:
    async def closes(line: Line) -> None:
        await line.begins(2)
        await line.connection.close(code, "because")

    async with scripted(closes) as server, client_of(server) as client:
        with pytest.raises(kind, match=f"code {code}: because") as caught:
            await client.send("Hi").join()
        assert text(2) == came(caught.value)
        assert 1 == server.taken


async def test_headers_are_made_anew_for_each_connection_and_mend_a_sign_in_that_ran_out() -> None:
    seen: list[str] = []

    def note(connection: Any, request: Any) -> Any:
        seen.append(request.headers["Authorization"])

    async def expires(line: Line) -> None:
        name = await line.begins(2)
        await line.end(name, 1, Outcome("error", "unauthorized", "The sign-in has expired.", retryable=True))
        await line.connection.close(4401)

    async def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {len(seen)}"}

    scripts = [expires, serving(4, after=1, kind="resume")]
    async with scripted(*scripts, process_request=note) as server, client_of(server, headers=headers) as client:
        assert text(4) == await client.send("Hi").join()
    assert ["Bearer 0", "Bearer 1"] == seen


@pytest.mark.parametrize("greeting", ['{"type":"hello","version":2,"max_message_bytes":1}', '{"type":"pong"}', "hello", b"\x00"])
async def test_a_server_that_speaks_something_else_is_told_at_once(greeting: str | bytes) -> None:
    async def other(line: Line) -> None:
        await line.connection.send(greeting)

    async with scripted(other) as server:
        with pytest.raises(RemoteProtocolError):
            async with client_of(server):
                raise AssertionError("it said something else")
        assert 1 == server.taken


async def test_a_server_that_says_nonsense_in_the_middle_is_told_with_what_came() -> None:
    async def babbles(line: Line) -> None:
        await line.begins(2)
        await line.say('{"type":"events","stream":7}')

    async with scripted(babbles) as server, client_of(server) as client:
        with pytest.raises(RemoteProtocolError) as caught:
            await client.send("Hi").join()
        assert text(2) == came(caught.value)
        assert 1 == server.taken


async def test_a_message_that_is_longer_than_it_takes_is_an_error() -> None:
    async with scripted(serving(500)) as server, client_of(server, max_message_bytes=2_000) as client:
        with pytest.raises(RemoteProtocolError, match="max_message_bytes"):
            await client.send("Hi").join()


async def test_an_input_that_the_server_would_not_take_is_not_sent() -> None:
    async def modest(line: Line) -> None:
        await line.hello(max_message_bytes=100)
        name = await line.start(await line.hears("send"))
        await line.whole(name, 0, 1)

    async with scripted(modest) as server, client_of(server) as client:
        with pytest.raises(LocalProtocolError, match="the server takes 100"):
            await client.send("x" * 100).join()
        assert text(1) == await client.send("Hi", stream="a").join()


async def test_there_is_nobody_at_the_address() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}/"
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            async with connect(url, max_retries=1, min_wait=0.001):
                raise AssertionError("nobody is there")


async def test_a_stream_is_read_once_at_a_time_through_one_client() -> None:
    async def endless(line: Line) -> None:
        await line.begins(1)

    async with scripted(endless) as server, client_of(server) as client, client.send("Hi", stream="chat-1") as events:
        await anext(events)
        with pytest.raises(StreamBusy):
            await client.resume("chat-1").join()


async def test_closing_the_client_ends_those_who_read_and_leaves_no_task() -> None:
    async def endless(line: Line) -> None:
        await line.begins(2)

    async with scripted(endless) as server:
        before = asyncio.all_tasks()
        client = client_of(server)
        async with client:
            reader = asyncio.create_task(client.send("Hi").join())
            await so(lambda: server.heard)
            stopper = asyncio.create_task(client.cancel("chat-1"))
            await asyncio.sleep(0)
        with pytest.raises(StreamTruncated, match="closed"):
            await reader
        with pytest.raises(StreamTruncated, match="closed"):
            await stopper
        await so(lambda: len(asyncio.all_tasks()) <= len(before) + 1)  # the server's, of the connection that it still closes
        with pytest.raises(ConfigError, match="not open"):
            await client.send("Hi").join()
        assert f"<WebSocketClient {server.url}, closed>" == repr(client)


async def test_two_tasks_may_close_a_client_at_once() -> None:
    async with scripted(serving(2)) as server:
        client = client_of(server)
        async with client:
            assert text(2) == await client.send("Hi").join()
            await asyncio.gather(client.aclose(), client.aclose(), client.aclose())
            assert not client.connected


async def test_a_client_can_be_entered_again_and_not_twice_at_once() -> None:
    async with scripted(serving(2)) as server:
        client = client_of(server)
        for _ in range(2):
            async with client:
                with pytest.raises(StreamBusy):
                    await client.__aenter__()
                assert text(2) == await client.send("Hi").join()


async def test_fifty_cuts_change_nothing() -> None:
    """Each connection brings a few events, some of them again, and dies; the last one brings the rest."""
    total = 400

    async def dies(line: Line) -> None:
        await line.hello()
        message: dict[str, Any] = json.loads(await line.connection.recv())
        line.heard.append(message)
        name = await line.start(message)
        first = int(message["after"].split(".")[1]) + 1 if "after" in message else 0
        if len(line.heard) > 50:
            await line.whole(name, first, total)
            return
        for number in range(first, first + len(line.heard) % 7):
            await line.events(name, number, words(1, start=number))
        if len(line.heard) % 2:
            line.cut()  # what is on its way may be lost
        else:
            line.connection.transport.close()

    async with scripted(dies) as server, client_of(server, max_retries=50) as client:
        assert text(total) == await client.send("Hi").join()
        assert 51 == server.taken
