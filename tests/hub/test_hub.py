"""Generations by name: what can be started and how it reads, by the sentences of the hub's own docstrings."""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from math import inf, nan
from typing import Any

import anyio
import pytest
from hub_sources import WORDS, Reading, Source, answer, deltas, events_of, turns

import streamkit as sk
from streamkit.errors import (
    BufferFull,
    ConfigError,
    StoreError,
    StreamBusy,
    StreamConsumed,
    StreamDraining,
    StreamInterrupted,
    StreamTimeout,
    UnknownStream,
)
from streamkit.events.model import Custom, ErrorEvent, Finish, Start, TextDelta, ToolCall, Usage
from streamkit.flow.clock import current_clock
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore
from streamkit.testing import Deadlock, Probe, VirtualClock, assert_no_leaks, for_seeds, timed

pytestmark = pytest.mark.anyio


# -- what can be started


async def words() -> AsyncIterator[str]:
    for word in WORDS:
        yield word


def words_in_a_thread() -> Iterator[str]:
    yield from WORDS


async def words_later() -> list[str]:
    return WORDS


SOURCES: dict[str, Callable[[], Any]] = {
    "a stream": lambda: sk.stream(WORDS),
    "a stream with operators": lambda: sk.stream([word.upper() for word in WORDS]).map(str.capitalize).map(restored),
    "a list": lambda: list(WORDS),
    "a tuple": lambda: tuple(WORDS),
    "an async generator": words,
    "an async generator function": lambda: words,
    "a sync generator, which runs on a thread": words_in_a_thread,
    "a sync generator function": lambda: words_in_a_thread,
    "a coroutine that gives a list": words_later,
    "a coroutine function": lambda: words_later,
    "an object with __anext__": lambda: Probe(WORDS),
    "events": lambda: deltas(*WORDS),
    "events with their finish": lambda: answer(*WORDS),
}


def restored(word: str) -> str:
    return {"hel": "Hel", "lo": "lo", " you": " you"}[word.lower()]


@pytest.mark.parametrize("name", SOURCES)
async def test_whatever_sk_stream_takes_is_run_once_and_read_by_all(name: str) -> None:
    async with assert_no_leaks(), Hub() as hub:
        generation = await hub.start(None, SOURCES[name]())
        readings = [Reading(hub.subscribe(generation.id)) for _ in range(3)]
        async with anyio.create_task_group() as group:
            for reading in readings:
                group.start_soon(reading)
        late = await generation.subscribe().collect()
    assert [answer(*WORDS)] * 4 == [*[reading.got for reading in readings], late]


async def test_it_begins_without_a_reader_and_ends_without_one() -> None:
    probe = Probe(WORDS)
    async with Hub() as hub:
        generation = await hub.start("a", probe)
        assert not generation.joined
        await turns(30)
        status = await generation.status()
    assert (3, 1, True) == (probe.given, probe.closed, probe.one_task)
    assert ("done", 4, 0, True, 0) == (status.state, status.events, status.floor, status.here, status.readers)


async def test_strings_are_text_deltas_and_events_stay_the_very_same_objects() -> None:
    events = [Start(model="m"), Usage(output_tokens=3), ToolCall("1", "add"), Custom("x", {"y": 1})]
    async with Hub() as hub:
        await hub.start("a", [*events, "text"])
        got = await events_of(hub, "a")
    assert [True] * 4 == [given is seen for given, seen in zip(events, got, strict=False)]
    assert answer("text") == got[4:]


@pytest.mark.parametrize(
    ("item", "named"), [(5, "an int"), (b"x", "a bytes"), ({}, "a dict"), (None, "a NoneType"), (object(), "an object")]
)
async def test_another_object_ends_the_stream_with_a_type_error_that_says_what_to_do(item: object, named: str) -> None:
    probe = Probe(["a", item, "b"])
    async with Hub() as hub:
        await hub.start("a", probe)
        reading = Reading(hub.subscribe("a"))
        await reading()
        assert deltas("a") == reading.got
        assert isinstance(reading.error, TypeError)
        assert re.search(rf"gave {named}: map it to events", str(reading.error))
        assert "error" == (await hub.status("a")).state
    assert 1 == probe.closed


async def test_a_source_that_fails_ends_all_readers_with_its_own_error_behind_what_came() -> None:
    error = OSError("gone")
    async with Hub() as hub:
        await hub.start("a", Probe(WORDS, error=error))
        readings = [Reading(hub.subscribe("a")) for _ in range(3)]
        for reading in readings:
            await reading()
        late = await events_of(hub, "a", errors="yield")
    assert [deltas(*WORDS)] * 3 == [reading.got for reading in readings]
    assert [True] * 3 == [reading.error is error for reading in readings]
    assert deltas(*WORDS) == late[:-1]
    assert isinstance(late[-1], ErrorEvent)


