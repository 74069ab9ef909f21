"""The embedded model itself: a request in, events out, and when each of them is due.

Knows no clock and never waits. The whole answer is composed when the first text is asked for, in a
few milliseconds; what is streamed after that is the text, cut into tokens.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import blake2b
from math import isfinite
from typing import NamedTuple

from streamkit.clients.local import answer, tokens
from streamkit.clients.request import Request
from streamkit.errors import ConfigError
from streamkit.events import Event, Finish, FinishReason, Start, TextDelta, Usage

__all__ = ["LocalModel"]


class LocalModel:
    """A model that answers questions about streamkit from streamkit's own pages.

    Args:
        pace: Tokens per second; None is as fast as possible. Only `schedule` heeds it.

    A request's `seed` and `temperature` choose among wordings that fit about equally well (no seed
    is seed 0), `max_tokens` and `stop` end the answer as with any model. `model`, `system` and
    `extra` change nothing; the system text counts as input.

    Memory: the packaged pages and their index, once per process, and one answer per iteration.
    Cancellation: close the iterator, at any event; nothing is held open.
    Raises:
        ConfigError: a pace that is not a positive number, at the call.

    >>> from streamkit.events import Message
    >>> message = Message(LocalModel().events(Request.of("What is a buffer?", max_tokens=5)))
    >>> message.finish.reason, message.usage.output_tokens
    ('length', 5)
    """

    name = "local"

    def __init__(self, *, pace: float | None = 80.0) -> None:
        if pace is not None and (isinstance(pace, bool) or not isinstance(pace, (int, float)) or not isfinite(pace) or pace <= 0):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError(f"pace is tokens per second, a positive number, or None for no waiting; got {pace!r}")
        self.pace = pace

    @property
    def interval(self) -> float:
        """Seconds between two tokens; 0.0 without a pace.

        >>> LocalModel(pace=100).interval
        0.01
        """
        return 1 / self.pace if self.pace else 0.0

    def events(self, request: Request) -> Generator[Event]:
        """The answer: `Start`, one `TextDelta` per token, `Usage`, `Finish`. The same for the same request.

        >>> [event.type for event in LocalModel().events(Request.of("buffers?", max_tokens=2))]
        ['start', 'text-delta', 'text-delta', 'usage', 'finish']
        """
        return (event for _, event in self.schedule(request))

    def schedule(self, request: Request) -> Generator[tuple[float, Event]]:
        """The same events, each with the seconds after the start at which it is due.

        Times are counted from one start, not from event to event, so that a host which sleeps a
        little too long every time still keeps the pace:

            for due, event in model.schedule(request):
                if (wait := started + due - clock.now()) > 0: sleep(wait)

        >>> [due for due, event in LocalModel(pace=10).schedule(Request.of("buffers?", max_tokens=3))]
        [0.0, 0.1, 0.2, 0.3, 0.3, 0.3]
        """
        yield 0.0, Start(id=_answer_id(request), model=self.name, provider=self.name)
        output = _generate(request)
        due = 0.0
        for number, piece in enumerate(output.pieces, 1):
            due = number / self.pace if self.pace else 0.0
            yield due, TextDelta(piece)
        yield due, Usage(input_tokens=_input_tokens(request), output_tokens=len(output.pieces))
        yield due, Finish(output.reason)


class _Output(NamedTuple):
    pieces: list[str]
    reason: FinishReason


def _generate(request: Request) -> _Output:
    """The pieces that are sent, and why there are no more.

    The limit counts tokens as they are generated, so it is applied first: a stop sequence ends the
    answer only if all of it was generated before the limit.
    """
    questions = [turn.text for turn in request.messages if turn.role == "user"]
    temperature = answer.DEFAULT_TEMPERATURE if request.temperature is None else request.temperature
    pieces = tokens.split(answer.compose(questions, seed=request.seed or 0, temperature=temperature))
    reason: FinishReason = "stop"
    if request.max_tokens is not None and len(pieces) > request.max_tokens:
        del pieces[request.max_tokens :]
        reason = "length"
    text = "".join(pieces)
    found = [at for stop in request.stop if (at := text.find(stop)) >= 0]
    if not found:
        return _Output(pieces, reason)
    return _Output(_cut(pieces, min(found)), "stop")


def _cut(pieces: list[str], length: int) -> list[str]:
    """The pieces of the first `length` characters; the last of them may be a part of a token."""
    kept: list[str] = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:length])
        length -= len(piece)
    return kept


def _input_tokens(request: Request) -> int:
    texts = [turn.text for turn in request.messages]
    if request.system is not None:
        texts.append(request.system)
    return sum(tokens.count(text) for text in texts)


def _answer_id(request: Request) -> str:
    """An id that is the same for the same request, so that a whole run can be compared with another."""
    asked = (
        [(turn.role, turn.text) for turn in request.messages],
        request.system,
        request.max_tokens,
        request.stop,
        request.seed,
        request.temperature,
    )
    # `repr` escapes what UTF-8 cannot hold: a question may have half of a surrogate pair in it.
    return "local-" + blake2b(repr(asked).encode(), digest_size=8).hexdigest()
