"""`OnText`: only text changes, each block has its own stages, control events keep their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_runs import cut_at, places

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    Finish,
    Message,
    Ping,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from streamkit.stages.lifting import OnText, RowStage
from streamkit.stages.lines import Lines
from streamkit.stages.redacting import Redact
from streamkit.stages.replacing import Replace
from streamkit.stages.sentences import Sentences
from streamkit.stages.stage import Stage, TimedStage
from streamkit.stages.stopping import Stop
from streamkit.stages.tagging import SplitTags, TextPart

STOPPED = Finish("stop", raw_reason="stop_sequence")


def stopping() -> Stop:
    return Stop(["END"])


def lift(lifted: OnText, events: Iterable[Event]) -> list[Event]:
    out: list[Event] = []
    for event in events:
        out += lifted.feed(event)
        if lifted.done:
            return out
    return [*out, *lifted.flush()]


def texts(*parts: str, index: int = 0, choice: int = 0) -> list[Event]:
    return [TextDelta(part, index, choice) for part in parts]


@given(st.lists(st.sampled_from(["E", "N", "D", "END", "x. ", "Y. "]), max_size=20).map("".join), places)
def test_any_cut_of_the_text_gives_the_same_answer(text: str, cuts: list[int]) -> None:
    def answer(parts: list[str]) -> tuple[str, Finish | None]:
        message = Message(lift(OnText([stopping]), [Start(), *texts(*parts), Finish("length")]))
        return message.text, message.finish

    before, found, _ = text.partition("END")
    assert (before, STOPPED if found else Finish("length")) == answer(cut_at(text, cuts))


@given(st.lists(st.tuples(st.sampled_from(["One", ". ", "Two"]), st.integers(0, 2), st.integers(0, 1)), max_size=20))
def test_interleaved_blocks_and_choices_do_not_disturb_each_other(parts: list[tuple[str, int, int]]) -> None:
    events: list[Event] = [TextDelta(text, index, choice) for text, index, choice in parts]
    out = lift(OnText([Sentences]), events)
    for key in {(index, choice) for _, index, choice in parts}:
        alone = [event for event in events if isinstance(event, TextDelta) and (event.index, event.choice) == key]
        assert lift(OnText([Sentences]), alone) == [
            event for event in out if isinstance(event, TextDelta) and (event.index, event.choice) == key
        ]


@pytest.mark.parametrize(
    "event", [Ping(), Usage(1, 2, final=False), ReasoningDelta("hm", signature="s"), DataDelta(b"x", "audio/wav")]
)
def test_events_that_say_nothing_of_the_text_pass_held_text_by(event: Event) -> None:
    assert [*texts("One. "), event, *texts("Two.")] == lift(OnText([Sentences]), [*texts("One. Tw"), event, *texts("o.")])


@pytest.mark.parametrize(
    "event",
    [
        Start(),
        ToolCallStart("1", "f"),
        ToolCallDelta("1", "{"),
        ToolCall("1", "f"),
        Citation("u"),
        Custom("c"),
        Finish("length"),
        ErrorEvent("no"),
    ],
)
def test_any_other_event_ends_the_text_before_it(event: Event) -> None:
    assert [*texts("One. ", "Tw"), event, *texts("o.")] == lift(OnText([Sentences]), [*texts("One. Tw"), event, *texts("o.")])


def test_a_control_event_of_another_choice_ends_nothing() -> None:
    events = [*texts("Tw"), ToolCallStart("1", "f", choice=1), *texts("o.")]
    assert [events[1], *texts("Two.")] == lift(OnText([Sentences]), events)


def test_the_end_of_the_input_gives_held_text_in_the_order_the_blocks_began() -> None:
    events = [*texts("b", index=4), *texts("a", index=1), *texts("c", choice=1)]
    assert events == lift(OnText([Sentences]), events)


def test_text_that_is_not_changed_passes_as_the_same_object() -> None:
    event = TextDelta("plain", 2, 1)
    assert event is next(iter(OnText([stopping]).feed(event)))


def test_a_stop_writes_its_own_finish_and_is_done() -> None:
    lifted = OnText([stopping])
    usage = Usage(1, 2, final=False)
    assert [Start(), *texts("a ", "b"), usage, STOPPED] == lift(
        lifted, [Start(), *texts("a ", "bE"), usage, *texts("ND c"), *texts("d"), Finish("length")]
    )
    assert lifted.done
    assert [] == list(lifted.feed(TextDelta("more")))
    assert [] == list(lifted.flush())


def test_a_stop_gives_what_other_blocks_of_its_choice_hold() -> None:
    events = [*texts("xE"), *texts("yEND", index=1)]
    assert [*texts("x"), *texts("y", index=1), *texts("E"), STOPPED] == lift(OnText([stopping]), events)


def test_with_several_choices_the_others_go_on() -> None:
    lifted = OnText([stopping])
    events = [
        *texts("a"),
        *texts("b", choice=1),
        *texts("END x"),
        *texts("c"),
        *texts("d", choice=1),
        Finish("length"),
        ToolCall("1", "f"),
        ReasoningDelta("r"),
    ]
    out = [out for event in events for out in lifted.feed(event)]
    assert [*texts("a"), *texts("b", choice=1), STOPPED, *texts("d", choice=1)] == out
    assert not lifted.done
    assert [*texts("e", choice=1), Finish("stop", raw_reason="stop_sequence", choice=1)] == list(
        lifted.feed(TextDelta("eEND", choice=1))
    )
    assert lifted.done


def test_with_several_choices_a_finish_of_the_last_one_ends_all() -> None:
    lifted = OnText([stopping])
    events = [*texts("b", choice=1), *texts("END"), Finish("length", choice=1)]
    assert [*texts("b", choice=1), STOPPED, Finish("length", choice=1)] == [out for event in events for out in lifted.feed(event)]
    assert lifted.done


def test_without_a_stop_the_stage_is_never_done() -> None:
    lifted = OnText([stopping])
    assert [*texts("a"), Finish()] == [out for event in [*texts("a"), Finish()] for out in lifted.feed(event)]
    assert not lifted.done


def test_stages_of_a_row_feed_each_other_and_are_flushed_in_order() -> None:
    events = [*texts("One. Tw"), *texts("o. EN"), *texts("x. Three EN")]
    assert texts("One. ", "Two. ", "ENx. ", "Three ", "EN") == lift(OnText([Sentences, stopping]), events)


def test_a_stop_behind_a_holding_stage_is_found_at_the_flush_and_replaces_the_finish() -> None:
    events = [*texts("One. Two END th"), Usage(1), Finish("length")]
    assert [*texts("One. "), Usage(1), *texts("Two "), STOPPED] == lift(OnText([Sentences, stopping]), events)


def test_a_stop_before_a_holding_stage_flushes_it() -> None:
    assert [*texts("One. "), *texts("Two "), STOPPED] == lift(OnText([stopping, Sentences]), texts("One. Two EN", "D x"))


class Twice(Stage[str, str]):
    """Gives each text two times; then done, if the text says so."""

    def feed(self, item: str) -> list[str]:
        self.done = item == "last"
        return [item, item]


def test_another_stage_that_is_done_ends_the_answer_without_a_reason_of_its_own() -> None:
    assert [*texts("a", "a", "last", "last"), Finish("stop")] == lift(OnText([Twice]), texts("a", "last", "b"))
    assert [*texts("last", "last"), Finish("stop")] == lift(OnText([Twice, Twice]), texts("last", "b"))


def test_a_failed_input_gives_what_may_be_given_and_no_finish() -> None:
    lifted = OnText([Sentences, stopping])
    assert [] == list(lifted.feed(TextDelta("One END")))
    assert [] == list(lifted.feed(TextDelta("Two", 1)))
    assert [*texts("One "), *texts("Two", index=1)] == list(lifted.abort())
    assert [] == list(lifted.abort())


def test_an_error_event_aborts_the_text_and_stays_last() -> None:
    error = ErrorEvent("no", code="overloaded")
    assert [*texts("One "), error] == lift(OnText([Sentences, stopping]), [*texts("One END"), error])


def test_an_error_of_a_stage_comes_behind_its_own_output_and_what_others_held() -> None:
    lifted = OnText([lambda: Lines(max_chars=3), Sentences])
    assert [] == list(lifted.feed(TextDelta("ho", 1)))
    got: list[Event] = []
    with pytest.raises(RemoteProtocolError, match="max_chars=3"):
        for event in lifted.feed(TextDelta("a\nbcdef")):
            got.append(event)
    assert [*texts("a"), *texts("ho", index=1)] == got


class Broken(Stage[str, str]):
    """Fails at the end of its input."""

    def feed(self, item: str) -> list[str]:
        return [item]

    def flush(self) -> list[str]:
        raise LookupError("broken at the end")


@pytest.mark.parametrize("last", [Finish(), None])
def test_an_error_at_the_flush_is_raised_once_all_blocks_gave_what_they_had(last: Event | None) -> None:
    lifted = OnText([Broken, Sentences])
    for event in [*texts("a"), *texts("b", index=1)]:
        assert [] == list(lifted.feed(event))
    got: list[Event] = []
    with pytest.raises(LookupError, match="broken at the end"):
        for event in lifted.flush() if last is None else lifted.feed(last):
            got.append(event)
    assert [*texts("a"), *texts("b", index=1)] == got


class Lists(Stage[str, list[str]]):
    def feed(self, item: str) -> list[list[str]]:
        return [[item]]


def test_a_stage_that_gives_no_text_is_named() -> None:
    lifted = OnText([Lists])  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(TypeError, match="Lists gave a list"):
        list(lifted.feed(TextDelta("a")))


class Timed(TimedStage[str, str]):
    def feed(self, item: str, now: float) -> list[str]:
        return [item]


@pytest.mark.parametrize(
    ("factories", "message"),
    [
        ([], "at least one"),
        ([Timed], "stages only, got a Timed"),
        ([stopping()], "makers of stages, got a Stop"),
        ([list], "got a list"),
    ],
)
def test_anything_but_stages_is_refused_at_once(factories: list[type[Stop]], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        OnText(factories)


def test_items_that_are_no_events_are_refused() -> None:
    with pytest.raises(TypeError, match="on_text takes events, got a str"):
        OnText([stopping]).feed("text")  # type: ignore[arg-type]  # the mistake under test


def test_closed_blocks_are_forgotten() -> None:
    lifted = OnText([Sentences])
    for index in range(1000):
        assert [*texts("a", index=index), Citation("u")] == [*lifted.feed(TextDelta("a", index)), *lifted.feed(Citation("u"))]
    assert {} == lifted._rows


def splitting() -> SplitTags:
    return SplitTags(["think", "note"])


def test_reasoning_in_the_text_becomes_reasoning_of_the_same_block_and_choice() -> None:
    events = [Start(), *texts("<thi", "nk>so</think>a <", index=2, choice=1), Finish(choice=1)]
    assert [
        Start(),
        ReasoningDelta("so", 2, 1),
        *texts("a ", "<", index=2, choice=1),
        Finish(choice=1),
    ] == lift(OnText([splitting]), events)


def test_events_of_tags_keep_their_place_and_have_no_index() -> None:
    got = lift(OnText([splitting]), texts("a<note>b</note>c", index=3, choice=1))
    tag = [
        Custom("tag", {"tag": "note", "part": "start", "attributes": {}}),
        Custom("tag", {"tag": "note", "part": "text", "text": "b"}),
    ]
    assert [
        *texts("a", index=3, choice=1),
        *tag,
        Custom("tag", {"tag": "note", "part": "end"}),
        *texts("c", index=3, choice=1),
    ] == got


def test_what_gives_events_may_stand_behind_what_gives_text() -> None:
    answer = lift(OnText([lambda: Replace("cat", "dog"), splitting]), texts("<think>c", "at</think>a ca", "t"))
    assert [ReasoningDelta("dog"), *texts("a ", "dog")] == answer


def test_the_signature_of_reasoning_that_a_stage_gives_is_kept() -> None:
    assert [ReasoningDelta("a", 1, 2, signature="s")] == lift(OnText([Signed]), [TextDelta("a", 1, 2)])


class Signed(Stage[str, TextPart]):
    def feed(self, item: str) -> list[TextPart]:
        return [ReasoningDelta(item, signature="s")]


def test_what_gives_events_before_another_stage_is_named() -> None:
    with pytest.raises(TypeError, match="SplitTags gave a TextDelta, and the stage behind it takes text"):
        lift(OnText([splitting, Sentences]), texts("a"))


class Finishing(Stage[str, Finish]):
    def feed(self, item: str) -> list[Finish]:
        return [Finish()]


def test_events_that_say_more_than_text_are_refused() -> None:
    with pytest.raises(TypeError, match="TextDelta, ReasoningDelta or Custom, but Finishing gave a Finish"):
        lift(OnText([Finishing]), texts("a"))  # type: ignore[list-item]  # the mistake under test


def test_a_failure_drops_half_a_secret_and_gives_what_is_none() -> None:
    endings: list[list[Event]] = [[ErrorEvent("no")], []]
    for failed in endings:
        lifted = OnText([lambda: Redact(["card"])])
        out = [event for text in texts("pay 4111 ", "1111") for event in lifted.feed(text)]
        out += [event for event in failed for event in lifted.feed(event)]
        assert [*texts("pay "), *failed] == [*out, *lifted.abort()]


rows = st.lists(
    st.tuples(
        st.sampled_from(["<think>", "</think>", "EN", "D", "<no", "te>", "a. ", "Finish"]), st.integers(0, 1), st.integers(0, 1)
    ),
    max_size=20,
)


@given(rows, st.integers(0, 20))
def test_saved_between_any_two_events_and_taken_up_it_gives_the_same(parts: list[tuple[str, int, int]], at: int) -> None:
    events: list[Event] = [
        Finish(choice=choice) if text == "Finish" else TextDelta(text, index, choice) for text, index, choice in parts
    ]
    made_of: list[list[Callable[[], RowStage]]] = [[stopping, splitting], [Sentences], [lambda: Replace("EN", "")]]
    for made in made_of:
        meant = lift(OnText(made), events)
        one, other = OnText(made), OnText(made)
        before: list[Event] = []
        for event in events[:at]:
            if not one.done:
                before += one.feed(event)
        saved = one.snapshot()
        other.restore(saved)
        rest = [] if other.done else lift(other, events[at:])
        assert meant == [*before, *rest]
        assert saved == one.snapshot()


def test_a_stage_that_cannot_be_saved_is_named_even_before_there_is_text() -> None:
    with pytest.raises(ConfigError, match="Twice cannot be saved"):
        OnText([Twice]).snapshot()
