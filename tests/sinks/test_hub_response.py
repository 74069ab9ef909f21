"""A hub's stream as a response: who may have it, from where on, and what everybody else is told."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from asgi_client import Client, frames_of

import streamkit as sk
from streamkit.dialects.native import NativeDecoder
from streamkit.hub.hub import Hub
from streamkit.sinks.encodings import Encoding
from streamkit.sinks.resuming import HubResponse
from streamkit.testing import VirtualClock, assert_no_leaks, timed

pytestmark = pytest.mark.anyio


async def get(hub: Hub, id: str, token: str | None = None, *, query: str = "", method: str = "GET", **options: Any) -> Client:
    """One request for a stream."""
    headers = {} if token is None else {"Last-Event-ID": token}
    client = Client(headers=headers, query=query, method=method)
    return await client.call(HubResponse(hub, id, **options))


def tokens(client: Client) -> list[str]:
    return [line[4:] for line in client.body.decode().split("\n") if line.startswith("id: ")]


async def counting(count: int = 20) -> AsyncIterator[str]:
    for number in range(count):
        yield f"{number};"
        await checkpoint()


COUNTED = "".join(f"{number};" for number in range(20))


async def test_a_stream_is_answered_from_its_beginning() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        client = await get(hub, "x")
    assert (200, COUNTED, True) == (client.status, client.text, client.complete)
    assert "text/event-stream; charset=utf-8" == client.headers["content-type"]
    assert "no-cache, no-transform, no-store, private" == client.headers["cache-control"]


async def test_last_event_id_and_after_go_on_behind_their_token() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        whole = await get(hub, "x")
        token = tokens(whole)[4]
        for client in (
            await get(hub, "x", token),
            await get(hub, "x", query=f"after={token}"),
            await get(hub, "x", after=token),
            await get(hub, "x", token, query=f"after={tokens(whole)[1]}"),  # the header is the newer one
            await get(hub, "x", tokens(whole)[1], after=token),  # the application knows better
        ):
            assert "".join(f"{number};" for number in range(5, 20)) == client.text
            assert whole.body.endswith(client.body)


async def test_an_empty_last_event_id_is_none() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        assert COUNTED == (await get(hub, "x", "")).text


async def test_who_has_all_of_a_stream_that_is_over_gets_204_and_asks_no_more() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        last = tokens(await get(hub, "x"))[-1]
        for method in ("GET", "HEAD"):
            client = await get(hub, "x", last, method=method)
            assert (204, b"", True) == (client.status, client.body, client.complete)
            assert "content-type" not in client.headers


async def test_head_is_the_headers_of_get_and_reads_nothing() -> None:
    async with Hub() as hub:
        await hub.start("x", counting, owner="a")
        client = await get(hub, "x", method="HEAD", owner="a")
        assert (200, b"", True) == (client.status, client.body, client.complete)
        assert "text/event-stream; charset=utf-8" == client.headers["content-type"]
        assert 404 == (await get(hub, "x", method="HEAD", owner="b")).status
        assert 404 == (await get(hub, "y", method="HEAD")).status
        assert 400 == (await get(hub, "x", "x.y", method="HEAD", owner="a")).status


async def test_who_asks_what_may_be_asked_reads_nothing() -> None:
    async with Hub() as hub:
        for id in ("x", "not there"):
            client = await get(hub, id, method="OPTIONS")
            assert (204, "GET, HEAD, OPTIONS, POST", True) == (client.status, client.headers["allow"], client.complete)


async def test_res_01_ids_are_unguessable_and_no_credential() -> None:
    async with Hub() as hub:
        names = {(await hub.start(None, ["a"], owner="a")).id for _ in range(50)}
        assert [50, True] == [len(names), all(len(name) >= 22 for name in names)]
        assert {404} == {(await get(hub, name)).status for name in names}


async def test_res_02_somebody_elses_stream_is_answered_as_one_that_is_not_there() -> None:
    async with Hub() as hub:
        await hub.start("secret", counting, owner="a")
        whole = await get(hub, "secret", owner="a")
        for token in (None, tokens(whole)[3], tokens(whole)[-1], "abc.7"):
            foreign = await get(hub, "secret", token, owner="b")
            nobody = await get(hub, "secret", token)
            unknown = await get(hub, "terces", token, owner="b")
            assert 404 == foreign.status == nobody.status == unknown.status
            assert foreign.headers == nobody.headers == unknown.headers
            assert told(foreign) == told(nobody) == told(unknown)
            assert len(foreign.body) == len(unknown.body)
            assert "secret" not in foreign.body.decode()


def told(client: Client) -> dict[str, object]:
    """The error's body, without the id that is new each time."""
    error: dict[str, object] = json.loads(client.body)["error"]
    assert 16 == len(str(error.pop("correlation_id")))
    return error


