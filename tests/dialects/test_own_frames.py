"""A dialect made of functions: what they may give, and what happens when they are wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.own_frames import default_ending, frame, mapping
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.errors import ConfigError, LocalProtocolError, StreamTruncated
from streamkit.events import Event
from streamkit.sinks.codec import Codec


def told(fn: Callable[[Event], Any], **options: Any) -> Callable[[Event], bytes]:
    codec = Codec(mapping(fn, **options))
    return lambda event: codec.encode([event])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"a": "\n\u2028"}, b'data: {"a":"\\n\\u2028"}\n\n'),
        (OrderedDict(a=1), b'data: {"a":1}\n\n'),
        ("two\nlines", b"data: two\ndata: lines\n\n"),
        (OutFrame(b"x", "named"), b"event: named\ndata: x\n\n"),
        (frame({"a": 1}, event="token"), b'event: token\ndata: {"a":1}\n\n'),
        (frame("a\rb", event="token"), b"event: token\ndata: a\ndata: b\n\n"),
        (None, b""),
        ([], b""),
        (["a", None, {"b": 1}], b'data: a\n\ndata: {"b":1}\n\n'),
        (("a", "b"), b"data: a\n\ndata: b\n\n"),
        ("", b"data: \n\n"),
        ("\ud83d", "data: \ufffd\n\n".encode()),
    ],
)
def test_what_a_function_gives_is_sent(said: Any, expected: bytes) -> None:
    assert expected == told(lambda event: said)(sk.TextDelta("x"))


@pytest.mark.parametrize("said", [7, b"bytes", object(), [["a"]], {"a"}, {"a": object()}])
def test_what_is_no_frame_ends_the_stream_as_an_error(said: Any) -> None:
    codec = Codec(mapping(lambda event: said if isinstance(event, sk.TextDelta) else None))
    assert b"" == codec.encode([sk.TextDelta("x")])
    assert isinstance(codec.stopped_by, TypeError | LocalProtocolError)


def test_a_function_that_raises_ends_the_stream_behind_what_was_before() -> None:
    def fn(event: Event) -> str:
        assert isinstance(event, sk.TextDelta)
        if event.text == "bad":
            raise KeyError("secret")
        return event.text

    codec = Codec(mapping(fn))
    assert b"data: a\n\n" == codec.encode(["a", "bad", "b"])
    assert isinstance(codec.stopped_by, KeyError)
    closing = codec.close(outcome_of(codec.stopped_by))
    assert b'event: error\ndata: {"error":"The stream failed.","code":"error","retryable":false}\n\n' == closing


def test_the_ends_differ_without_a_word_of_the_application() -> None:
    def ended(outcome: Outcome) -> bytes:
        return Codec(mapping(lambda event: None)).close(outcome)

    assert b'event: done\ndata: {"done":true}\n\n' == ended(DONE)
    assert b'event: cancelled\ndata: {"cancelled":true}\n\n' == ended(CANCELLED)
    assert ended(outcome_of(StreamTruncated("x"))).startswith(b'event: error\ndata: {"error":"The answer was cut off')


def test_opening_and_ending_are_the_applications_own() -> None:
    codec = Codec(mapping(lambda event: None, opening=lambda: {"hello": 1}, ending=lambda outcome: [outcome.ending, {"bye": 1}]))
    assert b'data: {"hello":1}\n\n' == codec.open()
    assert b'data: cancelled\n\ndata: {"bye":1}\n\n' == codec.close(CANCELLED)
    assert b"" == codec.close(DONE)


@pytest.mark.parametrize("ending", [lambda outcome: 1 / 0, lambda outcome: 7])
def test_an_ending_that_is_wrong_is_told_as_an_error_once(ending: Callable[[Outcome], Any]) -> None:
    codec = Codec(mapping(lambda event: None, ending=ending))
    with pytest.raises((ZeroDivisionError, TypeError)):
        codec.close(DONE)
    assert codec.close(outcome_of(ValueError("secret"))).startswith(b"event: error\n")
    assert b"" == codec.close(DONE)


def test_an_error_event_is_an_end_and_not_the_functions() -> None:
    asked: list[Event] = []
    make = mapping(asked.append).encoder
    assert make is not None
    error = sk.ErrorEvent("Bye.", code="overloaded")
    assert [default_ending(Outcome("error", "overloaded", "Bye."))] == make().encode(error)
    assert [] == asked


def test_on_ndjson_the_ends_say_it_in_a_field_and_a_text_of_lines_is_refused() -> None:
    codec = Codec(mapping(lambda event: getattr(event, "text", None), framing="ndjson"))
    assert b"a\n" == codec.encode(["a", "b\nc"])
    assert isinstance(codec.stopped_by, LocalProtocolError)
    assert b'{"done":true}\n' == codec.close(DONE)


def test_on_plain_text_the_end_has_no_words() -> None:
    codec = Codec(mapping(lambda event: getattr(event, "text", None), framing="text"))
    assert b"a\nb" == codec.encode(["a\nb"])
    assert b"" == codec.close(outcome_of(ValueError()))


@pytest.mark.parametrize("event", ["msg\ndata: INJ", "m\rdata: INJ", "1\r\nevent: admin", "a\x00"])
def test_sse_01_02_a_name_that_would_begin_another_field_is_refused(event: str) -> None:
    codec = Codec(mapping(lambda said: frame("x", event=event)))
    assert b"" == codec.encode(["a"])
    assert isinstance(codec.stopped_by, LocalProtocolError)


def test_a_frame_of_one_line_that_has_several_is_refused() -> None:
    codec = Codec(mapping(lambda said: OutFrame(b"x\ndata: INJ")))
    assert b"" == codec.encode(["a"])
    assert isinstance(codec.stopped_by, LocalProtocolError)


async def _later(event: Event) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((None,), {}),
        (({"a": 1},), {}),
        ((_later,), {}),
        ((str,), {"ending": 7}),
        ((str,), {"opening": _later}),
        ((str,), {"framing": "eventstream"}),
        ((str,), {"name": ""}),
        ((str,), {"name": 7}),
    ],
)
def test_what_cannot_work_is_refused_at_the_call(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigError), match=r"mapping\("):
        mapping(*arguments, **options)


@pytest.mark.parametrize("value", [None, 7, b"bytes", [1]])
def test_a_frame_is_made_of_a_dict_or_a_str(value: Any) -> None:
    with pytest.raises(TypeError, match="a dict or a str"):
        frame(value)


def test_the_dialect_says_what_it_is_told() -> None:
    made = mapping(lambda event: None, name="ours", framing="ndjson", media_type="application/ours", headers={"x-a": "1"})
    assert isinstance(made, Dialect)
    assert ("ours", "ndjson", "application/ours", {"x-a": "1"}) == (made.name, made.framing, made.media_type, dict(made.headers))
    assert "text/plain; charset=utf-8" == mapping(lambda event: None, framing="text").media_type
