"""FastAPI's door: its responses are Starlette's.

    from streamkit.integrations.fastapi import EventStreamResponse, HubStreamResponse, StreamResponse

An endpoint that declares it as its return type, or returns it, is answered by it as it is.
"""

from __future__ import annotations

from streamkit.integrations.starlette import EventStreamResponse, HubStreamResponse, StreamResponse

__all__ = ["EventStreamResponse", "HubStreamResponse", "StreamResponse"]
