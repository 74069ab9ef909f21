"""`check_operator`: the contract for an operator, tried out at every step."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from streamkit.flow.plan import Op, Same
from streamkit.flow.runs import Run
from streamkit.flow.streams import Stream, stream
from streamkit.flow.tasks import current_backend
from streamkit.testing.contract import Kind, Report, Suite, Way, cancelled, check_error, check_treatment, source_of_kind, ways
from streamkit.testing.probes import Probe

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["check_operator"]

Operator: TypeAlias = "Op[Any, Any] | Same | Callable[[Stream[Any]], Stream[Any]]"

# Which kinds of source there are is for the check to know, and not for its types.
_stream_of = cast("Callable[[object], Stream[Any]]", stream)

# Seconds, virtual, that the check of rule 8 allows a source to close.
SHORT = 0.5

# Items of a source that never waits, in the check of rule 6; and how often the loop must turn meanwhile.
FLOOD = 8192
FLOOD_PER_TURN = 1024

# Turns in a row without a read after which a source is taken to be left alone.
STILL = 500


class SourceFailed(Exception):  # reads as what happened, in the reports of failed checks
    """What a check's source raises."""


class BodyFailed(Exception):  # the same
    """What a check's consumer raises."""


async def check_operator(
    op: Operator,
    *,
    items: Sequence[Any],
    expected: Sequence[Any] | None = None,
    flushes: bool = True,
    ahead: int | None = None,
    refuses: Sequence[Callable[[], object]] = (),
) -> Report:
    """Hold an operator to the contract, on the event loop that runs.

    The source fails, is left and is cancelled at every step; the consumer fails at every step; Runs are
    nested and crossed; the source's clean-up fails or never ends.

    Args:
        op: An operator, or a callable that puts one on a stream: `lambda s: sk.merge(s, sk.stream([]))`.
        items: What goes in: few items (each is a step to fail at), at least one.
        expected: What comes out; None takes what a run without fusion gives.
        flushes: Whether an operator that fails gives what it would give at an end there. False for one
            that drops what it holds back, as a redacting one must.
        ahead: Most items the operator may ask of its source beyond what its consumer has taken, for
            an operator that gives one item for each; None does not look.
        refuses: Calls with wrong arguments, each of which must raise a TypeError or ValueError at once.

    Memory: the items, a few times over.
    Cancellation: passes through.
    Raises:
        ContractBroken: an AssertionError that names the rule.

    >>> import asyncio
    >>> from streamkit.operators.selection import take
    >>> report = asyncio.run(check_operator(take(2), items="abc", expected=["a", "b"], refuses=[lambda: take(-1)]))
    >>> report.rules
    [1, 2, 3, 4, 6, 7, 8]
    """
    if not items:
        raise ValueError("check_operator(items=...) needs at least one item: there is no step to fail at")
    check = _OperatorCheck(op, list(items), flushes)
    await check.learn()
    await check.ends(expected)
    await check.source_fails()
    await check.clean_up_fails()
    await check.consumer_leaves()
    await check.consumer_fails()
    await check.is_cancelled()
    await check.two_runs()
    await check.is_fair()
    await check.refusing_source()
    await check.carries_scopes()
    if ahead is not None:
        await check.keeps_the_bound(ahead)
    for call in refuses:
        await check.suite.case(7, "wrong arguments are refused at the call", lambda call=call: _refused(call))  # type: ignore[misc]  # the default argument binds it now
    return await check.suite.finish()


def _pipes(op: Operator) -> TypeIs[Op[Any, Any] | Same]:
    """Whether it is put on a stream by `|`, and not by a call."""
    return isinstance(op, Op | Same)


async def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except (TypeError, ValueError) as error:
        assert str(error), f"{type(error).__name__} says nothing"
    else:
        raise AssertionError("it was taken")


