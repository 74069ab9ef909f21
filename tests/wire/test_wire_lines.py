"""`streamkit.wire.lines`: any cut of any bytes gives the same lines, within a bound."""

from __future__ import annotations

import tracemalloc

import pytest
from counted import CountedBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from streamkit.wire.lines import Decoder

chunk_lists = st.lists(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"\xff", b"\xe2\x80\xa8"])).map(b"".join), max_size=8
)


def meant(stream: bytes) -> tuple[list[bytes], list[bytes]]:
    *lines, rest = stream.split(b"\n")
    return [line.removesuffix(b"\r") for line in lines], [rest.removesuffix(b"\r")] if rest else []


@given(chunk_lists)
def test_any_cut_gives_the_same_lines(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    for cut in (chunks, [stream], [stream[at : at + 1] for at in range(len(stream))]):
        decoder = Decoder()
        assert meant(stream) == ([line for chunk in cut for line in decoder.feed(chunk)], decoder.finish())


@given(chunk_lists, st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_a_line_above_the_bound_is_one_error_at_its_byte_after_all_lines_before_it(chunks: list[bytes], limit: int) -> None:
    stream = b"".join(chunks)
    expected: list[bytes] = []
    at, offset = 0, None
    for line in stream.split(b"\n"):
        if len(line) > limit:
            offset = at + limit
            break
        at += len(line) + 1
        expected.append(line.removesuffix(b"\r"))
    if offset is None and not expected[-1]:
        expected.pop() if not stream.endswith(b"\r") else None
    for cut in (chunks, [stream], [stream[at : at + 1] for at in range(len(stream))]):
        decoder = Decoder(max_line_bytes=limit)
        got: list[bytes] = []
        seen = None
        try:
            for chunk in cut:
                got += decoder.feed(chunk)
            got += decoder.finish()
        except RemoteProtocolError as error:
            seen = error.offset
            assert error is decoder.error
        assert (expected, offset) == (got, seen)


def test_lines_before_a_bad_one_are_returned_and_the_error_comes_next() -> None:
    decoder = Decoder(max_line_bytes=5)
    assert [b"abc", b"12345"] == decoder.feed(b"abc\r\n12345\nabcdef\nxyz\n")
    with pytest.raises(RemoteProtocolError, match=r"max_line_bytes=5: .* at byte 16"):
        decoder.feed(b"\n")
    with pytest.raises(RemoteProtocolError, match=r"at byte 16"):
        decoder.finish()


def test_separators_other_than_LF_are_part_of_a_line() -> None:
    line = "a\u2028b\x85c\x0bd\re".encode()
    assert [line] == Decoder().feed(line + b"\n")


def test_a_finished_decoder_cannot_be_fed() -> None:
    decoder = Decoder()
    decoder.feed(b"a")
    assert [decoder.finish(), decoder.finish()] == [[b"a"], []]
    with pytest.raises(LocalProtocolError, match="a Decoder of its own"):
        decoder.feed(b"b")


@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_what_is_not_bytes_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="feed takes bytes"):
        Decoder().feed(wrong)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("wrong", [0, True, 2.5])
def test_a_bound_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="max_line_bytes"):
        Decoder(max_line_bytes=wrong)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("step", [1, 7, 1_024])
def test_what_is_held_is_copied_once_and_memory_stays_near_the_bound(step: int) -> None:
    class Buffer(CountedBuffer):
        pass

    limit = 50_000
    decoder = Decoder(max_line_bytes=limit)
    decoder._line = Buffer()
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="at byte 50000"):
            for _ in range(limit // step + 1):
                decoder.feed(b"x" * step)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert limit - step <= Buffer.touched <= limit + 200  # the excerpt
    assert peak < 4 * limit
