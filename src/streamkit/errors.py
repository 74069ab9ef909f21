"""Every error that streamkit raises by its own decision, in one tree.

    StreamkitError
    ├── SourceError               the provider said no, in words of its own
    │   ├── AuthError             fix the key or the permission
    │   ├── BadRequestError       fix the request
    │   ├── RateLimitError        wait `retry_after`
    │   ├── OverloadedError       try again, later or elsewhere
    │   └── ContentBlockedError   the provider refused the content
    ├── StreamTruncated           the body ended before the answer did
    ├── StreamInterrupted         the worker that produced the stream died
    ├── StreamDraining            the server is shutting down; reconnect after `last_id`
    ├── ProtocolError
    │   ├── LocalProtocolError    our side broke the grammar: a bug to report or an argument to fix
    │   └── RemoteProtocolError   their side did: `offset` and `excerpt` show where
    │       └── TypeMismatch      JSON of another type than was asked for; `path` says where
    ├── StreamTimeout             also a TimeoutError; `phase` says which clock ran out
    ├── StreamBusy                a Run of this stream is open already
    ├── StreamConsumed            a one-shot source was used up by an earlier Run
    ├── BufferFull                a buffer with overflow="error" had no room
    │   └── ReaderLagged          a hub's reader was too slow; `token` is where to resume
    ├── UnknownStream             also a LookupError: no such stream in the hub, or none for this caller
    ├── InvalidToken              also a ValueError: a resume token that this stream never gave
    ├── StoreError                a hub's store could not do what was asked; `retryable` says whether to try again
    │   ├── Fenced                another writer has taken the stream over: what this one appends is refused
    │   └── CorruptEntry          what the store holds cannot be read; nothing of it was run or guessed
    ├── SinkClosed                the receiving end is gone
    ├── ToolError                 a tool's call failed; `reason` says how, `call` which
    ├── MissingExtra              also an ImportError; the message is the pip line
    └── ConfigError               also a ValueError; arguments that cannot work together

Errors of others (a source's own exceptions, an SDK's) pass through untouched.
`partial` on every error of ours is what had arrived before it: a `Message` for a stream of events,
a list for anything else, None where nothing is known. Messages and `repr` never hold secrets:
whatever comes from outside goes through `scrub` first. Nor do they hold what a model or a user said, because
messages end up in logs: it is on the error (`partial`, `excerpt`), and in the message only if the environment
says STREAMKIT_SHOW_CONTENT=1.
"""

from __future__ import annotations

import os
import re
from typing import Literal, TypeAlias

__all__ = [
    "AuthError",
    "BadRequestError",
    "BufferFull",
    "ConfigError",
    "ContentBlockedError",
    "CorruptEntry",
    "Fenced",
    "InvalidToken",
    "LocalProtocolError",
    "MissingExtra",
    "OverloadedError",
    "ProtocolError",
    "RateLimitError",
    "ReaderLagged",
    "RemoteProtocolError",
    "SinkClosed",
    "SourceError",
    "StoreError",
    "StreamBusy",
    "StreamConsumed",
    "StreamDraining",
    "StreamInterrupted",
    "StreamTimeout",
    "StreamTruncated",
    "StreamkitError",
    "ToolError",
    "TypeMismatch",
    "UnknownStream",
    "scrub",
]

EXCERPT_CHARS = 200

