"""The event loops that async tests run on, and the choice of those that are asyncio's."""

from __future__ import annotations

import pytest

ASYNCIO_LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]
EVENT_LOOPS = [*ASYNCIO_LOOPS, pytest.param(("trio", {}), id="trio")]

# For a test of what trio does not have.
asyncio_only = pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS, indirect=True)
