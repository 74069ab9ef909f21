"""JSON that grows: any cut gives the same value, each prefix the value it should, and bad text is refused."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamkit as sk
from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.events import ErrorEvent, Event, Finish, TextDelta, ToolCall, ToolCallDelta, ToolCallStart, Usage
from streamkit.stages.partial_json import JsonReader, PartialJson, PartialValue

NOTHING = object()

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
documents = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent),
    values.map(lambda value: json.loads(json.dumps(value).replace("\\ud", "\\u00"))),
    st.booleans(),
    st.sampled_from([None, 1]),
)


def cut(text: str, at: list[int]) -> list[str]:
    places = sorted({place % (len(text) + 1) for place in at})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(pieces: list[str]) -> tuple[object, bool]:
    reader = JsonReader()
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return reader.value, reader.complete


def no_lone_halves(text: str) -> str:
    """What a lone surrogate becomes: U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# The slow oracle: complete the prefix by hand and let the standard library read it.


def prefix_value(prefix: str) -> object:
    """The value of a prefix of valid JSON, or NOTHING: what is undecided is cut off, what is open is closed."""
    text, _ = scan(prefix)
    # A comma, a key or the beginning of a literal may have to go too.
    for end in range(len(text), -1, -1):
        try:
            return json.loads(text[:end] + "".join(reversed(scan(text[:end])[1])))
        except ValueError:
            continue
    return NOTHING


def scan(text: str) -> tuple[str, list[str]]:
    """The text without a cut escape or an open number at its end, and what closes it."""
    closers: list[str] = []
    inside = False
    i = 0
    while i < len(text):
        c = text[i]
        if inside:
            if c == "\\":
                size = escape_size(text, i)
                if size is None:
                    text = text[:i]
                    break
                i += size
                continue
            if c == '"':
                inside = False
                closers.pop()
        elif c == '"':
            inside = True
            closers.append('"')
        elif c in "{[":
            closers.append("}" if c == "{" else "]")
        elif c in "}]":
            closers.pop()
        i += 1
    if not inside:
        # A number at the end may go on.
        text = re.sub(r"[-+0-9.eE]+\Z", "", text) if re.search(r"(^|[\[,:\s])[-+0-9.eE]+\Z", text) else text
    return text, closers


def escape_size(text: str, at: int) -> int | None:
    """How long the escape is; None if what has come of it does not decide it."""
    rest = text[at:]
    if len(rest) < 2:
        return None
    if rest[1] != "u":
        return 2
    if len(rest) < 6:
        return None
    if re.match(r"\\u[dD][89abAB]", rest):
        low = rest[6:12]
        if re.fullmatch(r"\\u[dD][c-fC-F]..", low):
            return 12
        if re.fullmatch(r"(\\(u([dD]([c-fC-F].?)?)?)?)?", low):
            return None
    return 6


