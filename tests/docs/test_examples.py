"""Each example does what it says it does."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any, Literal

import httpx
import msgspec
import pytest
import uvicorn

import streamkit as sk
from streamkit.testing import ScriptedModel
from streamkit.wire.sse import Decoder, Frame

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 160


def test_every_example_is_tested_here() -> None:
    scripts = {"wrap_any_generator", "fastapi_endpoint", "chat_server", "ask_any_provider", "tool_loop", "sync_script"}
    assert {f"{name}.py" for name in scripts} | {"quickstart.ipynb", "recipes.ipynb"} == {
        path.name for path in EXAMPLES.iterdir() if not path.name.startswith((".", "_"))
    }


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a script does in a process of its own, where a warning is an error and no key is in the environment."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    without_keys = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, env=without_keys)


def test_a_wrapped_generator_is_closed_before_the_line_after_the_block() -> None:
    done = script("wrap_any_generator.py")
    assert [
        "Water boils at 100 °C.",
        "the source is closed",
        "after the block",
        "the source is closed",
        "WATER BOILS AT 100 °C. AT 3.5 KM IT BOILS AT 88 °C. SALT CHANGES LITTLE.",
    ] == done.stdout.splitlines()


def test_one_request_is_answered_over_each_of_the_three_wires() -> None:
    done = script("ask_any_provider.py")
    said = "Because of scattering. (The system's words stood in {!r}.)"
    assert [
        "openai-chat, /v1/chat/completions: " + said.format("messages"),
        "openai-responses, /v1/responses: " + said.format("instructions"),
        "anthropic, /v1/messages: " + said.format("system"),
    ] == done.stdout.splitlines()
    assert "" == done.stderr


def test_the_tool_loop_goes_on_until_the_model_calls_nothing() -> None:
    done = script("tool_loop.py")
    assert [
        "Let me look.",
        '  call   stock {"item":"tea"}',
        '  call   stock {"item":"milk"}',
        "  result 12",
        "  failed KeyError: 'milk'",
        '  call   stock {"item":"coffee"}',
        "  result 0",
        "Tea: 12, milk: not ours, coffee: 0.",
    ] == done.stdout.splitlines()
    assert "" == done.stderr


def test_the_tool_loop_gives_up_on_a_model_that_never_stops_calling() -> None:
    example = load("tool_loop")
    model = ScriptedModel(sk.ToolCall("1", "stock", '{"item":"tea"}'), sk.Finish("tool-calls"))
    with pytest.raises(RuntimeError, match="no answer after 5 rounds"):
        asyncio.run(example.ask(model, sk.Request.of("?")))
    assert 5 == len(model.plays)


def test_the_sync_script_writes_the_answer_to_stdout_and_what_it_measured_to_stderr() -> None:
    done = script("sync_script.py", "What is a buffer?")
    assert "buffer" in done.stdout
    assert "tokens" not in done.stdout
    *progress, last = done.stderr.splitlines()
    assert 1 == len(progress)
    assert re.match(r"local: \d+ chunks, first after \d+ ms", progress[0])
    assert re.fullmatch(r"\d+ tokens, ended: stop", last)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def serving(app: Any, *, lifespan: Literal["on", "off"]) -> Generator[str]:
    """An application under uvicorn; its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan=lifespan, timeout_graceful_shutdown=1))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The FastAPI example under uvicorn; its address."""
    with serving(load("fastapi_endpoint").app, lifespan="off") as address:
        yield f"{address}/chat"


@pytest.mark.parametrize("dialect", ["native", "openai-chat"])
def test_the_fastapi_endpoint_answers_in_the_dialect_that_was_asked_for(endpoint: str, dialect: str) -> None:
    message = sk.Message()
    with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        asked = {"question": "Who won the match?", "dialect": dialect}
        with http.stream("GET", endpoint, params=asked) as response:
            assert 200 == response.status_code
            assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
            for event in sk.decode(response, dialect).iter():
                message.add(event)
    assert message.complete
    assert message.text.strip()


def test_the_fastapi_endpoint_refuses_a_dialect_it_does_not_offer(endpoint: str) -> None:
    response = httpx.get(endpoint, params={"question": "?", "dialect": "klingon"}, trust_env=False)
    assert 422 == response.status_code


def frames_of(response: httpx.Response, most: int | None = None) -> list[Frame]:
    """The frames of a response, as they come: all, or so many and the connection is dropped."""
    decoder = Decoder()
    frames: list[Frame] = []
    for chunk in response.iter_bytes():
        frames += decoder.feed(chunk)
        if most is not None and len(frames) >= most:
            return frames[:most]
    return frames


def message_of(frames: list[Frame]) -> sk.Message:
    """What these frames say, from wherever they begin."""
    message = sk.Message()
    for frame in frames:
        event = json.loads(frame.data)
        if event["type"] in ("text-delta", "finish"):
            message.add(msgspec.convert(event, sk.TextDelta | sk.Finish))
    return message


def ask(http: httpx.Client, most: int) -> tuple[str, list[Frame]]:
    """Ask, and leave after so many frames: the stream's id, and they."""
    with http.stream("POST", "/chat/", json={"prompt": "What is a buffer?"}) as response:
        assert 200 == response.status_code
        return response.headers["x-stream-id"], frames_of(response, most)


