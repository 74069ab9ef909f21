"""`run_tools`: calls are run while the answer goes on, results come in order, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from event_loops import asyncio_only

import streamkit as sk
from streamkit.events import ErrorEvent, Event, Finish, Start, TextDelta, ToolCall, ToolCallDelta, ToolCallStart, ToolResult, Usage
from streamkit.flow.clock import current_clock
from streamkit.operators.tool_calls import AHEAD, MOST_HELD
from streamkit.testing import VirtualClock, assert_no_leaks, check_operator, timed

pytestmark = pytest.mark.anyio

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


async def wait(seconds: float) -> str:
    """Wait on the clock in place."""
    await current_clock().sleep(seconds)
    return f"{seconds:g} s"


async def add(a: int, b: int = 1) -> int:
    return a + b


def twice(text: str) -> str:
    return text * 2


def call(number: int, name: str = "wait", arguments: str = '{"seconds": 1}', **fields: Any) -> ToolCall:
    return ToolCall(str(number), name, arguments, **fields)


def waiting(number: int, seconds: float) -> ToolCall:
    return call(number, arguments=f'{{"seconds": {seconds}}}')


async def gathered(stream: sk.Stream[Any], clock: VirtualClock) -> list[tuple[float, str]]:
    """Each event's time and a short name."""
    out: list[tuple[float, str]] = []
    async with stream as events:
        async for event in events:
            short = f"{event.type} {event.id}" if isinstance(event, ToolCall | ToolResult) else event.type
            out.append((clock.now(), short))
    return out


async def results_of(*calls: Event, tools: Any = (wait, add, twice), **options: Any) -> list[ToolResult]:
    events = await (sk.stream([*calls, Finish("tool-calls")]) | sk.run_tools(tools, **options)).collect()
    assert Finish("tool-calls") == events[-1]
    return [event for event in events if isinstance(event, ToolResult)]


# -- order and time


async def test_events_pass_at_once_and_results_come_in_the_order_of_the_calls(clock: VirtualClock) -> None:
    answer = timed(Start(), waiting(1, 3), 1.0, TextDelta("a"), waiting(2, 1), 0.5, TextDelta("b"), Usage(), Finish())
    assert [
        (0, "start"),
        (0, "tool-call 1"),
        (1.0, "text-delta"),
        (1.0, "tool-call 2"),
        (1.5, "text-delta"),
        (3.0, "tool-result 1"),
        (3.0, "tool-result 2"),
        (3.0, "usage"),
        (3.0, "finish"),
    ] == await gathered(answer | sk.run_tools([wait]), clock)


async def test_a_result_that_is_ready_is_given_while_the_stream_goes_on(clock: VirtualClock) -> None:
    answer = timed(waiting(1, 1), 2.0, TextDelta("a"), Finish())
    got = await gathered(answer | sk.run_tools([wait]), clock)
    assert [(0, "tool-call 1"), (1.0, "tool-result 1"), (2.0, "text-delta"), (2.0, "finish")] == got


async def test_running_counts_of_usage_pass_and_the_final_one_waits(clock: VirtualClock) -> None:
    answer = timed(waiting(1, 1), Usage(output_tokens=1, final=False), Usage(output_tokens=2), Finish())
    got = await gathered(answer | sk.run_tools([wait]), clock)
    assert [(0, "tool-call 1"), (0, "usage"), (1.0, "tool-result 1"), (1.0, "usage"), (1.0, "finish")] == got


async def test_an_answer_that_ends_for_ever_is_not_kept_in_memory(clock: VirtualClock) -> None:
    """A provider that repeats its final count was read without end as long as a tool ran."""
    sent = 0

    async def answer() -> AsyncIterator[Event]:
        nonlocal sent
        yield waiting(1, 60)
        for sent in range(100_000):  # counted for the check
            yield Usage(output_tokens=sent)

    got: list[Event] = []
    async with sk.stream(answer) | sk.run_tools([wait]) as events:
        async for event in events:
            got.append(event)
            await clock.sleep(1)
            if len(got) == 4:
                break
    assert [Usage(output_tokens=n) for n in range(3)] == got[1:]
    assert sent <= MOST_HELD + 2 * AHEAD + 3


