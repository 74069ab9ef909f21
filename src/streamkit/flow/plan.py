"""What a pipeline is before it runs: a source and a row of parts, each a value.

A part is either a `Step`, which joins its neighbours in one fused loop, or a `Boundary`, where one
loop ends and another begins (a buffer, a merge, a timer, somebody's async generator). `Around` is for those that
open what stands before them by themselves, perhaps more than once (`retry`): they become the source.

`Op` and `Same` are what users compose with `|`. `Same` keeps the type of the stream it is put
into; it is not generic, because a checker cannot infer a type variable that occurs only on both
sides of a pipe.
"""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

import msgspec

from streamkit.errors import ConfigError

if TYPE_CHECKING:
    from streamkit.flow.runs import Run
    from streamkit.flow.shaped import Keeps, Shaped
    from streamkit.flow.sources import Source
    from streamkit.flow.strands import Strand

__all__ = [
    "DISTINCT_ITEMS",
    "Around",
    "Boundary",
    "Laid",
    "Op",
    "Part",
    "Same",
    "Step",
    "call_label",
    "changes_step",
    "check_callable",
    "check_count",
    "check_seconds",
    "describe",
    "distinct_step",
    "enumerate_step",
    "is_async_callable",
    "start_with_step",
    "step_of",
    "unless",
]

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)
B = TypeVar("B")
AnyOp = TypeVar("AnyOp", bound="Op[Any, Any]")

StepKind: TypeAlias = Literal[
    "map",
    "filter",
    "flat_map",
    "scan",
    "tap",
    "take",
    "skip",
    "take_while",
    "drop_while",
    "enumerate",
    "pairwise",
    "changes",
    "changes_by",
    "distinct",
    "distinct_by",
    "start_with",
    "default_if_empty",
    "stage",
]


# How many items `distinct` remembers unless told.
DISTINCT_ITEMS = 4096


class Step(msgspec.Struct, frozen=True):
    """One operator of a fused loop.

    `argument` is its callable, its count or value, a stage factory, or a tuple of what it needs: (fn, initial) for
    "scan", (key, size) for "distinct_by".
    `awaits` says that the callable is a coroutine function (for "flat_map": "gen" means an async
    generator function).
    """

    kind: StepKind
    label: str
    argument: Any
    awaits: bool | Literal["gen"] = False


class Boundary(Protocol):
    """A place where one loop ends: it takes the strand so far and gives the one that goes on."""

    @property
    def label(self) -> str: ...
    def connect(self, strand: Strand, run: Run[Any]) -> Strand: ...


class Around:
    """A part that opens the whole stream before it by itself, once or several times, and becomes a source."""

    label: str

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        """The source that opens `source` with `parts` over it, as `run.inside(source, parts)`.

        Raises:
            ConfigError: it must open it more than once, and the source can be read only once.
        """
        raise NotImplementedError(f"{type(self).__name__}.around")


# What a Run is laid out of; and all that can stand in an operator.
Laid: TypeAlias = Step | Boundary
Part: TypeAlias = Step | Boundary | Around


class Op(Generic[In_contra, Out_co]):
    """Something that turns a stream of In into a stream of Out; composes with `|`."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    @overload
    def __or__(self, other: Same) -> Op[In_contra, Out_co]: ...
    @overload
    def __or__(self, other: Keeps[Out_co]) -> Op[In_contra, Out_co]: ...
    @overload
    def __or__(self, other: Shaped[Out_co, B]) -> Op[In_contra, B]: ...
    @overload
    def __or__(self, other: Op[Out_co, B]) -> Op[In_contra, B]: ...
    def __or__(self, other: Same | Op[Any, Any] | Shaped[Any, Any]) -> Op[Any, Any]:
        if not isinstance(other, Op | Same):  # pyright: ignore[reportUnnecessaryIsInstance]  # `|` with a stranger
            return NotImplemented
        return Op(*self.parts, *other.parts)

    def __repr__(self) -> str:
        return " | ".join(part.label for part in self.parts)

    def _repr_html_(self) -> str:
        return _picture(self.parts)


class Same:
    """An operator that keeps the type of its stream: `buffer`, `take`, `timeout` ..."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    @overload
    def __or__(self, other: Same) -> Same: ...
    @overload
    def __or__(self, other: AnyOp) -> AnyOp: ...
    def __or__(self, other: Same | Op[Any, Any]) -> Same | Op[Any, Any]:
        if not isinstance(other, Op | Same):  # pyright: ignore[reportUnnecessaryIsInstance]  # `|` with a stranger
            return NotImplemented
        return type(other)(*self.parts, *other.parts)

    def __repr__(self) -> str:
        return " | ".join(part.label for part in self.parts)

    def _repr_html_(self) -> str:
        return _picture(self.parts)


