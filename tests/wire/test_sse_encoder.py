"""The writing half of `streamkit.wire.sse`."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse_cases import recorded, require_recorded

from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.wire.sse import MAX_RETRY_MS, Decoder, Frame, comment, dump_json, encode, encode_json, encode_line

# A field's text: anything that fits in a line.
fields = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def decoded(wire: bytes) -> list[Frame]:
    decoder = Decoder()
    frames = decoder.feed(wire)
    assert 0 == decoder.finish()
    return frames


def test_a_frame_is_its_fields_then_its_data_then_an_empty_line() -> None:
    assert b"data: hello\n\n" == encode("hello")
    assert b"event: add\nretry: 1500\ndata: a\ndata: b\nid: 7\n\n" == encode("a\nb", event="add", id="7", retry=1500)
    assert b'event: add\nretry: 0\ndata: {"a":1}\nid: 7\n\n' == encode_json({"a": 1}, event="add", id="7", retry=0)
    assert b"data: [DONE]\nid: 7\n\n" == encode_line(b"[DONE]", id="7")


@given(text=st.text(), event=st.none() | fields, id=st.none() | fields, retry=st.none() | st.integers(0, MAX_RETRY_MS))
def test_any_text_comes_back_with_its_line_ends_as_LF(text: str, event: str | None, id: str | None, retry: int | None) -> None:
    decoder = Decoder()
    expected = Frame(event or "message", text.replace("\r\n", "\n").replace("\r", "\n"), id or "")
    assert [expected] == decoder.feed(encode(text, event=event, id=id, retry=retry))
    assert retry == decoder.retry


@given(value=json_values, event=st.none() | fields)
def test_any_JSON_value_comes_back_from_one_line(value: object, event: str | None) -> None:
    wire = encode_json(value, event=event)
    assert wire == encode_line(dump_json(value), event=event)
    (frame,) = decoded(wire)
    assert value == json.loads(frame.data)
    assert 1 == len(frame.data.splitlines())


@given(text=st.text(), event=st.text(), id=st.text())
def test_any_field_is_written_as_it_is_or_refused(text: str, event: str, id: str) -> None:
    fits = not set("\r\n\0") & set(event + id)
    try:
        wire = encode(text, event=event, id=id)
    except LocalProtocolError:
        assert not fits
    else:
        assert fits
        assert [(event or "message", id)] == [(frame.type, frame.id) for frame in decoded(wire)]


@pytest.mark.parametrize("bad", ["\n", "\r", "\r\n", "\0"], ids=["LF", "CR", "CRLF", "NUL"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_line_ends_and_NUL_in_a_field_are_refused_wherever_they_stand(field: str, bad: str) -> None:
    for value in (bad, bad + "a", "a" + bad, "a" + bad + "data: b", "é\x7f" + bad):
        with pytest.raises(LocalProtocolError, match=f"CR, LF or NUL in {field}"):
            encode("x", event=value if field == "event" else None, id=value if field == "id" else None)
        with pytest.raises(LocalProtocolError, match=f"CR, LF or NUL in {field}"):
            encode_json({}, event=value if field == "event" else None, id=value if field == "id" else None)


def test_other_control_characters_in_a_field_are_kept() -> None:
    assert [Frame("a\tb\x7f\u2028", "x", "\x01")] == decoded(encode("x", event="a\tb\x7f\u2028", id="\x01"))


@pytest.mark.parametrize(("data", "event", "id"), [("\ud83d", None, None), ("x", "\ud83d", None), ("x", None, "a\udc00")])
def test_a_lone_surrogate_is_refused_and_named(data: str, event: str | None, id: str | None) -> None:
    with pytest.raises(LocalProtocolError, match=r"lone surrogate U\+D"):
        encode(data, event=event, id=id)
    with pytest.raises(LocalProtocolError, match=r"lone surrogate U\+D"):
        encode_json({"text": data}, event=event, id=id)


@pytest.mark.parametrize("wrong", [b"bytes", 5, None, ["a"], {"a": 1}, ()])
def test_what_is_not_text_is_a_TypeError_that_names_the_way(wrong: object) -> None:
    with pytest.raises(TypeError, match="data, event and id must be str"):
        encode(wrong)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="data, event and id must be str"):
        encode("x", event="e", id=wrong or 5)  # type: ignore[arg-type]  # the mistake under test


class Colour(msgspec.Struct):
    name: str


def test_structs_are_values_too() -> None:
    assert b'data: {"name":"red"}\n\n' == encode_json(Colour("red"))


def test_every_line_separator_in_JSON_is_escaped_and_its_neighbours_are_not() -> None:
    text = "a\nb\rc\u2028d\u2029e\x85f\u2014g\xc2\xe2"
    body = dump_json({text: text})
    assert {text: text} == json.loads(body)
    assert 1 == len(body.decode().splitlines())
    for separator in ("\u2028", "\u2029", "\x85"):
        assert separator.encode() not in body
    assert "\u2014g\xc2\xe2".encode() in body


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_white_space_in_raw_JSON_cannot_end_the_line(end: str) -> None:
    blanks = " " * len(end)
    assert f'data: {{"a": [1,{blanks}2]}}\n\n'.encode() == encode_json(msgspec.Raw(f'{{"a": [1,{end}2]}}'.encode()))


def _inside_itself() -> object:
    loop: list[object] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("value", [object(), {1j: 2}, _inside_itself()], ids=["object", "complex key", "inside itself"])
def test_what_JSON_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="a value that JSON cannot say"):
        encode_json(value)


@pytest.mark.parametrize("line", [b"a\nb", b"a\rb", b"\n", b"a\r\n"])
def test_encode_line_takes_one_line(line: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="one line"):
        encode_line(line)


def test_a_heartbeat_is_one_comment_line_with_one_LF() -> None:
    assert b": hb\n" == comment()
    assert b": still here\n" == comment("still here")


# The recorded bad inputs, by their ids, as far as the grammar can answer for them.


def test_every_recorded_bad_input_of_the_encoder_has_its_test() -> None:
    groups = recorded("bad_inputs.json", "groups")
    require_recorded(groups)
    here = {name[5:].split("_")[0] for name in globals() if name.startswith("test_SSE")}
    assert here == {case["id"].replace("-", "") for case in groups["sse_encoder"]}


def test_SSE01_LF_in_an_event_name_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode("x", event="msg\ndata: INJ")


def test_SSE02_a_bare_CR_in_event_or_id_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode("x", event="m\rdata: INJ")
    with pytest.raises(LocalProtocolError):
        encode("x", id="1\rdata: INJ")


def test_SSE03_CRLF_in_an_id_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode("x", id="1\r\nevent: admin")


@pytest.mark.parametrize("text", ["a\nevent: admin\n\ndata: b", "a\rb", "a\r\nb", "\n", "\r\r\n\n", "a\n"])
def test_SSE04_line_ends_in_data_begin_data_lines(text: str) -> None:
    wire = encode(text)
    assert all(line.startswith(b"data: ") for line in wire[:-2].split(b"\n"))
    assert [Frame("message", text.replace("\r\n", "\n").replace("\r", "\n"))] == decoded(wire)


@pytest.mark.parametrize("text", ["x\n\ndata: INJ", "x\rdata: INJ"])
def test_SSE05_line_ends_in_a_comment_are_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="a comment is one line"):
        comment(text)


def test_SSE06_NUL_in_an_id_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode("x", id="1\x00")


@pytest.mark.parametrize("retry", [-5, 1.5, "1\n", 10**12, True, False, MAX_RETRY_MS + 1])
def test_SSE07_a_retry_that_is_no_number_of_its_range_is_refused(retry: object) -> None:
    with pytest.raises(LocalProtocolError, match="retry must be an int"):
        encode("x", retry=retry)  # type: ignore[arg-type]  # the mistake under test


def test_SSE08_other_separators_stay_inside_their_line() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    wire = encode(text)
    assert 2 == wire.count(b"\n")
    assert [Frame("message", text)] == decoded(wire)


def test_SSE09_half_a_character_is_refused_before_anything_is_written() -> None:
    with pytest.raises(LocalProtocolError, match=r"U\+D83D"):
        encode("\ud83d")


@pytest.mark.parametrize("text", [" x", "  ", "\ufeffx"])
def test_SSE10_leading_spaces_and_marks_come_back(text: str) -> None:
    wire = encode(text)
    assert wire.startswith(b"data: ")
    assert [Frame("message", text)] == decoded(wire)


def test_SSE11_empty_data_is_an_event_and_an_empty_name_is_the_default() -> None:
    assert [Frame("message", "")] == decoded(encode(""))
    assert encode("x") == encode("x", event="")
    assert b"data: x\nid: \n\n" == encode("x", id="")


def test_SSE12_a_token_of_10_MiB_is_written_whole_and_a_reader_with_a_bound_refuses_it() -> None:
    wire = encode("x" * 10_485_760)
    assert 10_485_760 + 8 == len(wire)
    with pytest.raises(RemoteProtocolError, match="max_event_bytes"):
        Decoder().feed(wire)
    assert [10_485_760] == [len(frame.data) for frame in Decoder(max_event_bytes=11_000_000).feed(wire)]


def test_SSE13_markup_is_not_touched() -> None:
    text = "<img src=x onerror=alert(1)>"
    assert b"data: " + text.encode() + b"\n\n" == encode(text)
    assert b'data: "' + text.encode() + b'"\n\n' == encode_json(text)


@pytest.mark.parametrize("text", ["[DONE]", "event: done"])
def test_SSE14_text_that_looks_like_an_end_marker_is_still_text(text: str) -> None:
    (frame,) = decoded(encode_json(text))
    assert ("message", json.dumps(text)) == (frame.type, frame.data)
    assert [Frame("message", text)] == decoded(encode(text))


def test_a_client_that_takes_an_id_from_its_line_loses_no_event_when_the_data_is_torn() -> None:
    # As @microsoft/fetch-event-source does. Only a tear in front of the very last byte would still cost it the event.
    for frame in (encode("a\nb", event="add", id="7"), encode_json({"a": 1}, id="7"), encode_line(b"x", event="add", id="7")):
        told = [frame[:size] for size in range(len(frame)) if b"id: 7\n" in frame[:size]]
        assert [frame[:-1]] == told
