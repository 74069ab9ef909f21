"""Compressed bodies, opened a little at a time: gzip, deflate, br and zstd (RFC 9110 section 8.4.1, RFC 8878).

Knows the codings and nothing of HTTP. A small body may stand for an enormous one (a factor of 1,000 for gzip, of
30,000 for the others), so nothing is inflated before the piece before it was taken:

    feed(chunk) --> slices of at most 64 KiB, one for each step of the iterator

Whoever takes the slices counts them and stops; what was not asked for is never made. Codings that were put over one
another are taken off in turn, each in slices.

A member that has ended may be followed by another (gzip, zstd). Anything else behind the end is dropped, as browsers do;
only br cannot tell it from damage. A body that ends in the middle is `cut`, and what it holds until there is given out:
servers that flush each event often never end the compression itself, so whether the answer is complete is for the
dialect to say.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from streamkit.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["SLICE_BYTES", "Inflater", "inflater_for"]

SLICE_BYTES: Final = 65_536

# What is given to a decompressor at once: zlib copies what it has not read yet with each slice.
_INPUT_BYTES: Final = 16_384

# zstd gives all that its input stands for, 128 KiB for 4 bytes at worst: so 2 MiB for this many.
_ZSTD_INPUT_BYTES: Final = 64
# RFC 9659: what a client of HTTP must be able to keep, and so the most that a server may ask for.
_ZSTD_WINDOW_BYTES: Final = 8 * 1_048_576

# One coding is usual, two are a mistake of somebody's proxy; without a bound each costs a decompressor.
_MOST_CODINGS: Final = 4


def inflater_for(content_encoding: str) -> Inflater | None:
    """What opens a body with this `Content-Encoding`; None if it holds a coding that is unknown or not installed.

    Raises:
        RemoteProtocolError: more than four codings over one another.

    >>> inflater_for("gzip") is not None, inflater_for("compress")
    (True, None)
    """
    names = [name for name in (part.strip().lower() for part in content_encoding.split(",")) if name not in ("", "identity")]
    if len(names) > _MOST_CODINGS:
        raise RemoteProtocolError(f"a body compressed {len(names)} times", excerpt=content_encoding)
    makers = [_maker(name) for name in names]
    known = [(name, make) for name, make in zip(names, makers, strict=True) if make is not None]
    return Inflater(known) if known and len(known) == len(names) else None


class Inflater:
    """One body, opened as it comes; `inflater_for` makes it.

    Memory: for each coding its window (32 KiB for gzip, at most 16 MiB for br and 8 MiB for zstd), and one slice: 64 KiB,
    for zstd up to 2 MiB.

    >>> import gzip
    >>> inflater = inflater_for("gzip")
    >>> b"".join(inflater.feed(gzip.compress(b"data: hi")))
    b'data: hi'
    """

    def __init__(self, codings: list[tuple[str, Callable[[], _Member]]]) -> None:
        # The last that was applied comes off first.
        self._layers = [_Layer(name, make) for name, make in reversed(codings)]
        self._busy = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The slices that these bytes stand for; take all of them, or stop using this.

        Raises:
            RemoteProtocolError: the bytes are not what the coding says; the slices before that were given.
            LocalProtocolError: the slices of the feed before were not all taken.
        """
        if self._busy:
            raise LocalProtocolError("an Inflater was fed before all slices of its last feed were taken")
        self._busy = True
        pieces: Iterable[bytes] = (chunk,)
        for layer in self._layers:
            pieces = layer.opened(pieces)
        yield from pieces
        self._busy = False

    @property
    def cut(self) -> bool:
        """Whether the body, if it ends here, ends in the middle of its compression."""
        return any(layer.cut for layer in self._layers)


