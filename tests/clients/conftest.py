"""What the client tests share: the real llama.cpp server, one for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from llama_server import missing_packages, running_llama


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """The address of a running llama.cpp server; skipped where it is not installed, which under STREAMKIT_CI=1 is a failure."""
    missing = missing_packages()
    if missing:
        reason = f"the real llama.cpp server needs {', '.join(missing)}: pip install xllamacpp gguf numpy"
        if os.environ.get("STREAMKIT_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running_llama() as address:
        yield address
