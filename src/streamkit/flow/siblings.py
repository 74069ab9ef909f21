"""Several streams given to one operator: looked at when it is called, and closed even if they were never begun.

Knows nothing of how they are read: side by side, in turn, or only until one of them has won.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeAlias, TypeVar

from streamkit.errors import ConfigError, StreamBusy, StreamConsumed
from streamkit.flow.plan import Laid
from streamkit.flow.runs import Run
from streamkit.flow.sources import Given, OpenFeed, Source
from streamkit.flow.streams import Stream, stream

__all__ = ["Given", "Plan", "close_unbegun", "combined", "plans_of"]

T = TypeVar("T")

Plan: TypeAlias = tuple[Source, tuple[Laid, ...]]


def plans_of(operator: str, streams: Sequence[object], *, least: int = 1) -> list[Plan]:
    """The plans of an operator's streams.

    Raises:
        ConfigError: too few of them, or one that can be read only once is given twice.
        TypeError: one that is no stream.
    """
    if len(streams) < least:
        raise ConfigError(f"{operator}() needs at least {'one stream' if least == 1 else f'{least} streams'}, got {len(streams)}")
    plans: list[Plan] = []
    seen: set[int] = set()
    for given in streams:
        plan = _stream_of(given).plan
        source = plan[0]
        # A container may be read twice at once, and so may what a callable makes anew.
        if not source.repeatable and not isinstance(given, Collection):
            identity = id(source) if isinstance(given, Stream) else id(given)
            if identity in seen:
                raise ConfigError(
                    f"{operator}() got {source.label} twice, and it can be read only once: give sk.stream a zero-argument "
                    "callable that makes it, or two of them"
                )
            seen.add(identity)
        plans.append(plan)
    return plans


def combined(operator: str, plans: Sequence[Plan], open_feed: OpenFeed) -> Stream[Any]:
    """The stream that an operator makes of several: it can be run again if all of them can."""
    return Stream(
        Source(label_of(operator, plans), open_feed, repeatable=all(source.repeatable for source, _ in plans), inner=tuple(plans))
    )


def label_of(operator: str, plans: Sequence[Plan]) -> str:
    """What it is called in plans and messages."""
    return f"{operator}({', '.join(source.label for source, _ in plans)})"


async def close_unbegun(run: Run[Any], plans: Sequence[Plan]) -> None:
    """Close the streams whose turn never came: an opened response holds its connection whether or not it is read.

    What a callable would make has not been made, and is left so.
    """
    failure: BaseException | None = None
    for source, parts in plans:
        if source.repeatable:
            continue
        try:
            await run.inside(source, parts).aclose()
        except (StreamBusy, StreamConsumed):
            continue  # somebody else reads it, and closes it
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _stream_of(given: Any) -> Stream[Any]:
    return stream(given)