async def test_at_most_so_many_calls_run_at_once_in_their_order(clock: VirtualClock) -> None:
    running: list[int] = []
    most: list[int] = []

    async def job(n: int) -> int:
        running.append(n)
        most.append(len(running))
        await current_clock().sleep(1)
        running.remove(n)
        return n

    got = await results_of(*[call(n, "job", f'{{"n": {n}}}') for n in range(5)], tools=[job], concurrency=2)
    assert [0, 1, 2, 3, 4] == [result.output for result in got]
    assert 2 == max(most)
    assert 3.0 == clock.now()


async def test_a_plain_function_runs_on_a_thread_and_stalls_nobody() -> None:
    here = threading.get_ident()
    go = threading.Event()
    passed: list[object] = []

    def blocking(text: str) -> bool:
        assert go.wait(120)
        return threading.get_ident() != here

    answer = sk.stream([call(1, "blocking", '{"text": "x"}'), TextDelta("a"), Finish()]) | sk.run_tools([blocking])
    async with answer as events:
        async for event in events:
            passed.append(event.__class__)
            if isinstance(event, TextDelta):
                go.set()
            if isinstance(event, ToolResult):
                assert event.output is True
    assert [ToolCall, TextDelta, ToolResult, Finish] == passed


async def test_a_slow_consumer_suspends_the_source_and_no_tool(clock: VirtualClock) -> None:
    given: list[int] = []

    async def source() -> AsyncIterator[Event]:
        yield waiting(1, 1)
        for n in range(200):
            given.append(n)
            yield TextDelta(str(n))

    async with sk.stream(source) | sk.run_tools([wait]) as events:
        async for _ in events:
            await current_clock().sleep(5)
            break
        assert 20 >= len(given)


# -- what is not run, and what fails


async def test_par_20_a_call_whose_arguments_never_became_complete_is_never_run() -> None:
    ran: list[str] = []

    def note(text: str) -> None:
        ran.append(text)

    # Interleaved fragments of two calls; the answer is cut inside both, one of them where its text happens to be JSON.
    got = await results_of(
        ToolCallStart("1", "note"),
        ToolCallStart("2", "note", 1),
        ToolCallDelta("1", '{"text": "a'),
        ToolCallDelta("2", '{"text": "b"}', 1),
        call(1, "note", '{"text": "a', complete=False),
        call(2, "note", '{"text": "b"}', complete=False, index=1),
        tools=[note],
    )
    assert [] == ran
    assert [("1", True), ("2", True)] == [(result.id, result.is_error) for result in got]
    assert all("cut off" in str(result.output) for result in got)


async def test_calls_of_the_provider_and_of_tools_without_a_function_are_left_alone() -> None:
    elsewhere = sk.Tool("elsewhere", "", {"type": "object"})
    got = await results_of(
        call(1, "add", server=True), call(2, "elsewhere", "{}"), call(3, "add", '{"a": 1}'), tools=[add, elsewhere]
    )
    assert [ToolResult("3", 2)] == got


def fails(text: str) -> str:
    raise LookupError(f"no {text} with key sk-abcdefghijklmnop1234")


def says(text: str) -> str:
    raise sk.ToolError(f"ask again without {text}")


def no_json() -> object:
    return object()


FAILURES = {
    "unknown": (call(1, "nope"), "no tool named 'nope'"),
    "no JSON": (call(1, "add", "{"), "no JSON"),
    "wrong type": (call(1, "add", '{"a": "x"}'), "do not fit"),
    "missing": (call(1, "add", ""), "missing"),
    "too many": (call(1, "add", '{"a": 1, "c": 2}'), "no argument"),
    "no object": (call(1, "add", "[1]"), "object"),
    "raises": (call(1, "fails", '{"text": "row"}'), "LookupError: no row with key ***"),
    "raises a ToolError": (call(1, "says", '{"text": "x"}'), "ask again without x"),
    "gives no JSON": (call(1, "no_json", "{}"), "gave a object, which is no JSON"),
}
REASONS = {"unknown": "unknown", "raises": "failed", "raises a ToolError": "failed", "gives no JSON": "failed"}
FAILING = [add, fails, says, no_json, twice]


@pytest.mark.parametrize("what", FAILURES)
async def test_a_failed_call_is_told_to_the_model_and_the_others_go_on(what: str) -> None:
    failing, said = FAILURES[what]
    got = await results_of(failing, call(2, "twice", '{"text": "ab"}'), tools=FAILING)
    assert [True, False] == [result.is_error for result in got]
    assert isinstance(got[0].output, str)
    assert said in got[0].output
    assert "Traceback" not in got[0].output
    assert "sk-abc" not in got[0].output
    assert "abab" == got[1].output


