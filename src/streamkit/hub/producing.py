"""One generation: a source that is run once, into a log, whoever reads and whoever leaves.

    running    a task of its own drives the source into the log
    over       the log has its last event; the source is being closed
    closed     nothing of it runs any more; the log stays until it is forgotten

What ends it: the source's own end or failure, `end` (on request, or because the hub goes), the last reader's leaving
where that was asked for, another writer in its place. Readers are told at once; only then is a source that is still
open told to leave, and the end is not `closed` before it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from streamkit.dialects.outcomes import error_from_event, outcome_of_event, to_error_event
from streamkit.errors import StreamDraining, StreamInterrupted
from streamkit.events.model import EVENT_TYPES, ErrorEvent, Event, Finish, TextDelta
from streamkit.flow.channel import ReaderLeft
from streamkit.flow.latches import Latch
from streamkit.flow.runs import Run
from streamkit.flow.siblings import Plan
from streamkit.flow.tasks import Backend, Task
from streamkit.hub.log import Log
from streamkit.hub.stores.protocol import State

__all__ = ["OnDisconnect", "Producer", "event_of", "state_of"]

LOGGER = logging.getLogger("streamkit.hub")

OnDisconnect: TypeAlias = Literal["continue", "cancel"]


def event_of(item: object) -> Event:
    """An item of a source as a log holds it: events as they are, text as a TextDelta.

    Raises:
        TypeError: anything else.
    """
    if isinstance(item, EVENT_TYPES):
        return item
    if isinstance(item, str):
        return TextDelta(item)
    kind = type(item).__name__
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    raise TypeError(
        f"a hub keeps events and text, and the source gave {article} {kind}: map it to events, "
        f'for example .map(lambda item: sk.Custom("item", item)) for data or .map(str) for text'
    )


def state_of(last: Event | None) -> State:
    """How far a stream has come, by its last event."""
    if last is None:
        return "running"
    if isinstance(last, ErrorEvent):
        return outcome_of_event(last).ending
    return "cancelled" if isinstance(last, Finish) and last.reason == "cancelled" else "done"


class Producer:
    """A source on its way into a log.

    Args:
        id: The stream's name.
        plan: The source, and what stands over it.
        log: Where it goes.
        backend: Of the event loop that all of it runs in.
        owner, metadata: Of the application's, kept with it.
        on_disconnect: Whether it ends when its last reader has left.

    Attributes:
        reason: Why it was ended, in the words of who did it.
        ended_at: When, in Unix seconds.
        closed: Set when nothing of it runs any more.
    """

    __slots__ = (
        "_backend",
        "_ending",
        "_run",
        "_source_is_over",
        "_told",
        "closed",
        "ended_at",
        "id",
        "log",
        "metadata",
        "owner",
        "reason",
        "started_at",
    )

    def __init__(
        self,
        id: str,
        plan: Plan,
        log: Log,
        *,
        owner: str | None,
        metadata: Mapping[str, object],
        on_disconnect: OnDisconnect,
        close_timeout: float,
    ) -> None:
        self.id = id
        self.log = log
        self.owner = owner
        self.metadata = metadata
        self.reason: str | None = None
        self.started_at = log.started_at
        self.ended_at: float | None = None
        self.closed = Latch()
        self._ending: Task | None = None
        self._source_is_over = False
        self._backend: Backend
        # Told when all of it is closed.
        self._told: Callable[[Producer], None]
        log.place = _placed
        told = self._changed
        log.on_over.append(told)
        log.on_left = told if on_disconnect == "cancel" else None
        source, parts = plan
        self._run: Run[object] = Run(source, parts, close_timeout=close_timeout)
        pump = self._run.behind(log, f"stream {id}")
        pump.offer = log.offer
        pump.finish = self._finish

    def begin(self, backend: Backend, ended: Callable[[Producer], None]) -> None:
        """Start the source, in a task of its own and in the context of the caller; `ended` is told when all of it is closed."""
        self._backend = backend
        self._told = ended
        self._run.begin(self._source_over)

    @property
    def state(self) -> State:
        """How far it has come."""
        return state_of(self.log.last)

    def end(self, last: Event, fault: BaseException | None = None, reason: str | None = None) -> None:
        """End it now, whatever its source does."""
        if not self.log.over:
            self.reason = reason
            self.log.end(last, fault)

    def drain(self) -> None:
        """The hub goes: readers may come back elsewhere, or to what is kept."""
        head = self.log.head
        fault = StreamDraining("the hub is closing, and with it this stream", last_id=self.log.token(head - 1) if head else None)
        self.end(to_error_event(fault), fault, "the hub was closed")

    def interrupt(self, why: str) -> None:
        """Nobody can write it any more."""
        fault = StreamInterrupted(why)
        self.end(to_error_event(fault), fault, why)

    # -- told by the source's task

    def _finish(self, error: BaseException | None) -> None:
        """The source is over, and closed."""
        if error is None:
            self.log.end()
        elif isinstance(error, _Failed):
            self.log.end(error.event, error_from_event(error.event))
        elif isinstance(error, ReaderLeft):
            self.log.end(Finish("cancelled"))
        elif isinstance(error, Exception):
            self.log.end(to_error_event(error), error)
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            # Not theirs to raise: whoever comes to read it, now or in an hour, would end the process it serves.
            LOGGER.error("stream %s: its source raised %s", self.id, type(error).__name__, exc_info=error)
            self.interrupt(f"its source raised {type(error).__name__}")
        else:
            self.interrupt("the task that ran its source was cancelled")

    # -- told by the log

    def _changed(self) -> None:
        """It is over, or a reader has left whose leaving may end it."""
        if not self.log.over:
            if not self.log.readers:
                self.end(Finish("cancelled"), reason="its last reader left")
        elif self.ended_at is None:
            self._over()

    def _over(self) -> None:
        self.ended_at = time.time()
        # The task that closes it begins here and not with the stream: of ten thousand streams that run nobody closes any.
        self._ending = self._backend.spawn(self._close, None, f"streamkit end of stream {self.id}", self._closed)

    async def _close(self) -> None:
        try:
            await self._run.aclose()
        except Exception:  # nobody is there to be told, and no exception may leave a task of ours
            LOGGER.warning("stream %s: its source did not close well", self.id, exc_info=True)

    # -- told by the event loop, which cancels tasks that have not begun when it is closed

    def _source_over(self) -> None:
        """The source's task has ended."""
        self._source_is_over = True
        if not self.log.over:
            self.interrupt("the event loop was closed")
        self._run.pump_ended()
        if self._ending is not None and self._ending.done:
            self._closed()

    def _closed(self) -> None:
        """The task that closes it has ended; whatever became of that, it is not closed before its source is, or is given up."""
        if (self._run.closing or self._source_is_over) and not self.closed.is_set():
            self.closed.set()
            self._told(self)


def _placed(item: object) -> Event:
    event = event_of(item)
    if isinstance(event, ErrorEvent):
        raise _Failed(event)
    return event


class _Failed(Exception):
    """The source gave an ErrorEvent, which is its end."""

    def __init__(self, event: ErrorEvent) -> None:
        super().__init__(event.code)
        self.event = event
