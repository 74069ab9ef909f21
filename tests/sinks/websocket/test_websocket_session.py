"""One connection: what a client may ask, what it is told, and that each reading has exactly one end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from websocket_peer import Mailbox, Peer, connected

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.flow.clock import current_clock
from streamkit.sinks.connections import Connections
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket import SocketRequest, WebSocketRoutes, admission
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class Talk:
    """A source that says what it is given, and whose end is seen."""

    def __init__(self) -> None:
        self._inbox = Mailbox()
        self.closed = anyio.Event()

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            while True:
                try:
                    item = await self._inbox.take()
                except EOFError:
                    return
                yield item
        finally:
            self.closed.set()

    def say(self, *items: Any) -> None:
        for item in items:
            self._inbox.put(item)

    def end(self) -> None:
        self._inbox.close()


async def turns_until(so: Callable[[], object]) -> None:
    """Let the event loop turn until it is so."""
    with anyio.fail_after(60):
        while not so():  # nothing tells when it is so
            await checkpoint()


def words(request: SocketRequest) -> Any:
    return list(request.input)


def routes_of(handler: Any = words, hub: Any = None, **options: Any) -> WebSocketRoutes:
    return WebSocketRoutes(handler, hub, **{"allow_missing_origin": True, **options})


async def test_an_answer_is_started_told_and_ended_once() -> None:
    async with routes_of() as routes, connected(routes) as peer:
        peer.say("send", request="1", stream="a", input=["Hel", "lo"])
        end = await peer.told("end", stream="a")

        assert {"type": "websocket.accept", "subprotocol": "streamkit.v1"} == peer.sent[0]
        assert {"type": "hello", "version": 1, "max_message_bytes": 1 << 20} == peer.said[0]
        assert {"type": "started", "stream": "a", "request": "1"} == peer.said[1]
        assert "Hello" == peer.text("a")
        assert "finish" == peer.events("a")[-1]["type"]
        assert ("done", 2) == (end["ending"], end["last"])


async def test_numbers_follow_one_another_and_tokens_resume_behind_them() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, connected(routes) as first:
        first.say("send", stream="a", input=None)
        talk.say("one ", "two ")
        await first.until(lambda: first.text("a") == "one two ")
        token = (await first.told("events", stream="a"))["token"]
        async with connected(routes) as second:
            second.say("resume", stream="a", after=token, request="9")
            started = await second.told("started")
            talk.say("three")
            talk.end()
            await second.told("end", stream="a")

            assert token == started["token"]
            assert first.text("a").startswith("one ")
            seen = first.said[[one["type"] for one in first.said].index("events")]["last"]
            runs = second.runs("a")
            assert seen + 1 == runs[0][0]
            assert all(left[1] + 1 == right[0] for left, right in pairwise(runs))


async def test_several_answers_share_one_connection() -> None:
    async with routes_of() as routes, connected(routes) as peer:
        for name in "abc":
            peer.say("send", stream=name, input=[name] * 3)
        for name in "abc":
            await peer.told("end", stream=name)

        assert ["aaa", "bbb", "ccc"] == [peer.text(name) for name in "abc"]


async def test_cancel_keeps_what_came_and_ends_every_reading_as_cancelled() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, connected(routes) as peer, connected(routes) as other:
        peer.say("send", stream="a", input=None)
        talk.say("kept")
        await peer.until(lambda: peer.text("a") == "kept")
        other.say("resume", stream="a")
        await other.until(lambda: other.text("a") == "kept")
        other.say("cancel", stream="a")
        ends = [await peer.told("end", stream="a"), await other.told("end", stream="a")]
        with anyio.fail_after(60):
            await talk.closed.wait()

        assert ["cancelled", "cancelled"] == [end["ending"] for end in ends]
        assert "cancelled" == peer.events("a")[-1]["reason"]


async def test_an_edit_interrupts_the_running_answer_and_the_new_one_begins_behind_its_end() -> None:
    talks = [Talk(), Talk()]
    asked: list[Any] = []

    def answer(request: SocketRequest) -> Any:
        asked.append(request.input)
        return talks[len(asked) - 1]

    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input="first", request="1")
        talks[0].say("old")
        await peer.until(lambda: peer.text("a") == "old")
        peer.say("send", stream="a", input="second", if_running="interrupt", request="2")
        await peer.told("started", request="2")
        talks[1].say("new")
        talks[1].end()
        await peer.told("end", stream="a", ending="done")

        kinds = [one["type"] for one in peer.said if one["type"] in ("started", "end")]
        assert ["started", "end", "started", "end"] == kinds
        assert ["first", "second"] == asked
        assert "oldnew" == peer.text("a")


async def test_a_running_answer_is_joined_or_the_start_is_refused_as_asked() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, connected(routes) as peer, connected(routes) as other:
        peer.say("send", stream="a", input=None)
        talk.say("x")
        await peer.until(lambda: peer.text("a") == "x")
        other.say("send", stream="a", if_running="raise", request="r")
        refused = await other.told("error")
        other.say("send", stream="a", if_running="join", request="j")
        await other.until(lambda: other.text("a") == "x")
        other.say("resume", stream="a", request="again")
        again = await other.told("error", request="again")
        talk.end()
        await other.told("end", stream="a")

        assert ("busy", "r") == (refused["code"], refused["request"])
        assert "already-read" == again["code"]


async def test_who_leaves_is_told_nothing_more_and_the_answer_goes_on() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, connected(routes) as peer, connected(routes) as other:
        for one in (peer, other):
            one.say("send", stream="a", input=None)
            await one.told("started")
        talk.say("x")
        for one in (peer, other):
            await one.has("a", "x")
        peer.say("leave", stream="a")
        peer.say("ping", request="p")
        await peer.told("pong", request="p")
        talk.say("y")
        talk.end()
        await other.told("end", stream="a")

        assert "xy" == other.text("a")
        assert ("x", []) == (peer.text("a"), [one for one in peer.said if one["type"] == "end"])


async def test_followers_go_on_when_the_one_that_reads_for_all_leaves() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, anyio.create_task_group() as group:
        hub = routes.hub
        await hub.start("a", talk)
        peers: dict[int, Any] = {}
        leaving = [anyio.Event() for _ in range(4)]

        async def client(number: int) -> None:
            async with connected(routes) as peer:
                peers[number] = peer
                peer.say("resume", stream="a")
                await leaving[number].wait()

        for number in range(4):
            group.start_soon(client, number)
        talk.say("0")
        await turns_until(lambda: len(peers) == 4)
        for peer in peers.values():
            await peer.has("a", "0")
        for number in range(3):
            talk.say(str(number + 1))
            for peer in [peers[left] for left in range(number, 4)]:
                await peer.has("a", str(number + 1))
            leaving[number].set()
        talk.say("4")
        talk.end()
        await peers[3].told("end", stream="a")
        leaving[3].set()

        assert "01234" == peers[3].text("a")
        runs = peers[3].runs("a")
        assert all(left[1] + 1 == right[0] for left, right in pairwise(runs))


async def test_somebody_elses_stream_is_not_there_in_the_same_words() -> None:
    def owner(request: SocketRequest) -> str:
        return request.headers["x-user"]

    talk = Talk()
    routes = routes_of(lambda request: talk, owner=owner)
    async with routes, connected(routes, headers={"x-user": "ann"}) as ann, connected(routes, headers={"x-user": "bob"}) as bob:
        ann.say("send", stream="a", input=None)
        await ann.told("started")
        bob.say("resume", stream="a", request="1")
        bob.say("cancel", stream="a", request="2")
        bob.say("resume", stream="nobody's", request="3")
        told = [await bob.told("error", request=number) for number in "123"]
        talk.end()
        await ann.told("end", ending="done")

        assert {("not-found", "There is no such stream.")} == {(one["code"], one["message"]) for one in told}


async def test_a_failed_answer_ends_as_an_error_without_its_text() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "so far"
        raise ValueError("the secret")

    async with routes_of(lambda request: broken()) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        end = await peer.told("end")

        assert ("error", "error", "so far") == (end["ending"], end["code"], peer.text("a"))
        assert end["correlation_id"]
        assert "secret" not in str(peer.said)
        assert end["last"] == peer.runs("a")[-1][1]


async def test_a_handler_that_refuses_or_fails_is_told_by_its_code() -> None:
    def answer(request: SocketRequest) -> Any:
        if request.input == "refuse":
            raise Refused(402, "Pay first.")
        raise RuntimeError("the secret")

    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", input="refuse", request="1")
        refused = await peer.told("error", request="1")
        peer.say("send", input="fail", request="2")
        failed = await peer.told("error", request="2")

        assert ("payment-required", "Pay first.") == (refused["code"], refused["message"])
        assert ("error", "The stream failed.") == (failed["code"], failed["message"])
        assert "secret" not in str(peer.said)


async def test_data_goes_in_binary_messages_between_the_others() -> None:
    items = ["a", sk.DataDelta(b"\0\xff", "audio/pcm"), "b"]
    async with routes_of(lambda request: items) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        await peer.told("end")

        binary = [one["bytes"] for one in peer.sent if one.get("bytes")]
        assert 1 == len(binary)
        assert binary[0].endswith(b"\0\xff")
        assert [(0, 0), (2, 3)] == peer.runs("a")


async def test_an_event_that_cannot_be_said_ends_the_reading_behind_those_that_could() -> None:
    items = ["a", sk.Custom("bad", object()), "b"]
    async with routes_of(lambda request: items) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        end = await peer.told("end")

        assert ("error", 0, "a") == (end["ending"], end["last"], peer.text("a"))


async def test_a_stream_that_was_wholly_seen_is_told_its_end_and_nothing_twice() -> None:
    async with routes_of() as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=["x"])
        end = await peer.told("end")
        peer.say("resume", stream="a", after=end["token"])
        again = await peer.told("end", 2)

        assert end == again
        assert "x" == peer.text("a")


async def test_a_token_of_another_stream_is_refused() -> None:
    async with routes_of() as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=["x"])
        await peer.told("end")
        peer.say("resume", stream="a", after="fff.0", request="1")
        peer.say("resume", stream="a", after="what?", request="2")
        foreign = await peer.told("end", 2)
        malformed = await peer.told("error", request="2")

        assert ["bad-token", "bad-token"] == [foreign["code"], malformed["code"]]


async def test_draining_tells_every_reading_its_token_and_closes_with_1001() -> None:
    talk = Talk()
    async with sk.Hub() as hub:
        routes = routes_of(lambda request: talk, hub)
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            talk.say("kept")
            await peer.until(lambda: peer.text("a") == "kept")
            await routes.drain()
            end = await peer.told("end")
            await peer.until(lambda: peer.closed is not None)

            assert ("draining", True, 1001) == (end["ending"], end["retryable"], peer.closed)
        async with connected(routes) as late:
            await late.until(lambda: late.closed is not None)

            assert 1013 == late.closed
        other = routes_of(lambda request: talk, hub)
        async with other, connected(other) as back:
            back.say("resume", stream="a", after=end["token"])
            await back.told("started")
            talk.say(" and more")
            talk.end()
            await back.told("end")

            assert " and more" == back.text("a")


async def test_a_connections_around_the_routes_says_when_they_drain() -> None:
    talk = Talk()
    connections = Connections(drain=None)
    async with routes_of(lambda request: talk) as routes, connected(connections.wrap(routes)) as peer:
        peer.say("send", stream="a", input=None)
        talk.say("kept")
        await peer.has("a", "kept")
        await connections.drain(0)
        end = await peer.told("end")

        assert ("draining", 1001, 0) == (end["ending"], peer.closed, len(connections))


async def test_a_drain_with_a_limit_lets_answers_end_by_themselves() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk) as routes, connected(routes) as peer, anyio.create_task_group() as group:
        peer.say("send", stream="a", input=None)
        await peer.told("started")
        group.start_soon(routes.drain, 60.0)
        await turns_until(lambda: "draining" in repr(routes))
        peer.say("send", stream="b", input=None)
        await peer.told("error", code="draining")
        talk.end()
        await peer.until(lambda: peer.closed is not None)

        assert ("done", 1001) == ((await peer.told("end"))["ending"], peer.closed)


async def test_the_answers_source_is_closed_when_its_last_reader_has_left_if_that_was_asked_for() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, on_disconnect="cancel") as routes:
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            talk.say("x")
            await peer.until(lambda: peer.text("a") == "x")
        with anyio.fail_after(60):
            await talk.closed.wait()

        assert "cancelled" == (await routes.hub.status("a")).state


@pytest.mark.parametrize(
    ("slow", "expected"),
    [("send", "every event"), ("coalesce", "every event, joined"), ("drop", "the newest")],
)
async def test_a_slow_client_gets_what_its_policy_says_and_others_are_not_slowed(slow: Any, expected: str) -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, slow=slow, max_pending_bytes=100) as routes:  # noqa: SIM117  # it reads better
        async with connected(routes) as slow_one, connected(routes) as quick:
            for one in (slow_one, quick):
                one.say("send", stream="a", input=None)
                await one.told("started")
            talk.say("start,")
            for one in (slow_one, quick):
                await one.has("a", "start,")
            slow_one.stall()
            for number in range(50):
                talk.say(f"{number},")
                await quick.has("a", f"{number},")
            talk.end()
            await quick.told("end")
            slow_one.read_on()
            await slow_one.told("end")

            whole = "start," + "".join(f"{number}," for number in range(50))
            gaps = sum(event["count"] for event in slow_one.events("a") if event["type"] == "gap")
            runs = slow_one.runs("a")
            assert whole == quick.text("a")
            assert all(left[1] + 1 == right[0] for left, right in pairwise(runs)), expected
            if slow == "drop":
                assert 40 < gaps
                assert 51 == gaps + sum(event["type"] == "text-delta" for event in slow_one.events("a"))
            else:
                assert (whole, 0) == (slow_one.text("a"), gaps)
            if slow == "coalesce":
                assert 20 > len(slow_one.events("a"))


async def test_a_client_that_is_too_slow_is_disconnected_with_1013_if_that_was_asked_for() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, slow="disconnect", max_pending_bytes=300) as routes:  # noqa: SIM117
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            talk.say("start")
            await peer.until(lambda: peer.text("a") == "start")
            peer.stall()
            while not routes_are_leaving(routes):
                talk.say("x" * 50)
                await checkpoint()
            peer.read_on()
            end = await peer.told("end")
            await peer.until(lambda: peer.closed is not None)

            assert ("buffer-full", True, 1013) == (end["code"], end["retryable"], peer.closed)
            assert end["last"] == peer.runs("a")[-1][1]


def routes_are_leaving(routes: WebSocketRoutes) -> bool:
    return any(session._goodbye is not None for session in routes._sessions)


async def test_a_client_that_takes_nothing_is_closed_after_the_stall_timeout(clock: VirtualClock) -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, stall_timeout=30.0, max_pending_bytes=10) as routes:  # noqa: SIM117
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            await peer.told("started")
            peer.stall()
            talk.say("x" * 50)
            await turns_until(lambda: all(session.socket.pending > 10 for session in routes._sessions))
            talk.say("y" * 50)
            await talk_is_over(routes)

            assert 34.0 < clock.now() < 36.0


async def talk_is_over(routes: WebSocketRoutes) -> None:
    """Wait, by the test's clock, until the connection has ended."""
    clock = current_clock()
    while len(routes) and clock.now() < 1000.0:
        await clock.sleep(0.5)


