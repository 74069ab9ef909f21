"""`ResumableResponse`: an event stream that is resumed by a function, without a hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpx
import httpx_sse
import pytest
from asgi_client import Client
from node_clients import run_node
from served import broken_wire, served

import streamkit as sk
from streamkit.sinks.replaying import END, ResumableResponse
from streamkit.testing import VirtualClock, assert_no_leaks

pytestmark = pytest.mark.anyio

SECRET = "sk-SECRET /etc/passwd"
# What has state in every dialect: blocks that open and close, a tool's call, an end.
EVENTS: list[sk.Event] = [
    sk.Start(id="m1", model="m"),
    sk.ReasoningDelta("hm "),
    sk.ReasoningDelta("so"),
    sk.TextDelta("Hello"),
    sk.TextDelta(", wörld\n"),
    sk.ToolCallStart("t1", "look", index=1),
    sk.ToolCallDelta("t1", '{"a":', index=1),
    sk.ToolCallDelta("t1", "1}", index=1),
    sk.ToolCall("t1", "look", '{"a":1}', index=1),
    sk.Usage(input_tokens=1, output_tokens=2),
    sk.Finish("stop"),
]
STATEFUL = ["native", "openai-chat", "openai-responses", "anthropic", "ai-sdk", "ag-ui"]


class Rows:
    """A table of events, and how often it was asked for what."""

    def __init__(self, events: list[Any] = EVENTS, *, then: Exception | None = None) -> None:
        self.events = events
        self.then = then
        self.asked: list[str | None] = []
        self.open = 0

    async def after(self, after: str | None) -> Any:
        self.asked.append(after)
        return self._pairs(int(after or 0))

    async def _pairs(self, first: int) -> AsyncIterator[tuple[int, Any]]:
        self.open += 1
        try:
            for n, event in list(enumerate(self.events, 1))[first:]:
                yield n, event
            if self.then is not None:
                raise self.then
        finally:
            self.open -= 1


def response(rows: Rows, dialect: str = "native", **options: Any) -> ResumableResponse:
    return ResumableResponse(rows.after, dialect, id="m1", model="m", **options)


async def asked(rows: Rows, dialect: str = "native", *, after: object = None, **options: Any) -> Client:
    headers = {} if after is None else {"last-event-id": str(after)}
    return await Client(headers=headers).call(response(rows, dialect, **options))


def comparable(body: bytes) -> list[tuple[str, str]]:
    """Frames without what is the time of day."""
    import re

    from asgi_client import frames_of

    return [(frame.type, re.sub(r'"created(_at)?":\d+', "", frame.data)) for frame in frames_of(body)]


@pytest.mark.parametrize("dialect", STATEFUL)
async def test_wherever_it_was_cut_both_parts_together_are_the_undisturbed_stream(dialect: str) -> None:
    rows = Rows()
    whole = await asked(rows, dialect)
    cuts = {frame.id: cut for cut, frame in reversed(list(enumerate(whole.frames, 1)))}  # where each id is first
    assert {"3", "4", END} <= cuts.keys() - {""}
    for id, cut in cuts.items():
        if id and id != END:
            rest = await asked(rows, dialect, after=id)
            assert comparable(whole.body) == comparable(whole.body)[:cut] + comparable(rest.body)
    assert 0 == rows.open


async def test_an_id_stands_on_the_last_frame_of_its_event_and_end_on_the_last_of_all() -> None:
    client = await asked(Rows(["a", "b"]))
    raw = client.body.decode().split("\n\n")
    assert ["id: 1", "id: 2"] == [
        line for frame in raw for line in frame.split("\n") if line.startswith("id: ") and line != "id: end"
    ]
    assert raw[-2].endswith("id: end")


async def test_the_end_was_seen_is_204_and_nothing_is_asked() -> None:
    rows = Rows()
    client = await asked(rows, after=END)
    assert (204, []) == (client.status, rows.asked)


async def test_who_has_lost_only_the_last_frame_gets_it() -> None:
    rows = Rows(["a", "b"])
    client = await asked(rows, after=2)
    assert ["finish", "end"] == [value["type"] for value in client.values]
    assert "end" == client.frames[-1].id


@pytest.mark.parametrize("after", ["7", "x", "0"])
async def test_an_id_that_was_never_given_is_400(after: str) -> None:
    rows = Rows(["a", "b"])

    def resume(after: str | None) -> Any:
        return [(1, "a"), (2, "b")] if after is None else []

    client = await Client(headers={"last-event-id": after}).call(ResumableResponse(resume))
    assert (400, "bad-token") == (client.status, _error(client)["code"])
    assert 0 == rows.open


async def test_a_function_may_say_itself_that_it_does_not_know_an_id() -> None:
    def resume(after: str | None) -> Any:
        raise sk.InvalidToken("no such row", reason="foreign")

    client = await Client(headers={"last-event-id": "1"}).call(ResumableResponse(resume))
    assert (400, "bad-token") == (client.status, _error(client)["code"])


@pytest.mark.parametrize("value", ["a" * 513, "\x80", ""])
async def test_a_header_that_can_be_no_id_is_refused_or_none(value: str) -> None:
    client = await Client(headers={"last-event-id": value}).call(response(Rows()))
    assert (200 if not value else 400) == client.status


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_query_says_it_as_well_with_get_and_post(method: str) -> None:
    rows = Rows(["a", "b", "c"])
    client = await Client(method=method, query="after=2").call(response(rows))
    assert "c" == client.text
    client = await Client(method=method, query="after=1", headers={"last-event-id": "2"}).call(response(rows))
    assert "c" == client.text


async def test_the_endpoint_may_know_better_than_the_request() -> None:
    client = await Client(headers={"last-event-id": "1"}).call(response(Rows(["a", "b", "c"]), after="2"))
    assert "c" == client.text


async def test_a_head_request_asks_for_nothing() -> None:
    rows = Rows()
    client = await Client(method="HEAD").call(response(rows))
    assert (200, b"", []) == (client.status, client.body, rows.asked)


async def test_a_request_that_asks_what_may_be_asked_asks_for_nothing() -> None:
    rows = Rows()
    client = await Client(method="OPTIONS").call(response(rows))
    assert (204, b"", []) == (client.status, client.body, rows.asked)


async def test_what_failed_is_resumed_from_its_last_event() -> None:
    rows = Rows(["a", "b"], then=ValueError(SECRET))
    client = await asked(rows)
    assert "error" == client.values[-1]["type"]
    assert "2" == client.frames[-1].id  # the last that was set: an error has none of its own
    assert b"id: end" not in client.body
    assert SECRET not in client.body.decode()
    rows.then = None
    rows.events.append("c") if rows.events is not EVENTS else None
    again = await asked(rows, after=2)
    assert ("c", "end") == (again.text, again.values[-1]["type"])


async def test_an_error_that_was_told_before_the_place_to_go_on_from_is_no_reason_to_fail_again() -> None:
    rows = Rows([sk.TextDelta("a"), sk.ErrorEvent("no"), sk.TextDelta("b"), sk.TextDelta("c")])
    client = await asked(rows, after=3)
    assert 200 == client.status
    assert "c" in client.body.decode() and "error" not in client.body.decode()


async def test_http_10_a_function_that_fails_is_a_real_status() -> None:
    def resume(after: str | None) -> Any:
        raise ValueError(SECRET)

    client = await Client().call(ResumableResponse(resume))
    assert 500 == client.status
    assert SECRET not in client.body.decode()


@pytest.mark.parametrize("pair", ["a", ("1",), (1, "a", "b"), (None, "a"), (True, "a"), (1.5, "a"), ["1", "a"]], ids=repr)
async def test_what_is_no_pair_is_told_to_the_programmer(pair: object, caplog: pytest.LogCaptureFixture) -> None:
    client = await Client().call(ResumableResponse(lambda after: [(1, "ok"), pair]))
    assert "ok" == client.text
    assert "error" == client.values[-1]["type"]
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("id", ["", " a", "a ", "a\nb", "a\r\ndata: x", "\x00", "ä", "end", "x" * 513], ids=repr)
async def test_http_12_an_id_that_could_not_come_back_in_a_header_is_never_written(id: str) -> None:
    client = await Client().call(ResumableResponse(lambda after: [(1, "ok"), (id, "no")]))
    assert ("ok", "error") == (client.text, client.values[-1]["type"])
    assert ["1"] == [line.removeprefix("id: ") for line in client.body.decode().split("\n") if line.startswith("id: ")]
    with pytest.raises(sk.ConfigError):
        ResumableResponse(lambda after: [], after=id)


async def test_retry_stands_inside_a_data_frame_of_the_first_write_of_every_response() -> None:
    rows = Rows(["a", "b"])
    for after in (None, 1, 2):
        client = await asked(rows, after=after, retry=250)
        frames = [frame for frame in client.writes[0].split(b"\n\n") if b"retry" in frame]
        assert [True] == [frame.startswith(b"retry: 250\ndata: ") for frame in frames]
        assert 1 == client.body.count(b"retry:")


async def test_it_is_compressed_like_any_other_response() -> None:
    import gzip

    rows = Rows(["a"])
    client = await Client(headers={"accept-encoding": "gzip"}).call(response(rows, compress=True))
    assert b"id: end" in gzip.decompress(client.body)


async def test_a_client_that_leaves_closes_what_was_opened() -> None:
    rows = Rows(["a", "b"])
    client = Client(headers={"last-event-id": "1"})

    async def endless(after: str | None) -> Any:
        async def pairs() -> AsyncIterator[tuple[int, str]]:
            rows.open += 1
            try:
                yield from_(after), "a"
                client.leave()
                await anyio.sleep_forever()
            finally:
                rows.open -= 1

        return pairs()

    def from_(after: str | None) -> int:
        return int(after or 0) + 1

    async with assert_no_leaks():
        await client.call(ResumableResponse(endless))
    assert 0 == rows.open


async def test_a_silent_function_gets_heartbeats(clock: VirtualClock) -> None:
    async def pairs() -> AsyncIterator[tuple[int, str]]:
        await clock.sleep(20)
        yield 1, "a"

    client = await Client().call(ResumableResponse(lambda after: pairs(), heartbeat=15))
    assert b": hb\n" == client.writes[0]
    assert "a" == client.text


def test_arguments_are_checked_at_the_call() -> None:
    with pytest.raises(TypeError):
        ResumableResponse([(1, "a")])  # type: ignore[arg-type]
    with pytest.raises(sk.ConfigError, match="coalesce"):
        ResumableResponse(lambda after: [], coalesce=True)
    with pytest.raises(sk.ConfigError, match="ids"):
        ResumableResponse(lambda after: [], "text")


def _error(client: Client) -> Any:
    import json

    return json.loads(client.body)["error"]


# -- real clients


WORDS = [f"word{n} " for n in range(60)]


def resume_words(after: str | None) -> Iterator[tuple[int, str]]:
    return iter([(n, word) for n, word in enumerate(WORDS, 1) if n > int(after or 0)])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(ResumableResponse(resume_words, retry=20)) as address:
        yield address


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_over_a_connection_that_breaks_nothing_is_lost_or_twice(url: str, seed: int) -> None:
    got: list[str] = []
    last: str | None = None
    with broken_wire(url, seed=seed, tears=8, most_bytes=2000) as wire, httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(50):
            headers = {} if last is None else {"last-event-id": last}
            try:
                with httpx_sse.connect_sse(client, "GET", wire.url, headers=headers) as source:
                    if source.response.status_code == 204:
                        break
                    for event in source.iter_sse():
                        last = event.id or last
                        value = event.json()
                        if value["type"] == "text-delta":
                            got.append(value["text"])
            except httpx.TransportError:
                continue
        assert wire.torn
    assert WORDS == got
    assert "end" == last


def test_npms_eventsource_resumes_until_204(url: str, resumed: Callable[[str, int], Any]) -> None:
    told = resumed(url, 2)
    assert WORDS == told["texts"]
    assert told["opened"] >= 2
    assert 204 == told["code"]


@pytest.fixture
def resumed() -> Callable[[str, int], Any]:
    """npm's `EventSource` over a wire that tears so many connections."""

    def read(url: str, tears: int) -> Any:
        with broken_wire(url, seed=5, tears=tears, least_bytes=900, most_bytes=1500) as wire:
            return run_node("resume_events.mjs", wire.url)

    return read


