"""A pipeline that can be saved between two items, and taken up by another process.

    async with stream.open(resumable=True) as run:
        async for item in run:
            saved = run.snapshot()          # all of it, as of this item

    again = sk.stream(items_behind(saved.cursor)) | the_same_operators
    async with again.open(restore=saved) as run: ...    # gives what would have come

What is saved: how many items were taken from the source (the cursor), what each step remembers, and the outputs that
these items have led to and nobody has seen yet. The source is not saved: who restores gives one that begins
behind the cursor.

A resumable run goes through its steps one by one, in plain calls: the fused loop keeps what it remembers in local names,
where nobody can fetch it. So it costs some 0.3 us more for each item and step; and every part must be a plain step: a
buffer, a timer or an async callable would have items on their way that no cursor counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from streamkit.errors import ConfigError
from streamkit.flow.fuse import Enough
from streamkit.flow.plain_steps import StartWith, stage_of
from streamkit.flow.plain_values import pack, unpack
from streamkit.flow.plan import Laid
from streamkit.stages.stage import Stage, copy_plain

__all__ = ["Chain", "Snapshot"]

_END: Any = object()


class Snapshot(msgspec.Struct, frozen=True):
    """A pipeline between two items.

    Attributes:
        cursor: Items taken from the source: a run that restores this begins behind them.
        plan: The steps, as words; another pipeline refuses them.
        states: What each step remembers.
        pending: Outputs not yet given.
        over: Whether the source had ended, or a step had all it wanted: nothing is read any more.
        begun: Whether anything had been asked of it.

    >>> saved = Snapshot(3, ("sentences()",), ({"_held": "Dr. "},), ("One.",), over=False)
    >>> Snapshot.from_bytes(saved.to_bytes()) == saved
    True
    """

    cursor: int
    plan: tuple[str, ...]
    states: tuple[dict[str, object], ...]
    pending: tuple[object, ...]
    over: bool
    begun: bool = True

    def to_bytes(self) -> bytes:
        """For a file, a database, another process. MessagePack; the items in it are content, to be kept like the text itself.

        Raises:
            TypeError: a state or an item that is no plain value (None, bool, number, str, bytes, event, or a list, tuple, set
                or dict of these).
        """
        return pack((1, *msgspec.structs.astuple(self)))

    @staticmethod
    def from_bytes(data: bytes) -> Snapshot:
        """What `to_bytes` gave.

        Raises:
            ConfigError: something else, or of another version.
        """
        try:
            version, *values = unpack(data)
            if version == 1:
                return msgspec.convert(dict(zip(Snapshot.__struct_fields__, values, strict=True)), Snapshot)
        except (msgspec.MsgspecError, TypeError, ValueError, IndexError) as error:
            raise ConfigError("not a snapshot: give from_bytes() what to_bytes() of a Snapshot gave, whole") from error
        raise ConfigError(f"a snapshot of version {version!r}: this streamkit reads version 1")


class Chain(Stage[Any, Any]):
    """All steps of a pipeline as one stage, whose memory lies open.

    Raises:
        ConfigError: a part that cannot be saved, or a snapshot of another pipeline.
    """

    def __init__(self, parts: Sequence[Laid], restore: Snapshot | None = None) -> None:
        self._plan = tuple([part.label for part in parts])
        self._nodes = [stage_of(part) for part in parts]
        for node in self._nodes:
            node.snapshot()  # a stage that cannot be saved says so now
        self._pending: deque[Any] = deque()
        self._cursor = 0
        self._begun = False
        self._over = any(node.done for node in self._nodes)
        if restore is not None:
            self._take_up(restore)

    # -- as a stage of the run

    def feed(self, item: Any) -> Iterable[Any]:
        """One item through all steps; what comes out waits in `_pending` until the run takes it."""
        self._cursor += 1
        given: list[Any] = []
        for at, node in enumerate(self._nodes):
            try:
                outputs = node.feed(item)
            except Exception as error:
                return self._giving(given, self._failed(at, error, given))
            if not isinstance(outputs, tuple) or len(outputs) != 1 or node.done:
                return self._giving(given, self._go_on(at, outputs, given))
            (item,) = outputs
        return (item,)  # taken before anybody can ask for a snapshot

    def flush(self) -> Iterable[Any]:
        """The source ended: what the steps hold, in their order."""
        given: list[Any] = []
        error = None if self._over else self._close_from(0, given, failed=False)
        self._over = True
        return self._giving(given, error)

    def abort(self) -> Iterable[Any]:
        """The source failed: what the steps may still give."""
        given: list[Any] = []
        if not self._over:
            self._close_from(0, given, failed=True)
        self._over = True
        return self._giving(given, None)

    def beginning(self) -> Iterator[Any]:
        """What comes before the source is asked: what stands in front, or what was not yet given when it was saved."""
        given: list[Any] = []
        error: Exception | None = None
        if not self._begun:
            self._begun = True
            error = self._begin(given)
        yield from self._giving(given, error)
        if self._over:
            raise Enough

    def _giving(self, given: list[Any], error: Exception | None) -> Iterator[Any]:
        pending = self._pending
        pending += given
        while pending:
            yield pending.popleft()
        if error is not None:
            raise error

    # -- the steps

    def _into(self, at: int, items: Iterable[Any], given: list[Any]) -> Exception | None:
        """Items into the step `at`; the error of a step, once those behind it have given what they may."""
        if at == len(self._nodes):
            given += items
            return None
        node = self._nodes[at]
        items = iter(items)
        while True:
            try:
                item = next(items, _END)
                if item is _END:
                    return None
                outputs = node.feed(item)
            except Exception as error:
                return self._failed(at, error, given)
            failure = self._go_on(at, outputs, given)
            if failure is not None or self.done:
                return failure

    def _go_on(self, at: int, outputs: Iterable[Any], given: list[Any]) -> Exception | None:
        """What the step `at` gave for an item, into the ones behind it, which are closed if that was its last."""
        failure = self._into_next(at, outputs, given)
        if failure is None and not self.done and self._nodes[at].done:
            self.done = self._over = True
            return self._close_from(at + 1, given, failed=False)
        return failure

    def _into_next(self, at: int, outputs: Iterable[Any], given: list[Any]) -> Exception | None:
        """What the step `at` gave, into the next; an error on the way is of `at` if its outputs are made as they are asked for."""
        many: list[Any] = []
        error: Exception | None = None
        try:
            many += outputs
        except Exception as raised:
            error = raised
        failure = self._into(at + 1, many, given)
        if failure is None and error is not None and not self.done:
            return self._failed(at, error, given)
        return failure

    def _failed(self, at: int, error: Exception, given: list[Any]) -> Exception:
        self._over = True
        self._close_from(at + 1, given, failed=True)
        return error

    def _close_from(self, at: int, given: list[Any], *, failed: bool) -> Exception | None:
        first: Exception | None = None
        for index in range(at, len(self._nodes)):
            node = self._nodes[index]
            if node.done:
                continue
            try:
                outputs = list(node.abort() if failed or first is not None else node.flush())
            except Exception as error:
                first = first or error
                continue
            first = first or self._into(index + 1, outputs, given)
        return first

    def _begin(self, given: list[Any]) -> Exception | None:
        """The items of `start_with`, through the steps behind it; of two the later one's first."""
        for index in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[index]
            if node.done:  # take(0): what stands before it never comes
                return self._close_from(index + 1, given, failed=False)
            if isinstance(node, StartWith):
                error = self._into(index + 1, node.items, given)
                if error is not None or self.done:
                    return error
        return None

    # -- saving

    def save(self) -> Snapshot:
        """The whole of it, as of the item that was given last."""
        states = tuple([node.snapshot() for node in self._nodes])
        return Snapshot(
            self._cursor, self._plan, states, tuple([copy_plain(item) for item in self._pending]), self._over, self._begun
        )

    def _take_up(self, saved: Snapshot) -> None:
        if saved.plan != self._plan:
            raise ConfigError(
                f"the snapshot is of another pipeline: {' | '.join(saved.plan) or 'no operators'}, "
                f"and this one is {' | '.join(self._plan) or 'no operators'}"
            )
        for node, state in zip(self._nodes, saved.states, strict=True):
            node.restore(state)
        self._pending.extend(copy_plain(item) for item in saved.pending)
        self._cursor = saved.cursor
        self._over = saved.over
        self._begun = saved.begun

    @property
    def over(self) -> bool:
        """Whether the source need not be read any more."""
        return self._over