def stream_of(http: httpx.Client, id: str, **headers: str) -> list[Frame]:
    with http.stream("GET", f"/chat/{id}/stream", headers=headers) as response:
        assert 200 == response.status_code
        return frames_of(response)


class Unended:
    """The local model, whose answers do not end before `over` is set, however long a machine takes to look at their middle."""

    def __init__(self) -> None:
        self.over = Event()
        self._model = sk.model("local")

    def stream(self, prompt: str) -> sk.Stream[sk.Event]:
        return sk.stream(self._events(prompt))

    async def _events(self, prompt: str) -> AsyncIterator[sk.Event]:
        async with self._model.stream(prompt) as events:
            async for event in events:
                while isinstance(event, sk.Finish) and not self.over.is_set():
                    yield sk.TextDelta(" and on")
                    await asyncio.sleep(0.02)
                yield event


@pytest.fixture
def unended(monkeypatch: pytest.MonkeyPatch) -> Unended:
    """What the chat server's answers come from."""
    unended = Unended()
    monkeypatch.setattr(sk, "model", lambda name: unended)
    return unended


@contextmanager
def chatting(database: Path) -> Generator[httpx.Client]:
    """A client of the chat server, which has its streams in this file."""
    app = load("chat_server").chat(str(database))
    with (
        serving(app, lifespan="on") as address,
        httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield http


def test_the_chat_server_goes_on_where_a_client_left_off_also_after_a_restart(tmp_path: Path, unended: Unended) -> None:
    with chatting(tmp_path / "chat.db") as http:
        id, seen = ask(http, 5)
        assert "running" == http.get(f"/chat/{id}").json()["state"]
        unended.over.set()
        rest = stream_of(http, id, **{"last-event-id": seen[-1].id})
        answer = message_of(stream_of(http, id))
        assert "stop" == getattr(answer.finish, "reason", None)
        assert answer.text == message_of(seen).text + message_of(rest).text
        assert 204 == http.get(f"/chat/{id}/stream", headers={"last-event-id": rest[-1].id}).status_code
    with chatting(tmp_path / "chat.db") as http:
        assert "done" == http.get(f"/chat/{id}").json()["state"]
        assert answer.text == message_of(stream_of(http, id)).text


def test_the_chat_server_stops_an_answer_for_all_and_for_good(tmp_path: Path, unended: Unended) -> None:
    with chatting(tmp_path / "chat.db") as http:
        assert "EventSource" in http.get("/").text
        id, seen = ask(http, 5)
        assert "cancelled" == http.post(f"/chat/{id}/cancel").json()["state"]
        rest = stream_of(http, id, **{"last-event-id": seen[-1].id})
        assert "cancelled" == getattr(message_of(rest).finish, "reason", None)
        assert 204 == http.get("/chat/somebody-elses/stream").status_code
        assert 400 == http.post("/chat/", content=b"no JSON").status_code


# What their cells show.
NOTEBOOKS = {"quickstart": {"text/plain"}, "recipes": {"text/plain", "text/html", "text/markdown"}}


@pytest.fixture(scope="module", params=NOTEBOOKS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """A notebook, run from top to bottom in a kernel of its own: its name and its cells."""
    folder = tmp_path_factory.mktemp(request.param)
    out = folder / "ran.ipynb"
    # In a process of its own: the notebook machinery warns about itself.
    script = (
        "import nbformat, sys; from nbclient import NotebookClient; book = nbformat.read(sys.argv[1], 4);"
        f"NotebookClient(book, timeout={PATIENCE}, kernel_name='python3').execute(); nbformat.write(book, sys.argv[2])"
    )
    command = [sys.executable, "-c", script, str(EXAMPLES / f"{request.param}.ipynb"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder)
    assert 0 == done.returncode, done.stderr
    return request.param, json.loads(out.read_text("utf-8"))["cells"]


def test_a_notebook_runs_from_top_to_bottom(ran: tuple[str, list[dict[str, Any]]]) -> None:
    _, cells = ran
    kinds = {output["output_type"] for cell in cells for output in cell.get("outputs", [])}
    assert "stream" in kinds
    assert "error" not in kinds


def test_a_notebook_shows_plans_as_pictures_and_markdown_as_it_renders(ran: tuple[str, list[dict[str, Any]]]) -> None:
    name, cells = ran
    assert NOTEBOOKS[name] == {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}


def test_there_are_some_ten_recipes() -> None:
    cells = json.loads((EXAMPLES / "recipes.ipynb").read_text("utf-8"))["cells"]
    assert 10 <= len([cell for cell in cells if "".join(cell["source"]).startswith("## ")]) <= 15


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    cells = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [] == [cell for cell in code if cell["outputs"] or cell["execution_count"]]
