"""AWS event streams: messages come out as they went in however they are cut, and no length is believed."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest
from counted import CountedBuffer
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects.protocol import InFrame
from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError, StreamTruncated
from streamkit.wire.eventstream import MAX_HEADERS_BYTES, Decoder, HeaderValue, Message, Timestamp, encode


def message(headers: bytes = b"", payload: bytes = b"", *, length: int | None = None, headers_length: int | None = None) -> bytes:
    """A message by hand, with right checksums around whatever it says."""
    length = 16 + len(headers) + len(payload) if length is None else length
    prelude = struct.pack(">II", length, len(headers) if headers_length is None else headers_length)
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def header(name: bytes, kind: int, value: bytes = b"") -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


def decoded(data: bytes) -> list[Message]:
    decoder = Decoder()
    messages = decoder.feed(data)
    decoder.finish()
    return messages


GOOD = encode({":message-type": "event", ":event-type": "chunk"}, b'{"text":"Hi"}')


def test_the_smallest_message_is_sixteen_bytes() -> None:
    assert 16 == len(encode({}))
    assert [Message({}, b"")] == decoded(encode({}))


def test_every_kind_of_header_is_read() -> None:
    headers = b"".join(
        [
            header(b"yes", 0),
            header(b"no", 1),
            header(b"byte", 2, b"\xff"),
            header(b"short", 3, b"\xff\xfe"),
            header(b"int", 4, struct.pack(">i", -3)),
            header(b"long", 5, struct.pack(">q", -4)),
            header(b"bytes", 6, b"\x00\x02\x00\xff"),
            header(b"text", 7, b"\x00\x03\xe2\x82\xac"),
            header(b"time", 8, struct.pack(">q", 1_700_000_000_000)),
            header(b"uuid", 9, bytes(range(16))),
        ]
    )
    expected: dict[str, HeaderValue] = {
        "yes": True,
        "no": False,
        "byte": -1,
        "short": -2,
        "int": -3,
        "long": -4,
        "bytes": b"\x00\xff",
        "text": "€",
        "time": Timestamp(1_700_000_000_000),
        "uuid": UUID(bytes=bytes(range(16))),
    }
    (got,) = decoded(message(headers, b"payload"))
    assert expected == got.headers
    assert [type(value) for value in expected.values()] == [type(value) for value in got.headers.values()]
    assert b"payload" == got.payload


def test_a_message_is_a_frame_named_after_its_kind() -> None:
    kinds: list[tuple[dict[str, HeaderValue], str]] = [
        ({":message-type": "event", ":event-type": "chunk"}, "chunk"),
        ({":event-type": "chunk"}, "chunk"),
        ({":message-type": "exception", ":exception-type": "throttlingException"}, "throttlingException"),
        ({":message-type": "error", ":error-code": "code", ":error-message": "text"}, "code"),
        ({":message-type": "error"}, "message"),
        ({":message-type": 7, ":event-type": 7}, "message"),
        ({}, "message"),
    ]
    for headers, expected in kinds:
        frame: InFrame = Message(headers, b"{}")
        assert (expected, b"{}", None) == (frame.type, frame.data, frame.id)


values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=300),
    st.text(max_size=100),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    st.uuids(),
)
names = st.text(min_size=1, max_size=40)


@given(st.lists(st.tuples(st.dictionaries(names, values, max_size=6), st.binary(max_size=400)), max_size=5), st.randoms())
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    told: list[tuple[dict[str, HeaderValue], bytes]], rng: random.Random
) -> None:
    body = b"".join(encode(headers, payload) for headers, payload in told)
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((0, 3, 40))))
    decoder = Decoder()
    got = [one for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) for one in decoder.feed(body[start:end])]
    decoder.finish()
    assert [Message(headers, payload) for headers, payload in told] == got
    assert [list(headers) for headers, _ in told] == [list(one.headers) for one in got]


def test_every_cut_of_two_messages_gives_them_both() -> None:
    body = GOOD + GOOD
    for cut in range(len(body) + 1):
        decoder = Decoder()
        assert 2 == len(decoder.feed(body[:cut]) + decoder.feed(memoryview(body)[cut:]))  # type: ignore[arg-type]  # any buffer will do
        decoder.finish()


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_make_the_decoder_raise_anything_of_its_own(noise: bytes, at: int) -> None:
    decoder = Decoder(max_message_bytes=1000)
    with_noise = GOOD[:at] + noise
    for start in range(0, len(with_noise), 7):
        try:
            decoder.feed(with_noise[start : start + 7])
        except RemoteProtocolError:
            assert decoder.error is not None
            return


# ---- what is wrong ------------------------------------------------------------------------------


def flipped(at: int) -> bytes:
    return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]


@pytest.mark.parametrize("at", range(len(GOOD)))
def test_one_wrong_bit_anywhere_is_an_error(at: int) -> None:
    with pytest.raises(RemoteProtocolError, match="checksum") as caught:
        Decoder().feed(flipped(at))
    assert 0 == caught.value.offset


@pytest.mark.parametrize(
    ("bad", "what", "offset"),
    [
        (message(length=0), "a message of 0 bytes: the least is 16", 0),
        (message(length=15), "a message of 15 bytes: the least is 16", 0),
        (message(length=2**31), "a message of 2147483648 bytes, more than max_message_bytes=16777216", 0),
        (message(length=2**32 - 1), "more than max_message_bytes", 0),
        (message(headers_length=1), "headers of 1 bytes in a message of 16: the most is 0", 4),
        (message(b"x" * 40, headers_length=2**32 - 1), "headers of 4294967295 bytes", 4),
        (message(b"", b"x" * 200_000, headers_length=MAX_HEADERS_BYTES + 1), "the most is 131072", 4),
        (message(b"\x00"), "a header longer than all of them", 12),
        (message(b"\x00\x07\x00\x00"), "a header without a name", 12),
        (message(b"\xff"), "a header longer than all of them", 12),
        (message(b"\x01a"), "a header longer than all of them", 12),
        (message(header(b"a", 10)), "a header of the unknown kind 10", 12),
        (message(header(b"a", 255)), "a header of the unknown kind 255", 12),
        (message(header(b"a", 2)), "a header longer than all of them", 12),
        (message(header(b"a", 5, b"1234567")), "a header longer than all of them", 12),
        (message(header(b"a", 7, b"\x00")), "a header longer than all of them", 12),
        (message(header(b"a", 7, b"\xff\xff"), b"x" * 70_000), "a header longer than all of them", 12),
        (message(header(b"a", 9, b"x" * 15)), "a header longer than all of them", 12),
        (message(header(b"a", 7, b"\x00\x01\xff")), "a header that is not UTF-8", 12),
        (message(header(b"\xff", 0)), "a header that is not UTF-8", 12),
        (message(header(b"a", 0) + header(b"b", 0) + header(b"a", 1)), "a header that is there twice", 18),
    ],
)
def test_what_the_grammar_forbids_is_an_error_that_says_where(bad: bytes, what: str, offset: int) -> None:
    decoder = Decoder()
    assert 1 == len(decoder.feed(GOOD + bad))
    assert decoder.error is not None
    assert offset + len(GOOD) == decoder.error.offset
    assert what in str(decoder.error)
    for again in (lambda: decoder.feed(GOOD), decoder.finish):
        with pytest.raises(RemoteProtocolError):
            again()


@pytest.mark.parametrize("length", [0, 15, 2**24 + 1, 2**31, 2**32 - 1])
def test_par_19_a_length_that_lies_is_refused_with_the_prelude_and_nothing_is_allocated_for_it(length: int) -> None:
    decoder = Decoder()
    prelude = message(length=length)[:12]
    assert [] == decoder.feed(prelude[:11])
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decoder.feed(prelude[11:])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_par_19_truncated_headers_and_bad_checksums_are_typed_errors() -> None:
    bodies: list[Callable[[], bytes]] = [
        lambda: flipped(8),  # the prelude's checksum
        lambda: flipped(len(GOOD) - 1),  # the message's
        lambda: message(header(b"name", 7, b"\x00\x09text")),
    ]
    for body in bodies:
        with pytest.raises(RemoteProtocolError):
            Decoder().feed(body())


def test_a_message_of_the_longest_length_is_read_and_one_byte_more_is_not() -> None:
    limit = len(GOOD)
    assert 1 == len(Decoder(max_message_bytes=limit).feed(GOOD))
    with pytest.raises(RemoteProtocolError, match=f"more than max_message_bytes={limit - 1}"):
        Decoder(max_message_bytes=limit - 1).feed(GOOD)


@pytest.mark.parametrize("cut", [1, 11, 12, 20, len(GOOD) - 1])
def test_an_end_inside_a_message_is_truncation(cut: int) -> None:
    decoder = Decoder()
    assert 1 == len(decoder.feed(GOOD + GOOD[:cut]))
    with pytest.raises(StreamTruncated, match=f"{cut} bytes behind its beginning at byte {len(GOOD)}"):
        decoder.finish()


def test_an_end_between_messages_is_an_end() -> None:
    decoder = Decoder()
    decoder.finish()
    with pytest.raises(LocalProtocolError, match="finished"):
        decoder.feed(GOOD)


@pytest.mark.parametrize("limit", [15, 0, -1, True, 1e9, "20"])
def test_a_bound_without_meaning_is_refused(limit: object) -> None:
    with pytest.raises(ConfigError, match="max_message_bytes"):
        Decoder(max_message_bytes=limit)  # type: ignore[arg-type]  # callers without types


def test_text_is_refused() -> None:
    with pytest.raises(TypeError, match="feed takes bytes, got str"):
        Decoder().feed("text")  # type: ignore[arg-type]  # callers without types


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"": 1}, "1 to 255 bytes"),
        ({"é" * 128: 1}, "1 to 255 bytes"),
        ({"a": "x" * 65_536}, "too large"),
        ({"a": b"x" * 65_536}, "too large"),
        ({"a": 2**63}, "too large"),
        ({"a": Timestamp(2**63)}, "too large"),
        ({"a": "\ud800"}, "half a character"),
        ({"a": 1.5}, "not a float"),
        ({"a": None}, "not a NoneType"),
        ({str(number): "x" * 60_000 for number in range(3)}, "the most is 131072"),
    ],
)
def test_headers_that_the_grammar_has_no_room_for_are_not_written(headers: dict[str, HeaderValue], what: str) -> None:
    with pytest.raises(LocalProtocolError, match=what):
        encode(headers)


@pytest.mark.parametrize("step", [1, 13, 4096])
def test_each_byte_is_touched_a_few_times_however_the_stream_is_cut(step: int) -> None:
    class Buffer(CountedBuffer):
        touched = 0

    decoder = Decoder()
    decoder._buffer = Buffer()
    body = b"".join(encode({"a": "b"}, b"x" * size) for size in (0, 5, 40_000, 3, 0, 20_000))
    got = [one for at in range(0, len(body), step) for one in decoder.feed(body[at : at + step])]
    assert 6 == len(got)
    assert Buffer.touched <= 4 * len(body)


# ---- recordings ---------------------------------------------------------------------------------


def test_the_published_vectors_are_read_and_refused_as_they_should(shared_data: Path) -> None:
    folder = shared_data / "transcripts" / "eventstream_vectors"
    expected = json.loads((folder / "expected.json").read_text())
    read = refused = 0
    for file in sorted(folder.glob("*.bin")):
        wanted = expected[file.stem]
        if isinstance(wanted, str):
            with pytest.raises((RemoteProtocolError, StreamTruncated)):
                decoded(file.read_bytes())
            refused += 1
            continue
        (got,) = decoded(file.read_bytes())
        spelled = {name: as_told(value) for name, value in got.headers.items()}
        assert wanted["headers"] == spelled, file.name
        assert wanted["payload"] == got.payload.decode()
        assert wanted["crc"] == int.from_bytes(file.read_bytes()[-4:], "big")
        read += 1
    assert read >= 9
    assert refused >= 6


def as_told(value: HeaderValue) -> str:
    return value.decode() if isinstance(value, bytes) else value.bytes.decode() if isinstance(value, UUID) else str(value)


def test_recorded_streams_are_read_to_their_end_under_random_cuts(shared_data: Path) -> None:
    files = sorted((shared_data / "transcripts").glob("*.eventstream"))
    assert len(files) >= 8
    for file in files:
        body = file.read_bytes()
        whole = decoded(body)
        assert whole
        assert body == b"".join(encode(one.headers, one.payload) for one in whole)
        rng = random.Random(file.name)
        for _ in range(50):
            cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((1, 5, 60))))
            decoder = Decoder()
            pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
            assert whole == [one for piece in pieces for one in decoder.feed(piece)]
            decoder.finish()
