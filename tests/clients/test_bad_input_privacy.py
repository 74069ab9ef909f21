"""What people and models say stays out of logs, messages and pictures of objects, and is forgotten at the end.

The cases are those of the shared list of bad inputs, group `privacy_logging`, by their ids.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from byte_server import Answer, byte_server

import streamkit as sk
from streamkit.cli import main
from streamkit.errors import scrub
from streamkit.sinks.sse import Response
from streamkit.stages.printable import one_line

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


async def test_priv_03_names_that_users_invent_are_a_bounded_set_of_labels() -> None:
    """Models by the thousand, ids, control characters, megabytes: a page of metrics keeps its size."""
    totals = sk.Totals(limit=10)
    invented = [f"user-{n}/model-{n * 7919 % 104729}" for n in range(3000)]
    odd = ["a" * 1_000_000, "x\ny", 'm"} 1\nfake{a="b', "\x1b[2J", "", "\u202emodel", *[f"{n}" * 101 for n in range(9)]]
    for name in ["known-model", *invented, *odd]:
        stats = sk.Stats()
        answer = [sk.Start(id=name, model=name), sk.TextDelta("one two"), sk.Finish()]
        await sk.stream(answer).measure(stats).run()
        totals.add(stats)
        totals.add(stats, model=name)
    labels = totals.as_dict()
    assert ["known-model", *invented[:9], "other"] == list(labels)
    assert 2 * (1 + len(invented) + len(odd)) == sum(total["streams"] for total in labels.values())
    assert 2 * (len(invented) - 9 + len(odd)) == labels["other"]["streams"]
    assert 10_000 > len(json.dumps(labels))
    assert all(label.isprintable() and len(label) <= 100 for label in labels)
    assert {frozenset(labels["other"])} == {frozenset(total) for total in labels.values()}  # what is summed has fixed names


ATTACKS = {
    "a line of a log": "ok\n[CRITICAL] root login",
    "OSC 52 writes the clipboard": "a\x1b]52;c;ZXZpbA==\x07b",
    "OSC 8 hides an address": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "CSI clears what was said": "a\x1b[2J\x1b[1;1H\x1b[31mb\x1b[0m",
    "the eight-bit forms": "a\x9b2Jb\x9d52;c;ZXZpbA==\x9cc",
    "a carriage return": "all is well\rall is lost\x08\x08",
    "a title, never ended": "a\x1b]0;" + "title " * 9,
    "directions": "\u202etxt.exe\u202c \u2066x\u2069",
}
EIGHT_BIT = frozenset(map(chr, range(0x80, 0xA0)))
COMMANDS = EIGHT_BIT | frozenset("\x1b\x07\x08\r\x7f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
PAYLOADS = ("ZXZpbA", "evil.example", "[2J", "[31m", "title ")


def is_harmless(shown: str) -> bool:
    """Whether nothing in it commands a terminal or turns its direction."""
    return not COMMANDS & set(shown)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_priv_04_a_terminal_is_given_text_without_commands_wherever_they_are_cut(attack: str) -> None:
    for at in range(len(attack) + 1):
        pieces = [attack[:at], attack[at:]]
        plain = await (sk.stream(pieces) | sk.printable()).join()
        events: list[sk.Event] = [*map(sk.TextDelta, pieces), sk.Finish()]
        lifted = await (sk.stream(events) | sk.on_text(sk.printable())).collect()
        assert plain == "".join(event.text for event in lifted if isinstance(event, sk.TextDelta))
        assert is_harmless(plain)
        assert not [payload for payload in PAYLOADS if payload in plain]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_priv_04_measures_show_a_provider_s_words_on_one_line_without_commands(attack: str) -> None:
    for is_terminal in (False, True):
        file = io.StringIO()
        file.isatty = lambda is_terminal=is_terminal: is_terminal  # type: ignore[method-assign, misc]  # the default binds it now
        answer = [sk.Start(model=attack), sk.TextDelta(attack), sk.ErrorEvent("no", code=attack)]
        stats = sk.Stats()
        await sk.stream(answer).measure(stats).progress(file=file, label=attack).run()
        assert is_harmless(str(stats))
        assert 1 == len(str(stats).splitlines())
        last = file.getvalue().removesuffix("\n").rpartition("\n")[2]
        # What moves the cursor on a terminal is ours: a carriage return, or rich's own sequences, which are all CSI.
        assert not any(begin in last for begin in ("\x1b]", "\x1b\\", "\x07", "\x9b", "\x9d", "\u202e"))
        assert is_terminal or (is_harmless(last) and 1 == file.getvalue().count("\n"))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_priv_04_messages_of_errors_are_one_line_without_commands(attack: str) -> None:
    refused = Answer([json.dumps({"error": {"message": attack, "code": attack, "type": attack}}).encode()], 400, "application/json")
    failing = Answer([chunk("a"), b"data: " + json.dumps({"error": {"message": attack, "code": attack}}).encode() + b"\n\n"])
    for answer in (refused, failing):
        with byte_server({"/v1/chat/completions": answer}) as server:
            model: Any = sk.model(f"{server.url}/v1", dialect="openai-chat", model="m", api_key=SECRET)
            with pytest.raises(sk.SourceError) as caught:
                await model.stream("hi").collect()
            await model.aclose()
        for said_of_it in (str(caught.value), repr(caught.value), scrub(attack), one_line(attack)):
            assert is_harmless(said_of_it)
            assert 1 == len(said_of_it.splitlines())


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_priv_04_the_command_line_shows_recordings_without_commands(
    attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "a.jsonl")
    for items in ([attack], [attack.encode("utf-8")], [sk.TextDelta(attack), sk.ErrorEvent(attack, code=attack)]):
        asyncio.run((sk.stream(items) | sk.record(path)).run())
        for options in ([], ["--text"]):
            assert 0 == main(["replay", path, "--speed", "1000", *options])
            printed = capsys.readouterr()
            assert is_harmless(printed.out + printed.err)
            assert options or 1 + len(items) == printed.out.count("\n")


def test_priv_04_the_demo_shows_a_question_on_one_line_without_commands(capsys: pytest.CaptureFixture[str]) -> None:
    question = "".join(ATTACKS.values())
    assert 0 == main(["demo", "--once", "--port", "0", "--question", question])
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert not [line for line in shown.splitlines() if line.startswith("[CRITICAL]")]


async def writes_of(app: Response) -> list[bytes]:
    """What an ASGI application writes to a client that stays."""
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            return {"type": "http.request", "body": b"", "more_body": False}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        messages.append(message)

    await app({"type": "http", "method": "GET", "path": "/", "headers": [], "asgi": {"version": "3.0"}}, receive, send)
    assert messages[-1]["more_body"] is False
    return [message["body"] for message in messages[1:]]


@pytest.mark.parametrize("dialect", ["native", "openai-chat", "anthropic", "openai-responses"])
async def test_priv_05_padded_writes_of_a_response_come_in_a_few_sizes(dialect: str) -> None:
    """Tokens of 1 to 60 characters: without padding nearly each length has a size of its own on the wire."""
    words = ["x" * n for n in range(1, 61)]

    async def answer() -> AsyncIterator[sk.Event]:
        for word in words:
            await checkpoint()
            yield sk.TextDelta(word)
        yield sk.Finish()

    sizes: dict[int | None, set[int]] = {}
    for pad in (None, 256):
        writes = await writes_of(Response(sk.stream(answer), dialect=dialect, pad=pad))
        sizes[pad] = {len(write) for write in writes if write}
        read = await sk.decode(writes, dialect).collect()
        assert "".join(words) == "".join(event.text for event in read if isinstance(event, sk.TextDelta))
    assert 40 <= len(sizes[None])
    assert {0} == {size % 256 for size in sizes[256]}
    # A write with one token is one block in all of these dialects, or two: its length says no more than that.
    assert len(sizes[256]) <= 8


async def body_of_fifty() -> AsyncIterator[bytes]:
    for _ in range(50):
        yield chunk(said())
    yield chunk("", "stop") + DONE


async def asked(stream: sk.Stream[sk.Event]) -> tuple[bool, bool]:
    """Whether all came, and whether the search finds what is still there: in a frame of its own, which then is gone."""
    message = await stream.message()
    return said() * 50 == message.text, bool(found_in_memory())


@pytest.mark.skipif(
    (3, 12) <= sys.version_info[:3] < (3, 12, 2),
    reason="once all objects of a program with a task have been looked at, the collector of Python 3.12.1 never comes to an end",
)
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
    elif type(value) is sk.TextDelta:  # not isinstance, which asks the lazy proxies of an SDK what they are, and so loads all of it
        yield value.text
