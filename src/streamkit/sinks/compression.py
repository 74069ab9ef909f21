"""Compressed responses that hold nothing back: every write is flushed (RFC 9110 sections 8.4.1 and 12.5.3).

    application ──messages──> Compression ──compressed, flushed messages──> server

What a compressor keeps to itself a client does not see, so each body message comes out as one that a decoder can open to
its last byte at once: the first token is not later than without. It is off unless asked for: a compressed length tells
something of the content, and where an answer holds a secret beside text that an attacker chooses, the lengths of many answers
tell the secret (BREACH).

Of codings that a client likes equally well the first of `CODINGS` is taken. Flushed per token (native events of about 45 bytes on
SSE) gzip makes the smallest bodies for the least; br and zstd are ahead only where a body is compressed as a whole:

    gzip   0.27 of the size   2 us per write   35 KiB per stream   window 8 KiB
    zstd   0.39               2 us             63 KiB              window 8 KiB, level 1
    br     0.32               5 us            285 KiB              window 64 KiB, quality 5
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Final, Protocol, TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.extras import require
from streamkit.sinks.asgi import Message, RawHeaders, Receive, Scope, Send

__all__ = [
    "CODINGS",
    "Compress",
    "Compression",
    "Compressor",
    "check_compress",
    "compressed_for",
    "compressor",
    "installed",
    "negotiated",
    "offered",
]

CODINGS: Final = ("gzip", "zstd", "br")
"""What can be written, best first."""

Compress: TypeAlias = bool | Sequence[str]
"""Whether to compress; or with what, best first. True stands for all of `CODINGS` that are installed."""

_PACKAGES: Final = {"zstd": "zstandard", "br": "brotli"}

# A header line longer than this is no list of codings.
_LONGEST_ACCEPT: Final = 1_000
# No body at all, or a part of one that has its places counted as it is.
_AS_THEY_ARE: Final = frozenset((101, 204, 205, 206, 304))
_SAYING_SO: Final = frozenset((b"content-length", b"content-encoding"))
_QUALITY: Final = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


class Compressor(Protocol):
    """The codings of one body, in order."""

    def write(self, body: bytes) -> bytes:
        """The compressed bytes of these: a decoder that gets them has all of these."""
        ...

    def close(self) -> bytes:
        """The end of the compression."""
        ...


class Compression:
    """An ASGI application whose streamed responses are compressed, as far as the client takes that, and flushed at every write.

    Args:
        app: Any ASGI application; `HubResponse` and `ChatRoutes` are some.
        codings: With what, best first; True for all of `CODINGS` that are installed.

    Not touched: responses with a `content-length` or a `content-encoding` of their own, without a body, in part (206), and of
        other protocols.
    Memory: of one stream that of its coding, at the top of this module.
    Cancellation: as the application has it.
    Raises:
        ConfigError: a coding that nobody knows.
        MissingExtra: a coding whose package is not there.
        TypeError: neither a bool nor a list of names.

    >>> Compression(print)
    <Compression gzip, zstd, br of print>
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, codings: Compress = True) -> None:
        if not callable(app):
            raise TypeError(f"Compression() takes an ASGI application, got {type(app).__name__}")
        check_compress("Compression", codings, "codings")
        self._app = app
        self._codings = offered(codings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            send = compressed_for(scope, send, self._codings)
        await self._app(scope, receive, send)

    def __repr__(self) -> str:
        return f"<Compression {', '.join(self._codings)} of {getattr(self._app, '__name__', self._app)}>"


def check_compress(by: str, compress: object, name: str = "compress") -> None:
    """Raise for what is neither a bool nor a list of codings that are installed."""
    if isinstance(compress, bool):
        return
    if isinstance(compress, str) or not isinstance(compress, Sequence):
        raise TypeError(f"{by}({name}=...) takes a bool or a list of codings, got {type(compress).__name__}")
    for coding in cast("Sequence[object]", compress):
        if coding not in CODINGS:
            raise ConfigError(f"{by}({name}=...): {coding!r:.80} is none of the codings {', '.join(CODINGS)}")
        package = _PACKAGES.get(coding)
        if package is not None:
            require(package, extra="compression", wanted_by=f"{by}({name}=[{coding!r}])")


def compressed_for(scope: Scope, send: Send, compress: Compress) -> Send:
    """A `send` for this request: the same one, if nothing is to be compressed."""
    codings = offered(compress)
    if not codings:
        return send
    headers = cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ()))
    accepted = ",".join([value.decode("latin-1") for name, value in headers if name == b"accept-encoding"])
    return _Compressed(send, negotiated(accepted, codings), has_body=scope.get("method") != "HEAD").deliver


