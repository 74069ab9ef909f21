"""What all tests share: the three event loops, a virtual clock, and the recordings outside of the repository.

An async test says `pytestmark = pytest.mark.anyio` and then runs on asyncio, on uvloop and on trio.
One of what only asyncio has says `@asyncio_only` (in `event_loops`) as well.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from event_loops import EVENT_LOOPS
from hypothesis import HealthCheck, settings

from streamkit.testing import VirtualClock

CI = os.environ.get("STREAMKIT_CI") == "1"

# Tests start servers as processes, and some run gRPC in this one: its handlers of forks start threads between fork and exec, which
# at times abort the new process. Nobody here uses gRPC behind a fork. Read when gRPC is imported, which the test modules do.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# Servers, clients and pages that tests of several folders stand on: there whichever of them is run alone.
sys.path += [str(Path(__file__).parent / folder) for folder in ("sinks", "web", "docs")]

# No deadline: a noisy machine is no bug. The same examples each time where a failure must not depend on luck.
settings.register_profile("here", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, max_examples=100)
settings.load_profile("ci" if CI else "here")


@pytest.fixture(params=EVENT_LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loop of an async test; a test that asks for it by name gets the name and the options."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture
async def clock(anyio_backend: object) -> AsyncIterator[VirtualClock]:
    """Virtual time for all streams of the test: it jumps to the next timer when everybody waits."""
    async with VirtualClock(patience=60) as clock:  # for news of threads and sockets, which a busy machine keeps waiting
        yield clock


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `data` with recordings and case lists that are not part of the repository.

    Found by the environment variable STREAMKIT_SHARED, which names the folder above it. Without it a
    test that asks for this fixture is skipped, saying so; with STREAMKIT_CI=1 it fails instead.
    """
    return need_shared_data("this test")


def need_shared_data(what: str) -> Path:
    """The folder of recordings, or a skip that names `what` needed them (a failure under STREAMKIT_CI=1)."""
    root = os.environ.get("STREAMKIT_SHARED")
    if root and (Path(root) / "data").is_dir():
        return Path(root) / "data"
    reason = f"{what} reads recordings from $STREAMKIT_SHARED/data, and " + (
        "STREAMKIT_SHARED is not set" if not root else "there is no such folder"
    )
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """The address of a real llama.cpp server, started once.

    Skipped where it is not installed; with STREAMKIT_CI=1 that is a failure.
    """
    from llama_server import missing_packages, running_llama

    missing = missing_packages()
    if missing:
        reason = f"the real llama.cpp server needs {', '.join(missing)}: pip install xllamacpp gguf numpy"
        if CI:
            pytest.fail(reason)
        pytest.skip(reason)
    with running_llama() as address:
        yield address


@pytest.fixture(scope="module", autouse=True)
def what_other_modules_left_is_not_collected_again() -> Iterator[None]:
    """In a process of thousands of tests each full collection takes a quarter of a second, and some tests ask for hundreds."""
    gc.freeze()
    yield
    gc.unfreeze()
