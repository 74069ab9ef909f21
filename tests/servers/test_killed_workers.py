"""kill -9 of a worker in the middle of a stream, and a client that goes on at another worker over the same store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hub_app import COUNT, HALF
from running import PATIENCE_S, Running, parsed, read_answer, running

from streamkit.dialects.native import NativeDecoder
from streamkit.errors import StreamInterrupted, StreamTruncated
from streamkit.events.model import TextDelta
from streamkit.wire.sse import Decoder, Frame

SERVER = "uvicorn uvloop httptools"


class Read(msgspec.Struct):
    """What a client has of a stream."""

    frames: list[Frame]
    texts: list[str]
    decoder: NativeDecoder


def read_of(frames: list[Frame]) -> Read:
    decoder = NativeDecoder()
    events = decoder.decode_many(frames)
    return Read(frames, [event.text for event in events if isinstance(event, TextDelta)], decoder)


def numbers(count: int) -> list[str]:
    return [f"{number} " for number in range(count)]


@contextmanager
def worker(folder: Path, name: str, lease: str = "3") -> Iterator[Running]:
    file, go = str(folder / "hub.db"), str(folder / "go")
    with running(SERVER, folder / name, app="hub_app:app", HUB_FILE=file, HUB_GO=go, HUB_LEASE=lease) as one:
        yield one


def read_until_it_is_killed(one: Running, frames: int) -> Read:
    """What a client of `one` has, which is killed after so many frames and some more."""
    with one.connect("/stream/a") as client:
        got = b""
        while got.count(b"\n\n") < frames:
            chunk = client.recv(65536)
            assert chunk
            got += chunk
        one.process.kill()
        one.process.wait(PATIENCE_S)
        status, body = parsed(got + read_answer(client))
    assert 200 == status
    read = read_of(Decoder().feed(body))
    with pytest.raises(StreamTruncated):
        read.decoder.finish()
    return read


def read_the_rest(one: Running, before: Read) -> Read:
    last_id = next(frame.id for frame in reversed(before.frames) if frame.id)
    with one.connect("/stream/a", last_id=last_id) as client:
        status, body = parsed(read_answer(client))
    assert 200 == status, body
    rest = read_of(Decoder().feed(body))
    assert not {frame.id for frame in before.frames} & {frame.id for frame in rest.frames}
    return rest


def test_http_08_whose_writer_is_killed_has_all_that_was_stored_and_is_told_that_it_ends_there(tmp_path: Path) -> None:
    with worker(tmp_path, "one") as one, worker(tmp_path, "two") as two:
        assert 200 == one.ask("/start/a")[0]
        before = read_until_it_is_killed(one, 30)
        rest = read_the_rest(two, before)
        assert isinstance(rest.decoder.error, StreamInterrupted)
        texts = before.texts + rest.texts
        assert 29 <= len(texts) <= HALF
        assert numbers(len(texts)) == texts


def test_http_08_whose_reader_is_killed_goes_on_at_the_writer_to_the_end(tmp_path: Path) -> None:
    # Nobody is to take the writer for dead, however slow it is.
    with worker(tmp_path, "one", "300") as one, worker(tmp_path, "two", "300") as two:
        assert 200 == one.ask("/start/a")[0]
        before = read_until_it_is_killed(two, 30)
        (tmp_path / "go").touch()
        rest = read_the_rest(one, before)
        assert rest.decoder.done
        assert (numbers(COUNT), 1) == (before.texts + rest.texts, one.noted("numbers ended"))