class _Member(Protocol):
    """One compressed unit from its beginning to its end."""

    done: bool
    rest: bytes

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Layer:
    """One coding: members, one behind the other, until something else comes."""

    def __init__(self, name: str, make: Callable[[], _Member]) -> None:
        self._name = name
        self._make = make
        self._member: _Member | None = None
        self._begun = False
        self._over = False
        self._next = b""  # the beginning of what may be another member

    @property
    def cut(self) -> bool:
        return self._member is not None and not self._member.done

    def opened(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), _INPUT_BYTES):
                yield from self._open(piece[start : start + _INPUT_BYTES])

    def _open(self, data: bytes) -> Iterator[bytes]:
        while data and not self._over:
            member = self._member
            if member is None:
                member = self._begin(data)
                if member is None:
                    return
                data, self._next = self._next + data, b""
            try:
                yield from member.feed(data)
            except Exception as error:
                if type(error).__module__.partition(".")[0] not in ("zlib", "brotli", "_brotli", "zstandard"):
                    raise
                self._over = True
                raise RemoteProtocolError(f"the body is not {self._name}, as its Content-Encoding says ({error})") from error
            if not member.done:
                return
            data, self._member = member.rest, None

    def _begin(self, data: bytes) -> _Member | None:
        """A member for these bytes: always one for the first, and another if they begin like one."""
        magics = _MAGIC.get(self._name, ())
        if self._begun:
            head = self._next + data[:4]
            if not any(head.startswith(magic) for magic in magics):
                if any(magic.startswith(head) for magic in magics):
                    self._next = head
                else:
                    self._over = True
                return None
        self._begun = True
        self._member = self._make()
        return self._member


_MAGIC: Final[dict[str, tuple[bytes, ...]]] = {
    "gzip": (b"\x1f\x8b\x08",),
    "x-gzip": (b"\x1f\x8b\x08",),
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))),
}


# ---- the codings --------------------------------------------------------------------------------


class _Zlib:
    """gzip, and deflate in both of its meanings: with zlib's header as the RFC says, and bare as some servers send it."""

    def __init__(self, window_bits: int | None) -> None:
        self._inflate: Any = None if window_bits is None else zlib.decompressobj(window_bits)
        self._head = b""
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            has_header = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        inflate = self._inflate
        while True:
            out: bytes = inflate.decompress(data, SLICE_BYTES)
            if out:
                yield out
            data = inflate.unconsumed_tail
            if inflate.eof:
                self.done, self.rest = True, inflate.unused_data
                return
            # A full slice may have more behind it that zlib has read and not given.
            if not data and len(out) < SLICE_BYTES:
                return


class _Brotli:
    def __init__(self, library: Any) -> None:
        self._inflate = library.Decompressor()
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        inflate = self._inflate
        out: bytes = inflate.process(data, output_buffer_limit=SLICE_BYTES)
        # It says that it can take more while it holds some: it is empty when it gives nothing.
        while out or not inflate.can_accept_more_data():
            # Its limit is where the buffer stops to grow, which may be a little above.
            yield from _sliced(out)
            if inflate.is_finished():
                break
            out = inflate.process(b"", output_buffer_limit=SLICE_BYTES)
        self.done = inflate.is_finished()


class _Zstd:
    def __init__(self, library: Any) -> None:
        self._inflate = library.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        inflate = self._inflate
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            yield from _sliced(inflate.decompress(data[start : start + _ZSTD_INPUT_BYTES]))
            if inflate.eof:
                self.done, self.rest = True, inflate.unused_data + data[start + _ZSTD_INPUT_BYTES :]
                return


def _sliced(out: bytes) -> Iterator[bytes]:
    for start in range(0, len(out), SLICE_BYTES):
        yield out[start : start + SLICE_BYTES]


def _maker(name: str) -> Callable[[], _Member] | None:
    match name:
        case "gzip" | "x-gzip":
            return lambda: _Zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return lambda: _Zlib(None)
        case "br":
            brotli = _optional("brotli")
            return (lambda: _Brotli(brotli)) if brotli is not None and _is_bounded(brotli) else None
        case "zstd":
            zstandard = _optional("zstandard")
            return (lambda: _Zstd(zstandard)) if zstandard is not None else None
        case _:
            return None


def _optional(module: str) -> ModuleType | None:
    try:
        return import_module(module)
    except ImportError:
        return None


def _is_bounded(brotli: Any) -> bool:
    """Whether this brotli can stop at a size: 1.2 and later can."""
    try:
        brotli.Decompressor().process(b"", output_buffer_limit=1)
    except TypeError:
        return False
    except brotli.error:
        pass
    return True
