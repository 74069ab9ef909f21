"""Recordings: what passed comes back, cut and timed alike, and holds no secrets."""

from __future__ import annotations

import asyncio
import json
import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from event_loops import asyncio_only
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.clients.recording_format import VERSION
from streamkit.testing import VirtualClock, check_operator, check_source, servers, timed

pytestmark = pytest.mark.anyio

CHAT = [
    b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\ndata: [DO',
    b"NE]\n\n",
]


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# ---- there and back


async def test_chunks_come_back_cut_and_timed_alike(clock: VirtualClock, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    plan = timed(0.5, b"one", 1.5, b"two", b"", 0.25, "日本".encode()[:4]) | sk.record(path)
    assert [b"one", b"two", b"", b"\xe6\x97\xa5\xe6"] == await plan.collect()
    began = clock.now()
    seen: list[tuple[float, bytes]] = []
    async with sk.replay(path) as chunks:
        async for chunk in chunks:
            seen.append((clock.now() - began, chunk))
    assert [(0.5, b"one"), (2.0, b"two"), (2.0, b""), (2.25, b"\xe6\x97\xa5\xe6")] == seen


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 4.0), (2, 2.0), (0.5, 8.0), (None, 0.0), (math.inf, 0.0)])
async def test_a_replay_is_as_fast_as_it_is_told(clock: VirtualClock, tmp_path: Path, speed: float | None, seconds: float) -> None:
    path = tmp_path / "a.jsonl"
    await (timed(1.0, "a", 2.0, "b", 1.0) | sk.record(path)).run()
    began = clock.now()
    again = sk.replay(path, speed=speed)
    assert ["a", "b"] == await again.collect()
    assert seconds == clock.now() - began
    assert ["a", "b"] == await again.collect()  # again, and again


EVENTS: list[sk.Event] = [
    sk.Start(id="1", model="m"),
    sk.ReasoningDelta("hm", signature="EqQBCgIYAhIM"),
    sk.TextDelta("Hel\ud83d", index=1, choice=2),
    sk.ToolCallStart("c", "add"),
    sk.ToolCallDelta("c", '{"a":'),
    sk.ToolCall("c", "add", '{"a":1}'),
    sk.DataDelta(b"\x00\xff", "audio/wav"),
    sk.Raw({"type": "odd", "n": [1, None]}),
    sk.Usage(1, 2, final=False),
    sk.Finish("length", raw_reason="max_tokens"),
]


async def test_every_kind_of_event_comes_back(tmp_path: Path) -> None:
    await (sk.stream(EVENTS) | sk.record(tmp_path / "a.jsonl")).run()
    expected = [sk.TextDelta("Hel\ud83d", index=1, choice=2) if isinstance(event, sk.TextDelta) else event for event in EVENTS]
    assert expected == await sk.replay(tmp_path / "a.jsonl", speed=None).collect()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
def test_any_bytes_in_any_cut_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    borders = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[a:b] for a, b in pairwise(borders)]

    async def both() -> None:
        assert chunks == await (sk.stream(chunks) | sk.record(path)).collect()
        assert chunks == await sk.replay(path, speed=None).collect()

    asyncio.run(both())


@given(st.lists(st.text(max_size=20), max_size=10))
def test_any_strings_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"

    async def both() -> None:
        await (sk.stream(texts) | sk.record(path)).run()
        assert texts == await sk.replay(path, speed=None).collect()

    asyncio.run(both())


