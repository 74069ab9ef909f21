"""The demo as a user runs it: in a process of its own, with and without a terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import httpx
import pytest

from streamkit.cli import main
from streamkit.cli.endpoint import is_loopback, listen

DEMO = [sys.executable, "-m", "streamkit", "demo"]
FOREIGN = "Who won the match?"  # the answer is short: the model knows nothing of this
PATIENCE = 90
# The demo with a model that takes minutes for an answer: whoever looks at its middle is never too late.
SLOW_DEMO = """
import functools, sys
from streamkit.cli import demo, main

demo.model = functools.partial(demo.model, pace=2)
sys.exit(main(["demo", *sys.argv[1:]]))
"""


def run_demo(*options: str, question: str = FOREIGN) -> subprocess.CompletedProcess[str]:
    command = [*DEMO, "--question", question, *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_without_a_terminal_the_demo_answers_measures_and_ends_by_itself() -> None:
    done = run_demo("--port", "0", question="What is a buffer?")
    assert (0, "") == (done.returncode, done.stderr)
    assert "sk.buffer(" in done.stdout
    assert re.search(r"time to first chunk +\d+\.\d ms", done.stdout)
    assert re.search(r"chunks +\d+, \d+/s", done.stdout)
    assert re.search(r"tokens +\d+ in, \d+ out", done.stdout)
    assert re.search(r"ended +stop\n$", done.stdout)


def test_the_answer_is_the_same_in_another_dialect() -> None:
    answers = [run_demo("--port", "0", "--dialect", dialect).stdout for dialect in ("native", "openai-chat")]
    native, openai = (re.search(r"Asking it over HTTP.*?\n\n(.*?)\n+ +time to first", text, re.DOTALL) for text in answers)
    assert native
    assert openai
    assert native[1] == openai[1]


def test_a_port_in_use_is_said_and_another_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_demo("--port", str(port))
    assert 0 == done.returncode
    assert f"Port {port} is not free" in done.stdout


def test_a_port_that_was_just_served_is_free_again() -> None:
    first, _ = listen(0)
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)), first:
        first.accept()[0].close()  # closed by the server: the port stays warm for a minute
    again, as_wanted = listen(port)
    with again:
        assert as_wanted


@contextmanager
def demo_in_a_terminal(question: str = FOREIGN, *, slow: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    pty = pytest.importorskip("pty", reason="terminals are tested where there are pseudo-terminals")
    ours, theirs = pty.openpty()
    command = [*([sys.executable, "-c", SLOW_DEMO] if slow else DEMO), "--port", "0", "--question", question]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(fd: int, wanted: str) -> str:
    seen = ""
    ends = monotonic() + PATIENCE
    while not re.search(wanted, seen):
        assert select.select([fd], [], [], max(0.0, ends - monotonic()))[0], f"no {wanted!r} in: {seen}"
        seen += os.read(fd, 65536).decode("utf-8", "replace")
    return seen


def read_a_frame(parts: Iterator[str]) -> None:
    """The first of an answer, in however many reads it comes."""
    seen = ""
    while "data: " not in seen:
        seen += next(parts)


def test_with_a_terminal_the_demo_goes_on_serving_until_ctrl_c() -> None:
    with demo_in_a_terminal() as (process, terminal):
        shown = read_until(terminal, r"curl -N '\S+'")
        found = re.search(r"curl -N '(\S+)'", shown)
        assert found
        url = found[1]
        with httpx.stream("GET", url, trust_env=False, timeout=PATIENCE) as response:
            assert 200 == response.status_code
            assert response.headers["content-type"].startswith("text/event-stream")
            read_a_frame(response.iter_text())
            process.send_signal(signal.SIGINT)  # while an answer is on its way to somebody
            assert "nothing is left running" in read_until(terminal, "nothing is left running")
        assert 0 == process.wait(PATIENCE)
        with pytest.raises(ProcessLookupError):  # it began a process group of its own, of which nobody is left
            os.killpg(process.pid, 0)


def test_ctrl_c_in_the_middle_of_the_answer_ends_with_130_and_one_line() -> None:
    with demo_in_a_terminal("What is a buffer?", slow=True) as (process, terminal):
        read_until(terminal, r"Asking it over HTTP[^\n]*\r\n\r\n\S")
        process.send_signal(signal.SIGINT)
        shown = read_until(terminal, "interrupted")
        assert 130 == process.wait(PATIENCE)
    assert "Traceback" not in shown


def test_only_names_of_this_machine_are_answered() -> None:
    with demo_in_a_terminal() as (_, terminal):
        found = re.search(r"curl -N '(\S+)'", read_until(terminal, r"curl -N '\S+'"))
        assert found
        url = httpx.URL(found[1])
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            assert 403 == http.get(url, headers={"host": "evil.example"}).status_code
            assert 404 == http.get(url.copy_with(path="/", query=None)).status_code
            assert 400 == http.get(url.copy_with(query=b"question=+")).status_code
            assert 405 == http.post(url).status_code
            with http.stream("GET", url, headers={"host": f"localhost:{url.port}"}) as response:
                assert 200 == response.status_code


@pytest.mark.parametrize(
    ("host", "expected"), [("", False), ("localhost", True), ("LOCALHOST:1", True), ("127.0.0.1.evil.example", False)]
)
def test_a_host_header_is_looked_at_whole(host: str, expected: bool) -> None:
    assert expected is is_loopback(host)


@pytest.mark.parametrize("argv", [[], ["demo", "--port", "99999"], ["demo", "--dialect", "klingon"], ["nonsense"]])
def test_what_is_not_understood_gives_code_2_and_says_why(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert 2 == ended.value.code
    assert "error:" in capsys.readouterr().err


def test_an_empty_question_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["demo", "--question", " "])
    assert 'streamkit: the question is empty: --question "What is a buffer?"\n' == capsys.readouterr().err


@pytest.mark.parametrize("dialect", ["htmx", "ndjson", "text", "ag-ui"])
def test_a_dialect_that_is_not_read_over_sse_is_told_before_anything_is_served(
    dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == main(["demo", "--once", "--port", "0", "--dialect", dialect])
    out, error = capsys.readouterr()
    assert "" == out
    assert f"which '{dialect}' is not made for: --dialect native" in error


def test_a_missing_extra_is_told_as_its_pip_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 1 == main(["demo", "--once", "--port", "0"])
    assert "pip install 'streamkit-ai[demo]'" in capsys.readouterr().err
