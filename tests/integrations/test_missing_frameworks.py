"""A framework that is not installed is told as its pip line."""

from __future__ import annotations

import importlib
import sys

import pytest

import streamkit as sk


@pytest.mark.parametrize("name", ["starlette", "fastapi", "litestar", "aiohttp", "django", "flask", "quart"])
def test_a_framework_that_is_missing_is_told_as_its_pip_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"streamkit.integrations.{name}"
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(sk.MissingExtra) as missing:
        importlib.import_module(module)
    assert f"pip install 'streamkit-ai[{name}]'" in str(missing.value)
    assert missing.value.__context__ is None, "Python's own error would hide the line that helps"