async def test_a_recorded_body_decodes_as_it_did(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = await sk.decode(sk.stream(CHAT) | sk.record(path), "openai-chat").collect()
    again = await sk.decode(sk.replay(path), "openai-chat").collect()
    assert first == again
    assert "Hello" == "".join(event.text for event in again if isinstance(event, sk.TextDelta))


async def test_a_recorded_cut_is_replayed_as_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for make in (lambda: sk.stream(CHAT[:1]) | sk.record(path), lambda: sk.replay(path)):
        with pytest.raises(sk.StreamTruncated) as caught:
            await sk.decode(make(), "openai-chat").message()
        assert isinstance(caught.value.partial, sk.Message)
        assert "Hel" == caught.value.partial.text


# ---- a response on the wire


async def test_a_response_is_recorded_with_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    def answer(request: httpx.Request) -> httpx.Response:
        assert "Bearer sk-request-0123456789" == request.headers["authorization"]
        return httpx.Response(200, headers={"content-type": "text/event-stream", "set-cookie": "secret"}, content=b"".join(CHAT))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        asked = client.stream("POST", "https://api.example/v1?key=k", headers={"authorization": "Bearer sk-request-0123456789"})
        message = await sk.decode(sk.body(asked) | sk.record(path), "openai-chat").message()
    assert "Hello" == message.text
    header = kept(path)[0]
    assert ("recording", 1, 200, "text/event-stream") == tuple(
        header[name] for name in ("streamkit", "version", "status", "content_type")
    )
    assert {"streamkit", "version", "created", "status", "content_type"} == set(header)
    written = path.read_text("utf-8")
    assert not any(word in written for word in ("sk-request", "api.example", "secret"))


async def test_the_status_of_an_error_is_replayed_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    refusal = httpx.Response(401, json={"error": {"message": "no such key", "code": "invalid_api_key"}})
    transport = httpx.MockTransport(lambda request: refusal)
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(sk.AuthError) as first:
            await sk.decode(sk.body(client.stream("GET", "http://x")) | sk.record(path), "openai-chat").run()
    with pytest.raises(sk.AuthError) as again:
        await sk.decode(sk.replay(path), "openai-chat").run()
    assert (401, first.value.code, str(first.value)) == (again.value.status, again.value.code, str(again.value))


async def test_a_body_of_a_callable_can_be_run_again(tmp_path: Path) -> None:
    plan = sk.body(lambda: list(CHAT)) | sk.record(tmp_path / "a.jsonl")
    assert CHAT == await plan.collect() == await plan.collect()


@asyncio_only
async def test_a_response_that_blocks_is_recorded_too(tmp_path: Path) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=b"".join(CHAT), headers={"content-type": "a/b"}))
    with httpx.Client(transport=transport) as client:
        asked = client.stream("GET", "http://x")  # noqa: ASYNC212  # it is entered and read on a thread
        await (sk.body(asked) | sk.record(tmp_path / "a.jsonl")).run()
    assert (200, "a/b") == (kept(tmp_path / "a.jsonl")[0]["status"], kept(tmp_path / "a.jsonl")[0]["content_type"])


def test_what_can_never_give_bytes_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError):
        sk.body(5)


# ---- ends


