"""The log of one stream, without a hub: offsets, tokens, bounds, ends, readers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hub_sources import answer, deltas, turns

from streamkit.errors import InvalidToken, ReaderLagged, StreamInterrupted
from streamkit.events.message import Message
from streamkit.events.model import Custom, ErrorEvent, Event, Finish, Gap, TextDelta, ToolCallDelta, Usage
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.hub.log import Limits, Log, weight_of
from streamkit.hub.reading import Errors, Policy, Reader, entries_of, events_of
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


def log_of(
    *events: Event,
    max_events: int = 1000,
    max_bytes: int = 1 << 20,
    max_age: float | None = None,
    fold: bool = True,
    **options: Any,
) -> Log:
    """A log with these events in it, each looked after by itself."""
    options = {"first_epoch": 10, "epoch": 11, **options}
    log = Log(current_backend(), current_clock(), Limits(max_events, max_bytes, max_age, fold=fold), **options)
    append(log, *events)
    return log


def append(log: Log, *events: Event) -> None:
    for event in events:
        log.offer(event)
        if len(log.buffer) >= log.limit:
            log.wake()


async def rest(
    log: Log, at: int = 0, policy: Policy = "lag", *, size: int = 1000, errors: Errors = "yield"
) -> tuple[list[Event], list[int]]:
    """What a reader gets of a log that is over, and the offsets."""
    reader = Reader.of(log, at, policy=policy, size=size, errors=errors, view=entries_of)
    events: list[Event] = []
    offsets: list[int] = []
    while True:
        try:
            batch: Sequence[Any] = await reader.__anext__()
        except StopAsyncIteration:
            reader.leave()
            return events, offsets
        events += [event for _, event in batch]
        offsets += [int(token.partition(".")[2]) for token, _ in batch]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# -- offsets, epochs, tokens


async def test_offsets_count_events_and_the_head_is_the_next_one() -> None:
    log = log_of(*deltas("a", "b"))
    assert (0, 2, 11) == (log.first, log.head, log.epoch)
    assert ["b.0", "b.1"] == [log.token(0), log.token(1)]
    log.end()
    assert (3, True, Finish("stop")) == (log.head, log.over, log.last)


async def test_a_token_leads_behind_its_event_and_one_that_was_never_given_is_refused() -> None:
    log = log_of(*deltas("a", "b", "c"))
    assert [1, 2, 3] == [log.position(11, offset) for offset in range(3)]
    for epoch, offset, reason in [(11, 3, "future"), (11, 10**14, "future"), (9, 0, "foreign"), (0, 0, "foreign")]:
        with pytest.raises(InvalidToken) as caught:
            log.position(epoch, offset)
        assert reason == caught.value.reason
    with pytest.raises(InvalidToken):
        log.position(10 + 1_000_001, 0)


async def test_who_has_seen_more_than_a_dead_writer_stored_goes_on_where_its_epoch_ends() -> None:
    log = log_of(*deltas("a", "b"))
    log.turn_epoch(12)
    append(log, *deltas("c"))
    assert ["b.1", "c.2"] == [log.token(1), log.token(2)]
    assert [1, 2, 2, 2] == [log.position(11, offset) for offset in (0, 1, 2, 500)]
    assert 3 == log.position(12, 2)
    log.turn_epoch(12)
    assert 12 == log.epoch


async def test_a_copy_on_its_way_takes_a_token_that_is_ahead_of_it_and_one_that_is_over_does_not() -> None:
    log = log_of(*deltas("a"), complete=False)
    assert 6 == log.position(11, 5)
    with pytest.raises(InvalidToken):
        log.position(11, 2_000_000)
    log.end()
    with pytest.raises(InvalidToken):
        log.position(11, 5)


# -- ends


async def test_only_the_first_end_counts_and_nothing_is_appended_behind_it() -> None:
    log = log_of(*deltas("a"))
    told: list[str] = []
    log.on_over.append(lambda: told.append("over"))
    log.end(Finish("cancelled"))
    log.end(ErrorEvent("x", code="error"), OSError("x"))
    append(log, *deltas("b"))
    log.extend(deltas("c"))
    assert (answer("a", reason="cancelled"), None, ["over"]) == (list(log.buffer), log.fault, told)


async def test_a_reader_of_a_log_that_is_over_gets_the_end_exactly_once_wherever_it_begins() -> None:
    log = log_of(*deltas("a", "b"))
    log.end(Finish("length"))
    for at in range(10):
        events, offsets = await rest(log, at)
        assert [*answer("a", "b", reason="length")[min(at, 2) :]] == events
        assert 2 == offsets[-1]


async def test_an_error_is_raised_or_given_behind_everything_else_and_again_to_who_comes_late() -> None:
    log = log_of(*deltas("a"))
    log.end(ErrorEvent("gone", code="interrupted"))
    for at in range(3):
        assert ErrorEvent("gone", code="interrupted") == (await rest(log, at))[0][-1]
        with pytest.raises(StreamInterrupted, match="gone"):
            await rest(log, at, errors="raise")


async def test_an_error_that_is_the_only_event_is_raised_at_the_first_read() -> None:
    log = log_of()
    fault = OSError("x")
    log.end(ErrorEvent("x", code="error"), fault)
    for _ in range(3):
        with pytest.raises(OSError, match="x") as caught:
            await rest(log, errors="raise")
        assert fault is caught.value


async def test_raising_the_same_error_to_many_readers_does_not_make_it_longer() -> None:
    log = log_of()
    try:
        raise OSError("x")
    except OSError as error:
        log.end(ErrorEvent("x", code="error"), error)
    depths: list[int] = []
    for _ in range(5):
        with pytest.raises(OSError, match="x") as caught:
            await rest(log, errors="raise")
        depth, trace = 0, caught.value.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        depths.append(depth)
    assert 1 == len(set(depths))


# -- bounds


async def test_what_is_too_much_by_number_goes_to_the_folded_beginning_and_reads_the_same() -> None:
    texts = [f"{number} " for number in range(1000)]
    log = log_of(*deltas(*texts), max_events=16)
    log.end()
    assert len(log.buffer) <= 16 + 4 + 1
    assert 0 == log.first
    events, offsets = await rest(log)
    assert ("".join(texts), 1000, Finish("stop")) == (text_of(events), offsets[-1], events[-1])
    assert sorted(set(offsets)) == offsets
    assert len(events) < 40


@pytest.mark.parametrize("waited_for", [False, True])
@pytest.mark.parametrize("size", [1, 100, 5000, 90_000])
async def test_the_bytes_that_a_log_holds_stay_within_twice_its_bounds_whatever_comes(size: int, waited_for: bool) -> None:
    log = log_of(max_bytes=200_000, max_events=100_000)
    heaviest = 0
    for number in range(600_000 // (120 + size)):
        append(log, TextDelta("x" * size) if number % 5 else Custom("c", {"n": "y" * size}))
        if waited_for:
            log.limit = 0  # as a reader does that has read all
        if number % 97 == 0 or size > 1000:
            heaviest = max(heaviest, sum(map(weight_of, log.buffer)))
    assert heaviest <= 400_000
    assert log.folded.weight <= 200_000 + 30_000 + 2 * size


async def test_what_is_forgotten_is_a_gap_that_counts_it() -> None:
    log = log_of(*deltas(*["x" * 100] * 100), max_events=2, max_bytes=1)
    log.end()
    events, offsets = await rest(log)
    assert isinstance(events[0], Gap)
    assert log.first == events[0].count == offsets[0] + 1
    assert 100 == events[0].count + len(text_of(events)) // 100
    resumed, _ = await rest(log, log.first)
    assert events[1:] == resumed


async def test_without_folding_what_goes_is_forgotten() -> None:
    log = log_of(*deltas(*"abcdefgh"), max_events=4, fold=False)
    log.end()
    events, _ = await rest(log)
    assert Gap(log.first) == events[0]
    assert "abcdefgh"[log.first :] == text_of(events)


async def test_the_last_event_is_kept_whatever_the_bounds() -> None:
    log = log_of(max_events=1, max_bytes=1)
    append(log, *deltas(*"abc"))
    log.end(ErrorEvent("e" * 1000, code="error"))
    assert ErrorEvent("e" * 1000, code="error") == (await rest(log))[0][-1]
    log.trim()
    assert ErrorEvent("e" * 1000, code="error") == log.last


async def test_events_go_by_age_on_the_clock_in_place(clock: VirtualClock) -> None:
    log = log_of(max_age=10.0)
    for text in "abcd":
        append(log, TextDelta(text))
        log.wake()
        await clock.sleep(4.0)
    log.wake()
    assert deltas("c", "d") == list(log.buffer)
    log.end()
    events, _ = await rest(log)
    assert "abcd" == text_of(events)


# -- readers, at any pace, against the whole


def some_events(dice: random.Random, count: int) -> list[Event]:
    made: list[Event] = []
    for number in range(count):
        kinds: list[Event] = [
            TextDelta(f"{number} "),
            TextDelta(f"{number} "),
            TextDelta(f"{number} ", index=1),
            ToolCallDelta("1", f"{number},"),
            Usage(output_tokens=number),
            Custom("c", number),
            Gap(1),
        ]
        made.append(dice.choice(kinds))
    return made


def content_of(events: Sequence[Event]) -> tuple[str, str, str, int]:
    tool = "".join(event.delta for event in events if isinstance(event, ToolCallDelta))
    gaps = sum(event.count for event in events if isinstance(event, Gap))
    texts = ["".join(event.text for event in events if isinstance(event, TextDelta) and event.index == index) for index in (0, 1)]
    return texts[0], texts[1], tool, gaps


@pytest.mark.parametrize("policy", ["lag", "conflate", "backpressure"])
@pytest.mark.parametrize("max_events", [1, 3, 20, 1000])
async def test_a_reader_at_any_pace_has_everything_once_from_wherever_it_resumes(policy: Policy, max_events: int) -> None:
    for seed in range(12):
        dice = random.Random(seed)
        whole = some_events(dice, 60)
        log = log_of(max_events=max_events)
        readers: list[tuple[int, Reader, list[tuple[int, Event]]]] = []

        async def read(reader: Reader, got: list[tuple[int, Event]]) -> None:
            for token, event in await reader.__anext__():
                got.append((int(token.partition(".")[2]), event))

        for number, event in enumerate(whole):
            append(log, event)
            if dice.random() < 0.3:
                at = dice.randrange(number + 1)
                reader = Reader.of(log, at, policy=policy, size=10_000, errors="yield", view=entries_of)
                readers.append((at, reader, []))
            for _, reader, got in readers:
                if dice.random() < 0.2 and not (got and got[-1][0] == log.head - 1):
                    await read(reader, got)
        log.end()
        for at, reader, got in readers:
            while True:
                try:
                    await read(reader, got)
                except StopAsyncIteration:
                    break
            events = [event for _, event in got]
            offsets = [offset for offset, _ in got]
            assert sorted(set(offsets)) == offsets
            assert content_of(whole[at:]) == content_of(events)
            whole_kinds = (Usage, Custom)
            assert [event for event in whole[at:] if isinstance(event, whole_kinds)] == [
                event for event in events if isinstance(event, whole_kinds)
            ]
            assert (60, Finish("stop")) == got[-1]


async def test_a_hurried_reader_is_told_behind_what_it_is_and_where_to_resume() -> None:
    log = log_of(*deltas(*"abc"))
    reader = Reader.of(log, 0, policy="disconnect", size=2, errors="yield", view=events_of)
    assert deltas(*"abc") == await reader.__anext__()  # what was there when it came does not count
    append(log, *deltas(*"de"))
    assert deltas(*"de") == await reader.__anext__()
    append(log, *deltas(*"fgh"))
    with pytest.raises(ReaderLagged) as caught:
        await reader.__anext__()
    assert (2, log.token(4)) == (caught.value.size, caught.value.token)


async def test_the_answer_so_far_is_the_same_however_much_of_it_is_folded() -> None:
    dice = random.Random(5)
    whole = [event for event in some_events(dice, 200) if not isinstance(event, Gap)]
    expected = Message(whole)
    for max_events in (1, 7, 1000):
        log = log_of(*whole, max_events=max_events)
        assert (expected.text, expected.usage) == (log.message().text, log.message().usage)
        log.end()
        assert log.message() is log.message()
        assert Finish("stop") == log.message().finish


async def test_a_log_has_no_place_for_a_failure_that_is_no_event() -> None:
    with pytest.raises(NotImplementedError, match="no place for a failure"):
        log_of().fail(OSError("x"))


async def test_readers_that_wait_are_all_woken_by_one_look_and_in_the_order_in_which_they_came() -> None:
    log = log_of()
    order: list[int] = []

    async def read(number: int) -> None:
        reader = Reader.of(log, 0, policy="lag", size=1, errors="yield", view=events_of)
        await reader.__anext__()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(read, number)
            await turns(3)
        assert (5, 0) == (len(log.crowd.sitting), log.limit)
        append(log, *deltas("a"))
        assert 0 == len(log.crowd.sitting)
    assert [0, 1, 2, 3, 4] == sorted(order)
    if current_backend().name == "asyncio":
        assert [0, 1, 2, 3, 4] == order
