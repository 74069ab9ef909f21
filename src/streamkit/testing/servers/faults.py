"""What can go wrong with an answer, one word each.

    before the stream   status(429)  garbage()  mute()  silent()
    at event n          stall(after=n)  cut(after=n)  torn(after=n)  error(after=n)  bad_frame(after=n)  pings(after=n)
    all along           slow(seconds)  pieces(size)  together(events)  gzipped()
    for some requests   first(2, status(500), ...)

A fault is a function that changes an `Answer`; one of your own is `Fault("name", function)`. Events are those of the
script, counted from 1; what opens the answer on the wire goes out with the first.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamkit.testing.servers.answers import HOLD, Answer, Bytes, Pause, Step, Tear, refusal

__all__ = [
    "Fault",
    "bad_frame",
    "cut",
    "error",
    "first",
    "garbage",
    "gzipped",
    "mute",
    "pieces",
    "pings",
    "silent",
    "slow",
    "stall",
    "status",
    "together",
    "torn",
]


@dataclass(frozen=True)
class Fault:
    """A change to each answer: `change` gets it before anything is sent, and may replace its steps, status and headers."""

    name: str
    change: Callable[[Answer], None]

    def __repr__(self) -> str:
        return self.name


def slow(seconds: float) -> Fault:
    """A pause before each write.

    >>> slow(0.5)
    slow(0.5)
    """

    def slowly(steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            if isinstance(step, Bytes) and step.data:
                yield Pause(seconds)
            yield step

    return _of_steps(f"slow({seconds:g})", slowly)


def stall(*, after: int = 0) -> Fault:
    """Nothing more after so many events, until the client leaves.

    >>> stall(after=2)
    stall(after=2)
    """

    def stalling(steps: Iterator[Step]) -> Iterator[Step]:
        yield from _until(steps, after)
        yield HOLD

    return _of_steps(f"stall(after={after})", stalling)


def cut(*, after: int = 0) -> Fault:
    """The body ends after so many events, as HTTP demands, whatever the answer still lacks.

    >>> cut(after=2)
    cut(after=2)
    """
    return _of_steps(f"cut(after={after})", lambda steps: _until(steps, after))


def torn(*, after: int = 0, reset: bool = False) -> Fault:
    """The connection breaks after so many events, in the middle of a chunk; with `reset` by a RST, as of a process that died.

    >>> torn(after=2)
    torn(after=2)
    """

    def tearing(steps: Iterator[Step]) -> Iterator[Step]:
        yield from _until(steps, after)
        yield Tear(reset)

    return _of_steps(f"torn(after={after}{', reset=True' if reset else ''})", tearing)


def error(*, after: int = 0, code: str = "overloaded", retry_after: float | None = None) -> Fault:
    """The dialect's own error frame after so many events, on HTTP status 200.

    Args:
        after: Events before it.
        code: One of streamkit's codes (`streamkit.dialects.outcomes.MESSAGES`), which the dialect says in its words.
        retry_after: Seconds to wait, for dialects that can say it.

    >>> error(after=2)
    error(after=2, code='overloaded')
    """

    def change(answer: Answer) -> None:
        steps = answer.steps

        def failing() -> Iterator[Step]:
            yield from _until(steps, after)
            yield Bytes(answer.failure(code, retry_after))

        answer.steps = failing()

    return Fault(f"error(after={after}, code={code!r})", change)


def bad_frame(data: bytes = b'data: {"oh no\n\n', *, after: int = 0) -> Fault:
    """Bytes that are no frame of the dialect, between two events; the rest follows.

    >>> bad_frame(after=1)
    bad_frame(after=1)
    """

    def broken(steps: Iterator[Step]) -> Iterator[Step]:
        yield from _until(steps, after)
        yield Bytes(data)
        yield from steps

    return _of_steps(f"bad_frame(after={after})", broken)


def pings(*, after: int = 0, every: float = 0.01, count: int | None = None) -> Fault:
    """Signs of life and nothing else after so many events: `count` of them, or for ever.

    >>> pings()
    pings(after=0, every=0.01)
    """

    def change(answer: Answer) -> None:
        steps = answer.steps

        def pinging() -> Iterator[Step]:
            yield from _until(steps, after)
            told = 0
            while count is None or told < count:
                yield Bytes(answer.ping())
                yield Pause(every)
                told += 1
            yield from steps

        answer.steps = pinging()

    return Fault(f"pings(after={after}, every={every:g}{'' if count is None else f', count={count}'})", change)


def silent() -> Fault:
    """Headers, and then nothing: `stall(after=0)` by its own name.

    >>> silent()
    silent()
    """
    return Fault("silent()", stall().change)


def mute() -> Fault:
    """The request is taken, and nothing is ever said to it, no headers either.

    >>> mute()
    mute()
    """

    def change(answer: Answer) -> None:
        answer.mute = True
        answer.steps = iter([HOLD])

    return Fault("mute()", change)


def status(code: int, *, retry_after: float | None = None, message: str = "told to fail") -> Fault:
    """An HTTP error in the provider's form instead of a stream.

    Args:
        code: 400..599.
        retry_after: Seconds to wait, in the header `retry-after` (whole seconds, rounded up) and in OpenAI's
            `retry-after-ms`.
        message: What the body says.

    Raises:
        ValueError: no status of an error.

    >>> status(429, retry_after=2)
    status(429, retry_after=2)
    """
    if not 400 <= code <= 599:
        raise ValueError(f"the status of an error is 400..599, got {code}")

    def change(answer: Answer) -> None:
        _instead(answer, refusal(answer.dialect, code, message), "application/json", code)
        if retry_after is not None:
            answer.headers["retry-after"] = str(math.ceil(retry_after))
            answer.headers["retry-after-ms"] = f"{retry_after * 1000:g}"

    return Fault(f"status({code}{'' if retry_after is None else f', retry_after={retry_after:g}'})", change)


def garbage(
    body: bytes = b"<!doctype html><title>Welcome</title><p>Please log in.", *, content_type: str = "text/html", status: int = 200
) -> Fault:
    """A whole body that is no stream of events, such as a proxy's login page.

    >>> garbage()
    garbage('text/html')
    """
    return Fault(f"garbage({content_type!r})", lambda answer: _instead(answer, body, content_type, status))


def pieces(size: int) -> Fault:
    """The same bytes in writes of `size` bytes, each a chunk of its own: 1 cuts every character.

    Raises:
        ValueError: size < 1.

    >>> pieces(1)
    pieces(1)
    """
    if size < 1:
        raise ValueError(f"a piece has at least 1 byte, got {size}")

    def cutting(steps: Iterator[Step]) -> Iterator[Step]:
        held = b""
        events = 0
        for step in steps:
            if not isinstance(step, Bytes):
                if held:
                    yield Bytes(held, events)
                    held, events = b"", 0
                yield step
                continue
            held += step.data
            events += step.events
            while len(held) > size:
                yield Bytes(held[:size])
                held = held[size:]
            if len(held) == size or not held:
                yield Bytes(held, events)
                held, events = b"", 0
        if held:
            yield Bytes(held, events)

    return _of_steps(f"pieces({size})", cutting)


def together(events: int) -> Fault:
    """Many events in one write.

    Raises:
        ValueError: events < 1.

    >>> together(8)
    together(8)
    """
    if events < 1:
        raise ValueError(f"a write holds at least 1 event, got {events}")

    def joining(steps: Iterator[Step]) -> Iterator[Step]:
        held: list[bytes] = []
        count = 0
        for step in steps:
            if isinstance(step, Bytes):
                held.append(step.data)
                count += step.events
            if count >= events or not isinstance(step, Bytes):
                yield Bytes(b"".join(held), count)
                held, count = [], 0
            if not isinstance(step, Bytes):
                yield step
        yield Bytes(b"".join(held), count)

    return _of_steps(f"together({events})", joining)


def gzipped() -> Fault:
    """The body compressed, each write flushed so that it can be read at once; whether the client asked for it or not.

    >>> gzipped()
    gzipped()
    """

    def change(answer: Answer) -> None:
        answer.headers["content-encoding"] = "gzip"
        answer.steps = _compressed(answer.steps)

    return Fault("gzipped()", change)


def first(requests: int, *faults: Fault) -> Fault:
    """Faults for the first requests alone, so that a second try is seen to work.

    >>> first(2, status(500))
    first(2, status(500))
    """

    def change(answer: Answer) -> None:
        if answer.number <= requests:
            for fault in faults:
                fault.change(answer)

    return Fault(f"first({requests}, {', '.join(map(repr, faults))})", change)


def _of_steps(name: str, change: Callable[[Iterator[Step]], Iterator[Step]]) -> Fault:
    def apply(answer: Answer) -> None:
        answer.steps = change(answer.steps)

    return Fault(name, apply)


def _until(steps: Iterator[Step], events: int) -> Iterator[Step]:
    """The steps of so many events. The next is not asked for: making it would change what the encoder has said."""
    while events > 0:
        step = next(steps, None)
        if step is None:
            return
        if isinstance(step, Bytes):
            events -= step.events
        yield step


def _instead(answer: Answer, body: bytes, content_type: str, status: int) -> None:
    answer.status = status
    answer.headers["content-type"] = content_type
    answer.steps = iter([Bytes(body)])


def _compressed(steps: Iterator[Step]) -> Iterator[Step]:
    packer = zlib.compressobj(wbits=31)
    for step in steps:
        if isinstance(step, Bytes) and step.data:
            step = Bytes(packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH), step.events)
        yield step
    yield Bytes(packer.flush())
