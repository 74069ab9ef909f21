"""Reading streams over a WebSocket: `connection` is what users call, `dialling` opens, `reading` keeps one stream's place."""

from __future__ import annotations
