"""`catch`, `fallback` and `continue_on_cut`: what goes on when a stream fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.events.model import Event
from streamkit.flow.rates import RateLimiter
from streamkit.operators.admission import rate_limit
from streamkit.operators.recovering import catch, continue_on_cut, fallback
from streamkit.operators.retrying import retry
from streamkit.stages.splicing import Splice, added
from streamkit.testing import Probe, VirtualClock, timed

pytestmark = pytest.mark.anyio


def cut(*items: Any, error: BaseException | None = None) -> sk.Stream[Any]:
    """A stream that fails behind its items; it can be run again."""
    return timed(*items, error or sk.StreamTruncated("the body ended"))


# -- catch


@pytest.mark.parametrize("fused", [True, False])
async def test_what_was_delivered_stays_and_the_other_stream_follows(fused: bool) -> None:
    plan = cut("a", "b") | catch(lambda error: [str(error)])
    async with plan.open(fused=fused) as items:
        assert ["a", "b", "the body ended"] == [item async for item in items]


async def test_none_ends_the_stream_there() -> None:
    assert ["a"] == await (cut("a") | catch(lambda error: None)).collect()


async def test_an_async_function_may_say_what_follows(clock: VirtualClock) -> None:
    async def ask(error: Exception) -> sk.Stream[Any] | None:
        await clock.sleep(1.0)
        return timed("c") if "body" in str(error) else None

    assert ["a", "c"] == await (cut("a") | catch(ask)).collect()
    assert ["a"] == await (cut("a", error=ValueError("x")) | catch(ask)).collect()


async def test_other_errors_pass() -> None:
    failure = KeyError("x")
    with pytest.raises(KeyError) as caught:
        await (cut("a", error=failure) | catch(lambda error: [], OSError, sk.StreamTruncated)).collect()
    assert caught.value is failure


async def test_the_failed_stream_is_closed_before_the_function_is_called() -> None:
    probe = Probe(["a"], error=OSError("x"))
    closed: list[int] = []
    assert ["a"] == await (sk.stream(probe) | catch(lambda error: closed.append(probe.closed))).collect()
    assert [1] == closed


async def test_the_second_stream_fails_for_itself() -> None:
    failure = OSError("second")
    with pytest.raises(OSError, match="second") as caught:
        await (cut("a") | catch(lambda error: cut("b", error=failure))).collect()
    assert caught.value is failure
    assert isinstance(failure.__context__, sk.StreamTruncated | None)


async def test_a_function_that_fails_is_the_error() -> None:
    with pytest.raises(ZeroDivisionError):
        await (cut("a") | catch(lambda error: [1 // 0])).collect()


async def test_a_function_that_gives_no_stream_is_said() -> None:
    with pytest.raises(TypeError, match="cannot stream a int"):
        await (cut("a") | catch(lambda error: 5)).collect()  # type: ignore[arg-type]  # on purpose


async def test_an_empty_stream_and_a_good_one_pass() -> None:
    assert [] == await (sk.stream(list) | catch(lambda error: ["x"])).collect()
    assert [1, 2] == await (sk.stream([1, 2]) | catch(lambda error: ["x"])).collect()


# -- fallback


async def test_the_next_stream_is_asked_when_one_fails_at_first() -> None:
    assert ["c"] == await (cut() | fallback(cut(error=OSError()), ["c"], ["d"])).collect()


@pytest.mark.parametrize("fused", [True, False])
async def test_behind_the_first_output_the_error_is_raised(fused: bool) -> None:
    got: list[str] = []
    with pytest.raises(sk.StreamTruncated):
        async with (cut("a") | fallback(["b"])).open(fused=fused) as items:
            async for item in items:
                got.append(item)
    assert ["a"] == got


async def test_behind_the_first_output_it_goes_on_where_that_was_asked_for() -> None:
    assert ["a", "a", "b"] == await (cut("a") | fallback(["a", "b"], after_output=True)).collect()


async def test_each_failed_stream_is_closed_before_the_next_is_opened() -> None:
    probes = [Probe[str](error=OSError(str(n))) for n in range(3)]
    order: list[list[int]] = []

    async def last() -> AsyncIterator[str]:
        order.append([probe.closed for probe in probes])
        yield "x"

    assert ["x"] == await (sk.stream(probes[0]) | fallback(probes[1], probes[2], last)).collect()
    assert [[1, 1, 1]] == order


async def test_when_all_fail_the_last_error_tells_of_the_others() -> None:
    with pytest.raises(KeyError) as caught:
        await (cut(error=OSError("no route")) | fallback(cut(), cut(error=KeyError("k")))).collect()
    notes = ["fallback: before it failed OSError: no route", "fallback: before it failed StreamTruncated: the body ended"]
    assert notes == caught.value.__notes__


async def test_an_error_that_is_not_meant_goes_no_further() -> None:
    with pytest.raises(sk.AuthError):
        await (cut(error=sk.AuthError("key")) | fallback(["x"], on=(OSError, sk.StreamTruncated))).collect()


async def test_streams_that_were_given_and_never_opened_are_closed() -> None:
    probes = [Probe(["a"]), Probe(["b"]), Probe(["c"])]
    assert ["a"] == await (sk.stream(probes[0]) | fallback(probes[1], probes[2])).collect()
    assert [1, 1, 1] == [probe.closed for probe in probes]
    assert [0, 0] == [probe.asked for probe in probes[1:]]


async def test_a_coroutine_that_is_not_needed_is_not_left_unawaited() -> None:
    async def answer() -> list[str]:
        return ["x"]

    assert ["a"] == await (sk.stream(["a"]) | fallback(answer())).collect()
    assert ["x"] == await (cut() | fallback(answer())).collect()


async def test_a_list_is_there_for_every_stream_that_falls_back_on_it() -> None:
    sorry = fallback(["sorry"])
    assert [["sorry"]] * 3 == [await (cut() | sorry).collect() for _ in range(3)]


async def test_the_start_of_a_failed_stream_is_not_given() -> None:
    other = timed(sk.Start("2"), sk.TextDelta("Hi"), sk.Finish())
    assert [sk.Start("2"), sk.TextDelta("Hi"), sk.Finish()] == await (cut(sk.Start("1")) | fallback(other)).collect()


async def test_what_had_arrived_is_told_through_it() -> None:
    def body() -> Iterator[bytes]:
        yield b'data: {"choices":[{"delta":{"content":"Hello you"}}]}\n\n'
        raise OSError("line down")

    for op in (retry(), fallback(["x"]), catch(lambda error: None, KeyError), rate_limit(RateLimiter(requests_per_minute=60))):
        async with sk.decode(body, "openai-chat") | op as items:
            with pytest.raises(OSError, match="line down"):
                async for _ in items:
                    assert isinstance(items.partial, sk.Message)
            assert isinstance(items.partial, sk.Message)
            assert "Hello you" == items.partial.text


def test_the_plan_pictures_what_is_inside() -> None:
    picture = (sk.stream(list).map(str) | fallback(["x"]) | retry()).explain()
    assert "source   list() | fallback(list) | retry(3)" == picture.splitlines()[0]
    assert "map(str)" in picture


# -- continue_on_cut


async def test_a_cut_answer_comes_out_whole() -> None:
    whole = "The quick brown fox jumps over the lazy dog."
    asked: list[str] = []

    def rest(so_far: sk.Message) -> list[Event]:
        asked.append(so_far.text)
        return [sk.Start("2"), sk.TextDelta(whole[20:]), sk.Usage(7, 5), sk.Finish("stop")]

    first = cut(sk.Start("1"), sk.TextDelta(whole[:9]), sk.TextDelta(whole[9:20]), sk.Usage(3, 4, final=False))
    got = await (first | continue_on_cut(rest)).collect()
    assert [whole[:20]] == asked
    assert whole == "".join(event.text for event in got if isinstance(event, sk.TextDelta))
    assert ["start", "text-delta", "text-delta", "usage", "text-delta", "usage", "finish"] == [event.type for event in got]
    assert sk.Usage(10, 9, final=False) == got[-2]
    assert sk.Start("1") == got[0]


async def test_what_the_rest_repeats_is_given_once() -> None:
    rest = [sk.TextDelta("fox "), sk.TextDelta("jumps ov"), sk.TextDelta("er the dog."), sk.Finish()]
    first = cut(sk.TextDelta("The quick brown fox jumps"))
    assert (
        "The quick brown fox jumps over the dog."
        == await (first | continue_on_cut(lambda message: [sk.TextDelta("brown "), *rest])).join()
    )


async def test_overlap_nought_takes_the_rest_as_it_comes() -> None:
    text = "one two three four"
    plan = cut(sk.TextDelta(text)) | continue_on_cut(lambda message: [sk.TextDelta(text)], overlap=0)
    assert text + text == await plan.join()


async def test_an_answer_may_be_cut_more_than_once() -> None:
    pieces = [cut(sk.TextDelta("b")), cut(sk.TextDelta("c")), sk.stream([sk.TextDelta("d"), sk.Finish()])]
    plan = cut(sk.Start(), sk.TextDelta("a"))
    assert "abcd" == await (plan | continue_on_cut(lambda message: pieces.pop(0), attempts=3)).join()


async def test_the_tokens_of_all_pieces_are_added_up() -> None:
    pieces = [cut(sk.TextDelta("b"), sk.Usage(10, 2, final=False)), [sk.TextDelta("c"), sk.Usage(100, 3), sk.Finish()]]
    plan = cut(sk.TextDelta("a"), sk.Usage(1, 1, final=False)) | continue_on_cut(lambda message: pieces.pop(0))
    got = await plan.collect()
    assert [(1, 1), (11, 3), (111, 6)] == [(e.input_tokens, e.output_tokens) for e in got if isinstance(e, sk.Usage)]


async def test_what_a_decoder_had_counted_is_added_too() -> None:
    chunk = '{"choices":[{"delta":{"content":"Hello you"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
    first = sk.decode(lambda: [f"data: {chunk}\n\n".encode()], "openai-chat")
    answer = await (first | continue_on_cut(lambda message: [sk.TextDelta(" there"), sk.Usage(12, 3), sk.Finish()])).message()
    assert ("Hello you there", sk.Usage(21, 5, final=False)) == (answer.text, answer.usage)


async def test_the_error_carries_the_whole_answer_when_it_is_given_up() -> None:
    with pytest.raises(sk.StreamTruncated) as caught:
        await (cut(sk.TextDelta("a")) | continue_on_cut(lambda message: cut(sk.TextDelta("b")), attempts=2)).collect()
    assert isinstance(caught.value.partial, sk.Message)
    assert "abb" == caught.value.partial.text


async def test_text_held_back_when_the_rest_is_cut_too_is_not_lost() -> None:
    pieces = [cut(sk.TextDelta("brown fox ju")), [sk.TextDelta("mps"), sk.Finish()]]
    plan = cut(sk.TextDelta("The quick brown fox jumbo")) | continue_on_cut(lambda message: pieces.pop(0))
    assert "The quick brown fox jumbobrown fox jumps" == await plan.join()


async def test_what_fails_before_its_output_or_behind_its_finish_is_not_continued() -> None:
    asked: list[str] = []
    for first in (cut(sk.Start()), cut(sk.TextDelta("a"), sk.Finish()), cut(sk.TextDelta("a"), error=ValueError("x"))):
        with pytest.raises((sk.StreamTruncated, ValueError)):
            await (first | continue_on_cut(lambda message: asked.append(message.text))).collect()
    assert [] == asked


async def test_none_gives_up() -> None:
    with pytest.raises(sk.StreamTruncated):
        await (cut(sk.TextDelta("a")) | continue_on_cut(lambda message: None)).collect()


async def test_blocks_get_indexes_that_go_on() -> None:
    first = cut(sk.ReasoningDelta("hm", index=0), sk.TextDelta("a", index=1))
    rest = [sk.TextDelta("b", index=0), sk.ToolCallStart("1", "f", index=1), sk.TextDelta("c", index=2), sk.Finish()]
    got = await (first | continue_on_cut(lambda message: rest)).collect()
    assert [0, 1, 1, 2, 3] == [event.index for event in got if hasattr(event, "index")]


async def test_a_rest_that_begins_with_another_block_does_not_write_into_the_last_one() -> None:
    first = cut(sk.TextDelta("a", index=0))
    rest = [sk.ReasoningDelta("hm", index=0), sk.TextDelta("b", index=1)]
    got = await (first | continue_on_cut(lambda message: rest)).collect()
    assert [0, 1, 2] == [getattr(event, "index", None) for event in got]


async def test_the_cut_answer_is_closed_before_the_rest_is_asked_for() -> None:
    probe = Probe([sk.TextDelta("a")], error=sk.StreamTruncated("cut"))
    closed: list[int] = []

    async def rest(so_far: sk.Message) -> list[Event]:
        closed.append(probe.closed)
        return [sk.Finish()]

    assert [sk.TextDelta("a"), sk.Finish()] == await (sk.stream(probe) | continue_on_cut(rest)).collect()
    assert [1] == closed


async def test_text_instead_of_events_is_refused() -> None:
    with pytest.raises(TypeError, match="got str"):
        await (sk.stream(["a"]) | continue_on_cut(lambda message: None)).collect()  # type: ignore[operator]  # on purpose


@given(st.text("ab c", max_size=60), st.integers(0, 60), st.lists(st.integers(1, 9), max_size=9))
def test_a_rest_that_repeats_gives_the_same_text_however_it_is_cut(text: str, back: int, cuts: list[int]) -> None:
    whole = text + " and then something else"
    outs: set[str] = set()
    for sizes in ([len(whole)], [1] * len(whole), [*cuts, len(whole)]):
        splice = Splice(40)
        splice.feed([sk.TextDelta(text)])
        splice.again(None)
        rest = whole[max(len(text) - back, 0) :]
        given: list[Any] = []
        for size in sizes:
            piece, rest = rest[:size], rest[size:]
            given += splice.feed([sk.TextDelta(piece)]) if piece else []
        given += splice.flush()
        outs.add("".join(event.text for event in given))
        assert text + "".join(event.text for event in given) == splice.message.text
    assert 1 == len(outs)


def test_a_repetition_is_held_back_only_as_long_as_it_may_be_one() -> None:
    def continued(*pieces: str) -> list[list[Any]]:
        splice = Splice(200)
        splice.feed([sk.TextDelta("The quick brown fox")])
        splice.again(None)
        return [[event.text for event in splice.feed([sk.TextDelta(piece)])] for piece in pieces]

    assert [[], [], [" jumps"], ["k"]] == continued("quick ", "brow", "n fox jumps", "k")
    assert [[], ["quick ", "red"]] == continued("quick ", "red")
    # 9 characters that are equal may be chance.
    assert [["brown fox"]] == continued("brown fox")


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        (sk.Usage(1, 2), sk.Usage(10, None), sk.Usage(11, 2)),
        (None, sk.Usage(1, 2), sk.Usage(1, 2, final=False)),
        (sk.Usage(1, 2, final=False), sk.Usage(1, estimated=True), sk.Usage(2, 2, final=False, estimated=True)),
        (None, None, None),
    ],
)
def test_tokens_are_added_up(one: sk.Usage | None, other: sk.Usage | None, total: sk.Usage | None) -> None:
    assert total == added(one, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda: catch("x"),  # type: ignore[arg-type]  # on purpose
        lambda: catch(lambda error: None, BaseException),  # type: ignore[arg-type]  # on purpose
        lambda: fallback(),
        lambda: fallback(7),  # type: ignore[arg-type]  # on purpose
        lambda: fallback("text"),
        lambda: fallback(["x"], after_output=1),  # type: ignore[arg-type]  # on purpose
        lambda: continue_on_cut(None),  # type: ignore[arg-type]  # on purpose
        lambda: continue_on_cut(lambda message: None, attempts=0),
        lambda: continue_on_cut(lambda message: None, overlap=-1),
    ],
)
def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, sk.ConfigError)):
        call()
