"""Compressed bodies: the same bytes however they are cut, a bounded piece at a time, and damage is told."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.wire import inflate
from streamkit.wire.inflate import SLICE_BYTES, Inflater, inflater_for

brotli: Any = pytest.importorskip("brotli")
zstandard: Any = pytest.importorskip("zstandard")

Compress = Callable[[bytes], bytes]


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(body) + squeeze.flush()


CODINGS: dict[str, tuple[str, Compress]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": (" X-GZIP ", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "two": ("gzip, identity, br", lambda body: brotli.compress(gzip.compress(body))),
}
EVERY = pytest.mark.parametrize(("name", "compress"), CODINGS.values(), ids=CODINGS)
TEXT = "".join(f"data: line {n} ä\n\n" for n in range(20_000)).encode()


def opened(name: str) -> Inflater:
    inflater = inflater_for(name)
    assert inflater is not None
    return inflater


@EVERY
def test_a_body_is_the_same_in_one_piece_and_byte_by_byte(name: str, compress: Compress) -> None:
    small = TEXT[:5000]
    whole, bytewise = opened(name), opened(name)
    packed = compress(small)
    assert small == b"".join(whole.feed(packed))
    assert small == b"".join(piece for byte in packed for piece in bytewise.feed(bytes([byte])))
    assert not whole.cut
    assert not bytewise.cut


@EVERY
@given(data=st.data())
def test_any_cut_gives_the_same_bytes(name: str, compress: Compress, data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=2000)) * data.draw(st.integers(1, 100))
    packed = compress(body)
    points = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=8)))
    inflater = opened(name)
    pieces = [packed[start:end] for start, end in zip([0, *points], [*points, len(packed)], strict=True)]
    assert body == b"".join(out for piece in pieces for out in inflater.feed(piece))
    assert not inflater.cut


@EVERY
def test_a_bomb_is_opened_one_slice_at_a_time(name: str, compress: Compress) -> None:
    packed = compress(bytes(20_000_000))
    slices = opened(name).feed(packed)
    first = [len(next(slices)) for _ in range(20)]
    assert max(first) <= SLICE_BYTES
    assert sum(first) + sum(len(piece) for piece in slices) == 20_000_000


@EVERY
def test_every_flush_of_the_server_comes_out_at_once(name: str, compress: Compress) -> None:
    if name not in ("gzip", "deflate", "br", "zstd") or compress is raw_deflate:
        return
    flushed, flush = _flushing(name)
    inflater = opened(name)
    for event in (b"data: one\n\n", b"data: two\n\n", bytes(300_000)):
        assert event == b"".join(inflater.feed(flushed(event) + flush()))
    assert inflater.cut


def _flushing(name: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    if name == "br":
        squeeze = brotli.Compressor()
        return squeeze.process, squeeze.flush
    if name == "zstd":
        squeeze = zstandard.ZstdCompressor().compressobj()
        return squeeze.compress, lambda: squeeze.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | (16 if name == "gzip" else 0))
    return squeeze.compress, lambda: squeeze.flush(zlib.Z_SYNC_FLUSH)


@EVERY
def test_a_body_that_is_cut_gives_what_it_has_and_says_so(name: str, compress: Compress) -> None:
    packed = compress(TEXT)
    inflater = opened(name)
    got = b"".join(inflater.feed(packed[: len(packed) // 2]))
    assert TEXT.startswith(got)
    assert len(got) < len(TEXT)
    assert inflater.cut


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_damage_is_an_error_that_names_the_coding(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"not {name}"):
        list(opened(name).feed(b"<html>this was never compressed, whatever the header says</html>" * 20))


def test_damage_costs_nothing_that_came_before_it() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 1  # of the checksum
    got: list[bytes] = []
    with pytest.raises(RemoteProtocolError, match="not gzip"):
        got.extend(opened("gzip").feed(bytes(packed)))
    assert TEXT.startswith(b"".join(got))
    assert len(b"".join(got)) >= len(TEXT) - SLICE_BYTES


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_members_behind_one_another_are_one_body(name: str, compress: Compress, step: int) -> None:
    packed = compress(b"data: a\n\n") + compress(b"") + compress(b"data: b\n\n")
    inflater = opened(name)
    got = b"".join(out for start in range(0, len(packed), step) for out in inflater.feed(packed[start : start + step]))
    assert b"data: a\n\ndata: b\n\n" == got


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("garbage", [bytes(100), b"\x1f", b"\x1f\x8b\x07 and more", b"(\xb5 and", b"text"])
@pytest.mark.parametrize("step", [1, 1000])
def test_garbage_behind_the_end_is_dropped(name: str, compress: Compress, garbage: bytes, step: int) -> None:
    packed = compress(b"data: a\n\n") + garbage
    inflater = opened(name)
    got = b"".join(out for start in range(0, len(packed), step) for out in inflater.feed(packed[start : start + step]))
    assert b"data: a\n\n" == got
    assert not inflater.cut


def test_a_window_larger_than_http_allows_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    squeeze = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = squeeze.compress(b"x") + squeeze.flush()
    with pytest.raises(RemoteProtocolError, match="not zstd"):
        list(opened("zstd").feed(packed))


@pytest.mark.parametrize("header", ["", "identity", "compress", "gzip, compress", "GZIP;q=1"])
def test_what_cannot_be_opened_is_left_to_others(header: str) -> None:
    assert inflater_for(header) is None


def test_a_coding_whose_package_is_missing_or_old_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_optional", lambda module: None)
    assert (None, None) == (inflater_for("br"), inflater_for("zstd"))

    class Old:
        class Decompressor:
            def process(self, data: bytes) -> bytes:
                return data

    monkeypatch.setattr(inflate, "_optional", lambda module: Old)
    assert inflater_for("br") is None


def test_codings_without_end_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="compressed 5 times"):
        inflater_for("gzip, gzip, gzip, gzip, gzip")


def test_slices_that_were_not_taken_are_a_mistake_of_ours() -> None:
    inflater = opened("gzip")
    slices: Iterator[bytes] = inflater.feed(gzip.compress(bytes(1_000_000)))
    next(slices)
    with pytest.raises(LocalProtocolError, match="before all slices"):
        next(inflater.feed(b"more"))