@pytest.mark.parametrize("what", FAILURES)
async def test_a_failed_call_is_raised_in_its_place_on_request(what: str) -> None:
    failing, _ = FAILURES[what]
    out: list[object] = []
    with pytest.raises(sk.ToolError) as raised:
        answer = sk.stream([call(0, "twice", '{"text": "ab"}'), failing, Finish()])
        async with answer | sk.run_tools(FAILING, on_error="raise") as events:
            async for event in events:
                out.append(event)
    assert failing == raised.value.call
    assert REASONS.get(what, "arguments") == raised.value.reason
    assert ToolResult("0", "abab") == out[-1]
    assert "sk-abc" not in str(raised.value)
    if what == "raises":
        assert isinstance(raised.value.__cause__, LookupError)


async def test_a_call_that_was_cut_off_is_raised_on_request() -> None:
    with pytest.raises(sk.ToolError) as raised:
        await results_of(call(1, complete=False), on_error="raise")
    assert "cut" == raised.value.reason


async def test_a_call_that_takes_too_long_has_an_error_for_its_result(clock: VirtualClock) -> None:
    cleaned: list[float] = []

    async def careful(seconds: float) -> None:
        try:
            await current_clock().sleep(seconds)
        finally:
            cleaned.append(clock.now())

    got = await results_of(
        call(1, "careful", '{"seconds": 9}'), call(2, "careful", '{"seconds": 1}'), tools=[careful], timeout=2, concurrency=1
    )
    assert [True, False] == [result.is_error for result in got]
    assert "2 seconds" in str(got[0].output)
    assert [2.0, 3.0] == cleaned
    assert 3.0 == clock.now()


async def test_a_time_that_ran_out_is_raised_on_request(clock: VirtualClock) -> None:
    with pytest.raises(sk.ToolError) as raised:
        await results_of(waiting(1, 9), timeout=2, on_error="raise")
    assert "timeout" == raised.value.reason
    assert 2.0 == clock.now()


async def test_a_plain_function_that_takes_too_long_is_not_waited_for_before_its_result() -> None:
    go = threading.Event()

    def stuck() -> None:
        assert go.wait(120)

    answer = sk.stream([call(1, "stuck", "{}"), Finish()]) | sk.run_tools([stuck], timeout=0.01)
    async with answer as events:
        async for event in events:
            if isinstance(event, ToolResult):
                assert event.is_error
                go.set()
    assert go.is_set()


@asyncio_only
async def test_a_tool_that_is_cancelled_from_inside_has_failed() -> None:
    import asyncio

    async def odd() -> None:
        raise asyncio.CancelledError

    assert [ToolResult("1", "the tool was cancelled", is_error=True)] == await results_of(call(1, "odd", "{}"), tools=[odd])


# -- results


@dataclass
class Place:
    city: str
    at: tuple[float, float]


