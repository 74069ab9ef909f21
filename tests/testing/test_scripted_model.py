"""A model that plays what it is told."""

from __future__ import annotations

import pytest

from streamkit.dialects import registry
from streamkit.events import Finish, Message
from streamkit.testing import CUT, ScriptedModel, VirtualClock
from streamkit.wire import sse

pytestmark = pytest.mark.anyio


async def test_a_script_is_played_anew_for_each_run(clock: VirtualClock) -> None:
    model = ScriptedModel("Hel", 0.5, "lo", Finish())
    stream = model.stream("a question")
    assert ["Hello", "Hello"] == [(await stream.message()).text, (await stream.message()).text]
    assert 1.0 == clock.now()
    assert [("a question", 3, 1, True)] * 2 == [(play.request, play.given, play.closed, play.ended) for play in model.plays]
    assert all(play.iterated_by == play.closed_by for play in model.plays)


async def test_a_play_remembers_that_it_was_left() -> None:
    model = ScriptedModel("a", "b", "c")
    assert "a" == (await model.stream().first()).text  # type: ignore[union-attr]  # a TextDelta
    assert (1, 1, 1, False) == (model.plays[0].asked, model.plays[0].given, model.plays[0].closed, model.plays[0].ended)


@pytest.mark.parametrize("seed", range(5))
async def test_the_bytes_are_the_same_however_they_are_cut(seed: int) -> None:
    model = ScriptedModel("Hel", "lo", Finish())
    whole = b"".join(await model.bytes().collect())
    chunks = await model.bytes(seed=seed).collect()
    assert whole == b"".join(chunks)
    assert chunks == await model.bytes(seed=seed).collect()
    decoder, make = sse.Decoder(), registry.get("openai-chat").decoder
    assert make is not None
    reader = make()
    events = [event for chunk in chunks for event in reader.decode_many(decoder.feed(chunk))] + reader.finish()
    assert "Hello" == Message(events).text


async def test_a_cut_is_a_clean_end_without_the_dialects_own() -> None:
    body = b"".join(await ScriptedModel("Hel", CUT, "lo").bytes().collect())
    assert b"Hel" in body
    assert b"lo" not in body
    assert b"[DONE]" not in body


async def test_an_error_keeps_its_place_among_the_bytes() -> None:
    got: list[bytes] = []
    with pytest.raises(OSError, match="reset"):
        async with ScriptedModel(b"abcd", OSError("reset"), b"efgh").bytes(cuts=[3, 6]) as chunks:
            async for chunk in chunks:
                got.append(chunk)
    assert [b"abc", b"d"] == got
