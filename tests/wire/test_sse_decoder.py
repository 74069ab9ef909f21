"""The reading half of `streamkit.wire.sse`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

import pytest
from counted import CountedBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from sse_cases import CASES, Case, recorded, recorded_sse_cases, require_recorded
from sse_reference import Reference

from streamkit.errors import EXCERPT_CHARS, ConfigError, LocalProtocolError, RemoteProtocolError
from streamkit.wire.sse import Decoder, Frame, encode

RECORDED = recorded_sse_cases()
ALL = CASES + RECORDED

# What the grammar turns on, so that random streams are mostly nearly right.
PIECES = [
    *[
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b":",
        b" ",
        b": hb\n",
        b"data",
        b"data:",
        b"data: ",
        b"event: ",
        b"id: ",
        b"retry: ",
    ],
    *[
        b"a",
        b"7",
        b"data: x\n\n",
        b"event: e\ndata: y\n\n",
        b"event: e\n\n",
        b"id: 3\n",
        b"\x00",
        b"\xef\xbb\xbf",
        b"\xff",
        "é".encode(),
        b"\xf0\x9f",
    ],
]
streams = st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join) | st.binary(max_size=60)


def frames_of(chunks: Iterable[bytes], decoder: Decoder | None = None) -> list[tuple[str, str, str]]:
    decoder = decoder or Decoder()
    return [(frame.type, frame.data, frame.id) for chunk in chunks for frame in decoder.feed(chunk)]


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def cut(stream: bytes, places: Iterable[int]) -> Iterator[bytes]:
    begin = 0
    for place in sorted(place % (len(stream) + 1) for place in places):
        yield stream[begin:place]
        begin = place
    yield stream[begin:]


def test_the_recorded_cases_are_at_hand_and_are_all_there() -> None:
    require_recorded(RECORDED)
    assert 104 == len(RECORDED)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_whole_stream_gives_its_events(case: Case) -> None:
    decoder = Decoder()
    assert case.events == frames_of([case.stream], decoder)
    assert (case.retry, case.last_event_id) == (decoder.retry, decoder.last_event_id)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_single_bytes_give_the_same_events(case: Case) -> None:
    decoder = Decoder()
    assert case.events == frames_of(single_bytes(case.stream), decoder)
    assert (case.retry, case.last_event_id) == (decoder.retry, decoder.last_event_id)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_every_cut_in_two_gives_the_same_events(case: Case) -> None:
    for at in range(len(case.stream) + 1):
        decoder = Decoder()
        assert case.events == frames_of([case.stream[:at], case.stream[at:]], decoder), at
        assert (case.retry, case.last_event_id) == (decoder.retry, decoder.last_event_id), at


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_an_event_is_given_by_the_byte_that_completes_it(case: Case) -> None:
    events = Reference(case.stream).events
    assert case.events == [(event.type, event.data, event.id) for event in events]
    for number, event in enumerate(events):
        assert case.events[:number] == frames_of([case.stream[: event.read - 1]])
        assert case.events[: number + 1] == frames_of([case.stream[: event.read]])
    decoder = Decoder()
    for position, byte in enumerate(single_bytes(case.stream)):
        assert [event[:3] for event in events if event.read == position + 1] == frames_of([byte], decoder), position


@given(stream=streams, places=st.lists(st.integers(0, 10_000), max_size=8))
@settings(max_examples=600, deadline=None)
def test_any_bytes_cut_anywhere_mean_what_the_standard_says(stream: bytes, places: list[int]) -> None:
    meant = Reference(stream)
    for chunks in ([stream], list(cut(stream, places)), single_bytes(stream)):
        decoder = Decoder()
        assert [event[:3] for event in meant.events] == frames_of(chunks, decoder)
        assert (meant.retry, meant.last_event_id, meant.comments) == (decoder.retry, decoder.last_event_id, decoder.comments)


@given(stream=streams, places=st.lists(st.integers(0, 10_000), max_size=8), limit=st.integers(1, 30))
@settings(max_examples=600, deadline=None)
def test_any_bytes_within_a_small_bound_give_the_events_before_it_and_one_error_at_its_byte(
    stream: bytes, places: list[int], limit: int
) -> None:
    meant = Reference(stream, limit)
    for chunks in ([stream], list(cut(stream, places)), single_bytes(stream)):
        decoder = Decoder(max_event_bytes=limit)
        got: list[tuple[str, str, str]] = []
        offset = None
        try:
            for chunk in chunks:
                got += frames_of([chunk], decoder)
            assert meant.unfinished == decoder.finish()
        except RemoteProtocolError as error:
            assert error is decoder.error
            offset = error.offset
        assert [event[:3] for event in meant.events] == got
        assert meant.overflow == offset


@given(text=st.text(), event=st.none() | st.just("message"), places=st.lists(st.integers(0, 10_000), max_size=8))
def test_what_was_encoded_is_decoded_at_any_cut(text: str, event: str | None, places: list[int]) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    wire = encode(text, event=event)
    assert [("message", expected, "")] * 2 == frames_of(cut(wire + wire, places))


def test_finish_says_how_many_bytes_were_lost() -> None:
    for stream, lost in [
        (b"data: a\n\n", 0),
        (b"data: a\n", 8),
        (b"data: a", 7),
        (b": hb\n", 0),
        (b"\xef\xbb\xbf", 0),
        (b"\xef\xbb", 2),
    ]:
        decoder = Decoder()
        decoder.feed(stream)
        assert lost == decoder.finish(), stream
        assert 0 == decoder.finish()


def test_a_finished_decoder_cannot_be_fed() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a\n\n")
    decoder.finish()
    with pytest.raises(LocalProtocolError, match="a Decoder of its own"):
        decoder.feed(b"data: b\n\n")


@pytest.mark.parametrize("wrong", ["data: a\n\n", 5, None])
def test_what_is_not_bytes_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="feed takes bytes"):
        Decoder().feed(wrong)  # type: ignore[arg-type]  # the mistake under test


def test_other_kinds_of_bytes_are_read_as_well() -> None:
    decoder = Decoder()
    assert [Frame("message", "a")] == decoder.feed(bytearray(b"data: a\n\n"))  # type: ignore[arg-type]  # works, is not promised
    assert [Frame("message", "b")] == decoder.feed(memoryview(b"data: b\n\n"))  # type: ignore[arg-type]  # works, is not promised


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "9"])
def test_a_bound_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="max_event_bytes"):
        Decoder(max_event_bytes=wrong)  # type: ignore[arg-type]  # the mistake under test


def test_comments_are_counted_at_any_size_of_read() -> None:
    stream = b": a\n\ndata: x\n\n: b\ndata: y\n\ndata: z\n\n:\n"
    for chunks in ([stream], single_bytes(stream)):
        decoder = Decoder()
        assert 3 == len(frames_of(chunks, decoder))
        assert 3 == decoder.comments


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_last_field_error_is_remembered_within_a_bound_and_dispatches_nothing(size: int) -> None:
    body = b"error: first\n\nerrors: other\nError: other\ndata: a\nerror:" + b"x" * 5000 + b"\n\n"
    decoder = Decoder()
    assert [("message", "a", "")] == frames_of([body[at : at + size] for at in range(0, len(body), size)], decoder)
    assert "x" * 4096 == decoder.ignored_error
    assert "" == Decoder().ignored_error


def test_comments_that_ended_never_fill_the_bound() -> None:
    decoder = Decoder(max_event_bytes=64)
    for _ in range(1_000):
        assert not decoder.feed(b": hb\n")
    assert [Frame("message", "a")] == decoder.feed(b"data: a\n\n")
    assert [Frame("message", "a")] == decoder.feed(b": hb\n" * 1_000 + b"data: a\n\n")


def test_what_came_before_a_bad_line_is_returned_and_the_error_comes_next() -> None:
    decoder = Decoder(max_event_bytes=20)
    assert [Frame("message", "a"), Frame("message", "b")] == decoder.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 50)
    assert decoder.error is not None
    assert 18 + 20 == decoder.error.offset
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="max_event_bytes=20") as caught:
            decoder.feed(b"data: c\n\n")
        assert decoder.error is caught.value
    with pytest.raises(RemoteProtocolError):
        decoder.finish()


def test_an_error_quotes_little_of_a_large_line() -> None:
    decoder = Decoder(max_event_bytes=100_000)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.feed(b"data: " + b"x" * 200_000)
    assert 100_000 == caught.value.offset
    assert 0 < len(caught.value.excerpt) <= EXCERPT_CHARS
    assert len(str(caught.value)) < 400


def test_an_event_of_exactly_the_bound_passes_and_one_byte_more_does_not() -> None:
    stream = b"data: ab\ndata: cd\n\n"
    for chunks in ([stream], single_bytes(stream)):
        assert [("message", "ab\ncd", "")] == frames_of(chunks, Decoder(max_event_bytes=18))
        with pytest.raises(RemoteProtocolError, match="at byte 17"):
            frames_of(chunks, Decoder(max_event_bytes=17))


def test_a_read_larger_than_the_bound_is_no_error() -> None:
    stream = b"data: a\n\n" * 100 + b": c\n" * 100 + b"data: a\n\n"
    assert [("message", "a", "")] * 101 == frames_of([stream], Decoder(max_event_bytes=16))


ENDLESS = {
    "line": b"data: " + b"x" * 60_000,
    "event": b"data: y\n" * 7_500,
    "comment": b": " + b"x" * 60_000,
    "names": b"event\n" * 10_000,
}


@pytest.mark.parametrize("step", [1, 2, 7, 1_024])
@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_held_is_copied_once_and_never_searched_again(name: str, step: int) -> None:
    class Buffer(CountedBuffer):
        pass

    stream = ENDLESS[name]
    decoder = Decoder(max_event_bytes=50_000)
    decoder._line = Buffer()
    decoder._data = Buffer()
    with pytest.raises(RemoteProtocolError, match="max_event_bytes=50000"):
        for at in range(0, len(stream), step):
            assert [] == decoder.feed(stream[at : at + step])
    # In once and out once for the line, in once for the data, and the excerpt: nothing grows with the number of reads.
    assert 0 < Buffer.touched <= 3 * 50_000 + 2 * step


def test_counting_would_see_a_decoder_that_copies_what_it_holds_at_every_read() -> None:
    class Buffer(CountedBuffer):
        pass

    held = Buffer()
    for _ in range(1_000):
        held += b"x"
        bytes(held)
    assert Buffer.touched > 3 * 1_000


@pytest.mark.parametrize("step", [1, 1_024])
@pytest.mark.parametrize("name", ENDLESS)
def test_memory_stays_near_the_bound(name: str, step: int) -> None:
    limit = 50_000
    stream = ENDLESS[name]
    decoder = Decoder(max_event_bytes=limit)
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            for at in range(0, len(stream), step):
                decoder.feed(stream[at : at + step])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * limit
    assert (len(decoder._line), len(decoder._data)) == (0, 0)


@pytest.mark.parametrize("size", [1_000, 4_000])
def test_many_comments_in_a_read_above_the_bound_are_searched_once_per_window(size: int) -> None:
    searched = 0

    class Counted(bytes):
        def rfind(self, what: object, begin: SupportsIndex | None = 0, end: SupportsIndex | None = None) -> int:
            nonlocal searched
            assert isinstance(what, bytes)
            searched += len(self[begin:end])
            return super().rfind(what, begin, end)

    stream = Counted(b": c\n" * size + b"data: x\n\n")
    decoder = Decoder(max_event_bytes=400)
    decoder.feed(b"\n")
    assert [Frame("message", "x")] == decoder._read(stream, bytes(stream), 0)
    assert searched <= 2 * len(stream)


# The recorded bad inputs, by their ids, as far as the grammar can answer for them.


def test_every_recorded_bad_input_of_the_grammar_has_its_test() -> None:
    groups = recorded("bad_inputs.json", "groups")
    require_recorded(groups)
    known = {case["id"] for case in groups["sse_parser_client"]}
    here = {name[5:].split("_")[0] for name in globals() if name.startswith("test_PAR")}
    assert here <= {one.replace("-", "") for one in known}
    assert 9 == len(here)


def test_PAR01_a_line_that_never_ends_is_refused_at_the_bound() -> None:
    decoder = Decoder()
    fed = 0
    with pytest.raises(RemoteProtocolError, match="max_event_bytes=1048576"):
        for chunk in [b"data: ", *[b"x" * 65_536] * 100]:
            decoder.feed(chunk)
            fed += len(chunk)
    assert fed <= 1_048_576


def test_PAR02_an_event_that_never_ends_is_refused_at_the_bound() -> None:
    decoder = Decoder()
    fed = 0
    with pytest.raises(RemoteProtocolError, match="max_event_bytes=1048576"):
        for _ in range(1_000):
            decoder.feed(b"data: y\n" * 1_024)
            fed += 8 * 1_024
    assert 1_048_576 == fed


def test_PAR03_reads_of_one_byte_give_the_same_events() -> None:
    stream = "event: é\r\ndata: 你\rdata: b\n\n".encode() * 50
    assert [("é", "你\nb", "")] * 50 == frames_of(single_bytes(stream))


def test_PAR04_a_cut_inside_a_character_changes_nothing() -> None:
    stream = "data: é你😀\n\n".encode()
    for size in (1, 2, 3, 4):
        assert [("message", "é你😀", "")] == frames_of(stream[at : at + size] for at in range(0, len(stream), size))


def test_PAR05_a_cut_between_CR_and_LF_makes_no_empty_line() -> None:
    decoder = Decoder()
    assert [] == decoder.feed(b"data: a\r")
    assert [Frame("message", "a")] == decoder.feed(b"\n\r")
    assert [] == decoder.feed(b"\n")
    assert [] == decoder.feed(b"data: b\r")
    assert [] == decoder.feed(b"\ndata: c\r")
    assert [Frame("message", "b\nc")] == decoder.feed(b"\r")


def test_PAR06_malformed_UTF8_is_replaced() -> None:
    assert [("message", "\ufffd\ufffd", "")] == frames_of([b"data: \xff\xfe\n\n"])


def test_PAR07_an_event_cut_off_by_the_end_is_not_given_out_and_not_silent() -> None:
    decoder = Decoder()
    assert [] == decoder.feed(b'data: {"a":1')
    assert 12 == decoder.finish()


def test_PAR13_marks_CR_and_fields_without_colon_are_read_as_the_standard_says() -> None:
    assert [("message", "\n", ""), ("e", "x", "")] == frames_of([b"\xef\xbb\xbfdata\rdata\rwhat\r\revent: e\rdata: x\r\r"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"999999999999", 999_999_999_999),
        (b"9" * 100_000, 10**15),
        (b"0" * 100_000 + b"7", 7),
        (b"\xc2\xb2", None),
        (b"", None),
    ],
    ids=["zero", "years", "100,000 digits", "100,000 zeros", "superscript", "empty"],
)
def test_PAR14_a_hostile_retry_is_a_number_of_bounded_size(value: bytes, expected: int | None) -> None:
    for stream in (b"retry: " + value + b"\n", b"data: x\n\nretry: " + value + b"\n\n"):
        decoder = Decoder()
        decoder.feed(stream)
        assert expected == decoder.retry
