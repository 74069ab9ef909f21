"""`check_sink`: what a stream asks of a sink, tried out at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from streamkit.flow.streams import Sink, stream
from streamkit.flow.tasks import current_backend
from streamkit.testing.contract import Report, Suite, Way, cancelled, check_error, check_treatment, ways
from streamkit.testing.probes import Probe

__all__ = ["check_sink"]

S = TypeVar("S", bound=Sink[Any])


class SourceFailed(Exception):  # reads as what happened, in the reports of failed checks
    """What a check's source raises."""


async def check_sink(
    make_sink: Callable[[], S],
    *,
    items: Sequence[Any],
    received: Callable[[S], Sequence[Any]] | None = None,
    is_closed: Callable[[S], bool] | None = None,
) -> Report:
    """Hold a sink to the contract, on the event loop that runs.

    Streams end, fail and are cancelled at every step into new sinks; the sink must take lists of any
    length, keep the order, let errors and cancels through, and be closed once with what ended the stream.

    Args:
        make_sink: Makes a new sink each time.
        items: What it is sent: few items, at least one.
        received: What the sink has got, in the form of the items; None does not look.
        is_closed: Whether the sink is closed; None does not look.

    Memory: the items.
    Cancellation: passes through.
    Raises:
        ContractBroken: an AssertionError that names the rule.

    >>> import asyncio
    >>> class Memory:
    ...     def __init__(self): self.got, self.closed = [], False
    ...     async def send(self, batch): self.got += batch
    ...     async def aclose(self, error): self.closed = True
    >>> report = asyncio.run(check_sink(Memory, items="abc", received=lambda sink: sink.got, is_closed=lambda sink: sink.closed))
    >>> report.rules
    [2, 3, 7]
    """
    if not items:
        raise ValueError("check_sink(items=...) needs at least one item: there is no step to fail at")
    suite = Suite(getattr(make_sink, "__qualname__", repr(make_sink)))
    given = list(items)

    def check(sink: _Watched, got: list[Any], error: type[BaseException] | None) -> None:
        assert sink.ends, "it was never closed"
        assert len(sink.ends) == 1, f"it was closed {len(sink.ends)} times"
        ended = sink.ends[0]
        assert ended is None if error is None else isinstance(ended, error), f"it was closed with {ended!r}"
        assert received is None or list(received(sink.inner)) == got, f"it was sent {got}, and has {list(received(sink.inner))}"
        assert is_closed is None or is_closed(sink.inner), "it is not closed after aclose()"

    for k in range(len(given) + 1):

        async def ends(k: int = k) -> None:
            sink, probe = _Watched(make_sink()), Probe(given[:k])
            await stream(probe).to(sink)
            check_treatment(probe)
            check(sink, given[:k], None)

        await suite.case(2, "a stream that ends closes the sink with None", ends)

        async def in_lists(k: int = k) -> None:
            sink = _Watched(make_sink())
            await stream(given[:k]).to(sink)
            check(sink, given[:k], None)

        await suite.case(2, "a list of items is taken like single ones", in_lists)

        async def fails(k: int = k) -> None:
            sink, failure = _Watched(make_sink()), SourceFailed(f"at item {k}")
            probe = Probe(given[:k], error=failure)
            got: BaseException | None = None
            try:
                await stream(probe).to(sink)
            except SourceFailed as error:
                got = error
            check_error(failure, got)
            check_treatment(probe)
            check(sink, given[:k], SourceFailed)

        await suite.case(3, "a stream that fails closes the sink with its error, and raises it", fails)
        for way in ways():

            async def is_cancelled(k: int = k, way: Way = way) -> None:
                sink = _Watched(make_sink())
                probes: list[Probe[Any]] = []

                async def body(cancel: Callable[[], object]) -> None:
                    def at_step(done: int) -> bool:
                        if done == k:
                            cancel()
                        return done == k

                    probes.append(Probe(given, at_step=at_step))
                    await stream(probes[0]).to(sink)

                assert await cancelled(way, body), "the cancel was swallowed"
                check_treatment(probes[0])
                check(sink, given[:k], BaseException)

            await suite.case(2, f"a cancel ({way}) closes the source and the sink", is_cancelled)

    async def never_sent() -> None:
        sink = make_sink()
        await sink.aclose(None)
        assert is_closed is None or is_closed(sink), "it is not closed after aclose()"
        await current_backend().checkpoint()

    await suite.case(7, "a sink that was sent nothing can be closed", never_sent)
    return await suite.finish()


class _Watched:
    """A sink in between, that counts."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.ends: list[BaseException | None] = []

    async def send(self, batch: list[Any]) -> None:
        assert isinstance(batch, list), f"a batch is a list, and a {type(batch).__name__} came"
        await self.inner.send(batch)

    async def aclose(self, error: BaseException | None) -> None:
        self.ends.append(error)
        await self.inner.aclose(error)