async def test_an_error_of_streamkits_own_carries_the_answer_so_far() -> None:
    async with Hub() as hub:
        await hub.start("a", Probe(["Hel", "lo"], error=StreamTimeout("slow", phase="idle", seconds=1)))
        errors = []
        for _ in range(2):
            reading = Reading(hub.subscribe("a"))
            await reading()
            errors.append(reading.error)
    assert [StreamTimeout, StreamTimeout] == [type(error) for error in errors]
    assert ["Hello", "Hello"] == [error.partial.text for error in errors]  # type: ignore[union-attr]
    assert errors[0] is not errors[1]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_a_source_that_would_end_the_process_ends_its_stream_as_interrupted(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    name = type(error).__name__
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", Probe(WORDS, error=error))
        for _ in range(2):
            with pytest.raises(StreamInterrupted, match=f"its source raised {name}"):
                await events_of(hub, "a")
        status = await hub.status("a")
    assert ("interrupted", f"its source raised {name}") == (status.state, status.reason)
    assert [f"stream a: its source raised {name}"] == [record.message for record in caplog.records]


async def test_an_error_event_of_the_source_is_its_end_and_the_source_is_closed() -> None:
    probe = Probe(["a", ErrorEvent("no", code="overloaded", retryable=True), "b"])
    async with Hub() as hub:
        await hub.start("a", probe)
        assert [TextDelta("a"), ErrorEvent("no", code="overloaded", retryable=True)] == await events_of(hub, "a", errors="yield")
        with pytest.raises(sk.OverloadedError, match=r"^no$"):
            await events_of(hub, "a")
    assert (2, 1) == (probe.given, probe.closed)


async def test_a_failing_clean_up_behind_a_good_end_is_told_in_the_place_of_the_finish() -> None:
    async with Hub() as hub:
        await hub.start("a", Probe(WORDS, clean_up_error=OSError("close")))
        got = await events_of(hub, "a", errors="yield")
    assert deltas(*WORDS) == got[:-1]
    assert isinstance(got[-1], ErrorEvent)


# -- the end is told once, and last


async def test_the_finish_of_the_source_is_the_last_event_with_its_reason() -> None:
    async with Hub() as hub:
        await hub.start("a", [*deltas("a"), Finish("length", "max_tokens")])
        assert [*deltas("a"), Finish("length", "max_tokens")] == await events_of(hub, "a")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a", Finish("length"), "b"], [TextDelta("a"), TextDelta("b"), Finish("length")]),
        ([Finish("length"), Finish("stop")], [Finish("stop")]),
        (["a", Finish("length"), Usage(output_tokens=1)], [TextDelta("a"), Usage(output_tokens=1), Finish("length")]),
        ([Finish("length"), Custom("x")], [Custom("x"), Finish("length")]),
        ([], [Finish("stop")]),
    ],
    ids=["text", "another finish", "usage", "custom", "nothing at all"],
)
async def test_a_finish_stays_last_and_the_only_one_whatever_comes_behind_it(given: list[Any], expected: list[Any]) -> None:
    async with Hub() as hub:
        await hub.start("a", given)
        assert expected == await events_of(hub, "a")


async def test_two_choices_finish_each_in_its_place() -> None:
    events = [TextDelta("a", choice=0), TextDelta("b", choice=1), Finish("stop", choice=0), Finish("length", choice=1)]
    late = [TextDelta("a", choice=0), Finish("stop", choice=0), TextDelta("b", choice=1), Finish("length", choice=1)]
    async with Hub() as hub:
        await hub.start("a", events)
        await hub.start("b", late)
        assert events == await events_of(hub, "a")
        assert late == await events_of(hub, "b")


async def test_a_finish_and_then_an_error_is_an_error_alone() -> None:
    async with Hub() as hub:
        await hub.start("a", Probe(["a", Finish("stop")], error=OSError("late")))
        got = await events_of(hub, "a", errors="yield")
    assert [TextDelta, ErrorEvent] == [type(event) for event in got]


async def test_readers_that_wait_see_no_finish_before_the_source_has_ended() -> None:
    source = Source()
    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        reading = Reading(hub.subscribe("a"))
        group.start_soon(reading)
        await source.give("a", Finish("length"))
        assert deltas("a") == reading.got
        await source.end()
        assert [*deltas("a"), Finish("length")] == reading.got


# -- joining, refusing, replacing


async def test_a_second_start_joins_and_its_source_is_closed_unread() -> None:
    first, second = Probe(WORDS), Probe(["never"])
    async with assert_no_leaks(), Hub() as hub:
        one = await hub.start("a", first)
        two = await hub.start("a", second)
        assert [False, True] == [one.joined, two.joined]
        assert answer(*WORDS) == await two.subscribe().collect()
        three = await hub.start("a", Probe(["never"]))
        assert three.joined
        assert answer(*WORDS) == await three.subscribe().collect()
    assert (0, 1) == (second.asked, second.closed)
    assert "<Generation 'a', joined>" == repr(two)


async def test_a_second_start_with_a_callable_does_not_call_it() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", WORDS)
        assert (await hub.start("a", source)).joined
    assert 0 == source.runs


async def test_many_starts_at_once_run_one_source_and_close_the_others() -> None:
    probes = [Probe(WORDS) for _ in range(10)]
    async with assert_no_leaks(), Hub() as hub:
        joined: list[bool] = []

        async def start(probe: Probe[str]) -> None:
            joined.append((await hub.start("a", probe)).joined)

        async with anyio.create_task_group() as group:
            for probe in probes:
                group.start_soon(start, probe)
        assert answer(*WORDS) == await events_of(hub, "a")
    assert (9, 1) == (joined.count(True), joined.count(False))
    assert [1] * 10 == [probe.closed for probe in probes]
    assert 3 == sum(probe.given for probe in probes)