def _picture(parts: tuple[Part, ...]) -> str:
    """Operators as boxes, for notebooks."""
    from streamkit.flow.explain import html_of_parts  # it draws sources too, which are laid out of parts

    return html_of_parts(parts)


def describe(value: object) -> str:
    """A short name of a callable or object, for plans and messages; never its contents."""
    if isinstance(value, functools.partial):
        return f"partial({describe(value.func)})"  # pyright: ignore[reportUnknownMemberType]  # partial[Any]
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str):
        name = type(value).__qualname__
    return name.rpartition("<locals>.")[2]


# Longest argument that a label shows whole.
SHOWN = 40


def call_label(operator: str, *values: object, **options: object) -> str:
    """How a plan shows an operator: as it was called, None left out, functions by their names, what is long by its beginning."""
    shown = [_shown(value) for value in values if value is not None]
    shown += [f"{name}={_shown(value)}" for name, value in options.items() if value is not None]
    return f"{operator}({', '.join(shown)})"


def unless(default: object, value: object) -> object:
    """The value for a label, or None where it is the one that nobody wrote."""
    return None if value == default else value


def _shown(value: object) -> str:
    if callable(value):
        return describe(value)
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    # Two that differ further on are told apart: a snapshot of one pipeline must not be restored into another.
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 12]}... {zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def is_async_callable(fn: object) -> bool:
    """Whether calling it gives a coroutine: `async def`, a partial of one, an object with an async `__call__`."""
    while isinstance(fn, functools.partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # partial[Any]
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # the method itself is asked


def check_callable(operator: str, fn: object) -> None:
    """Raise TypeError, at the operator's call, for something that cannot be called."""
    if not callable(fn):
        raise TypeError(f"{operator}() takes a callable, got {type(fn).__name__}")


def check_count(operator: str, name: str, value: object, least: int) -> None:
    """Raise TypeError or ConfigError for a count that is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{operator}({name}=...) takes an int, got {type(value).__name__}")
    if value < least:
        raise ConfigError(f"{operator}({name}={value}): at least {least}")


def check_seconds(operator: str, name: str, value: object) -> None:
    """Raise TypeError or ConfigError for what is not a positive number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{operator}({name}=...) takes seconds, got {type(value).__name__}")
    if not value > 0:
        raise ConfigError(f"{operator}({name}={value}): must be more than 0 seconds")


def step_of(kind: StepKind, operator: str, fn: Callable[..., Any], *, argument: Any = None) -> Step:
    """A step around a user's callable, checked."""
    check_callable(operator, fn)
    awaits: bool | Literal["gen"] = is_async_callable(fn)
    if kind == "flat_map" and inspect.isasyncgenfunction(fn):
        awaits = "gen"
    elif inspect.isasyncgenfunction(fn):
        raise TypeError(f"{operator}({describe(fn)}): an async generator function gives many items; use flat_map, or @sk.operator")
    return Step(kind, f"{operator}({describe(fn)})", fn if argument is None else argument, awaits)


def enumerate_step(start: object) -> Step:
    """The step of `enumerate`, checked."""
    if not isinstance(start, int) or isinstance(start, bool):
        raise TypeError(f"enumerate(start=...) takes an int, got {type(start).__name__}")
    return Step("enumerate", "enumerate()" if start == 0 else f"enumerate({start})", start)


def distinct_step(key: Callable[[Any], object] | None, size: int) -> Step:
    """The step of `distinct`, checked."""
    check_count("distinct", "size", size, 1)
    if key is None:
        return Step("distinct", "distinct()", size)
    return step_of("distinct_by", "distinct", key, argument=(key, size))


def changes_step(key: Callable[[Any], object] | None) -> Step:
    """The step of `changes`, checked."""
    return Step("changes", "changes()", None) if key is None else step_of("changes_by", "changes", key)


def start_with_step(items: tuple[object, ...]) -> Step:
    """The step of `start_with`."""
    return Step("start_with", f"start_with({len(items)} items)" if len(items) != 1 else "start_with(1 item)", items)
