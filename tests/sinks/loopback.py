"""What tests with a real server share: how one is asked for, and waiting for another thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from asgi_client import App

Serve = Callable[[App], str]


def wait_until(so: Callable[[], object], seconds: float = 10) -> None:
    """Wait for another thread; the time is a bound and no measure."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
