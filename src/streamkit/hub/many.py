"""Many streams over one subscription, each event with the name of its stream.

A stream of ids, read as `flatten` reads a stream of streams: each id is a reader of its own, with a place, a policy and an end of
its own, and a task that carries what it gets into one bounded channel. What goes wrong with one of them is the last event of that
one. Knows no hub: how a stream is read it is told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from streamkit.dialects.outcomes import to_error_event
from streamkit.errors import StreamkitError
from streamkit.events.model import Event
from streamkit.flow.plan import check_count
from streamkit.flow.runs import Run
from streamkit.flow.siblings import plans_of
from streamkit.flow.sources import Feed, Source
from streamkit.flow.strands import OwnLimits
from streamkit.flow.streams import Stream
from streamkit.hub.log import Log
from streamkit.hub.reading import Errors, View
from streamkit.hub.tokens import parse_token
from streamkit.operators.flattening import flatten

__all__ = ["MANY", "ReadOne", "Tagged", "read_many"]

LOGGER = logging.getLogger("streamkit.hub")

# Most streams that one subscription reads at once, unless told.
MANY: Final = 1024


class Tagged(msgspec.Struct, frozen=True):
    """An event of one of several streams.

    Attributes:
        stream: The id of its stream.
        token: The resume token to go on from, in this stream, when it has been seen; "" where there is none.
        event: The event.
    """

    stream: str
    token: str
    event: Event


class ReadOne(Protocol):
    """A stream of one stream's events as a view makes them, behind a token."""

    def __call__(self, id: str, view: View, /, *, after: str | None) -> Stream[Any]: ...


def read_many(
    read: ReadOne,
    ids: object,
    *,
    after: Mapping[str, str] | None,
    errors: Errors,
    concurrency: int,
    check: Callable[[], object],
) -> Stream[Tagged]:
    """The ground of `Hub.subscribe_many`, which says what it gives; `check` refuses an event loop that it is not for."""
    check_count("hub.subscribe_many", "concurrency", concurrency, 1)
    if isinstance(ids, str):
        raise TypeError("hub.subscribe_many() takes several ids, got one str: put it in a list, or use hub.subscribe(id)")
    if not isinstance(after, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # a single token, more likely than not
        raise TypeError(f"hub.subscribe_many(after=...) takes tokens by id, got {type(after).__name__}")
    tokens = dict(after or {})
    for token in tokens.values():
        parse_token(token)
    plan = plans_of("hub.subscribe_many", [ids])[0]

    def open_ids(run: Run[Any]) -> Feed:
        check()
        streams = _streams(run.inside(*plan), partial(_one, read, tokens=tokens, errors=errors))
        return Feed(streams, closers=[("ids", OwnLimits(streams.aclose))])

    source = Source(lambda: f"streams of {plan[0].label}", open_ids, repeatable=plan[0].repeatable, inner=(plan,))
    streams: Stream[Stream[Tagged]] = Stream(source)
    return streams | flatten(concurrency=concurrency)


async def _streams(ids: Run[Any], one: Callable[[str, set[str]], Stream[Tagged]]) -> AsyncGenerator[Stream[Tagged]]:
    """A stream for each id that is not being read."""
    reading: set[str] = set()
    try:
        async for id in ids:
            if not isinstance(id, str):
                raise TypeError(f"hub.subscribe_many() takes ids of streams, got {type(id).__name__}")
            if id not in reading:
                reading.add(id)
                yield one(id, reading)
    finally:
        await ids.aclose()


def _one(read: ReadOne, id: str, reading: set[str], *, tokens: Mapping[str, str], errors: Errors) -> Stream[Tagged]:
    """One of them, tagged."""

    def view(log: Log, events: Sequence[Event], offsets: Sequence[int]) -> list[Tagged]:
        return [Tagged(id, log.token(offset), event) for event, offset in zip(events, offsets, strict=True)]

    def open_feed(run: Run[Any]) -> Feed:
        after = tokens.get(id)
        batches = run.inside(*read(id, view, after=after).plan)
        last = _to_its_end(batches, id, after or "") if errors == "yield" else _as_it_is(batches)
        return Feed(
            last, shape="lists", closers=[("ids", partial(reading.discard, id)), (f"reader of {id}", OwnLimits(last.aclose))]
        )

    return Stream(Source(f"stream {id!r:.80} of a hub", open_feed))


async def _as_it_is(batches: Run[Any]) -> AsyncGenerator[list[Tagged]]:
    try:
        async for batch in batches.lists():
            yield batch
    finally:
        await batches.aclose()


async def _to_its_end(batches: Run[Any], id: str, token: str) -> AsyncGenerator[list[Tagged]]:
    """With what went wrong as its last event."""
    failure: Exception | None = None
    items: AsyncIterator[list[Tagged]] = batches.lists()
    try:
        while True:
            try:
                batch = await anext(items)
            except StopAsyncIteration:
                return
            except Exception as error:
                failure = error
                break
            token = batch[-1].token
            yield batch
        if not isinstance(failure, StreamkitError):
            LOGGER.warning("stream %s of several cannot be read", id, exc_info=failure)
        yield [Tagged(id, token, to_error_event(failure))]
    finally:
        await batches.aclose()