async def test_missing_204_tells_who_resumes_quietly_that_there_is_nothing() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"], owner="a")
        unknown = await get(hub, "y", missing=204)
        foreign = await get(hub, "x", missing=204, owner="b")
    assert (204, b"") == (unknown.status, unknown.body) == (foreign.status, foreign.body)
    assert unknown.headers == foreign.headers


FORGED = {
    "negative": "-1",
    "a negative offset": "{epoch}.-1",
    "huge": "9" * 60,
    "a huge offset": "{epoch}.999999999999999",
    "an offset longer than any": "{epoch}.9999999999999999999999",
    "no int": "first",
    "a float": "{epoch}.1e3",
    "a leading zero": "{epoch}.01",
    "the offset alone": "5",
    "the next one": "{epoch}.{head}",
    "a later epoch": "{later}.5",
    "an epoch of nobody": "1.5",
    "a megabyte": "a" * (1 << 20),
    "a line end": "{epoch}.1\r\nx: y",
    "a line end at its end": "{epoch}.1\n",
    "a space": " {epoch}.1",
    "digits of another script, which header and query bring as bytes": "{epoch}.\xd9\xa1",
    "a nul": "{epoch}.1\x00",
    "capital letters": "ABC.1",
}


@pytest.mark.parametrize("how", ["header", "query"])
@pytest.mark.parametrize("name", FORGED)
async def test_res_04_a_forged_last_event_id_is_400_and_replays_nothing(name: str, how: str) -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        epoch, _, offset = tokens(await get(hub, "x"))[-1].partition(".")
        token = FORGED[name].format(epoch=epoch, head=int(offset) + 1, later=f"{int(epoch, 16) + 2_000_000:x}")
        if how == "header":
            client = await get(hub, "x", token)
        else:
            client = await get(hub, "x", query="after=" + "".join(f"%{byte:02x}" for byte in token.encode("latin-1")))
    assert 400 == client.status
    assert "bad-token" == told(client)["code"]


async def test_res_04_another_streams_token_is_400() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        await hub.start("y", counting)
        token = tokens(await get(hub, "y"))[3]
        assert 400 == (await get(hub, "x", token)).status
        assert 200 == (await get(hub, "y", token)).status


async def test_res_04_two_different_tokens_and_too_many_fields_are_400() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        first, second = tokens(await get(hub, "x"))[:2]
        assert 400 == (await get(hub, "x", query=f"after={first}&after={second}")).status
        assert 400 == (await get(hub, "x", query="after=1&" * 1000)).status
        assert 200 == (await get(hub, "x", query=f"after={first}&after={first}&x=%ff")).status


async def test_what_clients_do_wrong_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamkit.sinks")
    async with Hub() as hub:
        await hub.start("x", counting)
        client = await get(hub, "x", "forged")
        await get(hub, "y")
    assert ["INFO", "INFO"] == [record.levelname for record in caplog.records]
    assert json.loads(client.body)["error"]["correlation_id"] in caplog.records[0].getMessage()


async def test_res_05_a_token_below_what_is_kept_gets_the_rest_or_a_gap_and_never_less_in_silence() -> None:
    async with Hub(max_events=4) as folding, Hub(max_events=4, max_bytes=1000) as forgetting:
        for hub in (folding, forgetting):
            await hub.start("x", [f"{number:03};" for number in range(200)])
            await hub.subscribe("x").collect()
            epoch, _, _ = str((await hub.status("x")).token).partition(".")
            client = await get(hub, "x", f"{epoch}.2")
            missing = sum(value["count"] for value in client.values if value["type"] == "gap")
            assert (197 - missing) * 4 == len(client.text)
            assert (hub is forgetting) == (missing > 0)
            assert client.text.endswith("".join(f"{number:03};" for number in range(3 + missing, 200)))


