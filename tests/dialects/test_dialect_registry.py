"""Dialects by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from streamkit import dialects
from streamkit.dialects import registry
from streamkit.errors import ConfigError


@pytest.mark.parametrize("name", ["native", "openai-chat"])
def test_our_dialects_are_known_and_go_both_ways(name: str) -> None:
    dialect = dialects.get(name)
    assert name == dialect.name
    assert name in dialects.names()
    assert "sse" == dialect.framing
    assert dialect is dialects.get(name)
    assert dialect.decoder is not None
    assert dialect.encoder is not None
    assert [] == dialect.decoder(provider="p").held()
    assert dialect.encoder(id="a", model="m", created=1).close(dialects.DONE)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no dialect 'openai'; known are .*native, .*openai-chat"):
        dialects.get("openai")


def test_other_packages_bring_dialects_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", "streamkit.dialects.native:DIALECT", registry.ENTRY_POINTS),
        EntryPoint("broken", "streamkit.dialects.native:VERSION", registry.ENTRY_POINTS),
        EntryPoint("native", "streamkit.dialects.openai_chat:DIALECT", registry.ENTRY_POINTS),
    ]
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    monkeypatch.setattr(registry, "_loaded", {})
    assert dialects.get("native") is dialects.get("theirs")
    assert "theirs" in dialects.names()
    with pytest.raises(ConfigError, match=r"broken.* must be a streamkit Dialect, and is int"):
        dialects.get("broken")


def test_a_dialect_is_imported_when_it_is_asked_for() -> None:
    code = """
import sys
from streamkit.dialects import get
before = "streamkit.dialects.native" in sys.modules
get("native")
print(before, "streamkit.dialects.native" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "False True" == done.stdout.strip()