ROWS = [(1, "a"), (2, "b"), (3, "c")]


def _list(after: str | None) -> list[tuple[int, str]]:
    return ROWS[int(after or 0) :]


def _stream(after: str | None) -> sk.Stream[tuple[int, str]]:
    return sk.stream(_list(after)).filter(lambda pair: pair[1]).map(lambda pair: pair)


async def _generator(after: str | None) -> AsyncIterator[tuple[int, str]]:
    for pair in _list(after):
        yield pair


async def _list_later(after: str | None) -> list[tuple[int, str]]:
    return _list(after)


def _callable(after: str | None) -> Callable[[], list[tuple[int, str]]]:
    return lambda: _list(after)


async def _callable_later(after: str | None) -> Callable[[], list[tuple[int, str]]]:
    return lambda: _list(after)


@pytest.mark.parametrize("resume", [_list, _stream, _generator, _list_later, _callable, _callable_later])
async def test_whatever_resume_gives_is_written_from_the_beginning_and_from_behind(resume: Any) -> None:
    app = ResumableResponse(resume)
    whole = await Client().call(app)
    rest = await Client(headers={"last-event-id": "2"}).call(app)
    written = [(frame.data, frame.id) for frame in whole.frames]
    assert ["1", "2", "3"] == [id for data, id in written if "text-delta" in data]
    assert written[3:] == [(frame.data, frame.id) for frame in rest.frames]
    assert END == whole.frames[-1].id
