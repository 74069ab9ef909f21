"""streamkit's own WebSocket protocol, both ways: `messages` is its grammar."""

from __future__ import annotations
