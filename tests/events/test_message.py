"""One answer folded from its events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.events import EVENT_TYPES, Event, is_control, join_deltas

TEXT = st.text(max_size=5)
DELTAS = st.one_of(
    st.builds(sk.TextDelta, TEXT, index=st.integers(0, 2), choice=st.integers(0, 1)),
    st.builds(sk.ReasoningDelta, TEXT, index=st.integers(0, 2)),
    st.builds(sk.ToolCallDelta, st.sampled_from(["a", "b"]), TEXT),
    st.builds(sk.DataDelta, st.binary(max_size=3), st.sampled_from(["audio/wav", "image/png"])),
    st.just(sk.Ping()),
    st.builds(sk.ReasoningDelta, TEXT, signature=st.just("proof")),
)


def test_text_and_reasoning_are_joined_in_the_order_they_came() -> None:
    message = sk.Message([sk.ReasoningDelta("why "), sk.TextDelta("a"), sk.ReasoningDelta("not"), sk.TextDelta("b", index=1)])
    assert "ab" == message.text
    assert "why not" == message.reasoning


def test_an_empty_message_has_nothing_and_is_not_complete() -> None:
    message = sk.Message()
    assert ("", "", [], None, None, None) == (
        message.text,
        message.reasoning,
        message.tool_calls,
        message.usage,
        message.finish,
        message.id,
    )
    assert not message.complete


def test_only_the_chosen_answer_counts() -> None:
    events: list[Event] = [
        sk.TextDelta("zero"),
        sk.TextDelta("one", choice=1),
        sk.ToolCallStart("c", "f", choice=1),
        sk.Usage(output_tokens=2),
        sk.Finish("length", choice=1),
        sk.Finish("stop"),
    ]
    zero, one = sk.Message(events), sk.Message(events, choice=1)
    assert ("zero", "stop", 0) == (zero.text, zero.finish and zero.finish.reason, len(zero.tool_calls))
    assert ("one", "length", 1) == (one.text, one.finish and one.finish.reason, len(one.tool_calls))
    assert one.usage == zero.usage == sk.Usage(output_tokens=2)


def test_a_call_that_was_cut_off_is_there_and_says_that_it_is_not_complete() -> None:
    message = sk.Message([sk.ToolCallStart("1", "add"), sk.ToolCallDelta("1", '{"a":'), sk.ToolCallDelta("1", " 2")])
    (call,) = message.tool_calls
    assert ("add", '{"a": 2', False) == (call.name, call.arguments, call.complete)
    with pytest.raises(sk.RemoteProtocolError, match="were cut off"):
        call.input()


def test_a_finished_call_replaces_what_its_deltas_said() -> None:
    message = sk.Message([sk.ToolCallStart("1", "add"), sk.ToolCallDelta("1", "{"), sk.ToolCall("1", "add", '{"a":1}')])
    assert [sk.ToolCall("1", "add", '{"a":1}')] == message.tool_calls
    assert {"a": 1} == message.tool_calls[0].input()


def test_calls_keep_the_order_in_which_they_began() -> None:
    message = sk.Message([sk.ToolCallStart("b", "second"), sk.ToolCallStart("a", "first"), sk.ToolCallDelta("a", "1")])
    assert ["b", "a"] == [call.id for call in message.tool_calls]


def test_a_delta_of_an_unknown_call_is_not_invented_into_one() -> None:
    assert [] == sk.Message([sk.ToolCallDelta("ghost", "{}")]).tool_calls


@pytest.mark.parametrize("arguments", ["", "  \n"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert {} == sk.ToolCall("1", "now", arguments).input()


def test_deeply_nested_arguments_are_a_typed_error_and_no_crash() -> None:
    with pytest.raises(sk.RemoteProtocolError):
        sk.ToolCall("1", "f", "[" * 100_000).input()


@pytest.mark.parametrize("complete", [True, False])
def test_arguments_with_half_a_character_are_a_typed_error_and_no_unicode_error(complete: bool) -> None:
    with pytest.raises(sk.RemoteProtocolError, match="of tool call 'f'") as caught:
        sk.ToolCall("1", "f", '{"a":"\ud83d"}', complete).input()
    str(caught.value).encode()


def test_citations_files_results_gaps_and_errors_are_kept() -> None:
    message = sk.Message(
        [
            sk.Start("id", "model", "provider"),
            sk.Citation("https://example.org"),
            sk.File("image/png", b"x"),
            sk.ToolResult("1", {"ok": True}),
            sk.Gap(3),
            sk.Gap(2),
            sk.Finish(),
            sk.ErrorEvent("broken", "overloaded"),
        ]
    )
    assert ("id", "model") == (message.id, message.model)
    assert (1, 1, 1, 5) == (len(message.citations), len(message.files), len(message.tool_results), message.gaps)
    assert message.error is not None
    assert not message.complete  # an error after a finish is no good end


def test_its_picture_shows_sizes_and_no_contents() -> None:
    message = sk.Message([sk.TextDelta("my secret diary"), sk.Finish("length")])
    assert "<Message length: 15 chars, 0 tool calls>" == repr(message)


@given(st.lists(DELTAS, max_size=30))
def test_joining_deltas_changes_nothing_that_a_message_holds(events: list[Event]) -> None:
    start: list[Event] = [sk.ToolCallStart("a", "f"), sk.ToolCallStart("b", "g")]
    whole, joined = sk.Message([*start, *events]), sk.Message([*start, *join_deltas(events)])
    assert (whole.text, whole.reasoning, whole.tool_calls) == (joined.text, joined.reasoning, joined.tool_calls)
    assert [event for event in events if is_control(event) and not isinstance(event, sk.ToolCallDelta)] == [
        event for event in join_deltas(events) if is_control(event) and not isinstance(event, sk.ToolCallDelta)
    ]


@given(st.lists(DELTAS, max_size=30))
def test_neighbours_that_can_join_have_joined(events: list[Event]) -> None:
    once = join_deltas(events)
    assert once == join_deltas(once)


def test_control_is_everything_but_text_reasoning_and_data() -> None:
    made = {
        sk.ToolCallStart: sk.ToolCallStart("1", "f"),
        sk.ToolCallDelta: sk.ToolCallDelta("1", "x"),
        sk.ToolCall: sk.ToolCall("1", "f"),
        sk.ToolResult: sk.ToolResult("1"),
        sk.File: sk.File("a/b"),
        sk.Gap: sk.Gap(1),
        sk.Custom: sk.Custom("c"),
        sk.ErrorEvent: sk.ErrorEvent("m"),
        sk.TextDelta: sk.TextDelta("t"),
        sk.DataDelta: sk.DataDelta(b"d", "a/b"),
    }
    events = [made[kind] if kind in made else kind() for kind in EVENT_TYPES]  # type: ignore[call-arg]  # the rest need nothing
    assert {sk.TextDelta, sk.ReasoningDelta, sk.DataDelta} == {type(event) for event in events if not is_control(event)}
    assert is_control(sk.ReasoningDelta(signature="proof"))


def test_parts_are_blocks_in_the_order_they_began() -> None:
    message = sk.Message(
        [
            sk.ReasoningDelta("let ", 0),
            sk.ReasoningDelta("me see", 0),
            sk.ReasoningDelta("", 0, signature="proof"),
            sk.TextDelta("a", 1),
            sk.TextDelta("b", 1),
            sk.ToolCallStart("1", "now", 2),
            sk.ToolCallDelta("1", "{}", 2),
            sk.ReasoningDelta("", 3, redacted="hidden"),
            sk.ToolCall("1", "now", "{}", index=2, signature="seal"),
            sk.ToolCall("s", "web_search", "{}", index=4, server=True),
            sk.TextDelta("c", 5),
        ]
    )
    assert "abc" == message.text
    assert "let me see" == message.reasoning
    expected = (
        sk.ReasoningDelta("let me see", 0, signature="proof"),
        "ab",
        sk.ToolCall("1", "now", "{}", index=2, signature="seal"),
        sk.ReasoningDelta("", 3, redacted="hidden"),
        "c",
    )
    assert expected == message.parts == message.parts


def test_text_is_the_same_however_often_it_is_asked_for_between_blocks() -> None:
    message = sk.Message()
    text = ""
    for number in range(20):
        message.add(sk.TextDelta(str(number)))
        text += str(number)
        if number % 3 == 0:
            assert text == message.text
        if number % 4 == 0:
            message.add(sk.ToolCall(str(number), "now"))
    assert text == message.text == "".join(part for part in message.parts if isinstance(part, str))
    assert 5 == len(message.tool_calls)


def test_a_call_that_begins_twice_is_one_part() -> None:
    message = sk.Message(
        [sk.ToolCallStart("1", "a"), sk.ToolCallDelta("1", "x"), sk.ToolCallStart("1", "b"), sk.ToolCallDelta("1", "y")]
    )
    assert (sk.ToolCall("1", "b", "y", complete=False),) == message.parts
