"""What a server saw of one request, and how far it came in answering it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Seen"]

_KEYS: Final = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})


@dataclass
class Seen:
    """One request, and what became of its answer.

    Attributes:
        method, path: As they came.
        headers: Names in lower case. Keys are here, and not in `repr`.
        json: The body, parsed; None where it is empty or no JSON.
        connection: The number of the connection it came on, from 1.
        sent: Events of the script whose last byte was handed to the socket.
        left: Whether the client closed the connection before the answer was over.
        done: Whether the answer is over, for whatever reason.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    json: object
    connection: int
    sent: int = field(default=0, compare=False)
    left: bool = field(default=False, compare=False)
    done: bool = field(default=False, compare=False)

    def __repr__(self) -> str:
        shown = {name: "***" if name in _KEYS else value for name, value in self.headers.items()}
        return f"Seen({self.method} {self.path}, headers={shown}, json={self.json!r:.200}, sent={self.sent}, left={self.left})"
