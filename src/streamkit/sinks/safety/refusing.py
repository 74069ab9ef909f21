"""How a guard says no: a status and one sentence, before anything of the application has run."""

from __future__ import annotations

from streamkit.sinks.asgi import Receive, Scope, Send
from streamkit.wire.sse import dump_json

__all__ = ["refuse"]


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    """Answer an HTTP request with `status` and why; a WebSocket is closed before it is open, which servers answer with 403."""
    if scope["type"] == "websocket":
        await receive()  # its connect
        await send({"type": "websocket.close", "code": 1008, "reason": message})
        return
    body = dump_json({"error": {"message": message, "code": code}})
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body, "more_body": False})
