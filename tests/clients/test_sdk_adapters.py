"""What holds for every API of both SDKs, in every way: one reading, whether it comes as bytes or as objects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sdk_wires import BETA_MESSAGES, CHAT, MESSAGES, RESPONSES, WAYS, WIRES, Wire, answering, openai

import streamkit as sk
from streamkit.errors import ConfigError, RemoteProtocolError, StreamConsumed, StreamTruncated

pytestmark = [
    pytest.mark.anyio,
    # The SDKs leave generators of their own to the collector when their stream ends, and trio warns of that.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

PROTOCOLS = {"openai": CHAT, "responses": RESPONSES, "anthropic": MESSAGES}
# The SDK's own helpers do not read these.
NOT_FOR_HELPERS = {
    "mistral_reasoning.sse": "a list of parts is no delta for it",
    "perplexity_citations.sse": "the last chunk calls itself by another name, and it passes that over",
}


@pytest.fixture(params=WIRES.values(), ids=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


async def passed_on(stream: Any) -> AsyncIterator[Any]:
    """As a tracing library does: what is underneath is out of sight."""
    async for item in await stream:
        yield item


async def told_by(manager: Any) -> AsyncIterator[Any]:
    """All that a helper tells, its own events too."""
    async with manager as stream:
        async for event in stream:
            yield event


async def outcome(stream: sk.Stream[sk.Event]) -> tuple[list[sk.Event], Exception | None]:
    """The events, and the error after them."""
    events: list[sk.Event] = []
    try:
        async with stream as run:
            async for event in run:
                events.append(event)
    except Exception as error:
        return events, error
    return events, None


def final(events: list[sk.Event]) -> list[sk.Event]:
    """Counts as final: OpenAI's SDK hides the end marker of a chat, before which a later count could still come."""
    return [msgspec.structs.replace(event, final=True) if isinstance(event, sk.Usage) else event for event in events]


def recorded(shared_data: Path) -> Iterator[tuple[Path, Wire]]:
    rows = [line.split("|") for line in (shared_data / "transcripts/INDEX.md").read_text("utf-8").splitlines()]
    for row in rows:
        if len(row) > 3 and row[2].strip() in PROTOCOLS:
            yield shared_data / "transcripts" / row[1].strip(), PROTOCOLS[row[2].strip()]


async def assert_one_reading(body: bytes, wire: Wire, name: str = "") -> None:
    client = wire.client(sync=False, transport=answering([body]))
    provider = "anthropic" if wire.dialect == "anthropic" else "openai"
    expected, error = await outcome(sk.decode([body], wire.dialect, provider=provider))
    assert expected

    underneath, same = await outcome(wire.adapter(wire.ask(client, "create")))
    assert (expected, type(error)) == (underneath, type(same)), name

    ways: dict[str, Callable[[], Any]] = {"objects": lambda: passed_on(wire.ask(client, "create"))}
    if name not in NOT_FOR_HELPERS:
        ways["helper"] = lambda: told_by(wire.ask(client, "stream"))
    for way, make in ways.items():
        events, said = await outcome(wire.adapter(make()))
        assert (error is None) == (said is None), (name, way, said)
        if error is None:
            assert final(expected) == final(events), (name, way)
        else:  # the SDK raises its own error before we see the last object
            told = [event for event in expected if not isinstance(event, sk.Usage)]
            assert told == [event for event in events if not isinstance(event, sk.Usage)], (name, way)
            assert type(said).__module__.startswith(("openai", "anthropic"))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # the SDK's, of what Mistral sends
async def test_every_recording_reads_the_same_from_bytes_objects_and_helpers(shared_data: Path) -> None:
    seen = 0
    for path, wire in recorded(shared_data):
        await assert_one_reading(path.read_bytes(), wire, path.name)
        seen += 1
    assert 20 < seen


async def test_our_own_bodies_read_the_same_from_bytes_objects_and_helpers(wire: Wire) -> None:
    await assert_one_reading(wire.body("a", "日本", " ", "\u2028", "c"), wire)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "fixtures").glob("llama_*.sse")), ids=lambda path: path.stem)
