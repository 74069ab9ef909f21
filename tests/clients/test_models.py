"""`sk.model`: models by name, and the local one in time."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

import streamkit as sk
from streamkit.clients.models import Model
from streamkit.clients.request import Request
from streamkit.errors import ConfigError
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio

QUESTION = "What is a buffer?"


async def test_the_local_model_answers_at_its_pace(clock: VirtualClock) -> None:
    started = clock.now()
    times: list[float] = []
    async with sk.model("local", pace=10).stream(Request.of(QUESTION, max_tokens=5)) as events:
        async for event in events:
            if isinstance(event, sk.TextDelta):
                times.append(round(clock.now() - started, 6))
    assert [0.1, 0.2, 0.3, 0.4, 0.5] == times
    assert 0.5 == round(clock.now() - started, 6)


async def test_a_slow_reader_gets_what_is_due_together(clock: VirtualClock) -> None:
    lists: list[list[str]] = []
    async with sk.model("local", pace=10).stream(Request.of(QUESTION, max_tokens=6)) as events:
        async for batch in events.lists():
            lists.append([event.type for event in batch])
            if len(lists) == 2:
                await clock.sleep(0.35)
    assert [["start"], ["text-delta"], ["text-delta"] * 3] == lists[:3]
    assert ["text-delta", "usage", "finish"] == lists[-1]


async def test_without_a_pace_everything_comes_at_once(clock: VirtualClock) -> None:
    started = clock.now()
    message = await sk.model("local", pace=None).stream(QUESTION).message()
    assert started == clock.now()
    assert message.finish is not None
    assert ("stop", "local") == (message.finish.reason, message.model)
    assert 20 < len(message.text)


async def test_the_same_seed_gives_the_same_answer() -> None:
    def answer(seed: int | None, request: Any = QUESTION) -> Any:
        return sk.model("local", pace=None, seed=seed).stream(request).join()

    assert await answer(3) == await answer(3)
    assert await answer(3) == await answer(None, Request.of(QUESTION, seed=3))
    assert await answer(3, Request.of(QUESTION, seed=4)) == await answer(4)


async def test_a_stream_can_be_run_again_and_twice_at_once() -> None:
    stream = sk.model("local", pace=None).stream(QUESTION)
    first = await stream.collect()
    assert first == await stream.collect()
    async with stream.open() as one, stream.open() as two:
        assert first == [event async for event in one] == [event async for event in two]


async def test_limits_and_stop_sequences_are_obeyed() -> None:
    local = sk.model("local", pace=None)
    short = await local.stream(Request.of(QUESTION, max_tokens=3)).message()
    assert short.finish is not None and short.usage is not None
    assert ("length", 3) == (short.finish.reason, short.usage.output_tokens)
    text = await local.stream(QUESTION).join()
    stop = text.split()[2]
    assert text[: text.index(stop)] == await local.stream(Request.of(QUESTION, stop=stop)).join()


async def test_a_cancel_ends_it_between_two_tokens() -> None:
    with anyio.CancelScope() as scope:
        async with sk.model("local", pace=1).stream(QUESTION) as run:
            async for event in run:
                assert isinstance(event, sk.Start)
                scope.cancel()
    assert scope.cancelled_caught
    assert "local" == cast("sk.Message", run.partial).model


async def test_a_timeout_carries_the_answer_so_far(clock: VirtualClock) -> None:
    with pytest.raises(sk.StreamTimeout) as caught:
        await (sk.model("local", pace=10).stream(QUESTION) | sk.timeout(total=0.35)).run()
    partial = cast("sk.Message", caught.value.partial)
    assert 0 < len(partial.text) < 60


async def test_a_question_is_a_text_a_conversation_or_a_request() -> None:
    local: Model = sk.model("local", pace=None)
    turns = [{"role": "user", "content": QUESTION}]
    assert await local.stream(QUESTION).join() == await local.stream(turns).join() == await local.stream(Request.of(turns)).join()


class Echo:
    """A model of another package."""

    def __init__(self, name: str, **options: object) -> None:
        self.name = name
        self.options = options

    def stream(self, request: Any, /) -> sk.Stream[sk.Event]:
        return sk.stream([sk.TextDelta(self.name), sk.Finish()])


async def test_other_packages_bring_models_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("echo", f"{__name__}:Echo", "streamkit.models")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "streamkit.models" else [])
    echo = sk.model("echo:large:1", volume=3)
    assert "large:1" == await echo.stream("x").join()
    assert {"volume": 3} == cast("Echo", echo).options
    with pytest.raises(ConfigError, match="known are anthropic:NAME, echo, local, openai:NAME, and http"):
        sk.model("eco")


async def test_the_local_model_is_warmed_up_and_closed_like_any_other() -> None:
    async with sk.model("local", pace=None) as local:
        await local.warm_up()
        assert await local.stream(QUESTION).join()
        await local.aclose()


async def test_parts_of_a_message_are_read_for_their_text() -> None:
    local = sk.model("local", pace=None)
    parts: Any = [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": "x"}}]}
    ]
    assert await local.stream(QUESTION).join() == await local.stream(parts).join()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: sk.model("gpt-9"), "known are anthropic:NAME, local, openai:NAME, and http"),
        (lambda: sk.model("openai:"), "known are"),
        (lambda: sk.model("local:big"), "known are"),
        (lambda: sk.model("local", pace=0), "pace"),
        (lambda: sk.model("local", pace=cast("Any", "fast")), "pace"),
        (lambda: sk.model("local", seed=cast("Any", "x")), "seed"),
        (lambda: cast("Any", sk.model)("local", speed=3), "takes pace and seed, not speed"),
        (lambda: sk.model("local").stream([]), "at least one message"),
        (lambda: sk.model("local").stream(cast("Any", 7)), "int"),
    ],
)
def test_wrong_arguments_fail_at_the_call(call: Callable[[], object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        call()


def test_a_name_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="int"):
        sk.model(cast("str", 3))


def test_the_pages_are_not_read_before_an_answer_is_wanted() -> None:
    program = (
        "import sys, streamkit as sk\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == 'open' else None)\n"
        "local = sk.model('local')\n"
        "stream = local.stream('What is a buffer?')\n"
        "assert not [path for path in opened if path.endswith('.md')], opened\n"
        "import asyncio\n"
        "assert asyncio.run(stream.take(2).collect())\n"
        "assert [path for path in opened if path.endswith('.md')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