async def test_ws_11_streams_end_typed_when_the_sign_in_expires(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "time", SimpleNamespace(time=lambda: 1_000.0))  # a calendar is nothing that a clock of ours has
    talk = Talk()
    routes = routes_of(lambda request: talk, until=lambda request: 1_060.0)
    async with routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        talk.say("x")
        end = await peer.told("end")
        await peer.until(lambda: peer.closed is not None)

        assert ("error", "unauthorized", True, 4401) == (end["ending"], end["code"], end["retryable"], peer.closed)
        assert "x" == peer.text("a")
        assert 59.0 < clock.now() < 61.0
        assert "running" == (await routes.hub.status("a")).state


async def test_ws_07_a_client_that_says_nothing_is_closed_if_it_is_to_ping(clock: VirtualClock) -> None:
    async with routes_of(silence=20.0) as routes, connected(routes) as peer:
        await clock.sleep(15.0)
        peer.say("ping")
        await peer.told("pong")
        await peer.until(lambda: peer.closed is not None)

        assert 35.0 == clock.now()
        assert 1001 == peer.closed


async def test_a_client_that_does_not_acknowledge_gets_no_more_than_the_window() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, ack_window=200) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        await peer.told("started")
        for number in range(10):
            talk.say("x" * 100 + str(number))
        peer.say("ping", request="1")
        await peer.told("pong")
        for _ in range(20):
            await checkpoint()
        before = len(peer.runs("a"))
        talk.end()
        await acknowledged_to_the_end(peer)

        assert 16 == peer.said[0]["ack_every"]
        assert 2 >= before
        assert "".join("x" * 100 + str(number) for number in range(10)) == peer.text("a")


