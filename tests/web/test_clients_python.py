"""One answer, every client of Python: the same text, an error as an error, a cut as a cut, and leaving closes the source.

That the OpenAI SDK and httpx-sse read plain ASGI, Starlette and FastAPI alike is in `tests/sinks/test_sse_on_uvicorn.py`; that
all of them can read one stream of a hub at once, in `tests/sinks/test_hub_on_uvicorn.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from answers import ARGUMENTS, HALF, REASONING, TEXT, THOUGHT_TEXT, Answers, closing_takes
from python_clients import CLIENTS, Got, read
from served import served, wait_until

Client = Callable[..., None]
NAMES = [client.__name__ for client in CLIENTS]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=NAMES)


class Server:
    """The answers, and one client that reads them."""

    def __init__(self, url: str, answers: Answers) -> None:
        self._url = url
        self._answers = answers
        self._count = 0
        self.key = ""

    def read_by(self, client: Client, how: str, *, stop: int = 0) -> Got:
        self._count += 1
        self.key = f"{client.__name__}-{self._count}"
        return read(client, f"{self._url}/{how}/{self.key}", stop)

    def closed(self) -> bool:
        return self.key in self._answers.closed

    def left_by(self, client: Client) -> Callable[[], bool]:
        """Whether its source is closed, of a client that has read half of an answer and left."""
        assert HALF == self.read_by(client, "silent", stop=len(HALF)).text
        return self.closed


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    answers = Answers()
    with served(answers, "uvloop") as url:
        yield Server(url, answers)


def finish_of(client: Client, *, tools: bool = False) -> str:
    """What the client calls an answer that is whole, and one that ends in calls of tools."""
    match client.__name__.split("_"):
        case ["openai", "chat", *_]:
            return "tool_calls" if tools else "stop"
        case ["openai", *_]:
            return "completed"
        case ["anthropic", *_]:
            return "tool_use" if tools else "end_turn"
        case _:
            return "end"


@pytest.mark.parametrize("how", ["whole", "bytewise"])
@every_client
def test_the_answer_is_the_same_to_the_last_character(client: Client, how: str, server: Server) -> None:
    assert Got(TEXT, finish=finish_of(client)) == server.read_by(client, how)


@every_client
def test_reasoning_text_and_calls_of_tools_are_whole(client: Client, server: Server) -> None:
    got = server.read_by(client, "tools")
    assert (None, THOUGHT_TEXT, finish_of(client, tools=True)) == (got.error, got.text, got.finish)
    if client.__name__ != "openai_chat_stream":  # it has no events for reasoning
        assert REASONING == got.reasoning
    assert [["weather", json.loads(ARGUMENTS)], ["now", {}]] == [[name, json.loads(arguments)] for name, arguments in got.tools]


@every_client
def test_a_failure_in_the_middle_is_an_error_behind_the_text_and_tells_no_secret(client: Client, server: Server) -> None:
    got = server.read_by(client, "failing")
    assert HALF == got.text
    assert got.finish in (None, "error")
    assert "The stream failed." in (got.told or str(got.error))
    assert "secret" not in f"{got!r}"


@every_client
def test_a_failure_before_the_first_byte_is_the_status_429(client: Client, server: Server) -> None:
    got = server.read_by(client, "refused")
    response: Any = getattr(got.error, "response", None)
    assert (429, "7", "") == (response.status_code, response.headers["retry-after"], got.text)
    assert "Too many requests. Try again later." == response.json()["error"]["message"]
    assert "secret" not in response.text


# What a client reads first of a connection that is torn, its end or its reset, is up to the kernel.
_EITHER = {"RemoteProtocolError", "ReadError"}
TORN = {"openai": {"APIConnectionError"}, "anthropic": _EITHER, "httpx": _EITHER, "httpx2": _EITHER}


@every_client
def test_a_connection_that_is_torn_is_an_error_of_every_client(client: Client, server: Server) -> None:
    got = server.read_by(client, "torn")
    assert HALF == got.text
    assert type(got.error).__name__ in TORN[client.__name__.split("_")[0]]
    wait_until(server.closed)


@every_client
def test_a_body_that_ends_in_the_middle_is_no_whole_answer(client: Client, server: Server) -> None:
    got = server.read_by(client, "cut")
    # All but one say nothing: that there is no finish is what an application can tell it by.
    told = "Didn't receive a `response.completed` event." if client.__name__ == "openai_responses_stream" else None
    assert (HALF, None, told) == (got.text, got.finish, got.error and str(got.error))
    wait_until(server.closed)


@pytest.mark.parametrize("how", ["silent", "endless"])
@every_client
def test_the_source_is_closed_when_the_client_stops(client: Client, how: str, server: Server) -> None:
    got = server.read_by(client, how, stop=len(HALF))
    assert (None, None) == (got.finish, got.error)
    assert got.text.startswith(HALF)
    wait_until(server.closed)


def test_the_source_is_closed_within_a_second_of_that(server: Server) -> None:
    delays = {client.__name__: closing_takes(partial(server.left_by, client)) for client in CLIENTS}
    assert {} == {client: delay for client, delay in delays.items() if delay >= 1}
