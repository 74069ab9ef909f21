"""A hub's stream in the dialects that are only written: whole from wherever a reader goes on, and from a folded log as well."""

from __future__ import annotations

import html
import json

import pytest
from anyio.lowlevel import checkpoint
from asgi_client import Client, frames_of

import streamkit as sk
from streamkit.dialects.outcomes import DONE
from streamkit.dialects.own_frames import mapping
from streamkit.hub.hub import Hub
from streamkit.sinks.encodings import HubCodec, NothingMore
from streamkit.sinks.resuming import HubResponse
from streamkit.wire.sse import Decoder

pytestmark = pytest.mark.anyio

DIALECTS = ["ag-ui", "sse-text", "htmx", "token-text", "message-content"]
TEXTS = ("Hel", "lo,", " ", " \n", "wörld\n\n", "[DONE]", "😀", "<b>", " a", "b")
EVENTS: list[sk.Event] = [
    sk.Start(model="m"),
    sk.ReasoningDelta("Let me "),
    sk.ReasoningDelta("think.", signature="s"),
    *[sk.TextDelta(text) for text in TEXTS],
    sk.ToolCallStart("call-1", "search"),
    sk.ToolCallDelta("call-1", '{"q":'),
    sk.ToolCallDelta("call-1", '"x"}'),
    sk.ToolCall("call-1", "search", '{"q":"x"}'),
    sk.TextDelta("done", index=1),
    sk.Usage(input_tokens=3),
    sk.Finish("stop"),
]
TEXT = "".join(TEXTS) + "done"


async def read(hub: Hub, dialect: str, after: str | None = None) -> bytes:
    codec = HubCodec("x", dialect, after=after)
    try:
        writes: list[bytes] = []
        stream = hub.read("x", codec, after=after, policy="lag", lag=1024, errors="yield", asked=None)
        async with stream.open() as run:
            async for batch in run.lists():
                writes.append(codec.encode(batch))
        return b"".join(writes) + codec.close(DONE)
    finally:
        codec.leave()


def text_of(body: bytes, dialect: str) -> str:
    frames = Decoder().feed(body)
    if dialect == "sse-text":
        return "".join(frame.data for frame in frames[:-1])
    if dialect == "htmx":
        return html.unescape("".join(frame.data for frame in frames if frame.type == "message"))
    said = [json.loads(frame.data) for frame in frames]
    if dialect == "ag-ui":
        return "".join(event["delta"] for event in said if event["type"] == "TEXT_MESSAGE_CONTENT")
    return "".join(event.get("text", event.get("content", "")) for event in said)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_from_every_id_on_the_rest_is_exactly_what_was_not_seen(dialect: str) -> None:
    async with Hub() as hub:
        await hub.start("x", EVENTS)
        whole = await read(hub, dialect)
        assert TEXT == text_of(whole, dialect)
        ends = [at + 2 for at in range(len(whole)) if whole.startswith(b"\n\n", at)]
        seen = 0
        for end in ends:
            frame = Decoder().feed(whole[:end])[-1]
            before = Decoder().feed(whole[:end])[-2:-1]
            if frame.id and [frame.id] != [other.id for other in before]:
                seen += 1
                try:
                    rest = await read(hub, dialect, after=frame.id)
                except NothingMore:
                    rest = b""
                assert whole == whole[:end] + rest
            await checkpoint()
        assert seen >= len(TEXTS) - 2


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_folded_beginning_has_all_the_text_once(dialect: str) -> None:
    async with Hub(max_events=4) as hub:
        await hub.start("x", EVENTS)
        assert len(await hub.subscribe("x").collect()) < len(EVENTS)  # it is folded
        assert TEXT == text_of(await read(hub, dialect), dialect)


@pytest.mark.parametrize("last", [sk.Finish("stop"), sk.ErrorEvent("no")])
async def test_an_ending_of_ones_own_that_fails_gives_way_to_the_default_one(last: sk.Event) -> None:
    chat = mapping(lambda event: {"a": 1}, ending=lambda outcome: {"a": 1 // 0})
    async with Hub() as hub:
        await hub.start("x", [sk.TextDelta("a"), last])
        client = await Client().call(HubResponse(hub, "x", chat))
    frames = frames_of(client.body)
    assert ["message", "error"] == [frames[0].type, frames[-1].type]
    assert "The stream failed." == json.loads(frames[-1].data)["error"]
    assert client.complete
