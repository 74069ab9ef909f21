"""What people and models say stays out of logs, messages and pictures of objects, and is forgotten at the end.

The cases are those of the shared list of bad inputs, group `privacy_logging`, by their ids.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from byte_server import Answer, byte_server

import streamkit as sk

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx2 leaves generators of its own to the collector, in a plain loop too.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

# Put together at run time, so that no constant of this module is found when memory is searched.
HALVES = ("zebra", "crossing")
PROMPT = "prompt-" + "-".join(HALVES)
SECRET = "sk-proj-" + "0123456789" * 3


def said() -> str:
    return "answer-" + "-".join(HALVES)


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
FAILURES = (
    "cut", "torn", "not JSON", "another shape", "an error after 200", "refused", "one document", "text", "an endless line"
)  # fmt: skip


def answer_of(failure: str) -> Answer:
    """Made when it is wanted: memory is searched for what it says."""
    answers = {
        "cut": Answer([chunk(said())]),
        "torn": Answer([chunk(said())], end="torn"),
        "not JSON": Answer([chunk(said()), b'data: {"id":"' + said().encode() + b"\n\n"]),
        "another shape": Answer([chunk(said()), b'data: ["' + said().encode() + b'"]\n\n']),
        "an error after 200": Answer([chunk(said()), b'data: {"error":{"message":"no more","code":"server_error"}}\n\n']),
        "refused": Answer([b'{"error":{"message":"the key ' + SECRET.encode() + b' is wrong"}}'], 401, "application/json"),
        "one document": Answer([json.dumps({"choices": [{"message": {"content": said()}}]}).encode()], 200, "application/json"),
        "text": Answer([said().encode() * 9], 200, "text/plain"),
        "an endless line": Answer([b"data: " + said().encode() * 100_000]),
    }
    return answers[failure]


@pytest.mark.parametrize("failure", FAILURES)
async def test_priv_01_neither_prompt_nor_answer_is_in_logs_messages_or_pictures(
    failure: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []
    with byte_server({"/v1/chat/completions": answer_of(failure)}) as server:
        model: Any = sk.model(f"{server.url}/v1", dialect="openai-chat", model="m", api_key=SECRET)
        request = sk.Request.of(PROMPT, system=PROMPT, stop=[PROMPT])
        stream = model.stream(request)
        shown += [model, request, request.messages, stream, stream.explain()]
        run = stream.open()
        with pytest.raises(Exception) as caught:
            async with run as events:
                async for event in events:
                    shown.append(event.type)
        shown += [run, run.partial, getattr(caught.value, "partial", None)]
        await model.aclose()
    shown += [caught.value, *traceback.format_exception(caught.value)]
    shown += [record.getMessage() + str(record.exc_text) for record in caplog.records]
    everything = "\n".join([*capfd.readouterr(), *(f"{one!s} {one!r}" for one in shown)])
    for canary in (PROMPT, said(), SECRET):
        assert canary not in everything


async def test_priv_02_a_key_is_in_no_picture_and_no_message_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused = Answer([b'{"error":{"message":"Incorrect API key provided: ' + SECRET.encode() + b'"}}'], 401, "application/json")
    with byte_server({"/v1/chat/completions": refused, "/v1/messages": refused, "/v1/responses": refused}) as server:
        for dialect in ("openai-chat", "openai-responses", "anthropic"):
            model: Any = sk.model(f"{server.url}/v1", dialect=dialect, model="m", api_key=SECRET, headers={"x-extra": SECRET})
            with pytest.raises(sk.AuthError) as caught:
                await model.stream("hi").collect()
            pictures = f"{model!r} {model.stream('hi')!r} {caught.value!s} {caught.value!r} {vars(caught.value)}"
            assert SECRET not in pictures
            await model.aclose()
    assert SECRET not in caplog.text


async def body_of_fifty() -> AsyncIterator[bytes]:
    for _ in range(50):
        yield chunk(said())
    yield chunk("", "stop") + DONE


async def asked(stream: sk.Stream[sk.Event]) -> tuple[bool, bool]:
    """Whether all came, and whether the search finds what is still there: in a frame of its own, which then is gone."""
    message = await stream.message()
    return said() * 50 == message.text, bool(found_in_memory())


async def test_priv_06_nothing_that_was_said_is_kept_after_the_end() -> None:
    stats = sk.Stats()
    stream = sk.decode(body_of_fifty, "openai-chat").measure(stats) | sk.on_text(sk.sentences()) | sk.buffer(8) | sk.coalesce()
    assert (True, True) == await asked(stream)
    await checkpoint()  # tasks that have ended are let go of when the event loop turns
    gc.collect()
    # The stream, which can be run again, and its measures are still here; what went through is not.
    assert [] == found_in_memory()
    assert 50 <= stats.chunks
    assert "decode" in repr(stream)


def found_in_memory() -> list[str]:
    """What holds an object with the answer in it, by the type of the holder."""
    text = said()
    found: list[str] = []
    here = sys._getframe()
    for holder in gc.get_objects():
        if holder is here:
            continue
        for held in gc.get_referents(holder):
            for content in strings_of(held):
                if text in content:
                    found.append(f"{type(holder).__name__} holds a {type(held).__name__}")
    return found


def strings_of(value: object) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is bytes:
        yield value.decode("utf-8", "replace")
    elif isinstance(value, sk.TextDelta):
        yield value.text