async def test_res_06_three_who_resume_at_once_get_the_same_and_the_source_runs_once() -> None:
    runs: list[int] = []
    go = anyio.Event()

    async def source() -> AsyncIterator[str]:
        runs.append(1)
        for number in range(10):
            yield f"{number};"
        await go.wait()
        for number in range(10, 20):
            yield f"{number};"
            await checkpoint()

    async with Hub() as hub:
        await hub.start("x", source)
        entries = await (hub.entries("x") | sk.take(5)).collect()
        token = entries[-1][0]
        clients: list[Client] = []

        async def resume() -> None:
            clients.append(await get(hub, "x", token))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(resume)
            await checkpoint()
            go.set()
    assert ["".join(f"{number};" for number in range(5, 20))] * 3 == [client.text for client in clients]
    assert [1] == runs


@pytest.mark.parametrize("turns", range(12))
async def test_res_07_who_resumes_around_the_end_gets_it_exactly_once(turns: int) -> None:
    """The reader comes before, in, and after the turn of the event loop in which the last event is written."""
    come, end = anyio.Event(), anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        come.set()
        await end.wait()
        yield "b"

    async with Hub() as hub:
        await hub.start("x", source)
        await come.wait()
        token = (await hub.status("x")).token
        clients: list[Client] = []

        async def resume() -> None:
            for _ in range(turns):
                await checkpoint()
            clients.append(await get(hub, "x", token))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(resume)
            for _ in range(5):
                await checkpoint()
            end.set()
    (client,) = clients
    assert ["text-delta", "finish", "end"] == [value["type"] for value in client.values]


async def test_res_08_what_was_stopped_stays_stopped_for_who_resumes() -> None:
    async with Hub() as hub:
        await hub.start("x", endless)
        entries = await (hub.entries("x") | sk.take(2)).collect()
        assert await hub.cancel("x", "enough")
        for token in (None, entries[0][0]):
            client = await get(hub, "x", token)
            assert ("cancelled", "end") == (client.values[-2]["reason"], client.values[-1]["type"])
        assert 204 == (await get(hub, "x", tokens(client)[-1])).status
        assert "cancelled" == (await hub.status("x")).state


async def endless() -> AsyncIterator[str]:
    while True:
        yield "x"
        await checkpoint()


async def test_a_client_that_leaves_leaves_the_generation_running() -> None:
    go = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go.wait()
        yield "b"

    async with Hub() as hub:
        await hub.start("x", source)
        client = Client(on_send=lambda number: client.leave() if number == 2 else None)
        await client.call(HubResponse(hub, "x"))
        assert client.returned
        assert 0 == (await hub.status("x")).readers
        go.set()
        assert "ab" == (await get(hub, "x")).text


async def test_clients_that_leave_anywhere_leave_nothing_behind_and_the_others_have_it_all() -> None:
    seed = random.randrange(1 << 32)
    pick = random.Random(seed)
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("x", counting)
        log = hub._streams.kept["x"].producer.log  # pyright: ignore[reportPrivateUsage]  # nobody else needs it
        clients = [Client() for _ in range(120)]

        async def come_and_go(client: Client, turns: int, stays: int | None, dialect: str) -> None:
            for _ in range(turns):
                await checkpoint()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call, HubResponse(hub, "x", dialect))
                if stays is not None:
                    for _ in range(stays):
                        await checkpoint()
                    client.leave()

        async with anyio.create_task_group() as tasks:
            for number, client in enumerate(clients):
                stays = None if number % 3 == 0 else pick.randrange(40)
                tasks.start_soon(come_and_go, client, pick.randrange(30), stays, pick.choice(["native", "openai-responses"]))
        assert all(client.returned for client in clients), seed
        assert 0 == (await hub.status("x")).readers, seed
        for client in clients[::3]:
            assert client.complete, seed
            assert "19;" in client.body.decode(), seed
        assert [] == [made for made in log.encodings.values() if isinstance(made, Encoding)], seed


async def test_a_client_that_leaves_is_the_last_one_where_that_was_asked_for() -> None:
    async with Hub() as hub:
        await hub.start("x", endless, on_disconnect="cancel")
        client = Client(on_send=lambda number: client.leave() if number == 3 else None)
        await client.call(HubResponse(hub, "x"))
        assert "cancelled" == (await hub.status("x")).state


async def test_silence_is_filled_with_heartbeats_and_a_slow_start_sends_the_headers(clock: VirtualClock) -> None:
    async with Hub() as hub:
        await hub.start("x", timed(40.0, "a", 20.0, "b"))
        client = await get(hub, "x", heartbeat=15.0)
    assert [b": hb\n", b": hb\n", b'data: {"type":"open"'] == [write[:20] for write in client.writes[:3]]
    assert 3 == client.body.count(b": hb\n")
    assert "ab" == client.text
    assert 60.0 == clock.now()


