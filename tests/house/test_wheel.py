"""What a user gets: the wheel, built, installed into a clean environment, and used there."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from source_tree import ROOT, SRC

USE = """
import asyncio, pathlib, sys
import streamkit as sk

home = pathlib.Path(sk.__file__).resolve()
assert home.is_relative_to(pathlib.Path(sys.prefix).resolve()), home
print(asyncio.run(sk.stream([" a", "", "b "]).map(str.strip).filter(bool).collect()))
print(asyncio.run(sk.model("local", pace=None).stream("What is a buffer?").message()).finish.reason)
try:
    import streamkit.integrations.starlette
except sk.MissingExtra as error:
    print(error)
"""


def call(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=170, check=False)
    assert 0 == done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    files = (path for path in (SRC / "streamkit").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {str(path.relative_to(SRC)) for path in files} == ours
    assert "streamkit/py.typed" in ours


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = metadata.splitlines()
    assert "Name: streamkit-ai" in lines
    assert "Import-Name: streamkit" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.11" in lines


def test_the_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home)
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    # By the pip that is here: unpacking another one would be most of the work.
    call(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    shown = call(python, "-I", "-W", "error", "-c", USE, cwd=tmp_path).splitlines()
    assert ["['a', 'b']", "stop"] == shown[:2]
    assert "pip install 'streamkit-ai[starlette]'" in shown[2]
    script = python.with_name("streamkit-ai")
    version = wheel.name.split("-")[1]
    assert f"streamkit-ai {version}\n" == call(script, "--version", cwd=tmp_path)