async def acknowledged_to_the_end(peer: Peer) -> None:
    """Acknowledge each message of events once, until the stream has ended."""
    done = 0

    def news() -> bool:
        return len(peer.runs("a")) > done or any(one["type"] == "end" for one in peer.said)

    while not any(one["type"] == "end" for one in peer.said):
        await peer.until(news)
        runs = peer.runs("a")
        if len(runs) > done:
            done = len(runs)
            peer.say("ack", stream="a", seq=runs[-1][1])


async def test_acknowledgements_that_were_asked_for_are_no_flood(clock: VirtualClock) -> None:
    talk = Talk()
    options: dict[str, Any] = {"ack_window": 1, "max_messages_per_second": 5, "max_streams": 5}
    async with routes_of(lambda request: talk, **options) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        for number in range(50):
            talk.say(f"{number} ")
            await peer.has("a", f"{number} ")
            peer.say("ack", stream="a", seq=number)
        talk.end()
        await acknowledged_to_the_end(peer)

        assert 50 <= len(peer.runs("a"))
        assert 0.0 == clock.now()


async def test_ws_06_the_same_acknowledgement_again_and_again_is_a_flood(clock: VirtualClock) -> None:
    async with routes_of(ack_window=1, max_messages_per_second=5, max_streams=5) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=["Hi"])
        await peer.told("events")
        for _ in range(50):
            peer.say("ack", stream="a", seq=0)
        await peer.until(lambda: peer.closed is not None)

        assert 1008 == peer.closed
        assert 0.0 == clock.now()