async def test_a_stream_that_failed_before_it_said_anything_is_a_status() -> None:
    async def limited() -> AsyncIterator[str]:
        raise sk.RateLimitError("key sk-secret-secret-secret", retry_after=7)
        yield ""

    async with Hub() as hub:
        await hub.start("x", limited)
        client = await get(hub, "x")
    assert (429, "7") == (client.status, client.headers["retry-after"])
    assert "secret" not in client.body.decode()


async def test_a_stream_that_failed_later_is_an_error_frame_and_204_behind_it() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "kept"
        raise ValueError("secret")

    async with Hub() as hub:
        await hub.start("x", broken)
        client = await get(hub, "x")
        assert ("kept", "error") == (client.text, client.values[-1]["type"])
        assert tokens(client)[-1] == client.values[-1]["correlation_id"]
        assert 204 == (await get(hub, "x", tokens(client)[-1])).status


async def test_a_hub_that_closes_tells_its_readers_that_it_drains() -> None:
    client = Client()
    started = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await anyio.sleep_forever()

    async with Hub() as hub, anyio.create_task_group() as tasks:
        await hub.start("x", source)
        client = Client(on_send=lambda number: started.set() if number == 2 else None)
        tasks.start_soon(client.call, HubResponse(hub, "x"))
        await started.wait()
        await hub.aclose()
    assert ("draining", True) == (client.values[-1]["code"], client.values[-1]["retryable"])
    assert client.complete


async def test_a_slow_client_with_policy_disconnect_is_told_where_to_resume(clock: VirtualClock) -> None:
    async with Hub() as hub:
        await hub.start("x", timed("a", 1.0, *[f"{number};" for number in range(100)], 100.0, "end"))
        client = Client()
        blocked, send = anyio.Event(), client._send  # pyright: ignore[reportPrivateUsage]

        async def slowly(message: Any) -> None:
            if b'"a"' in message.get("body", b""):
                await blocked.wait()
            await send(message)

        async with anyio.create_task_group() as tasks:
            response = HubResponse(hub, "x", policy="disconnect", lag=10)
            tasks.start_soon(response, client.scope, client._receive, slowly)  # pyright: ignore[reportPrivateUsage]
            await clock.sleep(2.0)
            blocked.set()
        assert ("buffer-full", True) == (client.values[-1]["code"], client.values[-1]["retryable"])
        rest = await get(hub, "x", tokens(client)[-1])
    assert "a" + "".join(f"{number};" for number in range(100)) + "end" == client.text + rest.text


async def test_conflated_writes_are_larger_and_hold_all_of_the_text() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        await hub.subscribe("x").collect()
        client = await get(hub, "x", policy="conflate")
        assert COUNTED == client.text
        assert ["open", "text-delta", "finish", "end"] == [value["type"] for value in client.values]
        assert 204 == (await get(hub, "x", tokens(client)[-1], policy="conflate")).status


@pytest.mark.parametrize(
    "options",
    [{"status": 204}, {"heartbeat": 0}, {"policy": "fast"}, {"lag": 0}, {"dialect": "none"}, {"missing": 200}, {"pad": 1}],
)
async def test_what_cannot_be_is_refused_at_the_call(options: dict[str, Any]) -> None:
    with pytest.raises(sk.ConfigError):
        HubResponse(Hub(), "x", **options)


async def test_other_scopes_than_http_are_refused() -> None:
    with pytest.raises(sk.ConfigError, match="websocket"):
        await HubResponse(Hub(), "x")({"type": "websocket"}, Client()._receive, Client()._send)  # pyright: ignore[reportPrivateUsage]


async def test_the_parts_of_a_response_that_was_cut_anywhere_make_up_the_whole() -> None:
    async with Hub() as hub:
        await hub.start("x", counting)
        whole = (await get(hub, "x")).body
        for cut in range(len(whole)):
            had = whole[:cut]
            frames = frames_of(had[: had.rfind(b"\n\n") + 2]) if b"\n\n" in had else []
            token = frames[-1].id if frames else ""
            rest = await get(hub, "x", token or None)
            complete = had[: had.index(b"\n\n", had.index(token.encode())) + 2] if token else b""
            assert rest.status == 204 or complete + rest.body == whole
            decoder = NativeDecoder()
            events = decoder.decode_many([*frames_of(complete + rest.body)]) + decoder.finish()
            assert COUNTED == "".join(event.text for event in events if isinstance(event, sk.TextDelta))