async def test_a_second_start_of_a_source_that_is_being_read_joins_its_own_stream() -> None:
    source = Source()
    stream = sk.stream(source())
    async with Hub() as hub:
        await hub.start("a", stream)
        await source.give("a")
        assert (await hub.start("a", stream)).joined
        await source.give("b")
        await source.end()
        assert answer("a", "b") == await events_of(hub, "a")


async def test_a_second_start_is_refused_where_that_was_asked_for_and_its_source_stays_the_callers() -> None:
    probe = Probe(["mine"])
    async with Hub() as hub:
        await hub.start("a", WORDS)
        with pytest.raises(StreamBusy, match="there is a stream 'a' already"):
            await hub.start("a", probe, if_exists="raise")
        assert (0, 0) == (probe.asked, probe.closed)
        assert ["mine"] == await sk.stream(probe).collect()


async def test_a_stream_that_runs_is_cancelled_and_closed_before_another_takes_its_place() -> None:
    source = Source()
    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        reading = Reading(hub.subscribe("a"))
        group.start_soon(reading)
        await source.give("old")
        token = (await hub.status("a")).token
        new = await hub.start("a", ["new"], if_exists="replace")
        assert (1, False) == (source.closed, new.joined)
        await turns()
        assert answer("old", reason="cancelled") == reading.got
        assert answer("new") == await events_of(hub, "a")
        with pytest.raises(sk.InvalidToken):
            await events_of(hub, "a", after=token)


async def test_many_that_replace_at_once_leave_one_stream_and_close_the_others() -> None:
    sources = [Source() for _ in range(6)]
    async with assert_no_leaks(), Hub() as hub:
        async with anyio.create_task_group() as group:
            for source in sources:
                group.start_soon(partial(hub.start, "a", source, if_exists="replace"))
        await turns()
        assert ["running"] == [status.state for status in await hub.list()]
    assert [source.runs for source in sources] == [source.closed for source in sources]


@pytest.mark.parametrize("error", [OSError("no connection"), UnknownStream("no connection"), StreamBusy("no connection")])
@pytest.mark.parametrize("stored", [False, True])
async def test_a_source_that_fails_to_open_is_refused_at_the_start_and_nothing_is_kept(stored: bool, error: Exception) -> None:
    def broken() -> list[str]:
        raise error

    async with assert_no_leaks(), Hub(MemoryStore() if stored else None) as hub:
        with pytest.raises(type(error), match="no connection"):
            await hub.start("a", broken)
        assert [] == await hub.list()
        await hub.start("a", WORDS)
        assert answer(*WORDS) == await events_of(hub, "a")


async def test_a_source_that_was_used_up_is_refused_at_the_start_and_nothing_is_kept() -> None:
    async with Hub(MemoryStore()) as hub:
        used = sk.stream(Probe(WORDS))
        await used.collect()
        with pytest.raises(StreamConsumed):
            await hub.start("a", used)
        await turns()
        assert [] == await hub.list()


# -- with a store: what may happen between two of its calls