class _Compressed:
    """The messages of one response on their way to the server."""

    def __init__(self, send: Send, coding: str | None, *, has_body: bool) -> None:
        self.send = send
        self._coding = coding
        self._has_body = has_body
        self._body: Compressor | None = None

    async def deliver(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._begun(message)
        elif message["type"] == "http.response.body" and self._body is not None:
            plain = cast("bytes", message.get("body", b""))
            data = self._body.write(plain) if plain else b""
            if not message.get("more_body"):
                data += self._body.close()
            message = {**message, "body": data}
        await self.send(message)

    def _begun(self, message: Message) -> Message:
        raw = cast("RawHeaders", message.get("headers", []))
        if message["status"] in _AS_THEY_ARE or any(name.lower() in _SAYING_SO for name, _ in raw):
            return message
        # A cache must know, also where this client gets it as it is.
        raw = [*raw, (b"vary", b"accept-encoding")]
        if self._coding is not None:
            raw.append((b"content-encoding", self._coding.encode()))
            if self._has_body:
                self._body = compressor(self._coding)
        return {**message, "headers": raw}


def negotiated(accepted: str, codings: Sequence[str]) -> str | None:
    """The one of `codings` that an `Accept-Encoding` likes best, the first of equals; None sends the body as it is.

    >>> negotiated("br;q=0.5, gzip;q=0.5, *;q=0", ("gzip", "br"))
    'gzip'
    >>> negotiated("gzip;q=0, identity", ("gzip",)) is None
    True
    """
    if not accepted or len(accepted) > _LONGEST_ACCEPT:
        return None
    liked: dict[str, float] = {}
    for part in accepted.split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            found = _QUALITY.fullmatch(parameter)
            quality = float(found[1]) if found is not None else 0.0
        liked[{"x-gzip": "gzip"}.get(name.lower(), name.lower())] = quality
    others = liked.get("*", 0.0)
    # What is as it is was never refused but by name: it is better than a coding that is liked less.
    least = liked.get("identity", 0.0)
    best = max(codings, key=lambda coding: liked.get(coding, others), default=None)  # the first of equals
    if best is None or liked.get(best, others) <= 0.0 or liked.get(best, others) < least:
        return None
    return best


def compressor(coding: str) -> Compressor:
    """A new one for one body, in the settings at the top of this module.

    Raises:
        ConfigError: no coding of ours. MissingExtra: its package is not installed.

    >>> import gzip
    >>> body = compressor("gzip")
    >>> gzip.decompress(body.write(b"data: Hi\\n\\n") + body.close())
    b'data: Hi\\n\\n'
    """
    match coding:
        case "gzip":
            return _Gzip()
        case "zstd":
            return _Zstd()
        case "br":
            return _Brotli()
        case _:
            raise ConfigError(f"{coding!r:.80} is none of the codings {', '.join(CODINGS)}")


def offered(compress: Compress) -> tuple[str, ...]:
    """With what, best first."""
    if compress is False:
        return ()
    if compress is True:
        return installed()
    return tuple(compress)


@cache
def installed() -> tuple[str, ...]:
    """Those of `CODINGS` that can be written here."""
    return tuple(coding for coding in CODINGS if coding not in _PACKAGES or find_spec(_PACKAGES[coding]) is not None)


class _Gzip:
    __slots__ = ("_zlib",)

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(6, zlib.DEFLATED, 13 | 16, 5)

    def write(self, body: bytes) -> bytes:
        return self._zlib.compress(body) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def close(self) -> bytes:
        return self._zlib.flush(zlib.Z_FINISH)


class _Zstd:
    __slots__ = ("_body", "_flush_block")

    def __init__(self) -> None:
        zstd = require("zstandard", extra="compression", wanted_by="zstd")
        settings = zstd.ZstdCompressionParameters.from_level(1, window_log=13, hash_log=12, chain_log=12)
        self._body = zstd.ZstdCompressor(compression_params=settings).compressobj()
        self._flush_block: int = zstd.COMPRESSOBJ_FLUSH_BLOCK

    def write(self, body: bytes) -> bytes:
        data: bytes = self._body.compress(body) + self._body.flush(self._flush_block)
        return data

    def close(self) -> bytes:
        data: bytes = self._body.flush()
        return data


class _Brotli:
    __slots__ = ("_body",)

    def __init__(self) -> None:
        self._body = require("brotli", extra="compression", wanted_by="br").Compressor(quality=5, lgwin=16)

    def write(self, body: bytes) -> bytes:
        data: bytes = self._body.process(body) + self._body.flush()
        return data

    def close(self) -> bytes:
        data: bytes = self._body.finish()
        return data
