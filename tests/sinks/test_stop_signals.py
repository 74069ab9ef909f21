"""Being told of a signal beside the server that is told, too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest
from stopping import Server, handling_signals

from streamkit.flow.tasks import current_backend
from streamkit.sinks.life.stop_signals import StopSignals

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[Server]:
    with handling_signals() as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_both_are_told_and_we_are_told_once(server: Server, number: signal.Signals) -> None:
    told = anyio.Event()
    times: list[int] = []

    def stop() -> None:
        times.append(1)
        told.set()

    signals = StopSignals(current_backend(), stop)
    signal.raise_signal(number)
    signal.raise_signal(number)
    with anyio.fail_after(60):
        await told.wait()
    signals.leave()
    assert ([number, number], [1]) == (server.got, times)


async def test_leaving_puts_back_what_was_there(server: Server) -> None:
    signals = StopSignals(current_backend(), lambda: None)
    assert server.handle != signal.getsignal(signal.SIGTERM)
    signals.leave()
    assert server.handle == signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT)


async def test_a_handler_that_was_put_over_ours_stays_and_still_reaches_the_server(server: Server) -> None:
    told: list[int] = []
    signals = StopSignals(current_backend(), lambda: told.append(1))
    ours = signal.getsignal(signal.SIGTERM)
    assert callable(ours)
    over = ours
    signal.signal(signal.SIGTERM, lambda number, frame: over(number, frame))
    signals.leave()
    signal.raise_signal(signal.SIGTERM)
    await anyio.lowlevel.checkpoint()
    assert ([signal.SIGTERM], []) == (server.got, told)


async def test_the_event_loops_own_handler_is_left_alone() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signals = StopSignals(current_backend(), lambda: None)
    assert before == {number: signal.getsignal(number) for number in before}
    signals.leave()
    assert before == {number: signal.getsignal(number) for number in before}


async def test_outside_of_the_main_thread_nothing_is_watched(server: Server) -> None:
    backend = current_backend()

    def elsewhere() -> None:
        assert threading.current_thread() is not threading.main_thread()
        StopSignals(backend, lambda: None).leave()

    await anyio.to_thread.run_sync(elsewhere)
    assert server.handle == signal.getsignal(signal.SIGTERM)


class Held:
    """Something that the server would close before it is told."""

    def __init__(self) -> None:
        self.here = True
        self.told = anyio.Event()
        self.signals = StopSignals(current_backend(), self.told.set, lambda: self.here)

    def gone(self) -> None:
        self.here = False
        self.signals.release()

    async def is_told(self) -> None:
        with anyio.fail_after(60):
            await self.told.wait()


async def test_a_server_that_closes_websockets_at_once_is_told_when_they_have_said_goodbye(server: Server) -> None:
    held = Held()
    signal.raise_signal(signal.SIGTERM)
    await held.is_told()
    held.signals.release()  # too early
    assert [] == server.got
    held.gone()
    held.gone()
    assert [signal.SIGTERM] == server.got
    held.signals.leave()


async def test_a_second_signal_waits_for_nobody(server: Server) -> None:
    held = Held()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert [signal.SIGINT, signal.SIGINT] == server.got
    held.gone()
    held.signals.leave()
    assert [signal.SIGINT, signal.SIGINT] == server.got


async def test_whoever_watches_no_more_holds_nobody_up(server: Server) -> None:
    held = Held()
    signal.raise_signal(signal.SIGTERM)
    held.signals.leave()
    assert [signal.SIGTERM] == server.got


@pytest.mark.parametrize("first", [0, 1])
async def test_two_are_told_at_once_and_the_server_when_both_let_go(server: Server, first: int) -> None:
    both = [Held(), Held()]
    signal.raise_signal(signal.SIGTERM)
    for held in both:
        await held.is_told()
    both[first].gone()
    assert [] == server.got
    both[1 - first].gone()
    assert [signal.SIGTERM] == server.got
    for held in reversed(both):
        held.signals.leave()
    assert server.handle == signal.getsignal(signal.SIGTERM)


# ---- notice


class Noticed:
    """Somebody who wants SIGTERM later than everybody else would."""

    def __init__(self, holds: bool = False) -> None:
        self.noticed, self.told = anyio.Event(), anyio.Event()
        self.signals = StopSignals(current_backend(), self.told.set, lambda: holds, notice=self.noticed.set)

    async def is_noticed(self) -> None:
        with anyio.fail_after(60):
            await self.noticed.wait()

    async def is_told(self) -> None:
        with anyio.fail_after(60):
            await self.told.wait()


async def test_whoever_wants_a_notice_has_it_before_anybody_is_told(server: Server) -> None:
    behind, noticed, before = Held(), Noticed(), Held()
    signal.raise_signal(signal.SIGTERM)
    await noticed.is_noticed()
    assert ([], False, False) == (server.got, behind.told.is_set(), before.told.is_set())
    behind.here = before.here = False
    noticed.signals.take()
    noticed.signals.take()
    assert [signal.SIGTERM] == server.got
    for one in (before, noticed, behind):
        await one.is_told()
        one.signals.leave()
    assert server.handle == signal.getsignal(signal.SIGTERM)


async def test_a_second_signal_ends_the_notice(server: Server) -> None:
    noticed, held = Noticed(), Held()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert [signal.SIGTERM] == server.got
    await noticed.is_told()
    await held.is_told()
    noticed.signals.take()
    held.signals.leave()
    noticed.signals.leave()
    assert [signal.SIGTERM] == server.got


async def test_sigint_gives_no_notice(server: Server) -> None:
    noticed = Noticed()
    signal.raise_signal(signal.SIGINT)
    assert [signal.SIGINT] == server.got
    await noticed.is_told()
    assert not noticed.noticed.is_set()
    noticed.signals.leave()


async def test_whoever_comes_and_goes_in_the_notice_changes_nothing(server: Server) -> None:
    noticed, gone = Noticed(), Held()
    signal.raise_signal(signal.SIGTERM)
    await noticed.is_noticed()
    gone.signals.leave()
    come = Held()
    noticed.signals.take()
    await come.is_told()
    assert ([], False) == (server.got, gone.told.is_set())
    come.gone()
    assert [signal.SIGTERM] == server.got
    come.signals.leave()
    noticed.signals.leave()
    assert server.handle == signal.getsignal(signal.SIGTERM)


async def test_whoever_leaves_in_its_notice_keeps_the_signal_from_nobody(server: Server) -> None:
    noticed = Noticed()
    signal.raise_signal(signal.SIGTERM)
    noticed.signals.leave()
    assert [signal.SIGTERM] == server.got


async def test_a_handler_between_two_of_ours_is_called_once_for_one_signal(server: Server) -> None:
    behind, times = Noticed(holds=True), []
    ours = signal.getsignal(signal.SIGTERM)
    assert callable(ours)
    passed_on = ours

    def foreign(number: int, frame: object) -> None:
        times.append(number)
        passed_on(number, None)

    signal.signal(signal.SIGTERM, foreign)
    over = Held()
    over.here = False
    signal.raise_signal(signal.SIGTERM)
    await behind.is_noticed()
    behind.signals.take()
    await behind.is_told()
    assert ([signal.SIGTERM], []) == (times, server.got)  # it still holds the server
    over.signals.leave()
    behind.signals.leave()
    assert [signal.SIGTERM] == server.got


async def test_a_server_that_hears_signals_by_its_event_loop_is_said_to_give_no_notice(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def loops_own(number: int, frame: object) -> None:
        server.got.append(number)

    loops_own.__module__ = "asyncio.unix_events"
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, loops_own)
    noticed = Noticed()
    assert "there can be no notice" in caplog.text
    signal.raise_signal(signal.SIGTERM)
    await noticed.is_told()
    assert ([signal.SIGTERM], False) == (server.got, noticed.noticed.is_set())
    noticed.signals.leave()
