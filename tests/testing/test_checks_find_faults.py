"""A check that cannot fail checks nothing: here are parts that break one rule each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import RULES, ContractBroken, check_operator, check_sink, check_source

pytestmark = pytest.mark.anyio


class Shared(sk.Stage[Any, Any]):
    """Keeps its items in a place that all Runs share."""

    held: list[Any] = []  # noqa: RUF012  # the fault

    def feed(self, item: Any) -> Iterable[Any]:
        self.held.append(item)
        return list(self.held)

    def flush(self) -> Iterable[Any]:
        self.held.clear()
        return ()


async def test_state_shared_by_runs_is_found() -> None:
    with pytest.raises(ContractBroken):
        await check_operator(sk.stage(Shared), items="abc")


async def test_a_swallowed_error_is_found() -> None:
    @sk.operator
    async def forgiving(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for item in items:
                yield item
        except Exception:
            return

    with pytest.raises(ContractBroken, match=r"rule 3 .* was not raised") as caught:
        await check_operator(forgiving(), items="abc")
    assert 3 == caught.value.rule


async def test_a_swallowed_cancel_is_found() -> None:
    @sk.operator
    async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for item in items:
                yield item
        except Exception:
            raise
        except GeneratorExit:
            raise
        except BaseException:
            return

    with pytest.raises(ContractBroken, match=r"swallowed|never returned"):
        await check_operator(deaf(), items="abc")


async def test_wrong_values_are_found() -> None:
    with pytest.raises(ContractBroken, match="expected"):
        await check_operator(sk.map(str.upper), items="ab", expected=["A", "C"])


async def test_reading_too_far_ahead_is_found() -> None:
    with pytest.raises(ContractBroken, match="rule 5"):
        await check_operator(sk.buffer(8), items="abcdefghij", ahead=2)


async def test_arguments_that_are_not_checked_are_found() -> None:
    with pytest.raises(ContractBroken, match=r"rule 7 .* it was taken"):
        await check_operator(sk.map(str), items="a", refuses=[lambda: None])


async def test_a_task_left_behind_is_found() -> None:
    waiters = []

    async def nothing() -> None:
        return

    def leaks(item: str) -> str:
        waiter = current_backend().waiter()

        async def wait() -> None:
            await waiter.wait()

        waiters.append(current_backend().spawn(wait, nothing, "leaked", lambda: None))
        return item

    with pytest.raises(ContractBroken, match=r"rule 7 .*\(leaked"):
        await check_operator(sk.map(leaks), items="a")
    for waiter in waiters:
        waiter.cancel()


async def test_a_source_that_swallows_cancels_is_found() -> None:
    class Deaf:
        def __init__(self) -> None:
            self.given = 0

        def __aiter__(self) -> Deaf:
            return self

        async def __anext__(self) -> int:
            self.given += 1
            if self.given == 3:
                raise StopAsyncIteration
            try:
                await current_backend().checkpoint()
            except BaseException:
                raise StopAsyncIteration from None
            return self.given

    with pytest.raises(ContractBroken):
        report = await check_source(Deaf, items=[1, 2], is_closed=lambda source: False)
        print(report)


async def test_a_sink_that_loses_items_is_found() -> None:
    class Forgetful:
        def __init__(self) -> None:
            self.got: list[Any] = []

        async def send(self, batch: list[Any]) -> None:
            self.got += batch[:1]

        async def aclose(self, error: BaseException | None) -> None:
            return

    with pytest.raises(ContractBroken, match="it was sent"):
        await check_sink(Forgetful, items="abc", received=lambda sink: sink.got)


async def test_a_sink_that_keeps_its_contract_passes() -> None:
    class Memory:
        def __init__(self) -> None:
            self.got: list[Any] = []
            self.closed = False

        async def send(self, batch: list[Any]) -> None:
            self.got += batch

        async def aclose(self, error: BaseException | None) -> None:
            self.closed = True

    report = await check_sink(Memory, items="abc", received=lambda sink: sink.got, is_closed=lambda sink: sink.closed)
    assert [2, 3, 7] == report.rules
    assert "closes the sink with None" in str(report)
    assert {1, 2, 3, 4, 5, 6, 7, 8} == set(RULES)
