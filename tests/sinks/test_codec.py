"""The codec: dialect times framing, items that are no events, and ends."""

from __future__ import annotations

import json

import pytest
from asgi_client import frames_of

import streamkit as sk
from streamkit.dialects import CANCELLED, DONE, Dialect, OutFrame, outcome_of
from streamkit.dialects.native import NativeDecoder, NativeEncoder
from streamkit.dialects.own_frames import mapping
from streamkit.errors import LocalProtocolError
from streamkit.sinks.codec import Codec, dialect_of
from streamkit.wire.sse import Decoder


def test_a_batch_is_one_bytes_object_with_all_its_frames() -> None:
    body = Codec().encode([sk.TextDelta("a"), sk.TextDelta("b")])
    assert b'data: {"type":"text-delta","text":"a"}\n\ndata: {"type":"text-delta","text":"b"}\n\n' == body


def test_text_is_a_text_delta() -> None:
    assert Codec().encode([sk.TextDelta("a")]) == Codec().encode(["a"])


def test_native_events_can_be_written_as_ndjson() -> None:
    codec = Codec("native", framing="ndjson")
    lines = (codec.open() + codec.encode(["a\nb"]) + codec.close(DONE)).split(b"\n")
    assert ["open", "text-delta", "finish", "end"] == [json.loads(line)["type"] for line in lines[:-1]]
    assert b"" == lines[-1]
    assert ("application/x-ndjson", b" ") == (codec.media_type, codec.heartbeat)


def test_a_dialect_of_plain_text_is_written_in_its_own_framing() -> None:
    codec = Codec(Dialect("shout", "text", encoder=NativeEncoder, media_type="text/plain", headers={"x-loud": "1"}))
    assert b'{"type":"text-delta","text":"a"}' == codec.encode(["a"])
    assert ("text/plain", {"x-loud": "1"}, b"") == (codec.media_type, codec.headers, codec.heartbeat)


@pytest.mark.parametrize(
    ("item", "advice"),
    [({"a": 1}, "sk.Custom"), (3, "sk.Custom"), (None, "sk.Custom"), (b"bytes", "sk.decode"), (object(), "an object")],
)
def test_an_item_that_is_neither_event_nor_text_is_refused_with_advice(item: object, advice: str) -> None:
    codec = Codec()
    assert b"" == codec.encode([item])
    assert isinstance(codec.stopped_by, TypeError)
    assert advice in str(codec.stopped_by)


def test_what_stands_before_a_bad_item_is_still_written_and_what_stands_behind_is_not() -> None:
    codec = Codec()
    body = codec.encode(["before", sk.Custom("x", object()), "behind"])
    assert ["before"] == [json.loads(frame.data)["text"] for frame in frames_of(body)]
    assert isinstance(codec.stopped_by, sk.LocalProtocolError)


def test_a_dialect_that_writes_a_line_end_into_a_frame_is_stopped_before_it_forges_a_field() -> None:
    class Encoder(NativeEncoder):
        def encode(self, event: sk.Event) -> list[OutFrame]:
            return [OutFrame(event.text.encode())] if isinstance(event, sk.TextDelta) else []

    for batch, written in ((["good", "bad\nid: 7", "behind"], b"data: good\n\n"), (["bad\rid: 7"], b"")):
        codec = Codec(Dialect("careless", "sse", encoder=Encoder))
        assert written == codec.encode(batch)
        assert isinstance(codec.stopped_by, sk.LocalProtocolError)


def test_an_error_event_stops_the_codec_which_leaves_the_frame_to_close() -> None:
    codec, event = Codec(), sk.ErrorEvent("Sorry.", code="overloaded", retryable=True)
    assert b"before" in codec.encode(["before", event])
    assert event is codec.stopped_by


@pytest.mark.parametrize("dialect", ["native", "openai-chat"])
@pytest.mark.parametrize(
    "outcome",
    [
        DONE,
        CANCELLED,
        outcome_of(ValueError("x"), correlation_id="c1"),
        outcome_of(sk.StreamTruncated("x")),
        outcome_of(sk.StreamDraining("x")),
        outcome_of(sk.StreamInterrupted("x")),
    ],
    ids=lambda outcome: outcome.ending,
)
def test_every_outcome_has_terminal_frames_and_they_come_once(dialect: str, outcome: object) -> None:
    codec = Codec(dialect)
    codec.encode(["text"])
    assert isinstance(outcome, type(DONE))
    last = frames_of(codec.close(outcome))[-1].data
    if outcome.failed:
        told = json.loads(last)
        told = told.get("error", told)
        assert (outcome.code, outcome.message, outcome.correlation_id) == (
            told["code"],
            told["message"],
            told.get("correlation_id"),
        )
        assert outcome.retryable == told.get("retryable", False)
    else:
        assert {"native": '{"type":"end"}', "openai-chat": "[DONE]"}[dialect] == last
    assert b"" == codec.close(outcome)


