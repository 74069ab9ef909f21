"""One answer, compressed and padded: every client reads the same, and has the first words while the answer goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from answers import HALF, TEXT, Answers
from node_clients import NodeSession, node_session
from python_clients import CLIENTS, read
from served import served, wait_until

OF_NPM = [
    "openaiChatRaw", "openaiChatStream", "ai6Compatible", "ai7Compatible", "openaiResponsesRaw", "openaiResponsesStream",
    "anthropicRaw", "anthropicStream", "eventSource", "parser", "microsoft",
]  # fmt: skip
OF_PYTHON = {client.__name__: client for client in CLIENTS}


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("clients.mjs") as running:
        yield running


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(compress=True, pad=256)


@pytest.fixture(scope="module")
def url(answers: Answers) -> Iterator[str]:
    with served(answers) as url:
        yield url


def read_by(client: str, url: str, node: NodeSession, stop: int = 0) -> dict[str, Any]:
    if client in OF_PYTHON:
        return asdict(read(OF_PYTHON[client], url, stop))
    got: dict[str, Any] = node.call(client, url=url, stop=stop, method="POST")
    return got


@pytest.mark.parametrize("client", [*OF_NPM, *OF_PYTHON])
def test_a_compressed_answer_is_the_same_to_the_last_character(client: str, url: str, answers: Answers, node: NodeSession) -> None:
    got = read_by(client, f"{url}/whole/{client}", node)
    assert (None, TEXT) == (got["error"], got["text"])
    assert got["finish"]
    assert 0 == got.get("empty", 0), "a comment became a message"
    # Every one of them asks for it by itself, so nothing above was read as it is.
    assert {True} == answers.compressed[client]


@pytest.mark.parametrize("client", [*OF_NPM, *OF_PYTHON])
def test_the_first_words_do_not_wait_for_more_to_compress_and_leaving_closes_the_source(
    client: str, url: str, answers: Answers, node: NodeSession
) -> None:
    key = f"{client}-silent"
    got = read_by(client, f"{url}/silent/{key}", node, stop=len(HALF))
    assert HALF == got["text"]
    wait_until(lambda: key in answers.closed)