class _OperatorCheck:
    """One operator, its items, and what comes out of it when its source ends after k of them."""

    def __init__(self, op: Operator, items: list[Any], flushes: bool) -> None:
        self.op = op
        self.items = items
        self.steps = range(len(items) + 1)
        self.flushes = flushes
        self.outputs: list[list[Any]] = []
        self.suite = Suite(repr(op) if _pipes(op) else getattr(op, "__qualname__", repr(op)))

    def over(self, source: object) -> Stream[Any]:
        """The operator over a source."""
        made = _stream_of(source)
        return made | self.op if _pipes(self.op) else self.op(made)

    async def learn(self) -> None:
        """The oracle: what a run without fusion gives."""
        for k in self.steps:

            async def run(k: int = k) -> None:
                out: list[Any] = []
                async with self.over(Probe(self.items[:k])).open(fused=False) as items:
                    await _drain(items, out)
                self.outputs.append(out)

            await self.suite.case(2, "a stream that ends, ends", run)

    async def ends(self, expected: Sequence[Any] | None) -> None:
        for kind, fused in _VARIANTS:
            for k in self.steps:

                async def run(k: int = k, kind: Kind = kind, fused: bool = fused) -> None:
                    probe = Probe(self.items[:k])
                    out: list[Any] = []
                    async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                        await _drain(items, out)
                        check_treatment(probe, kind)
                    assert out == self.outputs[k], f"with fusion {out}, without {self.outputs[k]}"

                await self.suite.case(1, "a source that ends is closed by its task, before the end is told", run)

        async def terminal() -> None:
            probe = Probe(self.items)
            out = await self.over(probe).collect()
            check_treatment(probe)
            wanted = self.outputs[-1] if expected is None else list(expected)
            assert out == wanted, f"expected {wanted}, and {out} came out"

        await self.suite.case(2, "a terminal has closed everything when it returns", terminal)

        async def in_lists() -> None:
            probe = Probe(self.items)
            out: list[Any] = []
            async with self.over(probe).open() as run:
                async for batch in run.lists():
                    out.extend(batch)
            check_treatment(probe)
            assert out == self.outputs[-1], f"in lists {out}, one by one {self.outputs[-1]}"

        await self.suite.case(2, "the same comes out in lists", in_lists)

        async def never_iterated() -> None:
            probe = Probe(self.items)
            async with self.over(probe).open():
                pass
            assert probe.asked == 0, "the source was asked for an item, and nobody asked the stream"
            check_treatment(probe)

        await self.suite.case(1, "a Run that nobody iterates closes its source", never_iterated)

    async def source_fails(self) -> None:
        for kind, fused in _VARIANTS:
            for k in self.steps:

                async def run(k: int = k, kind: Kind = kind, fused: bool = fused) -> None:
                    failure = SourceFailed(f"at item {k}")
                    clean_end = self._ends_early(k)
                    probe = Probe(self.items[:k], error=failure)
                    out: list[Any] = []
                    got = await _caught(self._drained(source_of_kind(probe, kind), fused, out))
                    check_treatment(probe, kind)
                    if got is not None or not clean_end:  # one that has all it wants may leave before the error
                        check_error(failure, got)
                    if self.flushes:
                        assert out == self.outputs[k], f"{out} came before the error, and {self.outputs[k]} before an end there"

                await self.suite.case(3, "a source's error comes behind the items before it", run)

    def _ends_early(self, k: int) -> bool:
        """Whether the operator has all it wants before or with item k."""
        return self.outputs[k] == self.outputs[-1]

    async def clean_up_fails(self) -> None:
        for kind, fused in _VARIANTS:

            async def at_end(kind: Kind = kind, fused: bool = fused) -> None:
                failure = SourceFailed("in its clean-up")
                probe = Probe(self.items, clean_up_error=failure)
                out: list[Any] = []
                got = await _caught(self._drained(source_of_kind(probe, kind), fused, out))
                check_treatment(probe, kind)
                if probe.closed:
                    check_error(failure, got)
                assert out == self.outputs[-1], f"{out} was delivered before the clean-up failed, of {self.outputs[-1]}"

            await self.suite.case(3, "an error of the clean-up is raised, behind all items", at_end)

            async def under_error(kind: Kind = kind, fused: bool = fused) -> None:
                failure = BodyFailed("first")
                probe = Probe(self.items, clean_up_error=SourceFailed("in its clean-up"))

                async def body() -> None:
                    async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                        async for _ in items:
                            raise failure

                got = await _caught(body())
                if self.outputs[-1]:
                    check_error(failure, got)
                check_treatment(probe, kind)

            await self.suite.case(3, "an error of the consumer beats one of the clean-up", under_error)

            if kind == "object":  # a generator's own error and that of its `finally` are one already

                async def twice(fused: bool = fused) -> None:
                    failure = SourceFailed("first")
                    probe = Probe(self.items, error=failure, clean_up_error=SourceFailed("in its clean-up"))
                    got = await _caught(self._drained(probe, fused, []))
                    check_treatment(probe)
                    if probe.ended:
                        check_error(failure, got)

                await self.suite.case(3, "a source's error beats that of its clean-up", twice)

    async def consumer_leaves(self) -> None:
        for kind, fused in _VARIANTS:
            for k in range(1, len(self.outputs[-1]) + 1):

                async def run(k: int = k, kind: Kind = kind, fused: bool = fused) -> None:
                    probe = Probe(self.items)
                    out: list[Any] = []
                    async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                        await _drain(items, out, k)
                    check_treatment(probe, kind)
                    assert out == self.outputs[-1][:k], f"{out} came out, and then the consumer left"

                await self.suite.case(2, "a consumer that leaves has closed the source", run)

    async def consumer_fails(self) -> None:
        for kind, fused in _VARIANTS:
            for k in range(1, len(self.outputs[-1]) + 1):

                async def run(k: int = k, kind: Kind = kind, fused: bool = fused) -> None:
                    failure = BodyFailed(f"at output {k}")
                    probe = Probe(self.items)

                    async def body() -> None:
                        async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                            await _drain(items, [], k)
                            raise failure

                    check_error(failure, await _caught(body()))
                    check_treatment(probe, kind)

                await self.suite.case(3, "a consumer's error comes out as it is, and the source is closed", run)

    async def is_cancelled(self) -> None:
        for way in ways():
            for kind, fused in _VARIANTS:
                for k in self.steps:

                    async def in_source(k: int = k, kind: Kind = kind, fused: bool = fused, way: Way = way) -> None:
                        await self._cancelled_in_source(k, kind, fused, way)

                    await self.suite.case(2, f"a cancel ({way}) while the source waits closes it", in_source)
                for k in range(1, len(self.outputs[-1]) + 1):

                    async def in_body(k: int = k, kind: Kind = kind, fused: bool = fused, way: Way = way) -> None:
                        await self._cancelled_in_body(k, kind, fused, way)

                    await self.suite.case(2, f"a cancel ({way}) while the consumer works closes the source", in_body)

    async def _cancelled_in_source(self, k: int, kind: Kind, fused: bool, way: Way) -> None:
        out: list[Any] = []
        probes: list[Probe[Any]] = []

        async def body(cancel: Callable[[], object]) -> None:
            def at_step(given: int) -> bool:
                if given == k:
                    cancel()
                return given == k

            probe = Probe(self.items, at_step=at_step)
            probes.append(probe)
            try:
                async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                    await _drain(items, out)
            finally:
                check_treatment(probe, kind)

        came_out = await cancelled(way, body)
        if probes[0].asked > k:
            assert came_out, "the cancel was swallowed"
            # What was joined or held back depends on the wait: the rest of the items has not come.
            begins = [outputs[: len(out)] for outputs in (self.outputs[-1], self.outputs[k])]
            assert out in begins, f"{out} came out"

    async def _cancelled_in_body(self, k: int, kind: Kind, fused: bool, way: Way) -> None:
        async def body(cancel: Callable[[], object]) -> None:
            probe = Probe(self.items)
            try:
                async with self.over(source_of_kind(probe, kind)).open(fused=fused) as items:
                    await _drain(items, [], k)
                    cancel()
                    await current_backend().waiter().wait()
            finally:
                check_treatment(probe, kind)

        assert await cancelled(way, body), "the cancel was swallowed"

    async def two_runs(self) -> None:
        async def interleaved() -> None:
            probes = [Probe(self.items), Probe(self.items)]
            rest = iter(probes)
            plan = self.over(lambda: next(rest))
            outs: list[list[Any]] = [[], []]
            async with plan.open() as one, plan.open() as two:
                iterators = [(one.__aiter__(), outs[0]), (two.__aiter__(), outs[1])]
                while iterators:
                    for iterator, out in list(iterators):
                        try:
                            out.append(await iterator.__anext__())
                        except StopAsyncIteration:
                            iterators.remove((iterator, out))
            for probe in probes:
                check_treatment(probe)
            assert outs == [self.outputs[-1]] * 2, f"two Runs side by side gave {outs}"

        await self.suite.case(1, "two Runs of one plan share nothing", interleaved)
        for k in range(len(self.outputs[-1]) + 1):

            async def crossed(k: int = k) -> None:
                probes = [Probe(self.items), Probe(self.items)]
                first, second = (self.over(probe).open() for probe in probes)
                await first.__aenter__()
                await second.__aenter__()
                await _drain(first, [], k)
                await _drain(second, [], k)
                await first.__aexit__(None, None, None)
                check_treatment(probes[0])
                with anyio.CancelScope():
                    await current_backend().checkpoint()
                await second.__aexit__(None, None, None)
                check_treatment(probes[1])

            await self.suite.case(4, "streams may be left in crossed order", crossed)

    async def carries_scopes(self) -> None:
        for k in range(1, len(self.outputs[-1]) + 1):

            async def left(k: int = k) -> None:
                source = _ScopedSource(self.items)
                out: list[Any] = []
                async with self.over(source.generator()).open() as items:
                    await _drain(items, out, k)
                assert source.closed == source.begun, "the source's task group was not left"
                assert out, "nothing came out"

            await self.suite.case(1, "a source may hold a task group across its items", left)

    async def is_fair(self) -> None:
        async def run() -> None:
            turns = [0]
            over: list[bool] = []

            async def other() -> None:
                # Once nobody reads the source any more this task ends, and its last turns do not count: an
                # operator that waits for a time gets it only when nobody is busy.
                still = 0
                while not over and still < STILL:
                    still = still + 1 if reads[0] == seen[0] else 0
                    seen[0] = reads[0]
                    turns[0] += 1
                    await current_backend().checkpoint()
                if still >= STILL:
                    turns[0] -= still

            async def flood() -> AsyncIterator[Any]:
                for at in range(FLOOD):
                    reads[0] = at + 1
                    yield self.items[at % len(self.items)]

            reads, seen = [0], [0]
            async with anyio.create_task_group() as group:
                group.start_soon(other)
                await self.over(flood()).run()
                over.append(True)
            # Two turns may fall to its first and its last.
            wanted = seen[0] // FLOOD_PER_TURN - 2
            assert turns[0] >= wanted, f"other tasks had {turns[0]} turns while the source gave {seen[0]} items"

        await self.suite.case(6, "the loop turns at least every 1,024 items", run)

    async def refusing_source(self) -> None:
        for stubborn in (False, True):

            async def run(stubborn: bool = stubborn) -> None:
                probe = Probe(self.items, clean_up=float("inf"), stubborn=stubborn)
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    async with self.over(probe).close_within(SHORT).open() as items:
                        await _drain(items, [], 1)
                assert any("Probe" in str(one.message) for one in told), "no warning names the source that refused"

            if stubborn and current_backend().name == "trio":
                continue  # a scope cancels again and again: what starts over then never waits
            await self.suite.case(8, "a clean-up that never ends is cut off and named", run)

    async def keeps_the_bound(self, ahead: int) -> None:
        async def run() -> None:
            probe = Probe(self.items)
            taken = 0
            async with self.over(probe).open() as items:
                async for _ in items:
                    # Let everything run that can: whoever reads ahead has read now.
                    for _ in range(3 * len(self.items) + 20):
                        await current_backend().checkpoint()
                    taken += 1
                    # One item is in the consumer's hands, and one in those of a writer that waits for room.
                    assert probe.given <= taken + ahead, f"{probe.given} items were read when {taken} were taken"

        await self.suite.case(5, f"at most {ahead} items are read ahead", run)

    async def _drained(self, source: object, fused: bool, out: list[Any]) -> None:
        async with self.over(source).open(fused=fused) as items:
            await _drain(items, out)


# With fusion and without, and the two kinds of source: an object with `aclose`, a generator with `finally`.
_VARIANTS: tuple[tuple[Kind, bool], ...] = (("object", True), ("generator", True), ("generator", False))


class _ScopedSource:
    """A generator that holds a task group, a cancel scope and a context variable across its items."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.begun = 0
        self.closed = 0

    async def generator(self) -> AsyncIterator[Any]:
        self.begun += 1
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                with anyio.CancelScope():
                    for item in self.items:
                        await current_backend().checkpoint()
                        yield item
                group.cancel_scope.cancel()
        finally:
            self.closed += 1


async def _drain(items: Run[Any], out: list[Any], count: int | None = None) -> None:
    """Take `count` items, or all."""
    if count == 0:
        return
    async for item in items:
        out.append(item)
        if count is not None and len(out) >= count:
            return


async def _caught(running: Any) -> BaseException | None:
    """What it raises, cancels apart."""
    try:
        await running
    except Exception as error:
        return error
    return None
