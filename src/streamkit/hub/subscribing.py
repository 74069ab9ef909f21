"""The plan of one reader: what a subscription is before it is run, and how a Run of it finds its place in a log."""

from __future__ import annotations

from functools import partial
from typing import Any

from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.hub.log import Log
from streamkit.hub.permissions import Action, Asked, Permissions
from streamkit.hub.reading import Errors, Policy, Reader, View, direct
from streamkit.hub.registry import Registry
from streamkit.hub.tokens import parse_token

__all__ = ["Subscription"]


class Subscription(Source):
    """A source that each Run opens anew, with a reader of its own.

    An object and no closures: there may be thousands, and it is a quarter of their size.

    Args:
        registry, permissions: Of the hub.
        id: The stream's name.
        view: What the reader makes of the events.
        after: The token of the last event that was seen, or None.
        policy, lag, errors: Of the reader.
        asked: The owner that the caller names, or None where nobody is to be asked.

    Raises:
        InvalidToken: `after` is none.
    """

    __slots__ = ("_action", "_asked", "_errors", "_id", "_lag", "_permissions", "_policy", "_position", "_registry", "_view")

    def __init__(
        self,
        registry: Registry,
        permissions: Permissions,
        id: str,
        view: View,
        *,
        after: str | None,
        policy: Policy,
        lag: int,
        errors: Errors,
        asked: Asked,
    ) -> None:
        super().__init__("", _opened_by_itself, repeatable=True)
        self._registry = registry
        self._permissions = permissions
        self._id = id
        self._view = view
        self._position = None if after is None else parse_token(after)
        self._action: Action = "subscribe" if after is None else "resume"
        self._policy: Policy = policy
        self._lag = lag
        self._errors: Errors = errors
        self._asked: Asked = asked

    @property
    def label(self) -> str:
        """What it is called in plans and messages."""
        return f"stream {self._id!r:.80} of a hub"

    def open(self, run: Run[Any]) -> Feed:
        """For one Run; the stream is looked for when it is first read."""
        feed = Feed(None, shape="lists")
        feed.start = partial(self._start, run, feed)
        if self._policy == "lag":
            feed.direct = direct
        return feed

    async def _start(self, run: Run[Any], feed: Feed) -> Reader:
        self._registry.check_loop(run.backend)
        reader = await self._registry.sit(self._id, self._allow, self._sit)
        run.keep_partial(reader.message)
        feed.closers.append(("reader", reader.leave))
        return reader

    async def _allow(self, owner: str | None, first_epoch: int) -> None:
        await self._permissions.ask(self._id, owner, first_epoch, self._action, self._asked)

    def _sit(self, log: Log) -> Reader:
        at = 0 if self._position is None else log.position(*self._position)
        return Reader.of(log, at, policy=self._policy, size=self._lag, errors=self._errors, view=self._view)


def _opened_by_itself(run: Run[Any]) -> Feed:
    raise NotImplementedError("a subscription opens itself")
