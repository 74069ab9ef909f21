"""Measures that grow with a stream, and the line that shows them."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.testing import CUT, ScriptedModel, VirtualClock, check_operator, timed

pytestmark = pytest.mark.anyio


async def test_measures_can_be_read_while_the_stream_runs(clock: VirtualClock) -> None:
    stats = sk.Stats()
    seen: list[tuple[int, float | None]] = []
    async with timed(0.5, "a", 0.25, "b", 0.25, "c").measure(stats) as items:
        assert stats.started is None
        async for _ in items:
            seen.append((stats.chunks, stats.time_to_first_chunk))
    assert [(1, 0.5), (2, 0.5), (3, 0.5)] == seen
    assert (0.25, 1.0, "done") == (stats.gap_max, stats.duration, stats.ended_as)


async def test_the_clock_starts_when_the_source_is_asked_not_when_the_plan_is_built(clock: VirtualClock) -> None:
    stats = sk.Stats()
    plan = timed(1.0, "a") | sk.measure(stats)
    await clock.sleep(10)
    async with plan as items:
        await clock.sleep(10)
        assert not stats.as_dict().get("gen_ai.client.operation.duration")
        assert ["a"] == [item async for item in items]
    assert (20.0, 1.0) == (stats.started, stats.time_to_first_chunk)


async def test_a_slow_reader_is_no_gap_of_the_source(clock: VirtualClock) -> None:
    stats = sk.Stats()
    async with timed(0.1, "a", 0.1, "b", 0.1, "c") | sk.measure(stats) | sk.buffer(8) as items:
        async for _ in items:
            await clock.sleep(5)
    assert stats.gap_max == pytest.approx(0.1)


@pytest.mark.parametrize("fused", [True, False])
async def test_items_pass_untouched_wherever_it_stands(fused: bool) -> None:
    stats = [sk.Stats(), sk.Stats(), sk.Stats()]
    plan = sk.stream(["a b", "", "c"]).measure(stats[0]).flat_map(str.split).measure(stats[1]) | sk.buffer(2) | sk.measure(stats[2])
    async with plan.open(fused=fused) as items:
        assert ["a", "b", "c"] == [item async for item in items]
    assert [3, 3, 3] == [one.chunks for one in stats]
    assert ["done"] * 3 == [one.ended_as for one in stats]


async def test_a_finish_is_how_it_ended() -> None:
    stats = sk.Stats()
    await ScriptedModel("Hi", sk.Usage(output_tokens=1), sk.Finish("length")).stream().measure(stats).run()
    assert ("length", sk.Usage(output_tokens=1)) == (stats.ended_as, stats.usage)


async def test_a_cut_body_ends_as_truncated_and_keeps_the_tokens_that_were_counted() -> None:
    chunk = '{"choices":[{"delta":{"content":"Hello you"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
    stats = sk.Stats()
    with pytest.raises(sk.StreamTruncated) as caught:
        await sk.decode([f"data: {chunk}\n\n".encode()], "openai-chat").measure(stats).run()
    assert "truncated" == stats.ended_as
    assert sk.Usage(input_tokens=9, output_tokens=2, final=False) == stats.usage
    assert isinstance(caught.value.partial, sk.Message)
    assert stats.usage == caught.value.partial.usage


async def test_a_reader_who_leaves_keeps_the_tokens_that_the_decoder_holds_back() -> None:
    chunk = '{"choices":[{"delta":{"content":"Hello you"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
    stats = sk.Stats()
    async with sk.decode([f"data: {chunk}\n\n".encode()] * 3, "openai-chat").measure(stats) as items:
        async for item in items:
            if isinstance(item, sk.TextDelta):
                break
    assert ("left", sk.Usage(input_tokens=9, output_tokens=2, final=False)) == (stats.ended_as, stats.usage)


async def test_what_arrived_of_a_cut_answer_has_an_estimate_of_its_tokens() -> None:
    with pytest.raises(sk.StreamTruncated) as caught:
        await sk.decode([b'data: {"choices":[{"delta":{"content":"Hello you"}}]}\n\n'], "openai-chat").message()
    assert isinstance(caught.value.partial, sk.Message)
    assert sk.Usage(output_tokens=3, final=False, estimated=True) == caught.value.partial.usage


async def test_counted_tokens_take_the_place_of_the_estimate() -> None:
    chunks = ['{"choices":[{"delta":{"content":"Hello you"}}]}', '{"choices":[],"usage":{"completion_tokens":2}}']
    async with sk.decode([f"data: {chunk}\n\n".encode() for chunk in chunks], "openai-chat") as run:
        usages: list[sk.Usage | None] = []
        with pytest.raises(sk.StreamTruncated):
            async for _ in run:
                assert isinstance(run.partial, sk.Message)
                usages.append(run.partial.usage)
        assert isinstance(run.partial, sk.Message)
        usages.append(run.partial.usage)
    assert sk.Usage(output_tokens=3, final=False, estimated=True) in usages
    assert sk.Usage(output_tokens=2, final=False) == usages[-1]


@pytest.mark.parametrize("behind", [sk.buffer(2), sk.take(99)])
async def test_a_cancelled_stream_says_so(clock: VirtualClock, behind: sk.Same) -> None:
    stats = sk.Stats()
    with anyio.CancelScope() as scope:
        async with timed(1.0, "abc", 1.0, "d", 1.0, "e").measure(stats) | behind as items:
            async for _ in items:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
    assert ("cancelled", 1) == (stats.ended_as, stats.chunks)
    assert sk.Usage(output_tokens=1, final=False, estimated=True) == stats.usage


@pytest.mark.parametrize("behind", [sk.buffer(2), sk.take(99)])
async def test_a_reader_who_had_enough_left(clock: VirtualClock, behind: sk.Same) -> None:
    stats = sk.Stats()
    async with timed(1.0, "abc", 1.0, "d", 1.0, "e").measure(stats) | behind as items:
        async for _ in items:
            break
    assert ("left", 1, 0) == (stats.ended_as, stats.chunks, clock.pending)


def fail(item: object) -> None:
    raise ValueError(item)


@pytest.mark.parametrize(
    "behind",
    [
        sk.buffer(8) | sk.map(fail) | sk.buffer(4),
        sk.buffer(2) | sk.take(2) | sk.buffer(4),
        sk.buffer(8) | sk.take(2) | sk.buffer(4),
    ],
    ids=["a step fails", "take, short buffer", "take"],
)
async def test_a_step_between_two_buffers_that_wants_no_more_is_no_cancel(clock: VirtualClock, behind: Any) -> None:
    stats = sk.Stats()
    with suppress(ValueError):
        await (timed("a", 1.0, "b", 1.0, "c") | sk.measure(stats) | behind).collect()
    assert "left" == stats.ended_as


async def test_a_branch_of_a_merge_that_wants_no_more_was_not_cancelled(clock: VirtualClock) -> None:
    stats = sk.Stats()
    branch = timed("a", 1.0, "b", 1.0, "c") | sk.measure(stats) | sk.buffer(8) | sk.take(2)
    await sk.merge(branch, timed("x", 5.0, "y")).collect()
    assert "left" == stats.ended_as


@pytest.mark.parametrize("behind", [sk.map(str), sk.buffer(3), sk.buffer(3) | sk.measure(sk.Stats())], ids=["", "buffer", "both"])
def test_a_program_that_ends_in_the_middle_has_cancelled_its_streams(behind: Any) -> None:
    """asyncio.run cancels every task at once, those of a run with it."""
    stats = sk.Stats()

    async def program() -> asyncio.Task[list[str]]:
        began = asyncio.Event()

        async def answer() -> AsyncIterator[str]:
            yield "a"
            began.set()
            await asyncio.get_running_loop().create_future()

        reader = asyncio.create_task((sk.stream(answer).measure(stats) | behind).collect())
        await began.wait()
        return reader

    assert asyncio.run(program()).cancelled()
    assert "cancelled" == stats.ended_as


async def test_a_reader_who_fails_left() -> None:
    stats = sk.Stats()
    with pytest.raises(ZeroDivisionError):
        await sk.stream([1, 0]).measure(stats).map(lambda n: 1 / n).run()
    assert "left" == stats.ended_as


async def test_a_source_that_fails_ends_in_error() -> None:
    stats = sk.Stats()
    with pytest.raises(ZeroDivisionError):
        await sk.stream([1, 0]).map(lambda n: str(1 / n)).measure(stats).run()
    assert ("error", 1) == (stats.ended_as, stats.chunks)


async def test_a_timeout_in_front_or_behind_is_a_timeout(clock: VirtualClock) -> None:
    for in_front in (True, False):
        stats = sk.Stats()
        measured, limited = sk.measure(stats), sk.timeout(idle=1)
        with pytest.raises(sk.StreamTimeout):
            await (timed(0.5, "a", 9.0, "b") | (limited | measured if in_front else measured | limited)).run()
        assert ("timeout", 1) == (stats.ended_as, stats.chunks)


async def test_a_run_that_was_never_asked_left_too() -> None:
    stats = sk.Stats()
    async with sk.stream(["a"]).measure(stats):
        pass
    assert (None, "left", None) == (stats.started, stats.ended_as, stats.usage)


async def test_a_scripted_cut_is_done_for_a_stream_that_knows_no_finish() -> None:
    stats = sk.Stats()
    await ScriptedModel("Hi", CUT).stream().measure(stats).run()
    assert ("done", True) == (stats.ended_as, stats.usage is not None and stats.usage.estimated)


def test_only_stats_measure() -> None:
    with pytest.raises(TypeError, match="takes a Stats, got dict"):
        sk.measure({})  # type: ignore[arg-type]


# ---- the line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamkit.flow.progress_line.find_spec", lambda name: None)


async def test_where_there_is_no_terminal_only_the_summary_is_written(clock: VirtualClock) -> None:
    file = io.StringIO()
    assert ["a", "b"] == await timed(0.5, "a", 0.5, "b").progress(file=file, label="answer").collect()
    assert file.getvalue().startswith("answer: 2 chunks, first after 500 ms")
    assert file.getvalue().endswith("ended: done\n")
    assert 1 == file.getvalue().count("\n")


async def test_a_stalled_stream_shows_that_time_goes_on(clock: VirtualClock, without_rich: None) -> None:
    file = Terminal()
    await timed("a", 3.0, "b").progress(file=file, every=1.0).run()
    drawn = file.getvalue().split("\r")
    assert ["0.0 s, 0", "1.0 s, 1", "2.0 s, 1"] == [line.partition(" chunks")[0] for line in drawn if " s, " in line][:3]
    assert drawn[-1].startswith("2 chunks")
    assert 0 == clock.pending


async def test_the_line_is_ended_when_the_reader_leaves(clock: VirtualClock, without_rich: None) -> None:
    file = Terminal()
    async with timed("a", 3.0, "b").progress(file=file) as items:
        async for _ in items:
            break
    assert file.getvalue().endswith("ended: left\n")
    assert 0 == clock.pending


async def test_the_line_is_ended_when_the_source_fails(clock: VirtualClock, without_rich: None) -> None:
    file = Terminal()
    with pytest.raises(sk.StreamTimeout):
        await (timed("a", 3.0, "b") | sk.timeout(idle=1) | sk.progress(file=file)).run()
    assert file.getvalue().endswith("ended: timeout\n")
    assert 0 == clock.pending


async def test_rich_draws_it_and_gives_the_cursor_back(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the line is drawn by rich where that is installed")
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    await timed("a", 1.0, "b").progress(file=file, label="rich").run()
    written = file.getvalue()
    assert "rich: " in written
    assert "ended: done" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


@pytest.mark.parametrize("installed", [True, False])
async def test_what_is_printed_meanwhile_goes_where_it_was_printed(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    if installed:
        pytest.importorskip("rich", reason="the line is drawn by rich where that is installed")
    else:
        monkeypatch.setattr("streamkit.flow.progress_line.find_spec", lambda name: None)
    file = Terminal()
    await timed("a", 1.0, "b").progress(file=file).tap(lambda item: print(item, end="")).run()
    assert "ab" == capsys.readouterr().out


async def test_a_label_cannot_command_the_terminal(clock: VirtualClock, without_rich: None) -> None:
    file = Terminal()
    await timed("\x1b]52;c;ZXZpbA==\x07").progress(file=file, label="\x1b[2Jgpt\r\n[CRITICAL]").run()
    assert "\x1b" not in file.getvalue()
    assert "gpt\\n[CRITICAL]: " in file.getvalue()


async def test_a_file_that_cannot_be_written_does_not_end_the_stream() -> None:
    file = io.StringIO()
    file.close()
    assert ["a"] == await sk.stream(["a"]).progress(file=file).collect()


class Odd(io.StringIO):
    """A terminal that fails in a way of its own."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise RuntimeError("no")


