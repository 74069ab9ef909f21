"""The contract of every source, operator and sink, and how one line of it is checked.

A check runs each of its cases under a VirtualClock and `assert_no_leaks`: what would hang is a failure, and what
is left behind is one too. A failure is an AssertionError that begins with the rule it broke; a check that
passes gives a `Report` of what it tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import anyio

from streamkit.flow.tasks import current_backend
from streamkit.testing.clock import Deadlock, VirtualClock
from streamkit.testing.leaks import assert_no_leaks
from streamkit.testing.probes import Probe

__all__ = ["RULES", "ContractBroken", "Report"]

RULES: Final = MappingProxyType(
    {
        1: "a source is iterated by one task, and closed once, in that task",
        2: "everything is closed before control returns",
        3: "one failure raises that exception itself, behind what came before it; leaving flushes nothing",
        4: "no scope or task group of the library is around other people's code",
        5: "every buffer has a bound",
        6: "a source that never waits does not starve the loop",
        7: "wrong arguments are said at the call, and nothing is left behind",
        8: "a source that refuses to end cannot hang its consumer",
    }
)

# Real seconds without any news after which a case is stuck.
PATIENCE = 15.0

Kind: TypeAlias = Literal["object", "generator"]
Way: TypeAlias = Literal["scope", "task"]


class ContractBroken(AssertionError):
    """A line of the contract does not hold.

    Attributes:
        rule: Its number in `RULES`, or in `STORE_RULES` where a store was checked.
    """

    def __init__(self, rule: int, sentence: str, why: object, rules: Mapping[int, str] = RULES) -> None:
        super().__init__(f"rule {rule} ({rules[rule]}): {sentence}: {why}")
        self.rule = rule


class Report:
    """What was checked: sentences by rule, each with the number of its cases.

    >>> report = Report("a sink")
    >>> report.add(2, "closed when the stream ends"); report.add(2, "closed when the stream ends")
    >>> print(report)
    a sink: 2 cases
      2  closed when the stream ends  x2
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.checked: dict[tuple[int, str], int] = {}

    def add(self, rule: int, sentence: str) -> None:
        """One case held."""
        self.checked[rule, sentence] = self.checked.get((rule, sentence), 0) + 1

    @property
    def rules(self) -> list[int]:
        """The numbers of the rules that were checked."""
        return sorted({rule for rule, _ in self.checked})

    @property
    def cases(self) -> int:
        """How many cases ran."""
        return sum(self.checked.values())

    def __str__(self) -> str:
        lines = [f"  {rule}  {sentence}  x{count}" for (rule, sentence), count in sorted(self.checked.items())]
        return "\n".join([f"{self.subject}: {self.cases} cases", *lines])


class Suite:
    """Runs cases one by one and keeps the report."""

    def __init__(self, subject: str) -> None:
        self.report = Report(subject)

    async def case(self, rule: int, sentence: str, run: Callable[[], Awaitable[object]]) -> None:
        """One case; `sentence` says what must hold, for the report and for the failure."""
        held = False
        try:
            async with assert_no_leaks(thorough=False), VirtualClock(patience=PATIENCE) as clock:
                await run()
                held = True
                assert clock.pending == 0, f"{clock.pending} timers were left"
        except Deadlock as stuck:
            raise ContractBroken(rule, sentence, "it never returned") from stuck
        except ContractBroken:
            raise
        except AssertionError as failure:
            raise ContractBroken(7 if held else rule, sentence, failure) from failure
        self.report.add(rule, sentence)

    async def finish(self) -> Report:
        """Look once more, thoroughly, and give the report."""
        async with assert_no_leaks():
            pass
        return self.report


def ways() -> tuple[Way, ...]:
    """How a task can be cancelled here: by a scope, which cancels again and again, and on asyncio by `task.cancel()`, once."""
    return ("scope", "task") if current_backend().name == "asyncio" else ("scope",)


async def cancelled(way: Way, body: Callable[[Callable[[], object]], Awaitable[None]]) -> bool:
    """Run `body(cancel)`; whether the cancel it asked for came out of it."""
    if way == "scope":
        with anyio.CancelScope() as scope:
            await body(scope.cancel)
        return scope.cancelled_caught

    async def run() -> None:
        await body(task.cancel)

    task = asyncio.create_task(run())
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
    if task.cancelled():
        return True
    task.result()
    return False


def source_of_kind(probe: Probe[Any], kind: Kind) -> AsyncIterable[Any]:
    """The probe as an object with `aclose`, or as an asynchronous generator."""
    return probe if kind == "object" else probe.generator()


def check_treatment(probe: Probe[Any], kind: Kind = "object") -> None:
    """Rule 1, and 2 when called as soon as control is back."""
    assert len(probe.iterated_by) <= 1, f"{len(probe.iterated_by)} tasks iterated the source"
    if not probe.asked and kind == "generator":
        return  # a generator that never began has nothing to clean up
    assert probe.closed > 0, "the source was not closed when control came back"
    assert probe.closed == 1, f"the source was closed {probe.closed} times"
    assert not probe.iterated_by or probe.closed_by == probe.iterated_by, "the source was closed in another task than iterated it"


def check_error(expected: BaseException, got: BaseException | None) -> None:
    """Rule 3: the very exception, and no group around it."""
    assert got is not None, f"{expected!r} was not raised"
    assert got is expected, f"{expected!r} should be raised itself, and {got!r} was"
