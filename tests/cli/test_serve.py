"""`python -m streamkit serve` as a user runs it, and what it says of what it cannot serve."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.sync.client import connect

import streamkit as sk
from streamkit.cli import main
from streamkit.cli.serve import function_at, prompt_in
from streamkit.sinks.chats import Refused

HERE = Path(__file__).resolve().parent
PATIENCE = 60
SECRET = "sk-SECRET"


class Serving:
    """A server in a process of its own; started with what it printed up to the curl line."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "streamkit", "serve", *options]
        self.process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if "curl" in line:
                break
        found = re.search(r"curl -N '(http://[^/]+)(/\S+)'", self.said)
        assert found, self.said
        self.url, self.asked = found[1], found[2]

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)

    def stop(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.said += rest
        return self.process.returncode


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    server = Serving("served_streams:echo", "--port", "0", "--dialect", "openai-chat")
    yield server
    server.stop(signal.SIGTERM)


def text_of(response: httpx2.Response, dialect: str) -> str:
    message = sk.Message()
    for event in sk.decode([response.content], dialect).iter():
        message.add(event)
    assert message.complete
    return message.text


def test_the_printed_curl_line_is_answered(serving: Serving) -> None:
    with serving.client() as client:
        response = client.get(serving.asked)
    assert 200 == response.status_code
    assert "You said Hello." == text_of(response, "openai-chat")


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "Ho"},
        {"question": "Ho"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Ho"}]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": "Ho"}, {"type": "file"}]}]},
    ],
)
def test_a_prompt_may_come_in_the_shapes_of_chats(serving: Serving, body: dict[str, object]) -> None:
    with serving.client() as client:
        assert "You said Ho." == text_of(client.post("/sse", json=body), "openai-chat")


def test_lines_of_json(serving: Serving) -> None:
    with serving.client() as client:
        response = client.get("/ndjson", params={"prompt": "Ho"})
    assert "application/x-ndjson" == response.headers["content-type"].partition(";")[0]
    assert "You said Ho." == "".join(json.loads(line).get("text", "") for line in response.text.splitlines())


def test_a_chat_is_started_and_joined(serving: Serving) -> None:
    with serving.client() as client:
        started = client.post("/chat", json={"prompt": "Ho"})
        joined = client.get(started.headers["location"])
    assert started.text == joined.text
    assert "You said Ho." == text_of(joined, "openai-chat")


def test_a_web_socket(serving: Serving) -> None:
    with connect(serving.url.replace("http", "ws") + "/ws", proxy=None, open_timeout=PATIENCE) as connection:
        connection.send(json.dumps({"type": "send", "request": "1", "stream": "a", "input": {"prompt": "Ho"}}))
        text, kind = "", ""
        while kind != "end":
            said = connection.recv(timeout=PATIENCE)
            kind = json.loads(said)["type"]
            assert kind in ("hello", "started", "events", "end"), said
            text += str(said)
    assert all(word in text for word in ("You said ", "Ho"))


def test_what_is_asked_wrongly_is_told(serving: Serving) -> None:
    with serving.client() as client:
        assert "curl" not in client.get("/").text
        assert "/sse" in client.get("/").text
        assert 404 == client.get("/elsewhere").status_code
        assert 405 == client.delete("/sse").status_code
        assert 400 == client.post("/sse", json={"no": "prompt"}).status_code
        assert 413 == client.post("/sse", json={"prompt": "x" * (1 << 20)}).status_code
        assert 415 == client.post("/sse", content="prompt=Hi", headers={"content-type": "text/plain"}).status_code
        form = client.post("/chat", content='{"prompt": "Hi"}', headers={"content-type": "application/x-www-form-urlencoded"})
        assert "content-type: application/json" in form.json()["error"]["message"]  # which `curl -d` does not say by itself
        failed = client.get("/sse", params={"prompt": "fail"})
    assert 503 == failed.status_code
    assert SECRET not in failed.text


def test_pages_of_other_sites_and_foreign_names_are_refused(serving: Serving) -> None:
    with serving.client() as client:
        assert 403 == client.get("/sse", headers={"host": "evil.example"}).status_code
        assert 403 == client.get("/sse", headers={"origin": "https://evil.example"}).status_code
        assert 403 == client.get("/sse", headers={"sec-fetch-site": "cross-site"}).status_code
        assert {"status": "ok"} == client.get("/healthz").json()


def test_ctrl_c_ends_it_and_an_answer_under_way_is_told() -> None:
    server = Serving("served_streams:endless", "--port", "0")
    with server.client() as client, client.stream("GET", "/sse") as response:
        chunks = response.iter_text()
        seen = next(chunks)
        server.process.send_signal(signal.SIGINT)
        seen += "".join(chunks)
    assert "first" in seen
    assert "draining" in seen
    code = server.stop(0)
    assert 0 == code
    assert "Stopped; nothing is left running." in server.said
    assert "Traceback" not in server.said


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("served_streams", "module:function"),
        ("served_streams:", "module:function"),
        ("served_streams.py:echo", "served_streams:echo"),
        ("no_such_module:echo", "there is no module 'no_such_module'"),
        ("served_streams:ecko", "did you mean 'echo'"),
        ("served_streams:nothing_callable", "give a function"),
        ("served_streams:of_two", "wants prompt, other"),
    ],
)
def test_a_target_that_is_no_function_is_told_in_one_line(
    target: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    assert 1 == main(["serve", target, "--port", "0"])
    said = capsys.readouterr().err
    assert told in said
    assert 1 == said.count("\n")


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert 1 == main(["serve", "served_streams:echo", "--port", str(port)])
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_without_uvicorn_the_pip_line_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 1 == main(["serve", "served_streams:echo"])
    assert "pip install 'streamkit-ai[demo]'" in capsys.readouterr().err


def test_a_function_of_nothing_and_a_model_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    assert ["H", "i"] == list(function_at("served_streams:of_nothing")("ignored").iter())
    assert any(isinstance(event, sk.TextDelta) for event in function_at("served_streams:model")("What is a buffer?").iter())


@pytest.mark.parametrize("value", [1, [], {"prompt": 1}, {"messages": []}, {"messages": [{"content": 1}]}])
def test_what_holds_no_prompt_is_refused(value: object) -> None:
    with pytest.raises(Refused) as refused:
        prompt_in(value)
    assert 400 == refused.value.status
