"""`streamkit.wire.ndjson`: any cut of any bytes gives the same frames, within a bound that no blank counts for."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from streamkit.wire.ndjson import Decoder

BLANKS = b" \t\r\n"
MARK = b"\xef\xbb\xbf"

chunk_lists = st.lists(
    st.lists(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b" ", b"\t", b"{}", b"{}\n", b'{"a":1}\n', b"[", b"\xff", b"\xe2\x80", b"\xe2\x80\xa8", MARK]
        )
    ).map(b"".join),
    max_size=8,
)


def meant(stream: bytes, limit: int = 10**9) -> tuple[list[str], int | None]:
    """The data of the frames, and the first byte above the bound: by the words of the module, a line at a time."""
    texts: list[str] = []
    at = len(MARK) if stream.startswith(MARK) else 0
    for line in stream[at:].split(b"\n"):
        value = line.lstrip(BLANKS)
        begin = at + len(line) - len(value)
        if len(value) > limit:
            return texts, begin + limit
        if value:
            texts.append(value.removesuffix(b"\r").decode("utf-8", "replace"))
        at += len(line) + 1
    return texts, None


def read(cut: list[bytes], limit: int = 1_048_576) -> tuple[list[str], int | None]:
    decoder = Decoder(max_event_bytes=limit)
    texts: list[str] = []
    try:
        for chunk in cut:
            texts += [frame.data for frame in decoder.feed(chunk)]
        texts += [frame.data for frame in decoder.finish()]
    except RemoteProtocolError as error:
        assert error is decoder.error
        return texts, error.offset
    assert decoder.error is None
    return texts, None


def cuts(chunks: list[bytes]) -> list[list[bytes]]:
    stream = b"".join(chunks)
    return [chunks, [stream], [stream[at : at + 1] for at in range(len(stream))]]


@given(chunk_lists)
@settings(max_examples=300, deadline=None)
def test_any_cut_gives_the_same_frames(chunks: list[bytes]) -> None:
    for cut in cuts(chunks):
        assert meant(b"".join(chunks)) == read(cut)


@given(chunk_lists, st.integers(1, 9))
@settings(max_examples=500, deadline=None)
def test_a_line_above_the_bound_is_one_error_at_its_byte_after_all_frames_before_it(chunks: list[bytes], limit: int) -> None:
    for cut in cuts(chunks):
        assert meant(b"".join(chunks), limit) == read(cut, limit)


def test_spaces_between_lines_are_dropped_and_count_for_no_bound() -> None:
    decoder = Decoder(max_event_bytes=7)
    for _ in range(1000):
        assert [] == decoder.feed(b" ")
    assert ['{"a":1}'] == [frame.data for frame in decoder.feed(b'   {"a":1}\n' + b" " * 50)]
    assert ['{"a":2}'] == [frame.data for frame in decoder.feed(b'{"a":2}')] + [frame.data for frame in decoder.finish()]


def test_a_frame_comes_with_the_line_end_that_completes_it() -> None:
    decoder = Decoder()
    assert [] == decoder.feed(b'{"a":1}')
    assert ['{"a":1}'] == [frame.data for frame in decoder.feed(b"\n")]


def test_a_frame_is_a_message_without_an_id() -> None:
    (frame,) = Decoder().feed(b"[1]\n")
    assert ("message", "[1]", "") == (frame.type, frame.data, frame.id)


def test_a_separator_of_lines_inside_a_value_ends_no_line() -> None:
    (frame,) = Decoder().feed('{"a":"\u2028\u0085"}\n'.encode())
    assert '{"a":"\u2028\u0085"}' == frame.data


def test_an_error_is_known_at_once_and_raised_by_whatever_comes_next() -> None:
    decoder = Decoder(max_event_bytes=4)
    assert ["{}"] == [frame.data for frame in decoder.feed(b"{}\n[1, 2]\n")]
    assert decoder.error is not None
    assert 7 == decoder.error.offset
    with pytest.raises(RemoteProtocolError, match="max_event_bytes=4"):
        decoder.feed(b"{}\n")
    with pytest.raises(RemoteProtocolError, match="max_event_bytes=4"):
        decoder.finish()


def test_a_finished_decoder_takes_no_more_also_no_blanks() -> None:
    for last in (b"", b"{}\n"):
        decoder = Decoder()
        decoder.feed(last)
        decoder.finish()
        assert [] == decoder.finish()
        for chunk in (b"{}\n", b" "):
            with pytest.raises(LocalProtocolError):
                decoder.feed(chunk)


def test_what_is_no_bytes_is_refused() -> None:
    with pytest.raises(TypeError, match="got str"):
        Decoder().feed("{}\n")  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1"])
def test_a_bound_that_is_none_is_refused_at_the_call(limit: object) -> None:
    with pytest.raises(ConfigError, match="max_event_bytes"):
        Decoder(max_event_bytes=limit)  # type: ignore[arg-type]


def test_memory_is_bounded_by_the_line_and_not_by_the_stream() -> None:
    decoder = Decoder(max_event_bytes=100_000)
    line = b'{"a":"' + b"x" * 90_000 + b'"}\n'
    tracemalloc.start()
    try:
        for _ in range(100):
            for at in range(0, len(line), 4096):
                decoder.feed(line[at : at + 4096])
            decoder.feed(b" " * 4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 600_000
