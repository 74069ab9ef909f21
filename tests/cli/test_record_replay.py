"""`record` and `replay` as a user runs them, against servers on this machine and with a real SDK."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import streamkit as sk
from streamkit.cli import main
from streamkit.testing import servers

HEADER = '{"streamkit":"recording","version":1,"status":200,"content_type":"text/event-stream"}\n'
CHAT = [
    'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
]
PATIENCE = 60


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text(HEADER + "".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    items = [{"t": 0.01 * n, "data": chunk} for n, chunk in enumerate(CHAT)]
    return write(tmp_path / "chat.jsonl", *items, {"t": 0.02, "end": "done"})


# ---- record


def test_an_answer_is_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, key = tmp_path / "a.jsonl", "Bearer sk-0123456789abcdef"
    with servers.provider("openai-chat", "Hello to you.") as server:
        asked = [f"{server.url}/v1/chat/completions", "--json", '{"model":"m","stream":true,"messages":[]}']
        code = main(["record", *asked, "--out", str(out), "--dialect", "openai-chat", "--header", f"Authorization: {key}"])
        assert key == {name.lower(): value for name, value in server.requests[0].headers.items()}["authorization"]
    printed = capsys.readouterr()
    assert (0, "Hello to you.\n") == (code, printed.out)
    assert re.search(r"\d+ chunks, first after .* ended: stop\nstatus 200, recorded in ", printed.err)
    assert "sk-0123" not in out.read_text("utf-8")
    assert {"status": 200, "dialect": "openai-chat"}.items() <= json.loads(out.read_text("utf-8").splitlines()[0]).items()


def test_without_a_dialect_the_bytes_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sent = tmp_path / "a.jsonl", tmp_path / "body.json"
    sent.write_text('{"stream":true}', "utf-8")
    with servers.provider("native", "Hi") as server:
        assert 0 == main(["record", server.url, "--out", str(out), "--json", f"@{sent}"])
        assert {"stream": True} == server.requests[0].json
    assert 'data: {"type":"text-delta","text":"Hi"}' in capsys.readouterr().out


def test_an_error_status_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.jsonl"
    with servers.provider("openai-chat") as server:
        assert 1 == main(["record", f"{server.url}/v1/chat/completions", "--out", str(out), "--json", "{}"])
        assert "status 400" in capsys.readouterr().err
        assert 1 == main(
            ["record", f"{server.url}/v1/chat/completions", "--out", str(out), "--json", "{}", "--dialect", "openai-chat"]
        )
    assert capsys.readouterr().err.startswith("0 chunks, ended: bad-request\n")
    with pytest.raises(sk.BadRequestError):
        list(sk.decode(sk.replay(out), "openai-chat").iter())


def test_control_sequences_of_a_model_do_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with servers.provider("native", "\x1b]52;c;ZXZpbA==\x07safe \x1b[2Jtext") as server:
        asked = ["record", server.url, "--out", str(tmp_path / "a.jsonl"), "--json", '{"stream":true}']
        assert 0 == main([*asked, "--dialect", "native"])
    assert "safe text\n" == capsys.readouterr().out
    assert 0 == main(["replay", str(tmp_path / "a.jsonl"), "--text", "--speed", "inf"])
    assert "safe text\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--header", "no colon"], "a header is written as"),
        (["--json", "@/no/such/file"], "No such file"),
        (["--out", "/no/such/folder/a.jsonl"], "cannot record into"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert 1 == main(["record", "http://127.0.0.1:9", "--out", str(tmp_path / "a.jsonl"), *options])
    error = capsys.readouterr().err
    assert said in error
    assert 1 == error.count("\n")


def test_nobody_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert 1 == main(["record", url, "--out", str(tmp_path / "a.jsonl")])
    error = capsys.readouterr().err
    assert f"streamkit: {url}: " in error
    assert "Traceback" not in error


# ---- replay, here


def test_items_are_shown_with_their_times_each_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"t": 0.25, "data": "data: x\n\n"},
        {"t": 1.5, "base64": "/w=="},
        {"t": 2, "text": "\n[CRITICAL] \u001b[31m"},
        {"t": 3, "event": {"type": "text-delta", "text": "\u202ea"}},
        {"t": 4, "end": "error", "error": {"type": "StreamTruncated", "message": "cut"}},
    )
    assert 0 == main(["replay", str(path), "--speed", "inf"])
    assert [
        "     0.250  data: x\\n\\n",
        "     1.500  \\\\xff",
        "     2.000  \\n[CRITICAL] \\x1b[31m",
        '     3.000  {"type": "text-delta", "text": "\\u202ea"}',
        "     4.000  end: error StreamTruncated: cut",
    ] == capsys.readouterr().out.splitlines()


def test_a_recording_without_an_end_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["replay", str(write(tmp_path / "a.jsonl", {"t": 0, "text": "a"}))])
    assert "has no end" in capsys.readouterr().err
    assert 1 == main(["replay", str(tmp_path / "a.jsonl"), "--text"])
    printed = capsys.readouterr()
    assert ("a\n", True) == (printed.out, "has no end" in printed.err)


def test_the_text_of_bytes_is_read_in_the_dialect(chat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["replay", str(chat), "--text", "--dialect", "openai-chat"])
    assert "Hello\n" == capsys.readouterr().out
    assert 0 == main(["replay", str(chat), "--text"])
    assert "".join(CHAT) == capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_is_none_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert 1 == main(["replay", str(tmp_path / name)])
    assert capsys.readouterr().err.startswith("streamkit: cannot read ")


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan"])
def test_a_speed_that_is_none_is_not_understood(chat: Path, speed: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["replay", str(chat), f"--speed={speed}"])
    assert 2 == caught.value.code


# ---- replay, as a server


@contextmanager
def replaying(path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "streamkit", "replay", str(path), "--serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found[0]
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def test_a_real_sdk_reads_a_recording_and_ctrl_c_ends_the_server(chat: Path) -> None:
    with replaying(chat) as (process, url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            for _ in range(2):
                chunks = client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "x" * 100_000}], stream=True
                )
                assert ["Hel", "lo"] == [chunk.choices[0].delta.content for chunk in chunks]
        with httpx.stream("POST", url, json={}, timeout=PATIENCE) as response:
            assert (200, "text/event-stream") == (response.status_code, response.headers["content-type"])
            assert CHAT == [chunk.decode() for chunk in response.iter_raw()]
        assert 403 == httpx.get(url, headers={"host": "evil.example"}, timeout=PATIENCE).status_code
        assert 200 == httpx.head(url, timeout=PATIENCE).status_code
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=PATIENCE)
    assert (0, "") == (process.returncode, error)
    assert out.endswith("Stopped; nothing is left running.\n")


def test_ctrl_c_ends_an_answer_that_is_being_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"t": 0, "data": "data: 1\n\n"}, {"t": 3600, "data": "data: 2\n\n"})
    with replaying(path) as (process, url), httpx.stream("GET", url, timeout=PATIENCE) as response:
        chunks = response.iter_raw()
        assert b"data: 1\n\n" == next(chunks)
        process.send_signal(signal.SIGINT)
        with pytest.raises(httpx.HTTPError):
            next(chunks)
        _, error = process.communicate(timeout=PATIENCE)
        assert (0, "") == (process.returncode, error)


def test_a_recorded_failure_tears_the_answer_off(tmp_path: Path) -> None:
    failure = {"t": 0.02, "end": "error", "error": {"type": "ReadError", "message": "reset"}}
    path = write(tmp_path / "a.jsonl", {"t": 0, "data": CHAT[0]}, failure)
    with replaying(path) as (_, url), httpx.stream("GET", url, timeout=PATIENCE) as response:
        seen: list[bytes] = []
        # Whether its end or its reset is read first is up to the kernel.
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            seen.extend(response.iter_raw())


def test_recorded_events_are_served_in_the_dialect_that_is_asked_for(tmp_path: Path) -> None:
    events = [{"type": "text-delta", "text": "Hel"}, {"type": "text-delta", "text": "lo"}, {"type": "finish"}]
    path = write(tmp_path / "a.jsonl", *[{"t": 0, "event": event} for event in events], {"t": 0, "end": "done"})
    with replaying(path, "--dialect", "openai-chat") as (_, url):
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as sdk:
            chunks = list(sdk.chat.completions.create(model="m", messages=[], stream=True))
        assert "Hello" == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert "stop" in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    with replaying(path) as (_, url), httpx.Client(timeout=PATIENCE) as client:
        answer = sk.decode(lambda: client.stream("GET", url), "native")
        assert "Hello" == "".join(event.text for event in answer.iter() if isinstance(event, sk.TextDelta))


def test_a_status_is_served_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"streamkit":"recording","version":1,"status":429,"content_type":"application/json\\r\\nX: y"}\n', "utf-8")
    with path.open("a") as file:
        file.write('{"t":0,"data":"{\\"error\\":{}}"}\n{"t":0,"end":"done"}\n')
    with replaying(path) as (_, url):
        answer = httpx.get(url, timeout=PATIENCE)
        assert (429, "application/jsonX: y", None) == (answer.status_code, answer.headers["content-type"], answer.headers.get("x"))


def test_a_port_that_is_taken_is_said(chat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert 1 == main(["replay", str(chat), "--serve", "--port", str(port)])
    assert f"port {port} is not free" in capsys.readouterr().err
