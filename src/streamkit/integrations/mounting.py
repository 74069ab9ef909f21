"""ASGI applications under paths of another one that cannot take them in itself: Django's, Quart's, or none at all.

    application = Mounts({"/chat": ChatRoutes(answer), "/ws": WebSocketRoutes(answer)}, get_asgi_application())

The server's start and end are the inner application's, if it knows of them. Before it is told of the end, those that are mounted
are closed: `aclose()`, where they have one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_callable
from streamkit.sinks.asgi_types import Message, Receive, Scope, Send
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.refusals import Refused, refuse

__all__ = ["Mounts"]

# Called with scope, receive and send: frameworks have types of their own for these.
App: TypeAlias = Callable[..., Awaitable[None]]

_NOWHERE: Final = Refused(404, "There is nothing at this address.")


class Mounts:
    """An ASGI application made of others, by the beginning of the path.

    Args:
        mounts: Applications by the path that they are under, like "/chat"; of several that fit, the longest counts.
        otherwise: The application for all other paths, and of the lifespan; None answers those with 404.

    Memory: none per request.
    Raises:
        ConfigError, TypeError: a path that is none, or what is no application.

    >>> Mounts({"/chat": print, "/ws": print})
    <Mounts /chat, /ws>
    """

    def __init__(self, mounts: Mapping[str, App], otherwise: App | None = None) -> None:
        for path, app in mounts.items():
            if not isinstance(path, str) or not path.startswith("/") or path.endswith("/"):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"Mounts({path!r}): a path begins with a slash and ends without one, like '/chat'")
            check_callable(f"Mounts({path!r})", app)
        if otherwise is not None:
            check_callable("Mounts(otherwise=...)", otherwise)
        self._mounts = dict(sorted(mounts.items(), key=lambda mount: -len(mount[0])))
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or a server's lifespan events."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        root, path = str(scope.get("root_path", "")), str(scope.get("path", ""))
        # Servers give the path with the place of the whole application in front; some proxies cut it off.
        inner = path[len(root) :] if root and path.startswith(f"{root}/") else path
        for place, app in self._mounts.items():
            if inner == place or inner.startswith(f"{place}/"):
                await app({**scope, "root_path": root + place, "path": root + inner}, receive, send)
                return
        if self._otherwise is None:
            await refuse(_NOWHERE, scope, receive, send)
        else:
            await self._otherwise(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked: list[Message] = []
        answered = False

        async def watched_receive() -> Message:
            message = await receive()
            asked.append(message)
            if message["type"] == "lifespan.shutdown":
                await self._close()
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        if self._otherwise is not None:
            try:
                await self._otherwise(scope, watched_receive, watched_send)
            except Exception:
                if answered:
                    raise
                LOGGER.debug("the application knows no lifespan", exc_info=True)
            if answered:
                return
        # Nobody inside took part: what was received is answered here.
        while True:
            message = asked.pop(0) if asked else await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _close(self) -> None:
        for app in self._mounts.values():
            closing = cast("Callable[[], Awaitable[None]] | None", getattr(app, "aclose", None))
            if closing is not None:
                try:
                    await closing()
                except Exception:  # the others are closed all the same
                    LOGGER.exception("%r could not be closed", app)

    def __repr__(self) -> str:
        return f"<Mounts {', '.join(sorted(self._mounts))}>"
