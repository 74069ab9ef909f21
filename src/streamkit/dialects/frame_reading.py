"""The half of a `Decoder` that no vocabulary changes: what it is asked, in which order, and what becomes of a failure.

A dialect's own decoder reads frames in `_take_all`. One that holds counts of tokens back until the end is a `CountingReader`, which
says in `_usage_event` what they mean. The contract is that of `streamkit.dialects.protocol`: nothing is raised for what
frames hold, what came before a bad one is given, and nothing after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from streamkit.dialects.protocol import InFrame
from streamkit.errors import RemoteProtocolError, StreamkitError
from streamkit.events import Event, Usage

__all__ = ["CountingReader", "FrameReader"]

Counts = TypeVar("Counts")


class FrameReader(ABC):
    """What decoders of frames have in common.

    Args:
        provider: Who sends this, for `Start.provider` and errors.
    """

    __slots__ = ("_frames", "_provider", "done", "error")

    def __init__(self, provider: str | None) -> None:
        self.error: StreamkitError | None = None
        self.done: bool = False
        self._provider = provider
        self._frames: int = 0  # read so far, for messages

    def decode(self, frame: InFrame) -> list[Event]:
        """The events of one frame."""
        return self.decode_many((frame,))

    def decode_many(self, frames: Iterable[InFrame]) -> list[Event]:
        """The events of many frames; what is wrong with one waits in `error`."""
        out: list[Event] = []
        if self.done or self.error is not None:
            return out
        try:
            self._take_all(frames, out)
        except (StreamkitError, RecursionError) as error:
            # What the reader of JSON takes in its stride may still be too deep for what comes after it.
            deep = RemoteProtocolError(f"frame {self._frames} is nested too deep")
            self.error = error if isinstance(error, StreamkitError) else deep
            out += self._let_go()
        return out

    def held(self) -> list[Event]:
        """Nothing: all is given as it comes."""
        return []

    def finish(self) -> list[Event]:
        """The body ended: the rest of a complete answer.

        Raises:
            StreamTruncated: the answer had not reached its end.
            StreamkitError: `error`, if a frame set it.
        """
        if self.error is not None:
            raise self.error
        out: list[Event] = []
        if not self.done:
            try:
                self._end_unmarked(out)
            except StreamkitError as error:
                self.error = error
                raise
        return out

    def _let_go(self) -> list[Event]:
        """What is held, for the last time: nothing more comes."""
        return self.held()

    @abstractmethod
    def _take_all(self, frames: Iterable[InFrame], out: list[Event]) -> None:
        """Add the events of the frames, up to the end marker: then `done` is set."""

    @abstractmethod
    def _end_unmarked(self, out: list[Event]) -> None:
        """The body ended, and no end marker has come: the rest of the answer, if it is complete all the same.

        Raises:
            StreamTruncated: it is not.
        """


class CountingReader(FrameReader, Generic[Counts]):
    """One that counts tokens as it reads, and gives the last count with the end; arguments as for `FrameReader`."""

    __slots__ = ("_usage",)

    def __init__(self, provider: str | None) -> None:
        super().__init__(provider)
        self._usage: Counts | None = None  # counted and not given yet

    def held(self) -> list[Event]:
        """Usage that was counted so far, not final."""
        return [] if self._usage is None else [self._usage_event(self._usage, final=False)]

    def _let_go(self) -> list[Event]:
        held = self.held()
        self._usage = None
        return held

    @abstractmethod
    def _usage_event(self, counts: Counts, *, final: bool) -> Usage:
        """What the counts mean."""
