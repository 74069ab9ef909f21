"""The same segments without fusion: one async generator per step. Slow, plain, and the oracle.

`stream.open(fused=False)` runs a plan this way. The property tests hold the fused engine against it,
and a step whose meaning is in doubt is read here, not in generated code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from streamkit.flow.channel import FAIRNESS
from streamkit.flow.fuse import NOTHING, Ending, Shape, refuse_async_iterable, refuse_awaitable
from streamkit.flow.plan import Step

__all__ = ["unfused"]

Checkpoint = Callable[[], Awaitable[None]]


def unfused(shape: Shape, steps: Sequence[Step], ending: Ending, *, watched: bool = False) -> Callable[..., Any]:
    """A segment with the signature of `fuse.bind`'s."""

    def segment(source: Any, start: Any, arguments: tuple[Any, ...], out: Any, checkpoint: Checkpoint, leave: Any) -> Any:
        # The stepping of a watched source is a generator of ours; closing any other source is the strand's matter.
        layers: list[AsyncGenerator[Any]] = [source.items()] if watched else []
        items: AsyncGenerator[Any] = _source(layers[0] if watched else source, start, shape, checkpoint, watched)
        layers.append(items)
        for step, argument in zip(steps, arguments, strict=True):
            items = _STEPS[step.kind](items, step, argument)
            layers.append(items)
        match ending:
            case "yield":
                return _yielding(layers, leave)
            case "lists":
                return _listing(layers, leave)
            case "append":
                return _appending(layers, out, leave)
            case "push":
                return _pushing(layers, out, leave)

    return segment


async def _source(source: Any, start: Any, shape: Shape, checkpoint: Checkpoint, watched: bool) -> AsyncGenerator[Any]:
    if start is not None:
        begun = await start()
        source = source if watched else begun
    count = 0
    async for read in source:
        for item in (read,) if shape == "items" else read:
            yield item
            count += 1
            if count % FAIRNESS == 0:
                await checkpoint()


async def _closed(layers: list[AsyncGenerator[Any]], leave: Any, error: BaseException | None) -> None:
    for layer in reversed(layers):
        await layer.aclose()
    if leave is not None:
        await leave(error)


async def _yielding(layers: list[AsyncGenerator[Any]], leave: Any) -> AsyncGenerator[Any]:
    try:
        async for item in layers[-1]:
            yield item
    except BaseException as error:
        await _closed(layers, leave, error)
        raise
    await _closed(layers, leave, None)


async def _listing(layers: list[AsyncGenerator[Any]], leave: Any) -> AsyncGenerator[list[Any]]:
    async with aclosing(_yielding(layers, leave)) as items:
        async for item in items:
            yield [item]


async def _appending(layers: list[AsyncGenerator[Any]], append: Callable[[Any], object], leave: Any) -> None:
    async with aclosing(_yielding(layers, leave)) as items:
        async for item in items:
            append(item)


async def _pushing(layers: list[AsyncGenerator[Any]], out: Any, leave: Any) -> None:
    append, channel, go_on, settle = out
    async with aclosing(_yielding(layers, leave)) as items:
        async for item in items:
            append(item)
            if len(channel.buffer) >= channel.limit and not go_on():
                await settle()


async def _call(step: Step, fn: Any, *arguments: Any) -> Any:
    result = fn(*arguments)
    if step.awaits is True:
        return await result
    refuse_awaitable(result, fn)
    return result


async def _map(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    async for item in items:
        yield await _call(step, fn, item)


async def _filter(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    async for item in items:
        if await _call(step, fn, item):
            yield item


async def _flat_map(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    async for item in items:
        if step.awaits == "gen":
            async with aclosing(fn(item)) as many:
                async for inner in many:
                    yield inner
            continue
        result = await _call(step, fn, item)
        refuse_async_iterable(result, fn)
        for inner in result:
            yield inner


async def _scan(items: AsyncGenerator[Any], step: Step, argument: Any) -> AsyncGenerator[Any]:
    fn, state = argument
    async for item in items:
        state = await _call(step, fn, state, item)
        yield state


async def _tap(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    async for item in items:
        await _call(step, fn, item)
        yield item


async def _take(items: AsyncGenerator[Any], step: Step, count: int) -> AsyncGenerator[Any]:
    if count < 1:
        return
    async for item in items:
        yield item
        count -= 1
        if not count:
            return


async def _skip(items: AsyncGenerator[Any], step: Step, count: int) -> AsyncGenerator[Any]:
    async for item in items:
        if count:
            count -= 1
        else:
            yield item


async def _take_while(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    async for item in items:
        if not await _call(step, fn, item):
            return
        yield item


async def _drop_while(items: AsyncGenerator[Any], step: Step, fn: Any) -> AsyncGenerator[Any]:
    dropping = True
    async for item in items:
        dropping = dropping and bool(await _call(step, fn, item))
        if not dropping:
            yield item


async def _enumerate(items: AsyncGenerator[Any], step: Step, count: int) -> AsyncGenerator[Any]:
    async for item in items:
        yield (count, item)
        count += 1


async def _pairwise(items: AsyncGenerator[Any], step: Step, argument: None) -> AsyncGenerator[Any]:
    before = NOTHING
    async for item in items:
        if before is not NOTHING:
            yield (before, item)
        before = item


async def _changes(items: AsyncGenerator[Any], step: Step, key: Any) -> AsyncGenerator[Any]:
    before = NOTHING
    async for item in items:
        now = item if key is None else await _call(step, key, item)
        if now != before:
            before = now
            yield item


async def _distinct(items: AsyncGenerator[Any], step: Step, argument: Any) -> AsyncGenerator[Any]:
    key, size = argument if step.kind == "distinct_by" else (None, argument)
    seen: deque[Any] = deque()
    async for item in items:
        now = item if key is None else await _call(step, key, item)
        if now in set(seen):
            continue
        seen.append(now)
        if len(seen) > size:
            seen.popleft()
        yield item


async def _start_with(items: AsyncGenerator[Any], step: Step, first: tuple[Any, ...]) -> AsyncGenerator[Any]:
    for item in first:
        yield item
    async for item in items:
        yield item


async def _default_if_empty(items: AsyncGenerator[Any], step: Step, default: Any) -> AsyncGenerator[Any]:
    empty = True
    async for item in items:
        empty = False
        yield item
    if empty:
        yield default


async def _stage(items: AsyncGenerator[Any], step: Step, stage: Any) -> AsyncGenerator[Any]:
    failure: Exception | None = None
    while True:
        try:
            item = await items.__anext__()
        except StopAsyncIteration:
            break
        except Exception as error:
            failure = error
            break
        for out in stage.feed(item):
            yield out
        if stage.done:
            return
    try:
        for out in stage.abort() if failure is not None else stage.flush():
            yield out
    except Exception:
        if failure is None:
            raise
    if failure is not None:
        raise failure


_STEPS: dict[str, Callable[[AsyncGenerator[Any], Step, Any], AsyncGenerator[Any]]] = {
    "map": _map,
    "filter": _filter,
    "flat_map": _flat_map,
    "scan": _scan,
    "tap": _tap,
    "take": _take,
    "skip": _skip,
    "take_while": _take_while,
    "drop_while": _drop_while,
    "enumerate": _enumerate,
    "pairwise": _pairwise,
    "changes": _changes,
    "changes_by": _changes,
    "distinct": _distinct,
    "distinct_by": _distinct,
    "start_with": _start_with,
    "default_if_empty": _default_if_empty,
    "stage": _stage,
}
