"""A gRPC server and a client of it in one event loop, and sources that tell what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
from event_loops import ASYNCIO_LOOPS

from streamkit.clients.grpc_client import GrpcClient
from streamkit.sinks.grpc.servicer import GrpcHandler, StreamsServicer
from streamkit.sinks.grpc.serving import GrpcServer

# They have no types that a checker could know.
grpc: Any = import_module("grpc")
grpc_aio: Any = import_module("grpc.aio")

__all__ = ["Told", "anyio_backend", "grpc", "grpc_aio", "on_asyncio", "one_event_loop", "pair", "until"]

LIMIT_S = 60.0


# All event loops of a process share one queue of gRPC's, out of which one of them may be handed what belongs to another that is
# closed already. So all tests of a module run in the same one, which imports these two fixtures.
@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
async def one_event_loop(anyio_backend: object) -> AsyncIterator[None]:
    yield


def on_asyncio(test: Any) -> Any:
    """A test of what grpc.aio does: on asyncio's event loops, one after the other."""
    test = pytest.mark.usefixtures("one_event_loop")(pytest.mark.anyio(test))
    return pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS, indirect=True)(test)


@asynccontextmanager
async def pair(
    handler: GrpcHandler | StreamsServicer, *, client: dict[str, Any] | None = None, **server: Any
) -> AsyncIterator[tuple[GrpcServer, GrpcClient]]:
    """Both, open."""
    async with (
        GrpcServer(handler, **server) as serving,
        GrpcClient(f"127.0.0.1:{serving.port}", **(client or {})) as asking,
    ):
        yield serving, asking


async def until(so: Callable[[], object]) -> None:
    """Wait for something that others do; the time is a bound and no measure."""
    async with asyncio.timeout(LIMIT_S):
        while not so():  # noqa: ASYNC110  # others do it, and tell nobody
            await asyncio.sleep(0.001)


class Told:
    """A source that says when it has begun and when its `finally` ran.

    Args:
        items: What it gives; then it waits for ever, unless it is to end or fail.
        ends: Whether it ends behind them.
        error: What it fails with behind them.
        clean_up: Awaited in its `finally`.
    """

    def __init__(
        self,
        items: Sequence[Any] = (),
        *,
        ends: bool = False,
        error: Exception | None = None,
        clean_up: Callable[[], Any] | None = None,
    ) -> None:
        self._items = items
        self._ends = ends
        self._error = error
        self._clean_up = clean_up
        self.given = 0
        self.begun = 0
        self.waits = 0  # how often it was asked for more than there is
        self.closed = 0

    async def items(self) -> AsyncIterator[Any]:
        """One run."""
        self.begun += 1
        try:
            for item in self._items:
                self.given += 1
                yield item
            if self._error is not None:
                raise self._error
            if not self._ends:
                self.waits += 1
                await asyncio.Event().wait()
        finally:
            if self._clean_up is not None:
                await self._clean_up()
            self.closed += 1
