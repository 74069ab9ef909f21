"""The npm packages that our streams are read by, and scripts that use them, run by node.

The packages of `package.json` are installed once, into `.node/<digest of package.json>` at the root of the repository,
where git does not look. A script of `scripts/` is run as if it lay beside them: there it imports them by name.

    told = run_node("read_chat.mjs", url)       # what its last line on stdout says, from JSON

A machine without node or npm, or that cannot reach the registry, skips what asks for them, saying so; with
STREAMKIT_CI=1 that is a failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

__all__ = ["SCRIPTS", "installed_packages", "node_command", "run_node"]

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "scripts"
CACHE = HERE.parents[1] / ".node"
# Less than pytest's own limit for one test, so that it is npm that is named.
INSTALL_S = 150


def run_node(script: str | Path, *arguments: object, timeout: float = 30) -> Any:
    """Run a script of `scripts/` (or any other, by its path) and give what its last line of output says.

    It has `arguments` as strings in `process.argv.slice(2)`. What it says on stderr is in the failure when it ends with
    another code than 0, says no JSON, or is not done within `timeout` seconds.
    """
    command = [*node_command(script), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"{script} was not done within {timeout} s\n{_text(late.stdout)}\n{_text(late.stderr)}")
    if done.returncode:
        pytest.fail(f"{script} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    lines = done.stdout.strip().split("\n")  # and at no other line end: JSON may hold those
    try:
        return json.loads(lines[-1])
    except ValueError:
        pytest.fail(f"{script} said no JSON in its last line\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")


def node_command(script: str | Path) -> list[str]:
    """What starts a script with the packages at hand; its arguments go behind."""
    folder = installed_packages()
    path = Path(script)
    if not path.is_absolute():
        path = folder / "scripts" / path
    # The folder has a link to `scripts/`: a module that is looked at through it finds the packages beside it.
    return [_program("node"), "--preserve-symlinks", "--preserve-symlinks-main", str(path)]


def installed_packages() -> Path:
    """The folder with `node_modules`; installed when first asked for."""
    folder, reason = _installed()
    if folder is None:
        _not_here(reason)
    return folder


@cache
def _installed() -> tuple[Path | None, str]:
    """The folder, or why there is none: asked once per process, since a registry out of reach costs its time."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            return None, f"{name} is not installed"
    wanted = (HERE / "package.json").read_bytes()
    folder = CACHE / hashlib.sha256(wanted).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Several test processes start at once: one installs, the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "scripts").exists():
            reason = _install(wanted, folder)
            if reason:
                return None, reason
    return folder, ""


def _install(wanted: bytes, folder: Path) -> str:
    """Make the folder; it gets its name when it is whole. Gives why that was not possible."""
    making = folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    (making / "package.json").write_bytes(wanted)
    command = [_program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"npm install was not done within {INSTALL_S} s"
    if done.returncode:
        return f"npm install ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
    (making / "scripts").symlink_to(SCRIPTS)
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    return ""


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} was there a moment ago"
    return path


def _not_here(reason: str) -> NoReturn:
    reason = f"real clients need node, npm and their packages: {reason}"
    if os.environ.get("STREAMKIT_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