def test_a_stream_that_ended_as_cancelled_is_closed_as_cancelled() -> None:
    closed: list[object] = []

    class Encoder(NativeEncoder):
        def close(self, outcome: object) -> list[object]:  # type: ignore[override]  # only looked at
            closed.append(outcome)
            return []

    codec = Codec(Dialect("spy", "sse", encoder=Encoder))  # type: ignore[arg-type]  # as above
    codec.encode([sk.Finish("cancelled")])
    codec.close(DONE)
    assert [CANCELLED] == closed


def test_what_the_codec_writes_the_native_decoder_reads() -> None:
    codec = Codec()
    events = [
        sk.Start(id="1", model="m"),
        sk.TextDelta("a\u2028b\r\n"),
        sk.ToolCallStart("t", "add"),
        sk.Usage(1, 2),
        sk.Finish("length"),
    ]
    body = codec.open() + codec.encode(events) + codec.close(DONE)
    decoder = NativeDecoder()
    assert events == decoder.decode_many(frames_of(body)) + decoder.finish()


def test_retry_goes_on_the_first_frame_and_never_alone() -> None:
    for dialect in ("native", "openai-chat"):
        codec = Codec(dialect, retry=1500)
        body = codec.open() + codec.encode(["a"]) + codec.encode(["b"])
        assert body.startswith(b"retry: 1500\ndata: {")
        assert 1 == body.count(b"retry")
        assert Codec(dialect, created=0).open() == Codec(dialect, created=0, retry=5).open().replace(b"retry: 5\n", b"")


@pytest.mark.parametrize("retry", [-1, 86_400_001, True, 1.5])
def test_a_retry_that_is_no_time_is_refused_at_once(retry: int) -> None:
    with pytest.raises(sk.LocalProtocolError):
        Codec(retry=retry)


def test_what_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(sk.ConfigError, match="no dialect 'nonsense'"):
        Codec("nonsense")
    with pytest.raises(sk.ConfigError, match="can be read and not written"):
        dialect_of(Dialect("deaf", "sse", decoder=NativeDecoder))
    with pytest.raises(sk.ConfigError, match="no sink writes 'eventstream'"):
        Codec("native", framing="eventstream")
    with pytest.raises(sk.ConfigError, match="SSE only"):
        Codec("native", framing="ndjson", retry=1)


@pytest.mark.parametrize("dialect", ["native", "openai-chat"])
@pytest.mark.parametrize("pad", [16, 17, 256])
def test_padded_writes_have_sizes_that_do_not_tell_the_tokens_apart_and_read_the_same(dialect: str, pad: int) -> None:
    words = ["a", "be", "sea", "d" * 300, *("x" * n for n in range(40)), "\u2028é"]
    plain, padded = Codec(dialect, id="1", created=1, retry=900), Codec(dialect, id="1", created=1, retry=900, pad=pad)
    expected, got = plain.open(), [padded.open()]
    for word in words:
        expected += plain.encode([word])
        got.append(padded.encode([word]))
    expected += plain.close(DONE)
    got += [padded.heartbeat, padded.close(DONE)]
    assert {0} == {len(write) % pad for write in got}
    reader, oracle = Decoder(), Decoder()
    frames = [frame for write in got for frame in reader.feed(write)]
    assert [(one.type, one.data) for one in oracle.feed(expected)] == [(one.type, one.data) for one in frames]
    assert 900 == reader.retry


def test_padding_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(sk.ConfigError, match="needs comments"):
        Codec("native", framing="ndjson", pad=64)
    with pytest.raises(sk.ConfigError, match="at least 16"):
        Codec("native", pad=15)


def test_a_frame_of_several_lines_is_no_line_of_ndjson_whatever_it_says_of_itself() -> None:
    codec = Codec(mapping(lambda event: OutFrame(b'{"a":\n1}'), framing="ndjson"))
    assert b"" == codec.encode(["Hi"])
    assert isinstance(codec.stopped_by, LocalProtocolError)