class WriteOnly:
    """Less than a file."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


async def test_a_file_that_fails_in_any_way_does_not_end_the_stream(clock: VirtualClock, without_rich: None) -> None:
    """The timer draws: what it raised ended the whole program on trio."""
    assert ["a", "b"] == await timed("a", 1.0, "b").progress(file=Odd()).collect()


async def test_what_only_has_a_write_is_written_to() -> None:
    file = WriteOnly()
    assert ["a"] == await sk.stream(["a"]).progress(file=file).collect()  # type: ignore[arg-type]  # on purpose
    assert file.text.startswith("1 chunks")


async def test_a_program_without_stderr_has_no_line_and_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert ["a"] == await sk.stream(["a"]).progress().collect()


async def test_by_default_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    await sk.stream(["a"]).progress().run()
    assert ("", True) == (capsys.readouterr().out, sys.stderr is not None)


@pytest.mark.parametrize("every", [0, -1])
def test_a_pace_that_is_none_is_refused_at_the_call(every: float) -> None:
    with pytest.raises(sk.ConfigError, match="every"):
        sk.progress(every=every)


# ---- what is drawn is safe


async def test_printable_works_on_text_and_on_the_text_of_events() -> None:
    assert "red" == await (sk.stream(["\x1b[3", "1mred\x1b]8;;http://x", "\x07"]) | sk.printable()).join()
    events: list[sk.Event] = [sk.TextDelta("a\x1b["), sk.TextDelta("2Jb"), sk.Finish()]
    assert "ab" == await (sk.stream(events) | sk.on_text(sk.printable())).join()


async def test_measures_of_a_decoded_stream_are_taken_once_per_read() -> None:
    class Counting(sk.Stats):
        reads = 0

        def add_many(self, items: object, now: float) -> None:
            Counting.reads += 1
            super().add_many(items, now)  # type: ignore[arg-type]

    chunk = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    stats = Counting()
    await sk.decode([chunk * 50, chunk * 50, b"data: [DONE]\n\n"], "openai-chat").measure(stats).run()
    assert (100, True) == (stats.chunks, Counting.reads <= 4)


# ---- the contract

ITEMS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("op", "refuses"),
    [
        (sk.measure(sk.Stats()), [lambda: sk.measure(3)]),  # type: ignore[arg-type]  # on purpose
        (sk.progress(file=io.StringIO()), [lambda: sk.progress(every=0), lambda: sk.progress(every="x")]),  # type: ignore[arg-type]  # on purpose
        (sk.printable(), []),
        (sk.progress(file=Terminal(), every=0.01), []),
        (sk.timeout(wire=1), [lambda: sk.timeout(wire=0), lambda: sk.timeout(wire=-1)]),
        (sk.timeout(wire=1, idle=2, first=3, total=60) | sk.measure(sk.Stats()), []),
        (sk.measure(sk.Stats()) | sk.buffer(1) | sk.measure(sk.Stats()) | sk.map(str), []),
    ],
    ids=["measure", "progress", "printable", "progress on a terminal", "a wire's clock", "all clocks", "a chain"],
)
async def test_they_hold_the_contract_of_operators(op: Any, refuses: list[Callable[[], object]]) -> None:
    report = await check_operator(op, items=ITEMS, expected=ITEMS, refuses=refuses)
    assert 60 <= report.cases


EVENTS: list[sk.Event] = [
    sk.Start(),
    sk.TextDelta("a\x1b[3"),
    sk.TextDelta("1mb"),
    sk.ReasoningDelta("c"),
    sk.Usage(1, 2),
    sk.Finish(),
]


async def test_printable_text_of_events_holds_the_contract_of_operators() -> None:
    expected = [sk.Start(), sk.TextDelta("a"), sk.TextDelta("b"), *EVENTS[3:]]
    report = await check_operator(sk.on_text(sk.printable()), items=EVENTS, expected=expected)
    assert {1, 2, 3, 6, 8} <= set(report.rules)


async def test_a_limit_on_events_holds_the_contract_of_operators() -> None:
    expected = [*EVENTS[:2], sk.TextDelta("1"), sk.Finish("length", "limit_bytes")]
    report = await check_operator(sk.limit_bytes(5), items=EVENTS, expected=expected, refuses=[lambda: sk.limit_bytes("5")])  # type: ignore[arg-type]  # on purpose
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)


async def test_a_measured_operator_asks_for_nothing_ahead() -> None:
    await check_operator(sk.measure(sk.Stats()), items=ITEMS, expected=ITEMS, ahead=0)