async def test_the_end_is_recorded(clock: VirtualClock, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await (timed("a", 2.5) | sk.record(path)).run()
    assert {"t": 2.5, "end": "done"} == kept(path)[-1]
    async with timed("a", 2.5, "b") | sk.record(path) as items:
        async for _ in items:
            break
    assert {"t": 0, "end": "left"} == kept(path)[-1]
    with anyio.CancelScope() as scope:
        async with timed("a", 2.5, "b") | sk.record(path) as items:
            async for _ in items:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
    assert {"t": 0, "end": "cancelled"} == kept(path)[-1]
    assert ["a"] == await sk.replay(path).collect()


FIELDS = (
    *("provider", "code", "request_id", "retryable", "retry_after", "status", "phase", "seconds"),
    *("last_id", "offset", "excerpt", "size", "events_sent"),
)
ERRORS: list[sk.StreamkitError] = [
    sk.RateLimitError("slow down", provider="p", code="rl", request_id="r", retry_after=2.5, status=429),
    sk.SourceError("odd", code="own", retryable=True),
    sk.StreamTruncated("cut"),
    sk.StreamTimeout("late", phase="first", seconds=1.5),
    sk.StreamDraining("bye", last_id="7"),
    sk.RemoteProtocolError("bad", offset=3, excerpt="{"),
    sk.BufferFull("full", size=4),
    sk.SinkClosed("gone", events_sent=2),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_at_the_end_comes_back_as_it_was(clock: VirtualClock, tmp_path: Path, error: sk.StreamkitError) -> None:
    async def failing() -> Any:
        yield "a"
        await clock.sleep(1.5)
        raise error

    path = tmp_path / "a.jsonl"
    with pytest.raises(type(error)):
        await (sk.stream(failing()) | sk.record(path)).run()
    began = clock.now()
    with pytest.raises(type(error)) as caught:
        await sk.replay(path).collect()
    assert type(error) is type(caught.value)
    assert str(error) == str(caught.value)
    for name in FIELDS:
        assert getattr(error, name, None) == getattr(caught.value, name, None)
    assert (["a"], 1.5) == (caught.value.partial, clock.now() - began)


async def test_an_error_of_others_comes_back_as_a_source_error_with_its_name(tmp_path: Path) -> None:
    async def failing() -> Any:
        yield b"a"
        raise httpx.ReadError("reset by peer, Bearer abcdef0123456789")

    path = tmp_path / "a.jsonl"
    with pytest.raises(httpx.ReadError):
        await (sk.stream(failing()) | sk.record(path)).run()
    with pytest.raises(sk.SourceError, match=r"reset by peer, Bearer \*\*\*") as caught:
        await sk.replay(path).run()
    assert "ReadError" == caught.value.code


@pytest.mark.parametrize("name", sorted({*sk.errors.__all__} - {"scrub"}))
async def test_an_error_of_any_name_with_odd_fields_is_raised_as_an_error_of_ours(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jsonl"
    odd = {"type": name, "message": "m", "seconds": "x", "offset": [], "phase": 5, "retryable": "no", "new": 1}
    path.write_text('{"streamkit":"recording","version":1}\n' + json.dumps({"t": 0, "end": "error", "error": odd}) + "\n", "utf-8")
    with pytest.raises(sk.StreamkitError, match="m"):
        await sk.replay(path).run()


# ---- files that are not whole


async def test_a_killed_recording_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await (sk.stream(["a", "b", "c"]) | sk.record(path)).run()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ends = [len(b"".join(lines[:n])) for n in range(len(lines) + 1)]
    for size in range(ends[1], len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(sk.StreamTruncated, match="has no end") as caught:
            await sk.replay(path, speed=None).collect()
        full = max(n for n, end in enumerate(ends) if end <= size + 1) - 1  # a line is whole without its newline
        assert ["a", "b", "c"][: min(full, 3)] == caught.value.partial


ODD: list[Any] = [
    [b"data: x\n\n", b"\xff\xfe", b"", "日本".encode()[:4]],
    ["a", "", "\ud83d", "日本"],
    [sk.Start(model="m"), sk.TextDelta("Hel\ud83d"), sk.ToolCallDelta("1", '{"a'), sk.DataDelta(b"\xff", "audio/wav"), sk.Finish()],
]


@pytest.mark.parametrize("items", ODD, ids=["bytes", "strings", "events"])
async def test_a_recording_cut_at_any_byte_gives_a_beginning_of_what_there_was(tmp_path: Path, items: list[Any]) -> None:
    path = tmp_path / "a.jsonl"
    await (sk.stream(items) | sk.record(path)).run()
    whole = path.read_bytes()
    seen: list[int] = []
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size < whole.index(b"\n"):
            with pytest.raises(sk.ConfigError, match="no recording"):
                sk.replay(path)
            continue
        got: list[Any] = []
        try:
            async with sk.replay(path, speed=None) as replayed:
                async for item in replayed:
                    got.append(item)
        except sk.StreamTruncated:
            assert not isinstance(items[0], bytes) or not got
        else:
            assert isinstance(items[0], bytes)
        assert items[: len(got)] == got
        seen.append(len(got))
    assert sorted(seen) == seen
    assert {*range(len(items) + 1)} == set(seen)


async def test_bytes_of_a_killed_recording_end_as_a_body_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await (sk.stream(CHAT) | sk.record(path)).run()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]) + b'{"t":0.1,"da')
    assert CHAT[:1] == await sk.replay(path).collect()
    with pytest.raises(sk.StreamTruncated):
        await sk.decode(sk.replay(path), "openai-chat").run()


async def test_lines_are_in_the_file_as_soon_as_they_are_decided(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    async with sk.stream(CHAT).map(lambda chunk: chunk) | sk.record(path) as chunks:
        async for _ in chunks:
            assert CHAT[0].decode() == kept(path)[1]["data"]
            break


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no recording"),
        (b"<html>", "no recording"),
        (b'{"type":"open"}\n', "no recording"),
        (b'{"streamkit":"recording","version":2}\n', "version 2"),
    ],
)
def test_what_is_no_recording_is_refused_at_the_call(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(sk.ConfigError, match=said):
        sk.replay(path)


NO_LINES = [b"nonsense", b"5", b"[]", b'{"t":1}', b'{"t":1,"base64":"?"}', b'{"t":1,"event":{"type":"new"}}', b'{"text":"a"}']


@pytest.mark.parametrize("line", NO_LINES)
async def test_a_line_that_is_none_is_told_with_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"streamkit":"recording","version":1}\n{"t":0,"text":"a","new":1}\n' + line + b'\n{"t":2,"end":"done"}\n')
    with pytest.raises(sk.RemoteProtocolError, match=r"line 3 of .*a\.jsonl") as caught:
        await sk.replay(path, speed=None).collect()
    assert isinstance(caught.value.partial, list)