async def test_who_comes_back_may_ask_for_all_of_its_streams_at_once(clock: VirtualClock) -> None:
    async with routes_of(max_messages_per_second=5, max_streams=30) as routes, connected(routes) as peer:
        for number in range(30):
            peer.say("send", stream=f"s{number}", input=["Hi"])
        for number in range(30):
            await peer.told("end", stream=f"s{number}", ending="done")
        peer.say("ping")
        await peer.until(lambda: peer.closed is not None)

        assert 1008 == peer.closed
        assert 0.0 == clock.now()


async def test_ws_12_malformed_messages_are_answered_and_the_connection_stays_within_a_budget() -> None:
    async with routes_of(max_refusals=4) as routes, connected(routes) as peer:
        peer.say_text("{")
        peer.say_text("[1]")
        peer.say("ack", stream="a", seq=-1)
        peer.say("sing")
        peer.say("ping", request="p")
        await peer.told("pong")
        codes = [one["code"] for one in peer.said if one["type"] == "error"]
        peer.say("sing")
        await peer.until(lambda: peer.closed is not None)

        assert ["bad-message", "bad-message", "bad-message", "unknown-type"] == codes
        assert 1008 == peer.closed


async def test_ws_06_a_flood_of_messages_is_closed_with_1008() -> None:
    async with routes_of(max_messages_per_second=50) as routes, connected(routes) as peer:
        for _ in range(2_000):
            peer.say("ping")
        await peer.until(lambda: peer.closed is not None)

        assert 1008 == peer.closed
        assert 60 > len([one for one in peer.said if one["type"] == "pong"])


