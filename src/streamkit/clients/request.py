"""What is asked of a model: one value, the same for every client.

Knows the shape of a conversation and the options that models share. Knows no provider: a message or a part of
one in a provider's own shape is kept as it came, and `payloads` says what becomes of it; what only one of them
understands travels in `extra`, untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Literal, TypeAlias, cast, get_args

import msgspec

from streamkit.errors import ConfigError, scrub
from streamkit.events import File, Message, ReasoningDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool

__all__ = ["Part", "Question", "Request", "Role", "ToolLike", "Turn"]

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
Part: TypeAlias = str | File | ToolCall | ToolResult | ReasoningDelta | Mapping[str, object]
ToolLike: TypeAlias = Tool | Callable[..., object] | Mapping[str, object]

_ROLES = get_args(Role)
_PARTS = (str, File, ToolCall, ToolResult, ReasoningDelta, Mapping)
_NEXT_MOVE = 'pass the question as a str, or a list such as [{"role": "user", "content": "..."}]'


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation.

    Args:
        role: Who speaks.
        content: The text, or the parts: `str`, `File` (an image, a document, audio), `ToolCall`, `ToolResult`,
            `ReasoningDelta` (a block of reasoning with its proof, to be sent back), or a dict in a provider's
            shape. A list becomes a tuple, and a single event a tuple of one. "" where the turn holds only what is
            in `extra`.
        extra: The other keys of the message (`name`, `tool_call_id`, `cache_control` ...), passed through untouched.

    Raises:
        ConfigError: an unknown role, or a content that is no text and no parts.

    >>> Turn("user", "hello").content
    'hello'
    >>> Turn("user", ["what is this?", File("image/png", url="https://example.org/a.png")])
    <Turn user: 13 chars, 1 file>
    """

    role: Role
    content: str | tuple[Part, ...]
    extra: Mapping[str, object] = {}

    @classmethod
    def of(cls, message: Message) -> Turn:
        """The assistant's turn to be sent back: its text, its reasoning with proofs and its calls, in their order.

        Left out are calls that were cut off, or that the provider ran itself.

        >>> from streamkit.events import TextDelta
        >>> Turn.of(Message([TextDelta("Hel"), TextDelta("lo")]))
        <Turn assistant: 5 chars>
        """
        parts = tuple(part for part in message.parts if not isinstance(part, ToolCall) or part.complete)
        return cls("assistant", parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts)

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigError(f"a message's role is one of {', '.join(_ROLES)}; got {_shown(self.role)}")
        content: object = self.content
        if isinstance(content, (File, ToolCall, ToolResult, ReasoningDelta)):  # pyright: ignore[reportUnnecessaryIsInstance]  # lenient
            content = (content,)
        elif isinstance(content, list):
            content = tuple(cast("list[object]", content))
        if isinstance(content, tuple):
            for part in cast("tuple[object, ...]", content):
                if not isinstance(part, _PARTS):
                    raise ConfigError(
                        f"a part of a message is a text, a File, a ToolCall, a ToolResult, a ReasoningDelta or a dict; "
                        f"got {type(part).__name__}{_hint(part)}"
                    )
        elif not isinstance(content, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
            raise ConfigError(f"a message's content is a str or a list of parts, got {type(content).__name__}{_hint(content)}")
        if content is not self.content:
            msgspec.structs.force_setattr(self, "content", content)
        _check_extra(self.extra)

    @property
    def text(self) -> str:
        """The text alone, of all parts that are text, in whatever shape.

        >>> Turn("user", ("a", {"type": "text", "text": "b"}, File("image/png", data=b""))).text
        'ab'
        """
        if isinstance(self.content, str):
            return self.content
        return "".join(_texts(self.content))

    def __repr__(self) -> str:
        """The role and the sizes; what people say is private."""
        return f"<Turn {self.role}: {', '.join(_sizes((self,)))}>"


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
        top_p: Only the likeliest words that make up this share are chosen from, above 0 to 1.
        top_k: Only so many of the likeliest words are chosen from, at least 1.
        system: Instructions that stand before the conversation.
        tools: What the model may call: `Tool`s, or dicts in a provider's shape.
        tool_choice: "auto", "none", "required" (some tool), or the name of the tool that must be called.
        output: The answer's form: a type (dataclass, Struct, TypedDict, pydantic model), or a JSON schema.
        extra: Options of one provider, passed through untouched; they win over everything else.

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
    top_p: float | None = None
    top_k: int | None = None
    system: str | None = None
    tools: tuple[Tool | Mapping[str, object], ...] = ()
    tool_choice: str | None = None
    output: object = None
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
        top_p: float | None = None,
        top_k: int | None = None,
        system: str | None = None,
        tools: Sequence[ToolLike] | None = None,
        tool_choice: str | None = None,
        output: object = None,
        extra: Mapping[str, object] | None = None,
    ) -> Request:
        """A request from what people have at hand: a question, a list of messages, or a request.

        Args:
            value: A `str` is one user message. A list holds `Turn`s, or dicts as the providers document them:
                `role` and `content`, which is a text or a list of parts, and other keys, kept in the turn's
                `extra`; also the items of OpenAI's Responses. What is in one provider's shape reaches that
                provider unchanged, and what is common to all is translated for others. A `Request` is
                taken as it is, with the options given here in place of its own.
            tools: `Tool`s, typed functions (see `Tool.of`) and providers' dicts.

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
            "top_p": top_p,
            "top_k": top_k,
            "system": system,
            "tools": None if tools is None else _tools(tools),
            "tool_choice": tool_choice,
            "output": output,
            "extra": extra,
        }
        options = {name: option for name, option in given.items() if option is not None}
        if isinstance(value, Request):
            return msgspec.structs.replace(value, **options) if options else value
        return cls(messages=_turns(value), **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # same

    def then(self, answer: Message | Turn, *results: ToolResult | str) -> Request:
        """The request that goes on from an answer: this one, the answer, and what its calls gave back.

        Args:
            answer: The model's message, or a turn.
            results: The results of its tool calls; or a text, the user's next words. One of a call that was cut off
                is left out, as the call is.

        A `tool_choice` that forces a call is lifted to "auto" when results are sent, or the model would never answer.

        >>> from streamkit.events import TextDelta
        >>> first = Request.of("What time is it?")
        >>> first.then(Message([ToolCall("1", "now")]), ToolResult("1", "noon"))
        <Request 3 messages, 16 chars, 1 call, 1 result>
        """
        said = Turn.of(answer) if isinstance(answer, Message) else answer
        turns: list[Turn] = [said] if said.content or said.extra else []  # an answer without words is no turn
        # A result of a call that is not sent back answers nothing, and providers refuse it.
        cut_off = {call.id for call in answer.tool_calls if not call.complete} if isinstance(answer, Message) else set[str]()
        outputs = tuple(result for result in results if isinstance(result, ToolResult) and result.id not in cut_off)
        if outputs:
            turns.append(Turn("tool", outputs))
        turns += [Turn("user", result) for result in results if isinstance(result, str)]
        forced = bool(outputs) and self.tool_choice not in (None, "auto", "none")
        choice = "auto" if forced else self.tool_choice
        return msgspec.structs.replace(self, messages=(*self.messages, *turns), tool_choice=choice)

    def __post_init__(self) -> None:
        if not isinstance(self.messages, tuple) or not all(isinstance(turn, Turn) for turn in self.messages):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError("messages is a tuple of Turn: use Request.of(...) for a str or a list of dicts")
        if not self.messages:
            raise ConfigError(f"a request needs at least one message: {_NEXT_MOVE}")
        _check_text("model", self.model)
        _check_text("system", self.system)
        _check_text("tool_choice", self.tool_choice)
        _check_int("max_tokens", self.max_tokens, least=1)
        _check_int("top_k", self.top_k, least=1)
        _check_int("seed", self.seed)
        _check_number("temperature", self.temperature)
        _check_number("top_p", self.top_p, most=1)
        if not isinstance(self.stop, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError(f"stop is a tuple of texts, got {type(self.stop).__name__}: use Request.of(..., stop=[...])")
        _stops(self.stop)
        if not isinstance(self.tools, tuple) or not all(isinstance(tool, (Tool, Mapping)) for tool in self.tools):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError("tools is a tuple of Tool: use Request.of(..., tools=[...]) for functions")
        if self.output is not None and not isinstance(self.output, Mapping) and not _is_type(self.output):
            raise ConfigError(f"output is a type or a JSON schema, got {_shown(self.output)}")
        _check_extra(self.extra)

    @property
    def question(self) -> str:
        """The text of the last user message; "" where there is none.

        >>> Request.of("why?").question
        'why?'
        """
        return next((turn.text for turn in reversed(self.messages) if turn.role == "user"), "")

    def __repr__(self) -> str:
        """Sizes and names, never contents."""
        parts = [_count(len(self.messages), "message"), *_sizes(self.messages)]
        for name in ("model", "max_tokens", "seed", "temperature", "top_p", "top_k", "tool_choice"):
            option = cast("object", getattr(self, name))
            if option is not None:
                parts.append(f"{name}={_shown(option)}")
        if self.stop:
            parts.append(f"{len(self.stop)} stop")
        if self.system is not None:
            parts.append(f"system of {len(self.system)} chars")
        if self.tools:
            names = (tool.name if isinstance(tool, Tool) else _name_of(tool) for tool in self.tools)
            parts.append("tools: " + scrub(" ".join(names), 80))
        if self.output is not None:
            parts.append("output: " + ("a schema" if isinstance(self.output, Mapping) else scrub(_type_name(self.output), 60)))
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
    if "role" not in rest and isinstance(rest.get("type"), str):
        # An item of the Responses API (a call, its output, reasoning), which is a message without saying so.
        return Turn("tool" if str(rest["type"]).endswith("_output") else "assistant", (rest,))
    missing = [key for key in ("role", "content") if key not in rest]
    if missing and not (missing == ["content"] and len(rest) > 1):
        raise ConfigError(f"message {position} has no {' and no '.join(missing)}: {_NEXT_MOVE}")
    role, content = rest.pop("role"), rest.pop("content", None)
    if content is None and rest:
        content = ""  # an assistant that only called tools has no text, and says so with null
    try:
        return Turn(cast("Role", role), cast("str", content), rest)
    except ConfigError as error:
        raise ConfigError(f"message {position}: {error}") from None


def _tools(tools: object) -> tuple[Tool | Mapping[str, object], ...]:
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise ConfigError(f"tools is a list of functions, Tools or dicts, got {type(tools).__name__}: put a single one in a list")
    # A dict stays as it is: its provider shall get it unchanged.
    given = cast("Sequence[object]", tools)
    return tuple(cast("Mapping[str, object]", tool) if isinstance(tool, Mapping) else Tool.of(tool) for tool in given)


def _texts(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Mapping) and part.get("type") in ("text", "input_text", "output_text"):
            text = part.get("text")
            if isinstance(text, str):
                yield text


def _sizes(turns: tuple[Turn, ...]) -> list[str]:
    """How much there is of each kind of part."""
    counts = dict.fromkeys(("file", "call", "result", "reasoning", "other part"), 0)
    chars = 0
    for turn in turns:
        chars += len(turn.text)
        for part in () if isinstance(turn.content, str) else turn.content:
            match part:
                case str():
                    continue
                case File():
                    counts["file"] += 1
                case ToolCall():
                    counts["call"] += 1
                case ToolResult():
                    counts["result"] += 1
                case ReasoningDelta():
                    counts["reasoning"] += 1
                case _:
                    counts["other part"] += not any(_texts((part,)))
    return [f"{chars} chars", *[_count(count, what) for what, count in counts.items() if count]]


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 and what != 'reasoning' else ''}"


def _name_of(tool: Mapping[str, object]) -> str:
    inner = tool.get("function")
    name = cast("Mapping[str, object]", inner).get("name") if isinstance(inner, Mapping) else tool.get("name")
    return str(name or tool.get("type") or "?")


def _is_type(value: object) -> bool:
    return isinstance(value, type) or hasattr(value, "__origin__") or hasattr(value, "__args__")


def _type_name(value: object) -> str:
    return getattr(value, "__name__", None) or str(value)


def _hint(value: object) -> str:
    return ': wrap it, as in File("image/png", data=...)' if isinstance(value, (bytes, bytearray, memoryview)) else ""


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


def _check_number(name: str, value: object, *, most: float | None = None) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ConfigError(f"{name} is a number from 0 up or None, got {_shown(value)}")
    if most is not None and value > most:
        raise ConfigError(f"{name} is at most {most}, got {value}")


def _check_extra(extra: object) -> None:
    if not isinstance(extra, Mapping):
        raise ConfigError(f"extra is a mapping of names to values, got {type(extra).__name__}")


def _shown(value: object) -> str:
    """A wrong value as a message may show it: short and without secrets."""
    return scrub(repr(value), 60) if isinstance(value, (str, int, float)) else type(value).__name__