def test_a_file_or_a_folder_that_is_not_there_is_told_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sk.replay(tmp_path / "a.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder"):
        sk.record(tmp_path / "no" / "a.jsonl")
    with pytest.raises(IsADirectoryError):
        sk.record(tmp_path)
    with pytest.raises(sk.ConfigError, match="errors"):
        sk.record(tmp_path / "a.jsonl", errors="ignore")  # type: ignore[arg-type]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("speed", [0, -1, True, "fast"])
def test_a_speed_that_is_none_is_refused_at_the_call(tmp_path: Path, speed: Any) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"streamkit": "recording", "version": VERSION}) + "\n")
    with pytest.raises((sk.ConfigError, TypeError), match="speed"):
        sk.replay(tmp_path / "a.jsonl", speed=speed)


# ---- files that fail


class FullDisk:
    """A file that takes so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.closed = False

    def write(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Everything is written."""

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    disk = FullDisk(200)
    monkeypatch.setattr(Path, "open", lambda path, mode: disk)
    return disk


async def test_a_full_disk_ends_the_stream_behind_the_items_that_came(full_disk: FullDisk, tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(OSError, match="No space left"):
        async with sk.stream([["one"] * 3, ["two"], ["three"] * 40, ["four"]]).flat_map(lambda items: items) | sk.record(
            tmp_path / "a"
        ) as items:
            async for item in items:
                seen.append(item)
    assert ["one", "one", "one"] == seen[:3]
    assert full_disk.closed


async def test_a_full_disk_may_be_a_warning(full_disk: FullDisk, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="a was given up: .*No space left"):
        items = await (sk.stream(["x" * 50] * 20) | sk.record(tmp_path / "a", errors="warn")).collect()
    assert ["x" * 50] * 20 == items
    assert full_disk.closed


async def test_an_item_that_cannot_be_recorded_is_delivered_and_then_told(tmp_path: Path) -> None:
    seen: list[Any] = []
    with pytest.raises(TypeError, match="got a int"):
        async with sk.stream(["a", 5]).map(lambda item: item) | sk.record(tmp_path / "a.jsonl", errors="warn") as items:
            async for item in items:
                seen.append(item)
    assert ["a", 5] == seen


# ---- secrets

KEY = "sk-proj-Abc123def456GHI789"


async def test_secrets_are_masked_in_the_file_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    chunks = [b'data: {"x":"sk-pr', b"oj-Abc123de", b'f456GHI789"}\n', b"\nauthorization: Bea", b"rer abcdef0123456789"]
    assert chunks == await (sk.stream(chunks) | sk.record(path)).collect()
    again = await sk.replay(path, speed=None).collect()
    assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in again]
    expected = b"".join(chunks).replace(KEY[3:].encode(), b"*" * 23).replace(b"abcdef0123456789", b"*" * 16)
    assert expected == b"".join(again)


async def test_secrets_are_masked_in_text_and_in_events_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = [KEY[:9], KEY[9:15], KEY[15:], " end"]
    await (sk.stream(texts) | sk.record(path)).run()
    assert ["sk-******", "******", "***********", " end"] == await sk.replay(path, speed=None).collect()
    events: list[sk.Event] = [
        sk.TextDelta(KEY[:9]),
        sk.ReasoningDelta("think "),
        sk.ToolCallDelta("c", '{"api_key": "hun'),
        sk.TextDelta(KEY[9:]),
        sk.ToolCallDelta("c", 'ter2hunter2"}'),
        sk.Custom("debug", {"password": "hunter2hunter2"}),
    ]
    await (sk.stream(events) | sk.record(path)).run()
    assert "hunter2" not in path.read_text("utf-8")
    again = await sk.replay(path, speed=None).collect()
    assert [type(event) for event in events] == [type(event) for event in again]
    assert [sk.TextDelta("sk-******"), sk.TextDelta("*" * 17)] == [event for event in again if isinstance(event, sk.TextDelta)]


