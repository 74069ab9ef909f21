"""Streams of a streamkit server over a WebSocket: `connect`."""

from __future__ import annotations

from streamkit.clients.websocket.connection import WebSocketClient as WebSocketClient
from streamkit.clients.websocket.connection import connect as connect