@given(documents, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_value_that_the_whole_text_has(text: str, at: list[int]) -> None:
    assert (json.loads(text), True) == read(cut(text, at))
    assert (json.loads(text), True) == read(list(text))


@given(documents)
def test_each_prefix_has_the_value_that_a_completed_prefix_has(text: str) -> None:
    reader = JsonReader()
    for end in range(1, len(text) + 1):
        reader.feed(text[end - 1])
        if not reader.complete:
            assert prefix_value(text[:end]) == (reader.value if reader.begun else NOTHING), text[:end]
    reader.finish()
    assert json.loads(text) == reader.value


ESCAPED = [
    r'"\ud83d\ude00"',
    r'"a\ud83db"',
    r'"\ude00\ud83d"',
    r'"\ud83d\ud83d\ude00"',
    r'"\ud83d\n\ud83d\u0041\ud83d\udc"'.replace(r"\udc", r"\udc00"),
    r'"\ud83d\"\\\/\b\f\n\r\t\u00e9"',
    r'{"k\ud83d\ude00\n": "\\u", "\ud83d": [true, "\\"]}',
]


@pytest.mark.parametrize("text", ESCAPED)
def test_escapes_and_surrogate_halves_may_be_cut_anywhere(text: str) -> None:
    wanted = json.loads(no_lone_halves(json.dumps(json.loads(text), ensure_ascii=False)))
    assert (wanted, True) == read([text])
    assert (wanted, True) == read(list(text))
    for place in range(len(text)):
        assert (wanted, True) == read([text[:place], text[place:]])


def test_half_of_a_pair_waits_and_is_replaced_only_when_it_stays_alone() -> None:
    reader = JsonReader()
    assert reader.feed('"x')
    assert [False, False, False] == [reader.feed(piece) for piece in ("\\u", "d83d", "\\ud")]
    assert "x" == reader.value
    assert reader.feed("83d")
    shown: object = reader.value
    assert "x\ufffd" == shown


@given(documents, st.integers(1, 9))
def test_jiter_agrees_wherever_no_number_is_open(text: str, size: int) -> None:
    jiter = pytest.importorskip("jiter", reason="jiter comes with the OpenAI SDK, and is not installed")
    reader = JsonReader()
    for begin in range(0, len(text), size):
        reader.feed(text[begin : begin + size])
        prefix = text[: begin + size]
        # jiter shows a number that may still go on, refuses white space alone and fails on a cut pair.
        if re.search(r"[-+0-9.eE]\Z", prefix) or not reader.begun or "\\ud" in prefix:
            continue
        assert jiter.from_json(prefix.encode(), partial_mode="trailing-strings") == reader.value


def test_containers_grow_in_place_and_strings_as_they_arrive() -> None:
    stage = PartialJson()
    records = [record for piece in ('{"a": [', '{"t": "x', "y", 'z"}]}') for record in stage.feed(piece)]
    assert 1 == len({id(record.value) for record in records})
    assert [False, False, False, True] == [record.complete for record in records]
    assert {"a": [{"t": "xyz"}]} == records[0].value


def test_a_snapshot_that_a_consumer_keeps_is_not_changed() -> None:
    stage = PartialJson()
    kept: list[object] = []
    strings: list[str] = []
    for piece in ('{"t": "a', "b", "c", '"}'):
        for record in stage.feed(piece):
            kept.append(copy.deepcopy(record.value))
            strings.append(record.value["t"])  # type: ignore[index]  # it is a dict
    assert [{"t": "a"}, {"t": "ab"}, {"t": "abc"}, {"t": "abc"}][: len(kept)] == kept
    assert ["a", "ab", "abc"] == strings[:3]


def test_numbers_and_literals_appear_when_they_are_complete() -> None:
    reader = JsonReader()
    seen: list[object] = []
    for piece in ("[1", "2", ", tr", "ue", ",-0.", "5e", "1 ", "]"):
        reader.feed(piece)
        seen.append(copy.deepcopy(reader.value))
    assert [[], [], [12], [12, True], [12, True], [12, True], [12, True, -5.0], [12, True, -5.0]] == seen


def test_the_last_value_of_a_key_wins_and_the_earlier_one_stays_until_then() -> None:
    reader = JsonReader()
    reader.feed('{"a": 1, "a": 2')
    assert {"a": 1} == reader.value
    reader.feed("}")
    assert {"a": 2} == reader.value


def test_a_number_that_stands_alone_is_complete_at_the_end_and_not_before() -> None:
    stage = PartialJson()
    assert [[], []] == [[*stage.feed(piece)] for piece in ("1", "2")]
    assert [PartialValue(12, complete=True)] == [*stage.flush()]


def test_a_number_that_an_error_cut_off_is_never_given() -> None:
    stage = PartialJson()
    stage.feed("12")
    assert [] == [*stage.abort()]


@pytest.mark.parametrize("text", ["[12", '{"a": "b', "[tr", "-", '{"a"', "1e", " ", ""])
def test_a_text_that_was_cut_is_never_complete(text: str) -> None:
    value, complete = read([text])
    assert not complete
    assert value in ([], {"a": "b"}, {}, None)


BAD = {
    "two values": "{} {}",
    "text behind the value": "[] x",
    "a string behind a string": '"a""b"',
    "NaN": "[NaN]",
    "Infinity": "[Infinity]",
    "minus Infinity": "[-Infinity]",
    "a literal in capitals": "[True]",
    "a literal that goes wrong": "[trux]",
    "a literal that goes on": "[truee]",
    "a leading zero": "[01]",
    "a plus": "[+1]",
    "a bare point": "[1.]",
    "a number with two points": "[1.2.3]",
    "no float holds it": "[1e999]",
    "a trailing comma in a list": "[1,]",
    "a trailing comma in an object": '{"a": 1,}',
    "no key": "{1: 2}",
    "no colon": '{"a" 1}',
    "no value": '{"a": }',
    "a wrong end": "[1}",
    "another wrong end": '{"a": 1]',
    "an end without a beginning": "]",
    "single quotes": "{'a': 1}",
    "a comment": "[1, /* x */ 2]",
    "a raw line end in a string": '"a\nb"',
    "a raw NUL in a key": '{"a\0": 1}',
    "an unknown escape": r'"\x41"',
    "bad hex": r'"\u12g4"',
    "a byte order mark": "\ufeff{}",
    "white space that JSON does not know": "[1,\u00a02]",
    "prose": "Sure! {}",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_text_that_is_no_json_is_refused_wherever_it_is_cut(text: str) -> None:
    with pytest.raises(ValueError):
        if math.isinf(json.loads(text, parse_constant=refuse)[0]):
            raise ValueError("an infinite float")
    with pytest.raises(RemoteProtocolError) as whole:
        read([text])
    with pytest.raises(RemoteProtocolError) as single:
        read(list(text))
    assert str(whole.value)[:25] == str(single.value)[:25]


def refuse(word: str) -> Any:
    raise ValueError(word)


def test_what_came_before_an_error_is_its_partial_and_the_reader_stays_failed() -> None:
    reader = JsonReader()
    with pytest.raises(RemoteProtocolError) as failed:
        reader.feed('{"a": "b", c')
    assert {"a": "b"} == failed.value.partial == reader.value
    with pytest.raises(RemoteProtocolError):
        reader.feed("x")
    with pytest.raises(RemoteProtocolError):
        reader.finish()
    text = JsonReader()
    with pytest.raises(RemoteProtocolError):
        text.feed('"a\n')
    with pytest.raises(RemoteProtocolError):
        text.feed("plain")


def test_deep_nesting_is_refused_and_never_a_recursion_error() -> None:
    for opened in ("[", '{"a":'):
        with pytest.raises(RemoteProtocolError, match="max_depth=1000"):
            JsonReader().feed(opened * 100_000)
    deep = JsonReader(max_depth=3)
    assert deep.feed("[[[")
    with pytest.raises(RemoteProtocolError, match="max_depth=3"):
        deep.feed("[")


@pytest.mark.parametrize("cuts", [1, 7, 5000])
def test_a_huge_number_is_refused_and_one_at_the_limit_is_not(cuts: int) -> None:
    limit = "9" * 4300
    huge = "9" * 4301
    assert (int(limit), True) == read([limit[i : i + cuts] for i in range(0, len(limit), cuts)])
    with pytest.raises(RemoteProtocolError, match="4300"):
        read([f"[{huge}]"[i : i + cuts] for i in range(0, len(huge) + 2, cuts)])


def test_a_text_above_its_bound_is_refused_in_the_middle_of_a_string_too() -> None:
    reader = JsonReader(max_chars=6)
    assert reader.feed('"ab') and reader.feed("cde")
    with pytest.raises(RemoteProtocolError, match="max_chars=6"):
        reader.feed("f")
    assert "abcde" == reader.value


@pytest.mark.parametrize("options", [{"max_chars": 0}, {"max_depth": 0}, {"max_depth": 2.5}, {"of": "texts"}])
def test_wrong_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PartialJson(**options)


def test_a_stage_takes_text_or_events_and_nothing_else() -> None:
    with pytest.raises(TypeError, match="bytes"):
        PartialJson().feed(b"{}")  # type: ignore[arg-type]  # on purpose


# -- over events


def records(stage: PartialJson, events: list[Event]) -> list[PartialValue]:
    out = [copy.deepcopy(record) for event in events for record in stage.feed(event)]
    return [*out, *stage.flush()]


def test_interleaved_calls_grow_each_its_own_value() -> None:
    got = records(
        PartialJson(of="calls"),
        [
            TextDelta("Let me look."),
            ToolCallStart("1", "find", index=1),
            ToolCallStart("2", "read", index=2),
            ToolCallDelta("1", '{"q": "a', index=1),
            ToolCallDelta("2", '{"p', index=2),
            ToolCallDelta("1", 'b"}', index=1),
            ToolCallDelta("2", '": 1}', index=2),
            ToolCall("1", "find", '{"q": "ab"}', index=1),
            ToolCall("2", "read", '{"p": 1}', index=2),
            Usage(),
            Finish("tool-calls"),
        ],
    )
    assert [
        PartialValue({"q": "a"}, False, "1", "find", 1),
        PartialValue({}, False, "2", "read", 2),
        PartialValue({"q": "ab"}, True, "1", "find", 1),
        PartialValue({"p": 1}, True, "2", "read", 2),
    ] == got


def test_a_call_that_came_whole_or_without_arguments_gives_one_record() -> None:
    got = records(PartialJson(), [ToolCall("1", "now", ""), ToolCall("2", "add", '{"a": 1}', choice=1)])
    assert [PartialValue({}, True, "1", "now"), PartialValue({"a": 1}, True, "2", "add", 0, 1)] == got


def test_a_call_that_was_cut_off_is_never_complete() -> None:
    cut_off: list[Event] = [
        ToolCallDelta("1", '{"a": 1'),
        ToolCall("1", "add", '{"a": 1', complete=False),
        ToolCall("2", "now", "", complete=False),
    ]
    assert [PartialValue({}, False, "1")] == records(PartialJson(), cut_off)


def test_text_blocks_and_answers_are_apart() -> None:
    got = records(PartialJson(), [TextDelta("[1"), TextDelta("[2", 1), TextDelta("3", 0, 1), Finish(choice=1), TextDelta(",4]", 1)])
    assert [
        PartialValue([]),
        PartialValue([], index=1),
        PartialValue(3, True, choice=1),
        PartialValue([2, 4], True, index=1),
    ] == got


def test_prose_where_json_was_expected_says_what_to_do() -> None:
    with pytest.raises(RemoteProtocolError, match="of='calls'"):
        PartialJson().feed(TextDelta("Let me look."))
    assert () == PartialJson(of="text").feed(ToolCallDelta("1", "no JSON"))


def test_an_error_event_completes_nothing() -> None:
    assert [] == records(PartialJson(), [TextDelta("12"), ErrorEvent("overloaded")])


def test_the_operator_takes_text_and_events() -> None:
    async def both() -> tuple[list[object], list[object]]:
        text = sk.stream(['{"a": "x', 'y"}']) | sk.partial_json()
        events = sk.stream([ToolCallDelta("1", "[true,"), ToolCallDelta("1", "null]")]) | sk.partial_json(of="calls")
        return [one.value for one in await text.collect()], [one.value for one in await events.collect()]

    text, events = asyncio.run(both())
    assert [{"a": "xy"}, {"a": "xy"}] == text
    assert [[True, None], [True, None]] == events


@settings(max_examples=60)
@given(documents, st.integers(0, 60))
def test_a_reader_saved_anywhere_and_taken_up_reads_the_same(text: str, pause: int) -> None:
    pause = min(pause, len(text))
    reader, other = JsonReader(), JsonReader()
    reader.feed(text[:pause])
    saved = reader.snapshot()
    other.restore(json.loads(json.dumps(saved)))
    assert saved == other.snapshot()
    for char in text[pause:]:
        assert reader.feed(char) == other.feed(char)
        assert reader.value == other.value
    assert reader.finish() == other.finish()
    assert (reader.value, reader.complete) == (other.value, other.complete)


def test_a_reader_saved_where_a_key_came_again_goes_on_in_its_new_value() -> None:
    reader, other = JsonReader(), JsonReader()
    reader.feed('{"a": [1], "b": 2, "a": [3')
    other.restore(reader.snapshot())
    other.feed(", 4]}")
    assert {"a": [3, 4], "b": 2} == other.value


def test_a_stage_saved_inside_blocks_and_calls_goes_on_with_each() -> None:
    before: list[Event] = [TextDelta("[1, "), ToolCallStart("c", "add"), ToolCallDelta("c", '{"a": "x'), TextDelta("{", index=1)]
    after: list[Event] = [ToolCallDelta("c", 'y"}'), TextDelta("2]"), TextDelta("}", index=1), ToolCall("c", "add"), Finish()]
    stage, other = PartialJson(), PartialJson()
    for event in before:
        list(stage.feed(event))
    saved = stage.snapshot()
    other.restore(copy.deepcopy(saved))
    assert saved == other.snapshot()
    for event in after:
        assert [*stage.feed(event)] == [*other.feed(event)]
    assert [*stage.flush()] == [*other.flush()]


def test_a_reader_that_is_not_alone_stops_behind_its_value() -> None:
    reader = JsonReader(alone=False)
    reader.feed('{"a": "b')
    assert (True, 2) == (reader.feed("c "), reader.end)
    reader.feed('"} and')
    assert (True, 3) == (reader.complete, reader.end)


def test_a_reader_says_which_character_broke_it_whatever_the_cut() -> None:
    for text, at in (('["a\nb"', 3), ("[tru[", 4), ('{"a" 1', 5), ('["\\q', 2), ("[1, ]", 4), ("[1.x", 3)):
        reader = JsonReader()
        with pytest.raises(RemoteProtocolError):
            reader.feed(text)
        assert at == reader.end, text
