"""The clients of Python, each reading one answer: what it got, how that ended, and the error that it raised.

The counterpart of `scripts/clients.mjs`. `stop` is a number of characters behind which the reader leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anthropic
import httpx
import httpx2
import httpx_sse
import openai

__all__ = ["CLIENTS", "Got", "read"]

_SECONDS: Final = 90


@dataclass
class Got:
    """What a client read.

    Attributes:
        text, reasoning: All of it.
        tools: Name and arguments of each call.
        finish: How the answer ended, in the words of the dialect; None where it has no end.
        told: The message of an error frame, from clients that raise nothing for one.
        error: What it raised.
    """

    text: str = ""
    reasoning: str = ""
    tools: list[list[str]] = field(default_factory=list)
    finish: str | None = None
    told: str | None = None
    error: Exception | None = None


class _Enough(Exception):
    """The reader leaves."""


def openai_chat(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _openai(url) as client, client.chat.completions.create(model="m", messages=_ASKED, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                _chat_delta(choice.delta, got)
                got.finish = choice.finish_reason or got.finish
            enough()


def openai_chat_stream(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _openai(url) as client, client.chat.completions.stream(model="m", messages=_ASKED) as stream:
        for event in stream:
            if event.type == "content.delta":
                got.text += event.delta
            enough()
        choice = stream.get_final_completion().choices[0]
        assert (choice.message.content or "") == got.text
        got.tools = [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or ()]
        got.finish = choice.finish_reason


def openai_responses(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _openai(url) as client, client.responses.create(model="m", input="Hi", stream=True) as stream:
        for number, event in enumerate(stream):
            assert number == event.sequence_number
            _responses_event(event, got)
            enough()


def openai_responses_stream(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _openai(url) as client, client.responses.stream(model="m", input="Hi") as stream:
        for event in stream:
            _responses_event(event, got)
            enough()
        assert stream.get_final_response().output_text == got.text


def anthropic_raw(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _anthropic(url) as client, client.messages.create(model="m", max_tokens=9, messages=_ASKED, stream=True) as stream:
        for event in stream:
            match event.type:
                case "content_block_start" if event.content_block.type == "tool_use":
                    got.tools.append([event.content_block.name, ""])
                case "content_block_delta" if event.delta.type == "text_delta":
                    got.text += event.delta.text
                case "content_block_delta" if event.delta.type == "thinking_delta":
                    got.reasoning += event.delta.thinking
                case "content_block_delta" if event.delta.type == "input_json_delta":
                    got.tools[-1][1] += event.delta.partial_json
                case "message_delta":
                    got.finish = event.delta.stop_reason
            enough()


def anthropic_stream(url: str, got: Got, enough: Callable[[], None]) -> None:
    with _anthropic(url) as client, client.messages.stream(model="m", max_tokens=9, messages=_ASKED) as stream:
        for event in stream:
            if event.type == "text":
                got.text += event.text
            elif event.type == "thinking":
                got.reasoning += event.thinking
            enough()
        whole = stream.get_final_message()
        assert "".join(block.text for block in whole.content if block.type == "text") == got.text
        got.tools = [[block.name, json.dumps(block.input)] for block in whole.content if block.type == "tool_use"]
        got.finish = whole.stop_reason


def httpx_sse_get(url: str, got: Got, enough: Callable[[], None]) -> None:
    _by_httpx_sse("GET", url, got, enough)


def httpx_sse_post(url: str, got: Got, enough: Callable[[], None]) -> None:
    _by_httpx_sse("POST", url, got, enough)


def httpx2_lines(url: str, got: Got, enough: Callable[[], None]) -> None:
    """As in many a tutorial: lines, by a splitter that finds ends in other characters than SSE does."""
    with httpx2.Client(timeout=_SECONDS) as client, client.stream("POST", url, json={}) as response:
        if response.status_code != 200:
            response.read()
            response.raise_for_status()
        for line in response.iter_lines():
            assert line == "" or line.startswith(("data: ", ":", "retry: ")), line
            if line.startswith("data: "):
                _native_event(line[6:], got)
            enough()


CLIENTS: Final = (
    openai_chat,
    openai_chat_stream,
    openai_responses,
    openai_responses_stream,
    anthropic_raw,
    anthropic_stream,
    httpx_sse_get,
    httpx_sse_post,
    httpx2_lines,
)

_ASKED: Final[Any] = [{"role": "user", "content": "Hi"}]


def read(client: Callable[[str, Got, Callable[[], None]], None], url: str, stop: int = 0) -> Got:
    """All that the client gets."""
    got = Got()

    def enough() -> None:
        if stop and len(got.text) >= stop:
            raise _Enough

    try:
        client(url, got, enough)
    except _Enough:
        assert got.text
    except Exception as error:
        got.error = error
    return got


def _openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=_SECONDS)


def _anthropic(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=_SECONDS)


def _chat_delta(delta: Any, got: Got) -> None:
    got.text += delta.content or ""
    got.reasoning += getattr(delta, "reasoning_content", None) or ""
    for call in delta.tool_calls or ():
        if call.index == len(got.tools):
            got.tools.append([call.function.name, ""])
        got.tools[call.index][1] += call.function.arguments


def _responses_event(event: Any, got: Got) -> None:
    match event.type:
        case "response.output_text.delta":
            got.text += event.delta
        case "response.reasoning_summary_text.delta":
            got.reasoning += event.delta
        case "response.output_item.done" if event.item.type == "function_call":
            got.tools.append([event.item.name, event.item.arguments])
        case "response.completed" | "response.incomplete" | "response.failed":
            got.finish = event.response.status


@contextmanager
def _sse_events(method: str, url: str) -> Iterator[Iterator[httpx_sse.ServerSentEvent]]:
    with httpx.Client(timeout=_SECONDS) as client, httpx_sse.connect_sse(client, method, url) as source:
        if source.response.status_code != 200:
            source.response.read()
            source.response.raise_for_status()
        yield source.iter_sse()


def _by_httpx_sse(method: str, url: str, got: Got, enough: Callable[[], None]) -> None:
    with _sse_events(method, url) as events:
        for event in events:
            assert event.data, "a heartbeat became an event"
            _native_event(event.data, got)
            enough()


def _native_event(data: str, got: Got) -> None:
    match json.loads(data):
        case {"type": "text-delta", "text": str(text)}:
            got.text += text
        case {"type": "reasoning-delta", "text": str(text)}:
            got.reasoning += text
        case {"type": "tool-call", "name": str(name), "arguments": str(arguments)}:
            got.tools.append([name, arguments])
        case {"type": "error", "message": str(message)}:
            got.told, got.finish = message, "error"
        case {"type": "end"}:
            got.finish = "end"