async def test_a_message_that_is_too_large_is_closed_with_1009_and_a_binary_one_with_1003() -> None:
    async with routes_of(max_message_bytes=100) as routes:
        async with connected(routes) as large:
            large.say("ping", request="é" * 50)
            await large.until(lambda: large.closed is not None)
        async with connected(routes) as binary:
            binary.say_bytes(b"x")
            await binary.until(lambda: binary.closed is not None)

    assert (1009, 1003) == (large.closed, binary.closed)


async def test_no_more_streams_are_read_at_once_than_allowed() -> None:
    talk = Talk()
    async with routes_of(lambda request: talk, max_streams=1) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        peer.say("send", stream="b", input=None, request="b")
        refused = await peer.told("error", request="b")
        talk.end()
        await peer.told("end", stream="a")

        assert "too-many-streams" == refused["code"]


async def test_no_task_is_left_behind_by_a_client_that_leaves_anywhere() -> None:
    talk = Talk()
    for steps in range(12):
        async with routes_of(lambda request: talk) as routes:
            async with connected(routes) as peer:
                peer.say("send", stream="a", input=None)
                for _ in range(steps):
                    await checkpoint()

            assert (0, 0) == (len(routes), routes.reading)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"slow": "later"}, "slow="),
        ({"max_pending_bytes": 0}, "max_pending_bytes"),
        ({"max_message_bytes": True}, "max_message_bytes"),
        ({"stall_timeout": float("nan")}, "stall_timeout"),
        ({"close_timeout": -1}, "close_timeout"),
        ({"silence": 0}, "silence"),
        ({"ttl": 0}, "ttl"),
        ({"on_disconnect": "explode"}, "on_disconnect"),
        ({"origins": ["*"]}, "origin"),
        ({"token_in_query": ""}, "token_in_query"),
        ({"owner": 7}, "owner"),
        ({"hub": 7}, "hub"),
        ({"allow_missing_origin": "yes"}, "allow_missing_origin"),
    ],
)
async def test_arguments_are_checked_when_the_routes_are_made(options: Any, expected: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=expected):
        WebSocketRoutes(words, **options)
