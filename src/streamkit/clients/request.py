"""What is asked of a model: one value, the same for every client.

Knows the shape of a conversation and the options that all models share. Knows no provider: what
only one of them understands travels in `extra`, untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal, TypeAlias, cast, get_args

import msgspec

from streamkit.errors import ConfigError, scrub

__all__ = ["Question", "Request", "Role", "Turn"]

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]

_ROLES = get_args(Role)
_NEXT_MOVE = 'pass the question as a str, or a list such as [{"role": "user", "content": "..."}]'


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation.

    Args:
        role: Who speaks.
        content: The text; "" where the turn holds only what is in `extra` (an assistant's tool calls).
        extra: The other keys of the message (`name`, `tool_call_id` ...), passed through untouched.

    Raises:
        ConfigError: an unknown role, or a content that is not text.

    >>> Turn("user", "hello").content
    'hello'
    """

    role: Role
    content: str
    extra: Mapping[str, object] = {}

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigError(f"a message's role is one of {', '.join(_ROLES)}; got {_shown(self.role)}")
        if not isinstance(self.content, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
            raise ConfigError(f"a message's content is a str, got {type(self.content).__name__}: join its text parts first")
        _check_extra(self.extra)

    def __repr__(self) -> str:
        """The role and the size; what people say is private."""
        return f"<Turn {self.role}: {len(self.content)} chars>"


Question: TypeAlias = "str | Request | Sequence[Turn | Mapping[str, object]]"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and how to answer it. None means that the model decides.

    Args:
        messages: The turns, oldest first; at least one.
        model: The provider's name of the model.
        max_tokens: The answer's limit in tokens, at least 1.
        stop: The answer ends before the first of these texts.
        seed: The same seed asks for the same answer.
        temperature: How freely words are chosen; 0 is least.
        system: Instructions that stand before the conversation.
        extra: Options of one provider, passed through untouched.

    Raises:
        ConfigError: a value of the wrong type or out of range, at the call.

    `Request.of` is the lenient way in. `repr` shows sizes and names only: contents are private and
    `extra` may hold keys.

    >>> Request(messages=(Turn("user", "hi"),), max_tokens=5)
    <Request 1 message, 2 chars, max_tokens=5>
    """

    messages: tuple[Turn, ...]
    model: str | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    temperature: float | None = None
    system: str | None = None
    extra: Mapping[str, object] = {}

    @classmethod
    def of(
        cls,
        value: Question,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        system: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> Request:
        """A request from what people have at hand: a question, a list of messages, or a request.

        Args:
            value: A `str` is one user message. A list holds `Turn`s or dicts with `role` and
                `content`; their other keys are kept in the turn's `extra`. A `Request` is taken as
                it is, with the options given here in place of its own.

        The other arguments are those of `Request`; `stop` may be a single text.

        Raises:
            ConfigError: any other shape, at the call, naming the next move.

        >>> Request.of("What is a buffer?", stop="END").stop
        ('END',)
        >>> Request.of([{"role": "user", "content": "hi"}], seed=1)
        <Request 1 message, 2 chars, seed=1>
        """
        given: dict[str, object] = {
            "model": model,
            "max_tokens": max_tokens,
            "stop": None if stop is None else _stops(stop),
            "seed": seed,
            "temperature": temperature,
            "system": system,
            "extra": extra,
        }
        options = {name: option for name, option in given.items() if option is not None}
        if isinstance(value, Request):
            return msgspec.structs.replace(value, **options)
        return cls(messages=_turns(value), **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # same

    def __post_init__(self) -> None:
        if not isinstance(self.messages, tuple) or not all(isinstance(turn, Turn) for turn in self.messages):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError("messages is a tuple of Turn: use Request.of(...) for a str or a list of dicts")
        if not self.messages:
            raise ConfigError(f"a request needs at least one message: {_NEXT_MOVE}")
        _check_text("model", self.model)
        _check_text("system", self.system)
        _check_int("max_tokens", self.max_tokens, least=1)
        _check_int("seed", self.seed)
        _check_temperature(self.temperature)
        if not isinstance(self.stop, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError(f"stop is a tuple of texts, got {type(self.stop).__name__}: use Request.of(..., stop=[...])")
        _stops(self.stop)
        _check_extra(self.extra)

    @property
    def question(self) -> str:
        """The last user message; "" where there is none.

        >>> Request.of("why?").question
        'why?'
        """
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")

    def __repr__(self) -> str:
        """Sizes and names, never contents."""
        chars = sum(len(turn.content) for turn in self.messages)
        parts = [f"{len(self.messages)} message{'s' if len(self.messages) > 1 else ''}", f"{chars} chars"]
        for name in ("model", "max_tokens", "seed", "temperature"):
            option = cast("object", getattr(self, name))
            if option is not None:
                parts.append(f"{name}={_shown(option)}")
        if self.stop:
            parts.append(f"{len(self.stop)} stop")
        if self.system is not None:
            parts.append(f"system of {len(self.system)} chars")
        if self.extra:
            parts.append("extra: " + scrub(" ".join(map(str, self.extra)), 80))
        return f"<Request {', '.join(parts)}>"


def _turns(value: object) -> tuple[Turn, ...]:
    if isinstance(value, str):
        return (Turn("user", value),)
    if isinstance(value, Turn):
        return (value,)
    if isinstance(value, Mapping):
        raise ConfigError(f'a single dict is not a conversation: put it in a list, or pass its ["messages"]; {_NEXT_MOVE}')
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise ConfigError(f"a request cannot be made of {type(value).__name__}: {_NEXT_MOVE}")
    return tuple(_turn(item, position) for position, item in enumerate(cast("Sequence[object]", value)))


def _turn(item: object, position: int) -> Turn:
    if isinstance(item, Turn):
        return item
    if not isinstance(item, Mapping):
        raise ConfigError(f"message {position} is a {type(item).__name__}, not a dict with role and content: {_NEXT_MOVE}")
    rest = dict(cast("Mapping[str, object]", item))
    missing = [key for key in ("role", "content") if key not in rest]
    if missing and not (missing == ["content"] and len(rest) > 1):
        raise ConfigError(f"message {position} has no {' and no '.join(missing)}: {_NEXT_MOVE}")
    role, content = rest.pop("role"), rest.pop("content", None)
    if content is None and rest:
        content = ""  # An assistant that only called tools has no text, and says so with null.
    try:
        return Turn(cast("Role", role), cast("str", content), rest)
    except ConfigError as error:
        raise ConfigError(f"message {position}: {error}") from None


def _stops(stop: object) -> tuple[str, ...]:
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, Sequence):
        raise ConfigError(f'stop is a text or a list of texts, got {type(stop).__name__}: pass stop=["END"]')
    texts = tuple(cast("Sequence[object]", stop))
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ConfigError(f"a stop sequence is a text of at least one character, got {_shown(text)}: leave it out")
    return cast("tuple[str, ...]", texts)


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} is a str or None, got {type(value).__name__}")


def _check_int(name: str, value: object, *, least: int | None = None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} is a whole number or None, got {_shown(value)}")
    if least is not None and value < least:
        raise ConfigError(f"{name} is at least {least}, got {value}: leave it out for no limit")


def _check_temperature(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ConfigError(f"temperature is a number from 0 up or None, got {_shown(value)}")


def _check_extra(extra: object) -> None:
    if not isinstance(extra, Mapping):
        raise ConfigError(f"extra is a mapping of names to values, got {type(extra).__name__}")


def _shown(value: object) -> str:
    """A wrong value as a message may show it: short and without secrets."""
    return scrub(repr(value), 60) if isinstance(value, (str, int, float)) else type(value).__name__