class SlowStore(MemoryStore):
    """A store whose calls take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1.0

    async def create(self, id: str, **options: Any) -> bool:
        await current_clock().sleep(self.seconds)
        created = await super().create(id, **options)
        await current_clock().sleep(self.seconds)
        return created

    async def acquire(self, id: str, **options: Any) -> int:
        await current_clock().sleep(self.seconds)
        epoch = await super().acquire(id, **options)
        await current_clock().sleep(self.seconds)
        return epoch


async def test_whoever_asks_for_a_stream_that_is_being_started_waits_until_it_is(clock: VirtualClock) -> None:
    source = Source()
    async with assert_no_leaks(), Hub(SlowStore()) as hub, anyio.create_task_group() as group:
        group.start_soon(hub.start, "a", source)
        await clock.sleep(1.5)  # it is in the store by now, and nobody writes it yet
        reading = Reading(hub.subscribe("a"))
        group.start_soon(reading)
        joined = await hub.start("a", ["never"])
        assert joined.joined
        assert (await hub.status("a")).here
        await source.give("x")
        assert deltas("x") == reading.got
        assert await hub.cancel("a")
    assert (1, 1) == (source.runs, source.closed)


@pytest.mark.parametrize("after", [0.5, 1.5, 2.5, 3.5])
async def test_a_start_that_is_cancelled_leaves_nothing_in_the_store_and_the_name_free(clock: VirtualClock, after: float) -> None:
    probe = Probe(WORDS)
    store = SlowStore()
    async with assert_no_leaks(), Hub(store) as hub:
        async with anyio.create_task_group() as group:
            group.start_soon(hub.start, "a", probe)
            await clock.sleep(after)
            group.cancel_scope.cancel()
        generation = await hub.start("a", WORDS)
        assert not generation.joined
        assert answer(*WORDS) == await generation.subscribe().collect()
    assert 0 == probe.asked


async def test_a_start_that_the_hubs_closing_overtakes_is_refused_and_leaves_nothing(clock: VirtualClock) -> None:
    hub = Hub(SlowStore())
    errors: list[Exception] = []

    async def start() -> None:
        try:
            await hub.start("a", WORDS)
        except Exception as error:
            errors.append(error)

    async with assert_no_leaks(), anyio.create_task_group() as group:
        group.start_soon(start)
        await clock.sleep(1.5)
        await hub.drain()
        await clock.sleep(5.0)
        assert [] == await hub.list()
        await hub.aclose()
    assert [StreamDraining] == [type(error) for error in errors]


class FailsOnce(MemoryStore):
    """A store of which one call fails, before or after it has happened."""

    def __init__(self, call: str, after: bool) -> None:
        super().__init__()
        self.fails: str | None = None
        self._to_fail = (call, after)

    def arm(self) -> None:
        self.fails = self._to_fail[0]

    async def _maybe(self, call: str, happen: Callable[[], Awaitable[Any]]) -> Any:
        if self.fails != call:
            return await happen()
        self.fails = None
        if self._to_fail[1]:
            await happen()
        raise StoreError("away", retryable=True)

    async def create(self, id: str, **options: Any) -> bool:
        return bool(await self._maybe("create", partial(super().create, id, **options)))

    async def acquire(self, id: str, **options: Any) -> int:
        epoch: int = await self._maybe("acquire", partial(super().acquire, id, **options))
        return epoch


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["create", "acquire"])
async def test_a_start_that_its_store_fails_is_refused_and_may_be_tried_again(call: str, after: bool) -> None:
    store = FailsOnce(call, after)
    probe = Probe(WORDS)
    async with assert_no_leaks(), Hub(store) as hub:
        store.arm()
        with pytest.raises(StoreError, match="away"):
            await hub.start("a", probe)
        assert (0, 0) == (probe.asked, probe.closed)
        generation = await hub.start("a", probe)
        assert not generation.joined
        assert answer(*WORDS) == await generation.subscribe().collect()


class Dawdling(MemoryStore):
    """A store in which each call takes some turns before it happens, and some after."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.dice = dice

    async def aclose(self) -> None:
        """Kept for the other hub."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("create", "acquire", "append", "get", "delete", "read", "signal"):
            return found
        dice = self.dice

        async def later(*args: Any, **options: Any) -> Any:
            await turns(dice.randrange(4))
            result = await found(*args, **options)
            await turns(dice.randrange(4))
            return result

        return later


async def started_at_random(seed: int) -> list[str]:
    """Two hubs of one store, and two names that all want: started, joined, replaced, read, cancelled; what went wrong."""
    dice = random.Random(seed)
    store = Dawdling(dice)
    hubs = [Hub(store), Hub(store)]
    wrong: list[str] = []
    probes: list[Probe[str]] = []
    expected = (StreamBusy, StreamDraining, UnknownStream)

    async def start(hub: Hub, name: str) -> None:
        probe = Probe([f"{len(probes)}"] * dice.randrange(4), at_step=(lambda given: given == 2) if dice.random() < 0.5 else None)
        with suppress(StreamBusy, StreamDraining):
            generation = await hub.start(name, probe, if_exists=dice.choice(WAYS))
            probes.append(probe)
            if dice.random() < 0.3:
                await turns(dice.randrange(6))
                with suppress(UnknownStream):
                    await generation.cancel()

    async def read(hub: Hub, name: str) -> None:
        await turns(dice.randrange(20))
        reading = Reading(hub.subscribe(name))
        await reading()
        if isinstance(reading.error, Exception) and not isinstance(reading.error, expected):
            wrong.append(f"a reader ended with {reading.error!r}")
        if len({event.text for event in reading.got if isinstance(event, TextDelta)}) > 1:
            wrong.append(f"a reader got of two streams: {reading.got}")
        if reading.error is None and not (reading.got and isinstance(reading.got[-1], Finish)):
            wrong.append(f"a reader got no end: {reading.got}")

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(start, dice.choice(hubs), dice.choice("ab"))
            group.start_soon(read, dice.choice(hubs), dice.choice("ab"))
        await turns(dice.randrange(60))
        for hub in hubs:
            group.start_soon(hub.aclose)
    wrong += [f"closed {probe.closed} times" for probe in probes if probe.closed != 1]
    for record in await MemoryStore.list(store):
        if record.state == "running":
            wrong.append(f"{record.id} is left running in the store, held by {record.holder}")
    return wrong


WAYS: list[Any] = ["join", "raise", "replace"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_hubs_that_start_and_replace_the_same_names_at_once_leave_nothing_open_and_mix_nothing(backend: Any) -> None:
    seeds = iter(range(SEEDS))

    async def main() -> list[str]:
        return await started_at_random(next(seeds))

    for seed, wrong in enumerate(for_seeds(main, range(SEEDS), backend=backend)):
        assert [] == wrong, f"with seed {seed}"


SEEDS = 120


# -- names, owners, metadata, arguments


ODD_NAMES = [
    "a",
    "x" * 200,
    "a/b",
    "../../etc/passwd",
    "a b",
    "'; drop table streams; --",
    "日本語",
    "🙂",
    "%00",
    "None",
    "0",
    "a\u0301",
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_name_of_any_printable_characters_works(name: str) -> None:
    async with Hub() as hub:
        generation = await hub.start(name, ["x"])
        assert name == generation.id
        assert answer("x") == await events_of(hub, name)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\n", "\0", "\ud800", "a\u202eb", "\x7f", "a\r\nb"])
async def test_a_name_that_cannot_be_is_refused_at_the_call(name: str) -> None:
    async with Hub() as hub:
        with pytest.raises(ConfigError, match="1 to 200 printable characters"):
            await hub.start(name, ["x"])


@pytest.mark.parametrize("name", [5, b"a", True, ["a"]])
async def test_a_name_that_is_no_text_is_refused_by_every_call(name: Any) -> None:
    async with Hub() as hub:
        with pytest.raises(TypeError, match="id"):
            await hub.start(name, ["x"])
        for call in (hub.subscribe, hub.entries):
            with pytest.raises(TypeError, match="id"):
                call(name)
        for asked in (hub.cancel, hub.status, hub.message):
            with pytest.raises(TypeError, match="id"):
                await asked(name)


async def test_names_that_the_hub_draws_are_long_and_never_the_same() -> None:
    async with Hub() as hub:
        ids = [(await hub.start(None, [])).id for _ in range(50)]
    assert 50 == len(set(ids))
    assert [True] * 50 == [len(id) >= 22 and id.isascii() for id in ids]


async def test_status_tells_what_was_given_to_the_start_as_it_was_then() -> None:
    metadata = {"user": {"name": "ada"}, "tags": [1, 2]}
    async with Hub() as hub:
        await hub.start("a", ["x"], owner="ada", metadata=metadata)
        metadata["tags"] = []
        await turns(30)
        status = await hub.status("a", owner="ada")
        with pytest.raises(TypeError):
            status.metadata["user"] = "eve"  # type: ignore[index]  # that is the test
    assert ("ada", {"user": {"name": "ada"}, "tags": [1, 2]}) == (status.owner, dict(status.metadata))
    assert ("done", None, 2, None, False) == (status.state, status.reason, status.events, status.stored, status.failing)
    assert status.ended_at is not None
    assert status.started_at <= status.ended_at


@pytest.mark.parametrize("metadata", [{"x": object()}, {1j: 1}, {"x": "\ud800"}, {"x": "y" * 2_000_000}])
async def test_metadata_that_is_no_json_is_refused_at_the_call(metadata: Any) -> None:
    async with Hub() as hub:
        with pytest.raises(ConfigError, match="metadata"):
            await hub.start("a", ["x"], metadata=metadata)
        assert [] == await hub.list()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, ConfigError),
        ({"ttl": -1}, ConfigError),
        ({"ttl": nan}, ConfigError),
        ({"ttl": True}, TypeError),
        ({"ttl": "1"}, TypeError),
        ({"on_disconnect": "stop"}, ConfigError),
        ({"if_exists": "ignore"}, ConfigError),
        ({"owner": 5}, TypeError),
        ({"owner": b"ada"}, TypeError),
        ({"metadata": [("a", 1)]}, TypeError),
        ({"metadata": None}, TypeError),
    ],
)
async def test_options_of_a_start_that_cannot_be_are_refused_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    probe = Probe(WORDS)
    async with Hub() as hub:
        with pytest.raises(error, match=next(iter(options))):
            await hub.start("a", probe, **options)
        assert [] == await hub.list()
    assert (0, 0) == (probe.asked, probe.closed)


@pytest.mark.parametrize("source", ["text", b"x", 5, None, int, lambda x: x])
async def test_a_source_that_is_none_is_refused_at_the_call(source: Any) -> None:
    async with Hub() as hub:
        with pytest.raises(TypeError):
            await hub.start("a", source)
        assert [] == await hub.list()


SECONDS = ["ttl", "lease", "flush_within", "close_timeout", "max_age"]
COUNTS = ["flush_events", "max_events", "max_bytes", "max_streams"]


@pytest.mark.parametrize("name", [*SECONDS, *COUNTS])
@pytest.mark.parametrize("value", [0, -1, nan, True, "5", [], -inf])
def test_a_hub_of_numbers_that_cannot_be_is_refused_at_the_call(name: str, value: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match=name):
        Hub(**{name: value})


@pytest.mark.parametrize("options", [{"store": "hub.db"}, {"store": {}}, {"authorize": "admin"}, {"authorize": 5}])
def test_a_hub_of_a_store_or_an_authorize_that_is_none_is_refused_at_the_call(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        Hub(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"policy": "fast"}, ConfigError),
        ({"errors": "ignore"}, ConfigError),
        ({"lag": 0}, ConfigError),
        ({"lag": True}, TypeError),
        ({"lag": 1.5}, TypeError),
        ({"owner": 5}, TypeError),
        ({"after": "x"}, sk.InvalidToken),
    ],
)
def test_options_of_a_subscription_that_cannot_be_are_refused_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    hub = Hub()
    for call in (hub.subscribe, hub.entries):
        with pytest.raises(error):
            call("a", **options)


@pytest.mark.parametrize("seconds", [-1, nan, True, False, "1"])
async def test_a_drain_of_no_time_is_refused_and_the_hub_goes_on(seconds: Any) -> None:
    async with Hub() as hub:
        with pytest.raises((ConfigError, TypeError), match="timeout"):
            await hub.drain(seconds)
        assert not (await hub.start("a", ["x"])).joined


@pytest.mark.parametrize("reason", [5, b"x", {}])
async def test_a_reason_that_is_no_text_is_refused_and_nothing_is_cancelled(reason: Any) -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source)
        with pytest.raises(TypeError, match="reason"):
            await hub.cancel("a", reason)
        assert "running" == (await hub.status("a")).state


# -- what a source sees


marked: contextvars.ContextVar[str] = contextvars.ContextVar("marked", default="nobody")


async def test_the_source_runs_in_the_context_of_whoever_started_it() -> None:
    async def told() -> AsyncIterator[str]:
        yield marked.get()

    async with Hub() as hub:
        for name in ("ada", "bob"):
            marked.set(name)
            await hub.start(name, told)
        marked.set("reader")
        assert answer("ada") == await events_of(hub, "ada")
        assert answer("bob") == await events_of(hub, "bob")
    marked.set("nobody")


async def test_a_source_may_hold_a_cancel_scope_and_a_task_group_across_its_items() -> None:
    closed: list[str] = []

    async def scoped() -> AsyncIterator[str]:
        try:
            with anyio.CancelScope():
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep_forever)
                    for word in WORDS:
                        yield word
                    group.cancel_scope.cancel()
        finally:
            closed.append("closed")

    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", scoped)
        assert answer(*WORDS) == await events_of(hub, "a")
    assert ["closed"] == closed


async def test_a_sync_source_runs_on_a_thread_and_holds_nobody_up() -> None:
    go = threading.Event()
    threads: list[threading.Thread] = []

    def slow() -> Iterator[str]:
        threads.append(threading.current_thread())
        yield "a"
        go.wait(120)
        yield "b"

    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", slow)
        reading = Reading(hub.subscribe("a"))
        group.start_soon(reading)
        await hub.start("b", WORDS)
        assert answer(*WORDS) == await events_of(hub, "b")
        go.set()
        assert answer("a", "b") == await events_of(hub, "a")
    assert answer("a", "b") == reading.got
    assert threading.current_thread() not in threads


async def test_a_stream_of_one_hub_may_be_the_source_of_another_stream() -> None:
    async with Hub() as hub:
        await hub.start("a", WORDS)
        await hub.start("b", hub.subscribe("a") | sk.map(lambda event: event))
        assert answer(*WORDS) == await events_of(hub, "b")


# -- reading


async def test_subscribing_is_lazy_and_the_same_stream_can_be_run_again_and_at_once() -> None:
    async with Hub() as hub:
        later = hub.subscribe("a")
        await hub.start("a", WORDS)
        assert [answer(*WORDS)] * 2 == [await later.collect(), await later.collect()]
        readings = [Reading(later) for _ in range(5)]
        async with anyio.create_task_group() as group:
            for reading in readings:
                group.start_soon(reading)
    assert [answer(*WORDS)] * 5 == [reading.got for reading in readings]


async def test_a_stream_that_was_never_started_is_unknown_when_it_is_read_and_not_before() -> None:
    async with Hub() as hub:
        stream = hub.subscribe("a")
        for read in (
            stream.collect,
            hub.entries("a").collect,
            lambda: hub.status("a"),
            lambda: hub.message("a"),
            lambda: hub.cancel("a"),
        ):
            with pytest.raises(UnknownStream, match="there is no stream 'a' here"):
                await read()


async def test_each_token_of_entries_resumes_behind_its_event() -> None:
    async with Hub() as hub:
        await hub.start("a", [*WORDS, Usage(output_tokens=3)])
        entries = await hub.entries("a").collect()
        whole = [event for _, event in entries]
        assert await events_of(hub, "a") == whole
        for at, (token, _) in enumerate(entries):
            expected = whole[at + 1 :] or whole[-1:]  # who has seen the end is told it again
            assert expected == await events_of(hub, "a", after=token)
        assert entries[-1][0] == (await hub.status("a")).token


async def test_a_reader_in_the_middle_gets_what_was_and_then_what_comes() -> None:
    source = Source()
    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        await source.give("a", "b")
        reading = Reading(hub.entries("a"))
        group.start_soon(reading)
        await turns()
        assert deltas("a", "b") == [event for _, event in reading.got]
        await source.give("c")
        resumed = Reading(hub.subscribe("a", after=reading.got[0][0]))
        group.start_soon(resumed)
        await source.end()
    assert answer("a", "b", "c") == [event for _, event in reading.got]
    assert answer("b", "c") == resumed.got


async def test_operators_work_over_a_subscription_and_leave_the_others_alone(clock: VirtualClock) -> None:
    def spoken() -> sk.Stream[str]:
        return timed("a", 1.0, "b", 5.0, "c", 1.0)

    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", spoken)
        stream = hub.subscribe("a")
        whole = Reading(stream)
        buffered = Reading(stream | sk.buffer(2))
        texts: list[Any] = []

        async def take() -> None:
            texts.append(await (stream | sk.take(2)).join())

        async def idle() -> None:
            with pytest.raises(StreamTimeout) as caught:
                await (stream | sk.timeout(idle=2.0)).collect()
            texts.append(caught.value.phase)

        async def message() -> None:
            texts.append((await stream.message()).text)

        async with anyio.create_task_group() as group:
            for one in (whole, buffered, take, idle, message):
                group.start_soon(one)
        assert answer("a", "b", "c") == whole.got == buffered.got
        assert ["ab", "idle", "abc"] == texts
        assert 7.0 == clock.now()


async def test_the_answer_so_far_is_there_while_it_runs_and_afterwards() -> None:
    source = Source()
    async with Hub() as hub:
        generation = await hub.start("a", source)
        await source.give("Hel")
        assert "Hel" == (await hub.message("a")).text
        await source.give("lo", Usage(output_tokens=2))
        await source.end()
        message = await generation.message()
    assert ("Hello", 2, Finish("stop")) == (message.text, message.usage and message.usage.output_tokens, message.finish)


async def test_a_list_of_all_streams_has_the_newest_first() -> None:
    async with Hub() as hub:
        for name in ("a", "b", "c"):
            await hub.start(name, [name], owner=name)
            await turns()
        assert {"a", "b", "c"} == {status.id for status in await hub.list()}
        times = [status.started_at for status in await hub.list()]
        assert sorted(times, reverse=True) == times


async def test_status_counts_the_readers_of_this_process() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(Reading(hub.subscribe("a")))
            await turns()
            assert 3 == (await hub.status("a")).readers
            group.cancel_scope.cancel()
        assert 0 == (await hub.status("a")).readers


async def test_a_reader_that_waits_is_seen_to_wait() -> None:
    source = Source()
    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        for _ in range(3):
            group.start_soon(Reading(hub.subscribe("a")))
        await anyio.wait_all_tasks_blocked()
        assert 3 == (await hub.status("a")).readers
        await source.end()


async def test_a_test_that_waits_for_what_never_comes_is_told_so_where_it_waits() -> None:
    async with VirtualClock(patience=0.05), Hub() as hub:
        await hub.start("a", Source())
        with pytest.raises(Deadlock):
            await events_of(hub, "a")
        assert 0 == (await hub.status("a")).readers


# -- how long it is kept


async def test_a_stream_is_kept_for_its_time_after_the_end_and_then_forgotten(clock: VirtualClock) -> None:
    async with assert_no_leaks(), Hub(ttl=10) as hub:
        await hub.start("a", timed("a", 30.0))
        await hub.start("b", ["b"], ttl=100)
        assert answer("a") == await events_of(hub, "a")
        await clock.sleep(9.0)
        assert answer("a") == await events_of(hub, "a")
        await clock.sleep(1.5)
        with pytest.raises(UnknownStream):
            await events_of(hub, "a")
        assert ["b"] == [status.id for status in await hub.list()]
        await clock.sleep(60.0)
        assert [] == await hub.list()


async def test_a_reader_of_a_stream_that_is_forgotten_meanwhile_reads_on() -> None:
    async with Hub(max_streams=1) as hub:
        await hub.start("a", WORDS)
        await turns(30)
        async with hub.subscribe("a").open() as items:
            got = [await anext(items)]
            await hub.start("b", ["b"])
            with pytest.raises(UnknownStream):
                await events_of(hub, "a")
            got += [event async for event in items]
    assert answer(*WORDS) == got


async def test_a_name_is_free_again_once_its_stream_is_forgotten(clock: VirtualClock) -> None:
    async with Hub(ttl=1) as hub:
        for text in ("one", "two"):
            assert not (await hub.start("a", [text])).joined
            assert answer(text) == await events_of(hub, "a")
            await clock.sleep(2.0)


async def test_a_stream_that_took_the_place_of_another_has_its_whole_time(clock: VirtualClock) -> None:
    async with Hub(ttl=10) as hub:
        await hub.start("a", ["old"])
        await clock.sleep(8.0)
        await hub.start("a", ["new"], if_exists="replace")
        await clock.sleep(8.0)
        assert answer("new") == await events_of(hub, "a")
        await clock.sleep(3.0)
        assert [] == await hub.list()


async def test_no_more_streams_run_than_the_hub_may_keep_and_the_oldest_that_is_over_goes_first() -> None:
    running = [Source() for _ in range(3)]
    async with Hub(max_streams=3) as hub:
        await hub.start("a", running[0])
        await hub.start("b", ["b"])
        await hub.start("c", ["c"])
        await turns(30)
        await hub.start("d", running[1])
        assert {"a", "c", "d"} == {status.id for status in await hub.list()}
        await hub.start("e", running[2])
        with pytest.raises(BufferFull, match="runs 3 streams") as caught:
            await hub.start("f", ["f"])
        assert 3 == caught.value.size
        assert {"a", "d", "e"} == {status.id for status in await hub.list()}
        assert (await hub.start("a", ["joins all the same"])).joined


# -- who may


async def test_a_stream_with_an_owner_is_for_those_who_name_the_same_one() -> None:
    async with Hub() as hub:
        generation = await hub.start("a", WORDS, owner="ada")
        assert answer(*WORDS) == await events_of(hub, "a", owner="ada")
        assert answer(*WORDS) == await generation.subscribe().collect()
        assert "ada" == (await hub.status("a", owner="ada")).owner
        for owner in (None, "eve", "", "ada ", "Ada"):
            with pytest.raises(UnknownStream):
                await events_of(hub, "a", owner=owner)


async def test_a_stream_of_nobody_is_for_everybody() -> None:
    async with Hub() as hub:
        await hub.start("a", WORDS)
        for owner in (None, "eve"):
            assert answer(*WORDS) == await events_of(hub, "a", owner=owner)


async def test_a_start_of_a_name_that_is_somebody_elses_is_refused_whatever_was_asked_for() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source, owner="ada")
        for asked in ("join", "raise", "replace"):
            for owner in ("eve", None):
                with pytest.raises(UnknownStream):
                    await hub.start("a", ["mine"], owner=owner, if_exists=asked)
        assert "running" == (await hub.status("a", owner="ada")).state
        await turns()
    assert (1, 1) == (source.runs, source.closed)


class Asked:
    """Notes what it was asked, and allows what it is told to."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed
        self.asked: list[tuple[str | None, str]] = []

    def __call__(self, owner: str | None, action: str) -> bool:
        self.asked.append((owner, action))
        return action in self.allowed

    async def later(self, owner: str | None, action: str) -> bool:
        await turns(3)
        return self(owner, action)


