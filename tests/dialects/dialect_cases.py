"""How the dialect tests read: bodies cut into reads, recordings with what they should give."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamkit.dialects.outcomes import DONE, Outcome
from streamkit.dialects.protocol import Decoder, Encoder, OutFrame
from streamkit.errors import StreamkitError
from streamkit.events import Event, Message, TextDelta
from streamkit.wire import sse

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass
class Reading:
    """What came out of a body, and the error that would be raised after it."""

    events: list[Event]
    error: StreamkitError | None

    @property
    def message(self) -> Message:
        return Message(self.events)


def read(decoder: Decoder, reads: Iterable[bytes]) -> Reading:
    """Drive a decoder by its contract, as a client does."""
    wire = sse.Decoder(max_event_bytes=1 << 22)
    events: list[Event] = []
    for chunk in reads:
        events += decoder.decode_many(wire.feed(chunk))
        if decoder.error is not None:
            return Reading(events, decoder.error)
    try:
        events += decoder.finish()
    except StreamkitError as error:
        return Reading(events, error)
    return Reading(events, None)


def written(encoder: Encoder, events: Iterable[Event], outcome: Outcome = DONE) -> list[OutFrame]:
    """All that an encoder writes, driven by its contract: nothing comes behind the end."""
    frames = encoder.open()
    for event in events:
        frames += encoder.encode(event)
    frames += encoder.close(outcome)
    assert [] == encoder.encode(TextDelta("late")) == encoder.close(DONE)
    return frames


def sse_body(*frames: object) -> bytes:
    """Frames as a body: values as JSON, strings as they are."""
    return b"".join(sse.encode(frame) if isinstance(frame, str) else sse.encode_json(frame) for frame in frames)


def cut(body: bytes, rng: random.Random) -> list[bytes]:
    """A body in random pieces, empty ones among them."""
    points = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((1, 3, 20, 200))))
    return [body[start:end] for start, end in zip([0, *points], [*points, len(body)], strict=True)]


def recordings(protocol: str) -> list[Path]:
    """The recorded bodies of one protocol; none where STREAMKIT_SHARED does not say where they are."""
    shared = os.environ.get("STREAMKIT_SHARED")
    if not shared:
        return []
    folder = Path(shared) / "data" / "transcripts"
    rows = [[cell.strip() for cell in line.split("|")] for line in (folder / "INDEX.md").read_text("utf-8").splitlines()]
    return [folder / row[1] for row in rows if len(row) > 3 and row[2] == protocol]


def need_recordings(found: list[Path]) -> None:
    """Skip where there are none, by name and reason; under CI that is a failure."""
    if found:
        return
    if os.environ.get("STREAMKIT_CI") == "1":
        pytest.fail("STREAMKIT_SHARED is not set: the recorded streams were not read")
    pytest.skip("STREAMKIT_SHARED is not set: the recorded streams are not at hand")


def expected_of(recording: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads(
        recording.with_name(recording.name.rsplit(".", 1)[0] + ".expected.json").read_text("utf-8")
    )
    return value
