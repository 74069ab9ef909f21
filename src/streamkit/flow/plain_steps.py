"""What each plain step of a plan does to one item, as a stage: no event loop, and a memory that lies open.

The fused loop has its own text for each of these (`flow/fuse.py`), and the unfused oracle a generator; the tests hold all three to
the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, cast

from streamkit.errors import ConfigError
from streamkit.flow.fuse import NOTHING, refuse_async_iterable, refuse_awaitable
from streamkit.flow.plan import Laid, Step
from streamkit.stages.stage import Stage

__all__ = ["StartWith", "stage_of"]


def stage_of(part: Laid) -> Stage[Any, Any]:
    """The stage that does what a step does."""
    if not isinstance(part, Step):
        raise ConfigError(f"{part.label} has a task or a clock of its own, and cannot be saved: put it behind the resumable run")
    if part.awaits:
        raise ConfigError(f"{part.label} awaits, and cannot be saved: it would have an item on its way that no cursor counts")
    if part.kind == "stage":
        return part.argument()  # type: ignore[no-any-return]
    return _NODES[part.kind](part.argument)


class _Node(Stage[Any, Any]):
    """A step without a memory."""

    state: ClassVar[tuple[str, ...] | None] = ()

    # Whether the callable has given nothing yet: its first result is looked at for being an awaitable.
    fresh = True

    def __init__(self, argument: Any) -> None:
        self.argument = argument

    def call(self, fn: Callable[..., Any], *arguments: Any) -> Any:
        """A plain callable's result."""
        result = fn(*arguments)
        if self.fresh:
            refuse_awaitable(result, fn)
            self.fresh = False
        return result


class _Map(_Node):
    def feed(self, item: Any) -> Iterable[Any]:
        return (self.call(self.argument, item),)


class _Filter(_Node):
    def feed(self, item: Any) -> Iterable[Any]:
        return (item,) if self.call(self.argument, item) else ()


class _FlatMap(_Node):
    def feed(self, item: Any) -> Iterable[Any]:
        result = self.argument(item)
        refuse_async_iterable(result, self.argument)
        return cast("Iterable[Any]", result)


class _Tap(_Node):
    def feed(self, item: Any) -> Iterable[Any]:
        self.call(self.argument, item)
        return (item,)


class _Scan(_Node):
    state = ("value",)

    def __init__(self, argument: Any) -> None:
        self.fn, self.value = argument

    def feed(self, item: Any) -> Iterable[Any]:
        self.value = self.call(self.fn, self.value, item)
        return (self.value,)


class _Take(_Node):
    state = ("argument",)

    def __init__(self, argument: Any) -> None:
        self.argument = argument
        self.done = argument < 1

    def feed(self, item: Any) -> Iterable[Any]:
        self.argument -= 1
        self.done = self.argument < 1
        return (item,)


class _Skip(_Node):
    state = ("argument",)

    def feed(self, item: Any) -> Iterable[Any]:
        if self.argument:
            self.argument -= 1
            return ()
        return (item,)


class _TakeWhile(_Node):
    def feed(self, item: Any) -> Iterable[Any]:
        self.done = not self.call(self.argument, item)
        return () if self.done else (item,)


class _DropWhile(_Node):
    state = ("dropping",)
    dropping = True

    def feed(self, item: Any) -> Iterable[Any]:
        self.dropping = self.dropping and bool(self.call(self.argument, item))
        return () if self.dropping else (item,)


class _Enumerate(_Node):
    state = ("argument",)

    def feed(self, item: Any) -> Iterable[Any]:
        number = self.argument
        self.argument += 1
        return ((number, item),)


class _Before(_Node):
    """A step that remembers what came before: [] at first, then the one item or key."""

    state = ("before",)

    def __init__(self, argument: Any) -> None:
        self.argument = argument
        self.before: list[Any] = []


class _Pairwise(_Before):
    def feed(self, item: Any) -> Iterable[Any]:
        before, self.before = self.before, [item]
        return ((before[0], item),) if before else ()


class _Changes(_Before):
    def feed(self, item: Any) -> Iterable[Any]:
        now = item if self.argument is None else self.call(self.argument, item)
        if now == (self.before[0] if self.before else NOTHING):
            return ()
        self.before = [now]
        return (item,)


class _Distinct(_Node):
    state = ("seen",)

    def __init__(self, argument: Any) -> None:
        self.size: int = argument
        self.seen: dict[Any, None] = {}

    def key_of(self, item: Any) -> Any:
        return item

    def feed(self, item: Any) -> Iterable[Any]:
        now = self.key_of(item)
        if now in self.seen:
            return ()
        self.seen[now] = None
        if len(self.seen) > self.size:
            del self.seen[next(iter(self.seen))]
        return (item,)


class _DistinctBy(_Distinct):
    def __init__(self, argument: Any) -> None:
        self.argument, size = argument
        super().__init__(size)

    def key_of(self, item: Any) -> Any:
        return self.call(self.argument, item)


class StartWith(_Node):
    """`start_with`: its items go before all others, and are for whoever begins the chain to give."""

    def __init__(self, argument: Any) -> None:
        self.items: tuple[Any, ...] = argument

    def feed(self, item: Any) -> Iterable[Any]:
        return (item,)


class _DefaultIfEmpty(_Node):
    state = ("empty",)
    empty = True

    def feed(self, item: Any) -> Iterable[Any]:
        self.empty = False
        return (item,)

    def flush(self) -> Iterable[Any]:
        return (self.argument,) if self.empty else ()

    def abort(self) -> Iterable[Any]:
        return ()


_NODES: Final[dict[str, Callable[[Any], Stage[Any, Any]]]] = {
    "map": _Map,
    "filter": _Filter,
    "flat_map": _FlatMap,
    "scan": _Scan,
    "tap": _Tap,
    "take": _Take,
    "skip": _Skip,
    "take_while": _TakeWhile,
    "drop_while": _DropWhile,
    "enumerate": _Enumerate,
    "pairwise": _Pairwise,
    "changes": _Changes,
    "changes_by": _Changes,
    "distinct": _Distinct,
    "distinct_by": _DistinctBy,
    "start_with": StartWith,
    "default_if_empty": _DefaultIfEmpty,
}