async def test_recordings_of_our_own_server_read_the_same(path: Path) -> None:
    await assert_one_reading(path.read_bytes(), CHAT)  # noqa: ASYNC240  # a small file, and nobody else waits


async def test_objects_as_dicts_read_the_same(wire: Wire) -> None:
    body = wire.body("a", "b")
    values = [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: {")]
    assert final(await sk.decode([body], wire.dialect).collect()) == final(await wire.adapter(values, provider=None).collect())


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_of_both_clients_is_read(way: str, wire: Wire) -> None:
    transport = answering([wire.body("a", "b")])
    for sync in (False, True):
        client = wire.client(sync=sync, transport=transport)
        stream = wire.adapter(lambda client=client: wire.ask(client, way))
        for _ in range(2):  # a callable can be run again
            message = await stream.message()
            assert ("ab", "m") == (message.text, message.model)
            assert message.finish is not None
            assert "stop" == message.finish.reason


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_loop_reads_every_way_of_the_sync_client(way: str, wire: Wire) -> None:
    client = wire.client(sync=True, transport=answering([wire.body("a", "b")]))
    assert "ab" == sk.Message(wire.adapter(wire.ask(client, way)).iter()).text


async def test_a_helper_that_the_caller_entered_keeps_its_final_answer(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([wire.body("a", "b")]))
    async with wire.ask(client, "stream") as helper:
        assert "ab" == await wire.adapter(helper).join()
        if wire is CHAT:
            assert "ab" == (await helper.get_final_completion()).choices[0].message.content
        elif wire is RESPONSES:
            assert "ab" == (await helper.get_final_response()).output_text
        else:
            assert "ab" == await helper.get_final_text()


async def test_a_call_that_is_never_wanted_is_closed_without_a_word(wire: Wire) -> None:
    for way in WAYS:
        client = wire.client(sync=False, transport=answering([wire.body("a")]))
        run = wire.adapter(wire.ask(client, way)).open()
        await run.aclose()
        message = run.partial
        assert isinstance(message, sk.Message)
        assert "" == message.text


# ---- what is refused ---------------------------------------------------------------------------


async def test_a_stream_that_was_read_is_refused(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([wire.body("a")]))
    stream = await wire.ask(client, "create")
    assert 0 < len([item async for item in stream])
    with pytest.raises(StreamConsumed, match=r"AsyncStream was read: make a new request, or give a callable"):
        wire.adapter(stream)


async def test_a_stream_that_was_closed_is_refused(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([wire.body("a")]))
    stream = await wire.ask(client, "create")
    await stream.close()
    with pytest.raises(StreamConsumed, match="AsyncStream was closed before it was read"):
        wire.adapter(stream)
    raw = await wire.ask(client, "with_streaming_response.create").__aenter__()
    await raw.close()
    with pytest.raises(StreamConsumed, match="AsyncAPIResponse was closed before it was read"):
        wire.adapter(raw)
    sync = wire.ask(wire.client(sync=True, transport=answering([wire.body("a")])), "create")
    sync.close()
    with pytest.raises(StreamConsumed, match="Stream was closed"):
        wire.adapter(sync)


async def test_a_whole_answer_is_refused_and_the_fix_is_named(wire: Wire) -> None:
    whole: Any = {CHAT.name: openai.types.chat.ChatCompletion, RESPONSES.name: openai.types.responses.Response}.get(wire.name)
    if whole is None:
        import anthropic

        whole = anthropic.types.Message
    answer = whole.model_construct(id="1")

    async def forgot() -> Any:
        return answer

    for given in (answer, json.loads(answer.model_dump_json())):
        with pytest.raises(TypeError, match=r"whole answer, not a stream: call create\(..., stream=True\)"):
            wire.adapter(given)
    with pytest.raises(TypeError, match="stream=True"):
        await wire.adapter(forgot()).collect()
    with pytest.raises(TypeError, match="stream=True"):
        await wire.adapter(lambda: answer).collect()


async def test_a_raw_response_without_stream_is_no_stream(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([b'{"id":"c","object":"whole","choices":[],"content":[]}']))
    target = wire.api(client).with_streaming_response
    with pytest.raises(RemoteProtocolError):
        await wire.adapter(target.create(**wire.arguments)).collect()


@pytest.mark.parametrize("item", [1, "text", None, object()])
async def test_items_that_are_no_events_are_a_type_error(item: object, wire: Wire) -> None:
    with pytest.raises(TypeError, match=f"expected, got a {type(item).__name__}"):
        await wire.adapter([item]).collect()


@pytest.mark.parametrize(("given", "kind", "word"), [("text", TypeError, "not a stream"), (None, TypeError, "NoneType")])
def test_what_cannot_stream_fails_at_the_call(given: object, kind: type[Exception], word: str, wire: Wire) -> None:
    with pytest.raises(kind, match=word):
        wire.adapter(given)
    with pytest.raises(ConfigError, match="raise"):
        wire.adapter([], errors="no")


# ---- read underneath, or not ---------------------------------------------------------------------


async def test_a_body_that_was_cut_is_told(wire: Wire) -> None:
    body = wire.body("a", "b")
    cut = body[: body.index(wire.frame(wire.text("b")))]
    for way in WAYS:
        with pytest.raises(StreamTruncated) as caught:
            await wire.adapter(wire.ask(wire.client(sync=False, transport=answering([cut])), way)).collect()
        assert isinstance(caught.value.partial, sk.Message)
        assert "a" == caught.value.partial.text
    with pytest.raises(StreamTruncated):  # where the SDK itself says nothing
        client = wire.client(sync=False, transport=answering([cut]))
        await wire.adapter(passed_on(wire.ask(client, "create"))).collect()


async def test_a_stream_that_was_begun_is_read_on(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([wire.body("a", "b")]))
    stream = await wire.ask(client, "create")
    begun = await stream.__anext__()
    assert begun is not None
    if wire is CHAT:  # the others say in their first event what the rest needs
        assert "ab" == await wire.adapter(stream).join()
    else:
        events, _ = await outcome(wire.adapter(stream))
        assert "ab" == sk.Message(events).text


async def test_a_wire_that_is_not_read_here_is_left_to_the_sdk(wire: Wire) -> None:
    """As the clients for Bedrock: their streams have a decoder of their own."""

    class OwnDecoder:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.used = False

        def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> Any:
            self.used = True
            return self._inner.aiter_bytes(chunks)

    client = wire.client(sync=False, transport=answering([wire.body("a")]))
    stream = await wire.ask(client, "create")
    stream._decoder = own = OwnDecoder(stream._decoder)
    assert "a" == await wire.adapter(stream).join()
    assert own.used
    assert stream.response.is_closed


async def test_a_raw_response_of_another_wire_is_parsed_by_the_sdk() -> None:
    class Raw:
        def __init__(self, response: Any) -> None:
            self.http_response = response

        async def parse(self) -> Any:
            return passed_on(MESSAGES.ask(client, "create"))

    class Response:
        def __init__(self) -> None:
            self.headers = {"content-type": "application/vnd.amazon.eventstream"}
            self.is_closed = False

        def aiter_raw(self) -> Any:
            raise AssertionError("this wire is not ours")

    client = MESSAGES.client(sync=False, transport=answering([MESSAGES.body("a")]))
    assert "a" == await sk.from_anthropic(Raw(Response())).join()


async def test_an_sdk_that_traces_by_itself_sees_the_events(wire: Wire) -> None:
    client = wire.client(sync=False, transport=answering([wire.body("a")]))
    stream = await wire.ask(client, "create")

    class Observer:
        def __init__(self) -> None:
            self.items = 0

        def begin(self) -> None: ...
        def end(self, how: str, error: BaseException | None = None) -> None: ...
        def item(self, item: object) -> None:
            self.items += 1

    stream.response.stream.stream_observer = observer = Observer()
    assert "a" == await wire.adapter(stream).join()
    if wire in (MESSAGES, BETA_MESSAGES):
        assert 0 < observer.items
