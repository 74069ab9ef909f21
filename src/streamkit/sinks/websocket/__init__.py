"""Streams over WebSockets: several answers on one connection, resumed, stopped and told how they ended.

    serving            what users call: `WebSocketRoutes`, an ASGI application, and `serve` for other servers' connections
    session            one connection: what the client asks for, what it is told, and the way out
    generations        starts answers, by name or without one
    reading            one stream on its way to one client
    cohorts            those who read the same and are at the same place
    pieces             a hub's events as messages, made once for all who read them
    limits             what a client may do
    requests           who asks, as applications see it
    sockets            what a transport must be able to do
    asgi_socket, websockets_socket, aiohttp_socket     the transports

The messages are those of `streamkit.dialects.websocket.messages`. Every stream is one of a hub.
"""

from __future__ import annotations

from streamkit.sinks.websocket.limits import Slow as Slow
from streamkit.sinks.websocket.requests import SocketRequest as SocketRequest
from streamkit.sinks.websocket.serving import WebSocketRoutes as WebSocketRoutes
from streamkit.sinks.websocket.serving import serve as serve

__all__ = ["Slow", "SocketRequest", "WebSocketRoutes", "serve"]