_SECRETS = re.compile(
    r"(?P<scheme>\b(?:bearer|basic)\s+)[\w.+/=~-]{8,}"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|github_pat|AKIA|ASIA|AIza|ya29)[-_.]?[\w-]{12,}"
    r"|(?P<field>(?:api[-_]?key|authorization|token|secret|password|signature)[\"']?\s*[:=]\s*[\"']?)[^\s\"',&}]{6,}"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:)[^\s/@]{1,200}(?=@)",
    re.IGNORECASE,
)

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def scrub(text: str, limit: int = 400) -> str:
    """Foreign text made fit for a message: keys and tokens masked, one line, at most `limit` characters.

    Control characters become U+FFFD: no foreign text moves the cursor of whoever reads the log.

    >>> scrub("denied for Bearer abcdefgh12345678")
    'denied for Bearer ***'
    """
    # Cut before matching too: a hostile body must not cost more than its excerpt.
    text = text[: limit * 4]
    text = _SECRETS.sub(lambda m: (m["scheme"] or m["field"] or m["url"] or "") + "***", text)
    text = _CONTROLS.sub("\ufffd", " ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


class StreamkitError(Exception):
    """The root of the tree: `except sk.StreamkitError` catches what streamkit itself decided to raise.

    Attributes:
        partial: What had arrived before the error, or None.
    """

    partial: object = None

    def __init__(self, message: str, *, partial: object = None) -> None:
        super().__init__(message)
        if partial is not None:
            self.partial = partial


class SourceError(StreamkitError):
    """The provider reported a failure, before the stream or in the middle of it.

    Attributes:
        provider: Who said it ("openai", "anthropic" ...), or None.
        code: The provider's own code or type, as text.
        request_id: The provider's id of the request, to quote in a support ticket.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds the provider asks to wait, or None.
        status: The HTTP status, where there was one.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        partial: object = None,
    ) -> None:
        super().__init__(message, partial=partial)
        self.provider = provider
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.status = status
        if retryable is not None:
            self.retryable = retryable


class AuthError(SourceError):
    """The key is missing, wrong or may not do this (401, 403)."""


class BadRequestError(SourceError):
    """The provider cannot serve this request as it is (400, 404, 413, 422)."""


class RateLimitError(SourceError):
    """Too many requests or tokens (429); `retry_after` when the provider names a time."""

    retryable = True


class OverloadedError(SourceError):
    """The provider is out of capacity or broken for the moment (500, 502, 503, 529)."""

    retryable = True


class ContentBlockedError(SourceError):
    """A content filter refused the prompt or the answer."""


class StreamTruncated(StreamkitError):
    """The stream ended cleanly on the wire before its answer was complete.

    `partial` holds what arrived. It is never raised after a finish reason was seen.
    """


class StreamInterrupted(StreamkitError):
    """The worker that produced the stream died; `partial` is what it had stored."""


class StreamDraining(StreamkitError):
    """The server is shutting down and said so: reconnect, after `last_id`."""

    def __init__(self, message: str, *, last_id: str | None = None, partial: object = None) -> None:
        super().__init__(message, partial=partial)
        self.last_id = last_id


class ProtocolError(StreamkitError):
    """Bytes or frames that a grammar forbids.

    Attributes:
        offset: Position in bytes from the start of the stream, or None.
        excerpt: The bytes or text at fault, cut short and scrubbed. It may be content, so the message shows it only
            if the environment says STREAMKIT_SHOW_CONTENT=1.
    """

    def __init__(self, message: str, *, offset: int | None = None, excerpt: str | bytes = "", partial: object = None) -> None:
        if isinstance(excerpt, bytes):
            excerpt = excerpt[: EXCERPT_CHARS * 4].decode("utf-8", "replace")
        self.excerpt = scrub(excerpt, EXCERPT_CHARS)
        self.offset = offset
        where = "" if offset is None else f" at byte {offset}"
        what = ""
        if self.excerpt:
            what = f": {self.excerpt!r}" if _shows_content() else " (what stood there: `excerpt`)"
        super().__init__(f"{message}{where}{what}", partial=partial)


def _shows_content() -> bool:
    return os.environ.get("STREAMKIT_SHOW_CONTENT", "0").strip().lower() not in ("", "0", "no", "off", "false")


class LocalProtocolError(ProtocolError):
    """What was to be sent breaks the grammar of the wire; nothing of it was written."""


class RemoteProtocolError(ProtocolError):
    """What was received breaks the grammar of the wire or of the dialect."""


class TypeMismatch(RemoteProtocolError):
    """JSON that is well formed, and not of the type that was asked for.

    Attributes:
        path: Where, such as "items[3].price"; "" is the value itself, and keys that are no fields are "[...]".
        expected: What the type wants there, as far as it can be said without showing what came.
    """

    def __init__(self, message: str, *, path: str, expected: str, excerpt: str = "", partial: object = None) -> None:
        super().__init__(message, excerpt=excerpt, partial=partial)
        self.path = path
        self.expected = expected


class StreamTimeout(StreamkitError, TimeoutError):
    """A source was too slow.

    Attributes:
        phase: "first" (before the first item), "idle" (between items), "total" (the whole run),
            "wire" (between two signs of life) or "close" (its clean-up).
        seconds: The limit that ran out.
    """

    def __init__(
        self, message: str, *, phase: Literal["first", "idle", "total", "wire", "close"], seconds: float, partial: object = None
    ) -> None:
        super().__init__(message, partial=partial)
        self.phase = phase
        self.seconds = seconds


class StreamBusy(StreamkitError):
    """A Run of this stream is open: iterate that one, or take an independent one with `stream.open()`."""


class StreamConsumed(StreamkitError):
    """The source can be iterated once and was: give `sk.stream` a zero-argument callable to run it again."""


class BufferFull(StreamkitError):
    """A buffer that was told to fail when full is full; what it held stays readable."""

    def __init__(self, message: str, *, size: int, partial: object = None) -> None:
        super().__init__(message, partial=partial)
        self.size = size


class ReaderLagged(BufferFull):
    """A reader of a hub with policy="disconnect" fell behind by more than it may; everybody else goes on.

    Attributes:
        token: The resume token of the last event it was given, or None if it was given none.
        size: How many events it may lag behind.
    """

    def __init__(self, message: str, *, size: int, token: str | None, partial: object = None) -> None:
        super().__init__(message, size=size, partial=partial)
        self.token = token


class UnknownStream(StreamkitError, LookupError):
    """There is no such stream in the hub: never started, forgotten since, or somebody else's, which is not told apart."""


class InvalidToken(StreamkitError, ValueError):
    """A resume token that this stream never gave: start again from its beginning, without one.

    Attributes:
        reason: "malformed" (no token at all), "foreign" (of another stream) or "future" (beyond the newest event).
    """

    def __init__(self, message: str, *, reason: Literal["malformed", "foreign", "future"]) -> None:
        super().__init__(message)
        self.reason: Literal["malformed", "foreign", "future"] = reason


class StoreError(StreamkitError):
    """A hub's store could not do what was asked.

    Attributes:
        retryable: Whether it may succeed later: the store is locked, slow or out of reach, and not broken.
    """

    def __init__(self, message: str, *, retryable: bool = False, partial: object = None) -> None:
        super().__init__(message, partial=partial)
        self.retryable = retryable


class Fenced(StoreError):
    """Another writer has taken the stream over, or ended it: what this one appends is refused."""


class CorruptEntry(StoreError):
    """What a store holds is not what a hub has written there. It was read with a bound, and nothing of it was run."""


class SinkClosed(StreamkitError):
    """The receiving end closed; `events_sent` of them had been handed over."""

    def __init__(self, message: str, *, events_sent: int = 0, partial: object = None) -> None:
        super().__init__(message, partial=partial)
        self.events_sent = events_sent


ToolFailure: TypeAlias = Literal["cut", "unknown", "arguments", "failed", "timeout"]


class ToolError(StreamkitError):
    """A tool was not run, or failed. A tool may raise it too: its message is then all that the model is told.

    Attributes:
        call: The `ToolCall`, or None as long as the tool's own code holds the error.
        reason: "cut" (the arguments never became complete), "unknown" (there is no such tool), "arguments" (they do
            not fit), "failed" (the tool raised, see `__cause__`, or gave what is no JSON) or "timeout".
    """

    def __init__(
        self,
        message: str,
        *,
        call: object = None,
        reason: ToolFailure = "failed",
        partial: object = None,
    ) -> None:
        super().__init__(message, partial=partial)
        self.call = call
        self.reason: ToolFailure = reason


class MissingExtra(StreamkitError, ImportError):
    """An optional package is not installed; the message is the line that installs it."""

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(message)
        self.extra = extra


class ConfigError(StreamkitError, ValueError):
    """Arguments that cannot work, said at the call."""
