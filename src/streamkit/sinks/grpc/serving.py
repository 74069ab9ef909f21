"""A gRPC server for one handler: address, bounds, health, reflection, and the way out.

    async with GrpcServer(answer, "127.0.0.1:50051") as server:
        await server.wait()                      # until SIGTERM or SIGINT, or `drain` is called

How it drains: health turns to NOT_SERVING and new calls are refused; open ones get `grace` seconds to end by themselves; what is
left is told UNAVAILABLE with the code "draining" and its last token, and its source is closed; then the port is.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from streamkit.dialects.grpc.schema import SERVICE, schema
from streamkit.errors import ConfigError
from streamkit.extras import require
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.grpc.servicer import GrpcHandler, OwnerOf, StreamsServicer

__all__ = ["GrpcServer", "enable_reflection"]

# A client that is not there any more is noticed within these, and its source closed.
_KEEPALIVE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.keepalive_permit_without_calls": 0,
        # Clients that ping as we do are not turned away.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        # Two servers on one port would each get a part of the clients.
        "grpc.so_reuseport": 0,
    }
)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class GrpcServer:
    """Serves `streamkit.v1.Streams`, with the standard health service and reflection.

    Args:
        handler, hub, owner, on_disconnect: As for `StreamsServicer`; the handler may be a `StreamsServicer`.
        address: Where to listen. Port 0 is any that is free: see `port`.
        credentials: Of `grpc.ssl_server_credentials(...)`; None is plain text.
        grace: Seconds that open calls get to end by themselves when it drains. 0 tells them at once.
        limit: Seconds that it takes at most after that: for clients to be told, and sources to close. Who does not read is cut off.
        max_message_bytes: The largest message that a client may send.
        max_calls: Most calls at once; more are refused with RESOURCE_EXHAUSTED. None sets no bound.
        reflection: Whether tools may ask what it serves (grpcurl and the like).
        options: Of gRPC, such as `{"grpc.max_connection_age_ms": 600_000}`; they win over ours.
        interceptors: Of `grpc.aio`.
        signals: Whether SIGTERM and SIGINT end `wait()`, in the main thread.
        also: Called with the `grpc.aio` server before it starts, to add services of one's own.

    Attributes:
        port: Where it listens, once it is open.
        server: The `grpc.aio` server, once it is open.
        servicer: What answers.

    Memory: see `StreamsServicer`; for a client that does not read the sockets hold some 6 MiB.
    Cancellation: leaving drains, whatever it is left by.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call; on trio, when it is opened: gRPC runs on asyncio only.
        MissingExtra: grpcio, or its health or reflection package, is not installed.
        OSError, RuntimeError: the address cannot be listened on, when it is opened.

    >>> async def main():
    ...     async with GrpcServer(lambda request: ["Hello"]) as server:
    ...         return server.port > 0
    >>> import asyncio
    >>> asyncio.run(main())
    True
    """

    def __init__(
        self,
        handler: GrpcHandler | StreamsServicer,
        address: str = "127.0.0.1:0",
        *,
        hub: Hub | None = None,
        owner: OwnerOf | None = None,
        on_disconnect: OnDisconnect = "continue",
        credentials: object = None,
        grace: float = 0.0,
        limit: float = 5.0,
        max_message_bytes: int = 4_194_304,
        max_calls: int | None = None,
        reflection: bool = True,
        options: Mapping[str, str | int] | None = None,
        interceptors: Sequence[object] = (),
        signals: bool = True,
        also: Callable[[Any], object] | None = None,
    ) -> None:
        if isinstance(handler, StreamsServicer):
            if hub is not None or owner is not None:
                raise ConfigError("GrpcServer takes hub= and owner= with a handler; a StreamsServicer has its own")
            self.servicer = handler
        else:
            self.servicer = StreamsServicer(handler, hub=hub, owner=owner, on_disconnect=on_disconnect)
        if not isinstance(address, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise TypeError(f"GrpcServer(address=...) takes a str such as '127.0.0.1:50051', got {type(address).__name__}")
        if grace != 0 or isinstance(grace, bool):
            check_seconds("GrpcServer", "grace", grace)
        check_seconds("GrpcServer", "limit", limit)
        check_count("GrpcServer", "max_message_bytes", max_message_bytes, 1)
        if max_calls is not None:
            check_count("GrpcServer", "max_calls", max_calls, 1)
        if also is not None:
            check_callable("GrpcServer(also=...)", also)
        self._also = also
        self._address = address
        self._credentials = credentials
        self._grace = grace
        self._limit = limit
        self._max_calls = max_calls
        self._reflection = reflection
        self._interceptors = tuple(interceptors)
        self._signals = signals
        self._options: dict[str, str | int] = {
            **_KEEPALIVE,
            "grpc.max_receive_message_length": max_message_bytes,
            **(options or {}),
        }
        self._aio: Any = require("grpc.aio", extra="grpc", wanted_by="GrpcServer")
        self._health_module: Any = require("grpc_health.v1.health", extra="grpc", wanted_by="GrpcServer")
        self._health: Any = None
        self._stopping: asyncio.Event | None = None
        self._impatient: asyncio.Event | None = None
        self._ending: asyncio.Task[None] | None = None
        self.server: Any = None
        self.port = 0

    async def __aenter__(self) -> Self:
        backend = current_backend()
        if backend.name == "trio":
            raise ConfigError("gRPC for Python runs on asyncio only: serve it from asyncio.run(...), not from trio")
        if self.server is not None:
            raise ConfigError("a GrpcServer serves once: make another one")
        options = tuple(self._options.items())
        self.server = server = self._aio.server(
            options=options, interceptors=self._interceptors or None, maximum_concurrent_rpcs=self._max_calls
        )
        server.add_generic_rpc_handlers((self.servicer.handlers(),))
        self._health = self._health_module.aio.HealthServicer()
        health_grpc: Any = require("grpc_health.v1.health_pb2_grpc", extra="grpc", wanted_by="GrpcServer")
        health_grpc.add_HealthServicer_to_server(self._health, server)
        if self._reflection:
            enable_reflection(server, (SERVICE, self._health_module.SERVICE_NAME))
        if self._also is not None:
            self._also(server)
        if self._credentials is None:
            self.port = server.add_insecure_port(self._address)
        else:
            self.port = server.add_secure_port(self._address, self._credentials)
        if not self.port:
            raise OSError(f"nobody can listen on {self._address!r}")
        self._stopping, self._impatient = asyncio.Event(), asyncio.Event()
        await server.start()
        for name in ("", SERVICE):
            await self._set_health(name, "SERVING")
        return self

    async def wait(self) -> None:
        """Serve until `stop` is called, or SIGTERM or SIGINT comes."""
        assert self._stopping is not None, "open it first: async with GrpcServer(...) as server"
        loop = asyncio.get_running_loop()
        watched = _SIGNALS if self._signals and threading.current_thread() is threading.main_thread() else ()
        for number in watched:
            loop.add_signal_handler(number, self.stop)
        try:
            await self._stopping.wait()
        finally:
            for number in watched:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """End `wait`. The server drains when its block is left."""
        if self._stopping is not None:
            self._stopping.set()

    async def drain(self) -> None:
        """Turn health, refuse new calls, end the open ones, close the port. Called again it waits for the same end.

        Cancellation: the grace is over, and what is left is done before the cancel goes on.
        """
        impatient = self._impatient
        if impatient is None:
            return
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(impatient), name="streamkit drain")
        ending = self._ending

        async def wait() -> None:
            try:
                await asyncio.wait((ending,))
            except asyncio.CancelledError:
                impatient.set()
                raise

        await current_backend().finish(wait, ending.done)
        ending.result()

    async def _end(self, impatient: asyncio.Event) -> None:
        self.stop()
        try:
            await self._health.enter_graceful_shutdown()
            if self._grace:
                await self._wait_for_calls(self._grace, impatient)
        finally:
            self.servicer.drain()
            await self.server.stop(self._limit)

    async def _wait_for_calls(self, seconds: float, over: asyncio.Event) -> None:
        clock = current_clock(current_backend())
        timer = clock.call_at(clock.now() + seconds, over.set)
        self.servicer.refuse(idle=over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    async def _set_health(self, name: str, status: str) -> None:
        messages: Any = require("grpc_health.v1.health_pb2", extra="grpc", wanted_by="GrpcServer")
        await self._health.set(name, getattr(messages.HealthCheckResponse, status))

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.drain()
        LOGGER.debug("a gRPC server on port %d has stopped", self.port)

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<GrpcServer on {self._address!r}>"


class _Pools:
    """Ours and protobuf's own descriptors, as the reflection service asks for them."""

    def __init__(self, *pools: Any) -> None:
        self._pools = pools

    def __getattr__(self, name: str) -> Any:
        methods = [getattr(pool, name) for pool in self._pools]

        def find(*arguments: Any) -> Any:
            for method in methods[:-1]:
                try:
                    return method(*arguments)
                except KeyError:
                    continue
            return methods[-1](*arguments)

        return find


def enable_reflection(server: object, services: Sequence[str] = (SERVICE,)) -> None:
    """Let a server tell what it serves, our service among it.

    Args:
        server: Of `grpc.aio`, not started yet.
        services: Full names; those that are not ours are looked for in protobuf's default pool.

    Raises:
        MissingExtra: grpcio-reflection is not installed.
    """
    reflection: Any = require("grpc_reflection.v1alpha.reflection", extra="grpc", wanted_by="reflection")
    pools: Any = require("google.protobuf.descriptor_pool", extra="grpc", wanted_by="reflection")
    names = (*services, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=_Pools(schema().pool, pools.Default()))