@pytest.mark.parametrize("coroutine", [False, True])
async def test_authorize_is_asked_each_time_and_what_it_refuses_is_unknown(coroutine: bool) -> None:
    asked = Asked("subscribe", "status")
    async with Hub(authorize=asked.later if coroutine else asked) as hub:
        await hub.start("a", WORDS, owner="ada")
        token = (await hub.entries("a").collect())[0][0]
        await hub.status("a")
        await hub.message("a")
        for call in (hub.subscribe("a", after=token).collect, lambda: hub.cancel("a")):
            with pytest.raises(UnknownStream, match="there is no stream 'a' here"):
                await call()
    actions = ["subscribe", "status", "subscribe", "resume", "cancel"]
    assert [("ada", action) for action in actions] == asked.asked


async def test_an_owner_that_is_named_does_not_pass_by_authorize() -> None:
    asked = Asked()
    async with Hub(authorize=asked) as hub:
        await hub.start("a", WORDS, owner="ada")
        for owner in ("ada", "eve"):
            with pytest.raises(UnknownStream):
                await events_of(hub, "a", owner=owner)
    assert [("ada", "subscribe")] == asked.asked


async def test_authorize_is_asked_in_the_context_of_the_one_who_reads() -> None:
    async with Hub(authorize=lambda owner, action: marked.get() == owner) as hub:
        await hub.start("a", WORDS, owner="ada")
        with pytest.raises(UnknownStream):
            await events_of(hub, "a")
        marked.set("ada")
        assert answer(*WORDS) == await events_of(hub, "a")
    marked.set("nobody")


