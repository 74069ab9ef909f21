"""Text as it is, fragments for htmx, and the presets: what is written, and that it reads back as the same text."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects import registry
from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.text import MARKER
from streamkit.errors import OverloadedError, StreamDraining, StreamTruncated
from streamkit.events import (
    Citation,
    Custom,
    ErrorEvent,
    Event,
    Finish,
    Ping,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    Usage,
)
from streamkit.sinks.codec import Codec
from streamkit.wire import sse

FAILED = outcome_of(OverloadedError("secret", retry_after=2.0), correlation_id="r-7")
PRESETS = [
    ("token-text", "text", "token"),
    ("token-content", "content", "token"),
    ("message-text", "text", "message"),
    ("message-content", "content", "message"),
]
OTHERS: list[Event] = [
    Start("a", "m"),
    ReasoningDelta("Hm."),
    ToolCall("c", "f"),
    Citation("u"),
    Custom("n", 1),
    Ping(),
    TextDelta(""),
    TextDelta("x", 0, 1),
]


def body(dialect: str, events: Iterable[Event | str], outcome: Outcome = DONE) -> bytes:
    codec = Codec(dialect)
    whole = codec.open() + codec.encode(events)
    assert codec.stopped_by is None
    whole += codec.close(outcome)
    assert b"" == codec.encode(["late"]) == codec.close(DONE)
    return whole


def frames(dialect: str, events: Iterable[Event | str], outcome: Outcome = DONE) -> list[tuple[str, str]]:
    return [(frame.type, frame.data) for frame in sse.Decoder().feed(body(dialect, events, outcome))]


def joined(texts: Iterable[str]) -> str:
    """What comes back of texts: LF for every line end, U+FFFD for half a character."""
    return "".join(
        text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for text in texts
    )


awkward = st.lists(
    st.text(st.sampled_from("a[DONE] \n\u2028\x85<&\"'\ufeff"), max_size=12)
    | st.sampled_from(["[DONE]", "\n", " ", "event: done\n\n", "data: [DONE]\n\n"]),
    max_size=8,
)


# ---- text ---------------------------------------------------------------------------------------


def test_text_is_the_bytes_of_the_text() -> None:
    assert "a\r\nb\ufffd…".encode() == body("text", ["a\r\n", "b\ud83d", "…", *OTHERS])


@pytest.mark.parametrize("outcome", [DONE, CANCELLED, FAILED])
def test_text_has_no_words_for_an_end(outcome: Outcome) -> None:
    assert b"a" == body("text", ["a"], outcome)


def test_ndjson_is_the_native_form_in_lines() -> None:
    lines = body("ndjson", ["a\nb\u2028"]).decode().split("\n")
    assert ["open", "text-delta", "finish", "end", None] == [json.loads(line)["type"] if line else None for line in lines]
    assert "application/x-ndjson" == registry.get("ndjson").media_type


# ---- sse-text -----------------------------------------------------------------------------------


@given(awkward)
def test_sse_14_no_message_but_the_last_holds_the_end_marker(texts: list[str]) -> None:
    *said, last = [data for _, data in frames("sse-text", texts)]
    assert MARKER == last
    assert not [data for data in said if MARKER in data]
    assert joined(texts) == "".join(said)


def test_sse_14_a_marker_that_is_cut_by_the_model_stays_cut() -> None:
    assert [("message", "[DO"), ("message", "NE]"), ("message", MARKER)] == frames("sse-text", ["[DO", "NE]"])
    assert 5 == len(frames("sse-text", ["[DONE][DONE]x[DONE]"]))


def test_sse_04_lines_of_raw_text_come_back() -> None:
    assert [("message", "a\nb\n\n"), ("message", "\n c"), ("message", MARKER)] == frames("sse-text", ["a\r\nb\n\n", "\r c"])
    assert b"data: a\ndata: event: admin\ndata: \ndata: data: b\n\ndata: [DONE]\n\n" == body(
        "sse-text", ["a\nevent: admin\n\ndata: b"]
    )


def test_sse_10_leading_spaces_and_marks_of_raw_text_come_back() -> None:
    assert [" x", "\ufeffx", "  "] == [data for _, data in frames("sse-text", [" x", "\ufeffx", "  "])][:-1]


def test_a_failure_is_a_message_of_its_own_type_without_a_marker() -> None:
    (kept, (kind, told)) = frames("sse-text", ["kept"], FAILED)
    assert ("message", "kept") == kept
    assert "error" == kind
    error = {"error": "The model is overloaded. Try again later.", "code": "overloaded", "retryable": True, "retry_after": 2.0}
    assert {**error, "correlation_id": "r-7"} == json.loads(told)


def test_a_stop_is_told_before_the_marker() -> None:
    assert [("message", "a"), ("cancelled", ""), ("message", MARKER)] == frames("sse-text", ["a"], CANCELLED)


def test_what_text_has_no_word_for_is_left_out() -> None:
    for dialect in ("text", "sse-text", "htmx", *(name for name, _, _ in PRESETS)):
        assert body(dialect, ["a"]) == body(dialect, ["a", *OTHERS])


# ---- htmx ---------------------------------------------------------------------------------------


@given(awkward)
def test_fragments_are_escaped_text_and_none_is_white_space_alone(texts: list[str]) -> None:
    *said, (kind, how) = frames("htmx", [*texts, "."])
    assert ("done", "done") == (kind, how)
    assert all(kind == "message" and data.strip() and not set(data) & set("<>\"'") for kind, data in said)
    assert joined([*texts, "."]) == html.unescape("".join(data for _, data in said))


def test_sse_13_markup_is_escaped_wherever_it_is_cut() -> None:
    shown = "".join(data for kind, data in frames("htmx", ["<img src=x ", "onerror='alert(1)", "'>&amp;"]) if kind == "message")
    assert "&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;&amp;amp;" == shown


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (DONE, [("done", "done")]),
        (CANCELLED, [("done", "cancelled")]),
        (FAILED, [("error", "The model is overloaded. Try again later."), ("done", "error")]),
        (outcome_of(StreamTruncated("x")), [("error", "The answer was cut off before its end."), ("done", "truncated")]),
        (outcome_of(StreamDraining("x")), [("error", "The server is shutting down. Reconnect to go on.")]),
        (Outcome("error", "error", "<b>"), [("error", "&lt;b&gt;"), ("done", "error")]),
    ],
)
def test_htmx_is_closed_by_done_but_not_when_it_shall_come_again(outcome: Outcome, expected: list[tuple[str, str]]) -> None:
    assert expected == frames("htmx", ["a"], outcome)[1:]


# ---- presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "field", "event"), PRESETS)
def test_a_preset_is_one_field_of_json_per_delta(dialect: str, field: str, event: str) -> None:
    texts = ["Hi ", "\n\r\u2028[DONE]", 'event: done"']
    *said, (kind, done) = frames(dialect, [*texts, Usage(1, 2), Finish("length")])
    assert [(event, {field: text}) for text in texts] == [(kind, json.loads(data)) for kind, data in said]
    assert ("done", {"done": True, "reason": "length", "usage": {"input_tokens": 1, "output_tokens": 2}}) == (
        kind,
        json.loads(done),
    )


@pytest.mark.parametrize(("dialect", "field", "event"), PRESETS)
def test_the_ends_of_a_preset_differ(dialect: str, field: str, event: str) -> None:
    ends = {}
    for name, outcome in {"done": DONE, "cancelled": CANCELLED, "error": FAILED}.items():
        kind, data = frames(dialect, ["a"], outcome)[-1]
        assert name == kind
        ends[name] = json.loads(data)
    assert ({"done": True, "reason": "stop"}, {"cancelled": True}) == (ends["done"], ends["cancelled"])
    assert ("overloaded", "r-7") == (ends["error"]["code"], ends["error"]["correlation_id"])
    assert ("cancelled", '{"cancelled":true}') == frames(dialect, [Finish("cancelled")])[-1]


@pytest.mark.parametrize("dialect", ["text", "sse-text", "htmx", *(name for name, _, _ in PRESETS)])
def test_an_error_event_in_the_encoder_is_an_end(dialect: str) -> None:
    make: Any = registry.get(dialect).encoder
    encoder = make()
    ended = encoder.open() + encoder.encode(ErrorEvent("Bye.", code="overloaded"))
    assert ended == make().close(Outcome("error", "overloaded", "Bye."))
    assert [] == encoder.encode(TextDelta("late"))


@pytest.mark.parametrize("dialect", ["htmx", "message-content", "message-text", "sse-text", "text", "token-content", "token-text"])
def test_each_is_known_by_its_name_and_only_written(dialect: str) -> None:
    found = registry.get(dialect)
    assert dialect == found.name
    assert dialect in registry.names()
    assert None is found.decoder