class Unsaid(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot be said")


class Untold(sk.ToolError):
    reason = "whatever"  # type: ignore[assignment]  # on purpose

    def __init__(self) -> None:
        Exception.__init__(self)


@pytest.mark.parametrize("on_error", ["result", "raise"])
@pytest.mark.parametrize("kind", [Unsaid, Untold])
async def test_an_error_that_cannot_be_told_does_not_hang_the_stream(kind: type[Exception], on_error: Any) -> None:
    async def broken() -> None:
        raise kind

    stream = sk.stream([call(1, "broken", "{}"), Finish()]) | sk.run_tools([broken], on_error=on_error)
    with anyio.fail_after(90):
        if on_error == "raise":
            with pytest.raises(sk.ToolError, match="failed") as caught:
                await stream.collect()
            assert isinstance(caught.value.__cause__, kind)
        else:
            assert ToolResult("1", kind.__name__, is_error=True) == (await stream.collect())[1]


async def test_a_coroutine_that_a_plain_function_gives_too_late_is_closed() -> None:
    """It was dropped, and complained that it was never awaited."""
    began, go = threading.Event(), threading.Event()

    async def rest() -> None:
        raise AssertionError("nobody wants it any more")

    def slow() -> object:
        began.set()
        go.wait(120)
        return rest()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with sk.stream([call(1, "slow", "{}"), Finish()]) | sk.run_tools([slow]) as events:
            async for _ in events:
                while not began.is_set():
                    await anyio.lowlevel.checkpoint()
                break
            threading.Timer(0.02, go.set).start()
        gc.collect()


if sys.version_info >= (3, 12):  # tasks that begin at once came with it

    @asyncio_only
    async def test_thousands_of_queued_calls_that_end_at_once_are_no_recursion() -> None:
        """Each end began the next call inside itself, until the stack was full and the stream hung."""
        ran: list[int] = []

        async def quick() -> int:
            ran.append(1)
            if len(ran) == 1:
                await anyio.lowlevel.checkpoint()
            return len(ran)

        def eager(loop: Any, coro: Any, *, context: Any = None, **_: object) -> Any:
            # asyncio's own factory refuses what uvloop passes to it on Python 3.13.0.
            task: Any = asyncio.Task
            return task(coro, loop=loop, context=context, eager_start=True)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(eager)
        try:
            with anyio.fail_after(90):
                got = await results_of(*[call(n, "quick", "{}") for n in range(2000)], tools=[quick], concurrency=1)
        finally:
            loop.set_task_factory(None)
        assert list(range(1, 2001)) == [result.output for result in got]


async def test_results_are_json_values() -> None:
    def place(of: Place) -> Place:
        return Place(of.city.upper(), of.at)

    def parts() -> list[object]:
        return [{1: {2}}, None, True]

    calls = [call(1, "place", '{"of": {"city": "rome", "at": [1, 2]}}'), call(2, "parts", ""), call(3, "add", '{"a": 1}')]
    got = await results_of(*calls, tools=[place, parts, add])
    assert [{"city": "ROME", "at": (1.0, 2.0)}, [{"1": [2]}, None, True], 2] == [result.output for result in got]


async def test_a_plain_function_that_gives_a_coroutine_is_awaited() -> None:
    def later(a: int) -> Any:
        return add(a)

    assert [ToolResult("1", 3)] == await results_of(call(1, "later", '{"a": 2}'), tools=[later])


async def test_a_mapping_gives_tools_the_names_that_the_model_uses() -> None:
    tools = {"plus": add, "plus_one": sk.Tool.of(add)}
    got = await results_of(call(1, "plus", '{"a": 2, "b": 2}'), call(2, "plus_one", '{"a": 2}'), call(3, "add", "{}"), tools=tools)
    assert [4, 3] == [result.output for result in got[:2]]
    assert "plus, plus_one" in str(got[2].output)


async def test_tools_see_the_context_of_the_caller_also_those_that_a_timer_starts(clock: VirtualClock) -> None:
    async def who() -> str:
        name = caller.get()
        caller.set("a tool")
        await current_clock().sleep(1 if name == "me" else 0)
        return name

    def who_on_a_thread() -> str:
        return caller.get()

    caller.set("me")
    calls = [call(1, "who", "{}"), waiting(2, 9), call(3, "who", "{}"), call(4, "who_on_a_thread", "{}")]
    got = await results_of(*calls, tools=[who, wait, who_on_a_thread], concurrency=1, timeout=3)
    assert ["me", True, "me", "me"] == [result.is_error or result.output for result in got]


# -- at random


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_takes_how_long_results_come_in_order_and_the_events_as_they_came(seed: int, clock: VirtualClock) -> None:
    chooser = random.Random(seed)
    running: dict[int, float] = {}
    most = [0]

    async def work(n: int, seconds: float, fails: bool) -> int:
        running[n] = clock.now()
        # A call whose time is up does not count any more.
        most[0] = max(most[0], sum(clock.now() - began < 4 for began in running.values()))
        try:
            await current_clock().sleep(seconds)
            if fails:
                raise LookupError
            return n
        finally:
            del running[n]

    script: list[object] = []
    wanted: list[tuple[str, bool]] = []
    for n in range(chooser.randrange(1, 12)):
        seconds, failing, complete = chooser.choice([0, 0.5, 1, 3, 9]), chooser.random() < 0.2, chooser.random() < 0.9
        arguments = f'{{"n": {n}, "seconds": {seconds}, "fails": {str(failing).lower()}}}'
        script += [TextDelta(str(n)), call(n, "work", arguments, complete=complete)]
        wanted.append((str(n), not complete or failing or seconds > 4))
        if chooser.random() < 0.5:
            script.append(chooser.choice([0.25, 1.0, 2.5]))
    script += [Usage(), Finish("tool-calls")]
    concurrency = chooser.randrange(1, 4)
    events = await (timed(*script) | sk.run_tools([work], timeout=4, concurrency=concurrency)).collect()
    assert wanted == [(event.id, event.is_error) for event in events if isinstance(event, ToolResult)]
    assert [step for step in script if not isinstance(step, float)] == [
        event for event in events if not isinstance(event, ToolResult)
    ]
    assert [Usage(), Finish("tool-calls")] == events[-2:]
    for event in events:
        if isinstance(event, ToolResult):
            asked = next(one for one in events if isinstance(one, ToolCall) and one.id == event.id)
            assert events.index(asked) < events.index(event)
    assert most[0] <= concurrency
    assert {} == running


# -- ends


class Broken(Exception):
    """What the source of a test raises."""


async def test_an_error_of_the_source_comes_behind_the_results_that_are_ready(clock: VirtualClock) -> None:
    cancelled: list[float] = []

    async def careful(seconds: float) -> str:
        try:
            await current_clock().sleep(seconds)
        except BaseException:
            cancelled.append(clock.now())
            raise
        return "done"

    calls = [call(n, "careful", f'{{"seconds": {seconds}}}') for n, seconds in enumerate([9, 1, 8])]
    out: list[Event] = []
    with pytest.raises(Broken):
        async with timed(*calls, 2.0, TextDelta("a"), Broken()) | sk.run_tools([careful]) as events:
            async for event in events:
                out.append(event)
    assert [*calls, TextDelta("a"), ToolResult("1", "done")] == out
    assert [2.0, 2.0] == cancelled


async def test_an_error_behind_a_finished_answer_waits_for_the_tools(clock: VirtualClock) -> None:
    out: list[Event] = []
    with pytest.raises(Broken):
        async with timed(waiting(1, 1), Finish(), Broken()) | sk.run_tools([wait]) as events:
            async for event in events:
                out.append(event)
    assert [waiting(1, 1), ToolResult("1", "1 s"), Finish()] == out


async def test_an_error_event_ends_the_answer_without_the_calls_that_still_run(clock: VirtualClock) -> None:
    events = [waiting(1, 9), waiting(2, 1), 2.0, ErrorEvent("overloaded")]
    got = await gathered(timed(*events) | sk.run_tools([wait]), clock)
    assert [(0, "tool-call 1"), (0, "tool-call 2"), (2.0, "tool-result 2"), (2.0, "error")] == got


async def test_a_stream_without_a_finish_waits_for_its_calls(clock: VirtualClock) -> None:
    assert [(0, "tool-call 1"), (1.0, "tool-result 1")] == await gathered(timed(waiting(1, 1)) | sk.run_tools([wait]), clock)


LEAVINGS = range(1, 8)


class Careful:
    """A tool that counts what began and what ended, with a clean-up that takes a while."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0

    def tool(self) -> Callable[..., Any]:
        async def careful(seconds: float) -> None:
            self.began += 1
            try:
                await current_clock().sleep(seconds)
            finally:
                try:
                    with anyio.CancelScope(shield=True):
                        await current_clock().sleep(0.25)
                finally:  # the cancel may come while it cleans up after its own end
                    self.ended += 1

        return careful


def busy_answer() -> list[object]:
    calls = [call(n, "careful", f'{{"seconds": {seconds}}}') for n, seconds in enumerate([1, 3, 2])]
    return [TextDelta("a"), calls[0], calls[1], 0.5, TextDelta("b"), 0.75, calls[2], TextDelta("c"), Usage(), Finish()]


@pytest.mark.parametrize("k", LEAVINGS)
async def test_leaving_at_any_step_cancels_the_tools_and_waits_for_them(k: int, clock: VirtualClock) -> None:
    careful = Careful()
    async with assert_no_leaks():
        seen = 0
        async with timed(*busy_answer()) | sk.run_tools([careful.tool()], concurrency=2) as events:
            async for _ in events:
                seen += 1
                if seen == k:
                    break
        assert careful.began == careful.ended


@pytest.mark.parametrize("k", LEAVINGS)
async def test_a_consumer_that_fails_at_any_step_leaves_no_tool_running(k: int, clock: VirtualClock) -> None:
    careful = Careful()
    seen = 0
    with pytest.raises(Broken):
        async with timed(*busy_answer()) | sk.run_tools([careful.tool()]) as events:
            async for _ in events:
                seen += 1
                if seen == k:
                    raise Broken
    assert careful.began == careful.ended


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.6, 1.1, 1.3, 2.9, 3.1])
async def test_a_cancel_at_any_time_ends_the_tools_and_is_not_swallowed(moment: float, clock: VirtualClock) -> None:
    careful = Careful()
    through: list[bool] = []

    async def consume() -> None:
        async with timed(*busy_answer()) | sk.run_tools([careful.tool()], concurrency=2) as events:
            async for _ in events:
                pass
        through.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await clock.sleep(moment)
        group.cancel_scope.cancel()
    assert [] == through
    assert careful.began == careful.ended


async def test_a_tool_that_refuses_to_end_is_abandoned_and_named(clock: VirtualClock) -> None:
    over: list[bool] = []

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            while not over:
                try:
                    await current_clock().sleep(100)
                except BaseException:
                    if over:
                        raise

    stream = (sk.stream([call(1, "stubborn", "{}"), Finish()]) | sk.run_tools([stubborn])).close_within(1)
    with pytest.warns(ResourceWarning, match="the tool 'stubborn' was cancelled twice"):
        async with stream as events:
            async for _ in events:
                await clock.sleep(1)
                break
    over.append(True)
    assert 3.5 == clock.now()
    await clock.sleep(200)


async def test_a_plain_function_that_does_not_return_is_abandoned_and_named() -> None:
    go = threading.Event()
    ended = threading.Event()
    began = threading.Event()

    def stuck() -> None:
        began.set()
        go.wait(120)
        ended.set()

    stream = (sk.stream([call(1, "stuck", "{}"), Finish()]) | sk.run_tools([stuck])).close_within(0.05)
    with pytest.warns(ResourceWarning, match="the tool 'stuck' runs on in its thread"):
        async with stream as events:
            async for _ in events:
                while not began.is_set():
                    await anyio.lowlevel.checkpoint()
                break
    assert not ended.is_set()
    go.set()
    assert ended.wait(120)


# -- the contract

STEPS = [TextDelta("a"), call(1, "add", '{"a": 1}'), TextDelta("b"), call(2, "add", '{"a": 2}'), Usage(), Finish()]


async def test_run_tools_holds_the_contract_of_operators() -> None:
    report = await check_operator(
        sk.run_tools([add]),
        items=STEPS,
        expected=[*STEPS[:4], ToolResult("1", 2), ToolResult("2", 3), Usage(), Finish()],
        flushes=False,  # a source that fails leaves calls that are under way without results
        refuses=[
            lambda: sk.run_tools([]),
            lambda: sk.run_tools([add, add]),
            lambda: sk.run_tools([add], timeout=0),
            lambda: sk.run_tools([add], concurrency=0),
            lambda: sk.run_tools([add], on_error="ignore"),  # type: ignore[arg-type]  # on purpose
            lambda: sk.run_tools(add),  # type: ignore[arg-type]  # on purpose
            lambda: sk.run_tools(["add"]),
        ],
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)
    assert 60 <= report.cases


def is_complete(value: sk.PartialValue) -> bool:
    return value.complete


async def test_partial_json_holds_the_contract_of_operators() -> None:
    report = await check_operator(
        sk.partial_json() | sk.map(is_complete),
        items=[ToolCallStart("1", "add"), ToolCallDelta("1", '{"a": [1'), ToolCallDelta("1", "]}"), call(1, "add", '{"a": [1]}')],
        expected=[False, True],
        refuses=[lambda: sk.partial_json(max_chars=0), lambda: sk.partial_json(of="all")],  # type: ignore[arg-type]  # on purpose
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)


async def test_partial_json_of_text_holds_the_contract_of_operators() -> None:
    op = sk.partial_json(max_depth=100_000) | sk.map(is_complete)  # the check of fairness sends the items again and again
    report = await check_operator(op, items=["[", "[[", "["], expected=[False] * 3, ahead=0)
    assert 60 <= report.cases


def slow_add(a: int) -> int:
    return a + 1


@pytest.mark.parametrize(
    "options", [{"timeout": 30}, {"concurrency": 1}, {"on_error": "raise"}], ids=["a timeout", "one at a time", "errors raise"]
)
async def test_run_tools_on_threads_holds_the_contract_of_operators(options: dict[str, Any]) -> None:
    steps = [call(1, "slow_add", '{"a": 1}'), TextDelta("a"), call(2, "slow_add", '{"a": 2}'), Finish()]
    report = await check_operator(
        sk.run_tools([slow_add], **options) | sk.filter(lambda event: not isinstance(event, ToolResult)),
        items=steps,
        expected=steps,
        flushes=False,
    )
    assert 60 <= report.cases