async def test_an_authorize_that_fails_fails_the_one_who_asked_and_nobody_else() -> None:
    def authorize(owner: str | None, action: str) -> bool:
        raise OSError("no database")

    async with assert_no_leaks(), Hub(authorize=authorize) as hub:
        generation = await hub.start("a", WORDS, owner="ada")
        with pytest.raises(OSError, match="no database"):
            await events_of(hub, "a")
        assert answer(*WORDS) == await generation.subscribe().collect()


async def test_the_starters_own_handle_asks_nobody() -> None:
    asked = Asked()
    source = Source()
    async with Hub(authorize=asked) as hub:
        generation = await hub.start("a", source, owner="ada")
        await source.give("x")
        assert 1 == (await generation.status()).events
        assert "x" == (await generation.message()).text
        assert await generation.cancel("mine")
        assert answer("x", reason="cancelled") == await generation.subscribe().collect()
        assert 2 == len(await generation.entries().collect())
    assert [] == asked.asked


# -- one event loop


def test_a_hub_belongs_to_the_event_loop_that_first_used_it() -> None:
    hub = Hub()

    async def first() -> None:
        await hub.start("a", WORDS)
        await events_of(hub, "a")

    async def second() -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: hub.start("b", WORDS),
            lambda: events_of(hub, "a"),
            lambda: hub.status("a"),
            lambda: hub.cancel("a"),
            lambda: hub.message("a"),
            hub.list,
            hub.drain,
            hub.aclose,
        ]
        for call in calls:
            with pytest.raises(StreamBusy, match="belongs to the event loop that first used it"):
                await call()

    asyncio.run(first())
    asyncio.run(second())


async def test_the_root_of_the_package_has_it_and_its_status_can_be_written_as_json() -> None:
    async with sk.Hub() as hub:
        await hub.start("a", ["x"], metadata={"k": [1]})
        await turns(30)
        status = await hub.status("a")
        told = json.dumps({name: getattr(status, name) for name in status.__struct_fields__ if name != "metadata"})
    assert "done" == json.loads(told)["state"]