async def test_a_secret_that_is_never_ended_does_not_hold_the_file_back_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    events: list[sk.Event] = [sk.TextDelta("password"), *[sk.ReasoningDelta(f"{n}\n") for n in range(600)]]
    async with sk.stream(events).map(lambda event: event) | sk.record(path) as items:
        count = 0
        async for _ in items:
            count += 1
            if count == 500:
                assert len(kept(path)) > 400
    assert events == await sk.replay(path, speed=None).collect()


async def test_recording_adds_no_delay_and_reads_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    reads: list[int] = []
    async with sk.decode(sk.stream([CHAT[0] * 3, *CHAT]), "openai-chat").open() as run:
        async for read in run.lists():
            reads.append(len(read))
    await (sk.decode(sk.stream([CHAT[0] * 3, *CHAT]), "openai-chat") | sk.record(path)).run()
    times = [line["t"] for line in kept(path)[1:-1]]
    assert sum(reads) == len(times)
    assert len(set(times)) <= len(reads)


# ---- the contract, and real clients


@pytest.mark.parametrize(
    ("items", "errors"),
    [
        ([b"a", b"sk-0123456789abcdef", b"\xff"], "raise"),
        (["a", "Bearer ", "b"], "warn"),
        ([sk.TextDelta("a"), sk.Finish()], "raise"),
    ],
    ids=["bytes", "strings", "events"],
)
async def test_recording_anything_holds_the_contract_of_operators(tmp_path: Path, items: list[Any], errors: Any) -> None:
    report = await check_operator(
        sk.record(tmp_path / "a.jsonl", errors=errors),
        items=items,
        expected=items,
        ahead=0,
        refuses=[lambda: sk.record(tmp_path / "a.jsonl", errors="ignore")],  # type: ignore[arg-type]  # on purpose
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)
    assert 40 <= report.cases


async def test_recording_holds_the_contract_of_operators_and_replaying_that_of_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    report = await check_operator(sk.record(path), items=["a", "b", "c"], expected=["a", "b", "c"], ahead=0)
    assert 40 <= report.cases
    await (sk.stream(["a", "b", "c"]) | sk.record(path)).run()
    assert 4 <= (await check_source(lambda: sk.replay(path), items=["a", "b", "c"])).cases
    assert 4 <= (await check_source(lambda: sk.body([b"a", b"b"]), items=[b"a", b"b"])).cases


@asyncio_only
async def test_the_raw_response_of_an_sdk_is_recorded_on_the_wire(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    path = tmp_path / "a.jsonl"
    with servers.provider("openai-chat", "Hello from the wire.") as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-0123456789abcdef", max_retries=0) as client:
            messages = [{"role": "user", "content": "Hi"}]
            asked = client.chat.completions.with_streaming_response.create(model="m", messages=messages, stream=True)
            first = await sk.decode(sk.body(asked) | sk.record(path), "openai-chat").collect()
    assert first == await sk.decode(sk.replay(path, speed=None), "openai-chat").collect()
    assert "Hello from the wire." == "".join(event.text for event in first if isinstance(event, sk.TextDelta))
    assert "sk-0123456789abcdef" not in path.read_text("utf-8")


@pytest.mark.parametrize("seed", range(3))
async def test_recordings_of_all_providers_come_back_byte_for_byte(shared_data: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    bodies = sorted((shared_data / "transcripts").glob("*.sse"))
    assert len(bodies) > 20
    for source in bodies:
        content = source.read_bytes()
        borders = sorted({0, len(content), *(chance.randrange(len(content) + 1) for _ in range(30))})
        chunks = [content[a:b] for a, b in pairwise(borders)]
        await (sk.stream(chunks) | sk.record(tmp_path / "a.jsonl")).run()
        assert chunks == await sk.replay(tmp_path / "a.jsonl", speed=None).collect()
