"""A Run's own tasks, begun while it is under way: waited for, left, insisted on, and never begun too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.flow.channel import Channel
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import Same
from streamkit.flow.pumps import Job
from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import current_backend
from streamkit.flow.threads import ThreadCall
from streamkit.testing import VirtualClock, timed

pytestmark = pytest.mark.anyio


class Beside:
    """Starts a job for each item, and lets the items pass."""

    label = "beside"

    def __init__(self, main: Callable[[Job], Any]) -> None:
        self.main = main
        self.jobs: list[Job] = []
        self.runs: list[Run[Any]] = []

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(4)
        pump = run.pump(strand, channel, self.label)

        def offer(item: object) -> None:
            channel.buffer.append(item)
            self.jobs.append(run.job(self.main, f"job {item}"))

        self.runs.append(run)
        pump.offer = offer
        return run.reading(channel, self.label)


async def test_jobs_are_cancelled_and_waited_for_when_the_run_ends(clock: VirtualClock) -> None:
    ended: list[bool] = []

    async def main(job: Job) -> None:
        try:
            await current_clock().sleep(60)
        finally:
            ended.append(job.left)

    beside = Beside(main)
    assert [1, 2, 3] == await (timed(1, 0.5, 2, 0.5, 3, 0.5) | Same(beside)).collect()
    assert [True, True, True] == ended
    assert [True, True, True] == [job.done for job in beside.jobs]
    assert 1.5 == clock.now()


async def test_a_job_that_fails_in_its_clean_up_disturbs_nobody(clock: VirtualClock) -> None:
    async def main(job: Job) -> None:
        try:
            await current_clock().sleep(60)
        finally:
            raise ValueError("in its clean-up")

    assert [1] == await (timed(1, 0.5) | Same(Beside(main))).collect()


async def test_a_run_that_is_over_begins_no_job() -> None:
    began: list[Job] = []

    async def main(job: Job) -> None:
        began.append(job)

    beside = Beside(main)
    assert [] == await (sk.stream(list) | Same(beside)).collect()
    late = beside.runs[0].job(main, "late")
    await current_backend().checkpoint()
    assert late.done and late.left
    assert [] == began


async def test_a_call_on_a_thread_gives_what_the_function_gives() -> None:
    def fail() -> None:
        raise LookupError("no row")

    assert 3 == await ThreadCall(lambda: 1 + 2, current_backend(), "sum").result()
    with pytest.raises(LookupError, match="no row"):
        await ThreadCall(fail, current_backend(), "fail").result()


async def test_a_call_on_a_thread_is_let_go_of_on_request() -> None:
    go = threading.Event()
    thread = ThreadCall(lambda: go.wait(120), current_backend(), "stuck")
    current_backend().call_at(current_backend().now() + 0.01, thread.abandon)
    assert None is await thread.result()
    go.set()
