"""Being told that the process is to stop, beside the server that is told, too.

A server that gets SIGTERM waits for its responses to end, and tells the application only afterwards: streams that nobody told would
hold it up. So whoever wants to know earlier stands before the server's own handler, which is called as before.

WebSockets are another matter: a server closes them at once (uvicorn with 1012), before anything of ours can be said on them. As
long as `holds` says that there are some, the server's handler is called later: by `release`, or by the next signal.

And whoever asks by `notice` learns of SIGTERM before everybody else: all of the above then happens when it calls `take`, as if the
signal had only come now, or at the next signal. A server closes its listening socket as soon as it is told, so nobody could see
otherwise that it is about to go.

A handler of the event loop (`loop.add_signal_handler`) cannot be kept waiting: the signal reaches it past every other.

Only what has a handler in Python is watched, and only from the main thread: everywhere else nobody is told, and nothing breaks.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from streamkit.flow.tasks import Backend
from streamkit.sinks.failures import LOGGER

__all__ = ["StopSignals"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Where event loops have the handlers by which they hear signals themselves.
_LOOPS: Final = ("asyncio", "uvloop")


class StopSignals:
    """Calls `told` in the event loop, once, when SIGTERM or SIGINT comes.

    Args:
        backend: Of the event loop.
        told: What to call.
        holds: Whether the server's own handler must wait until `release` is called. Asked when the signal comes, and by `release`.
        notice: Called in the event loop when SIGTERM comes; `told` and the server then wait for `take`. None lets nobody wait.
    """

    __slots__ = ("_backend", "_before", "_came", "_handlers", "_holds", "_kept", "_left", "_notice", "_put_off", "_told")

    def __init__(
        self,
        backend: Backend,
        told: Callable[[], None],
        holds: Callable[[], bool] | None = None,
        *,
        notice: Callable[[], None] | None = None,
    ) -> None:
        self._backend = backend
        self._told: Callable[[], None] | None = told
        self._holds = holds
        self._notice = notice
        self._put_off: int | None = None  # the signal that waits for `take`
        self._came = False
        self._left = False
        self._kept: int | None = None  # the signal that the server has not been told of yet
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        # One object for each: a bound method is a new one each time it is asked for.
        self._handlers: dict[int, Callable[[int, FrameType | None], None]] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        server = signal.getsignal(signal.SIGTERM)
        # Without a server the default is to end at once, and nothing can be drained. SIGINT is an event loop's own, too, which
        # looks whether its handler is still there: it is watched only where the server has both.
        if not callable(server):
            return
        for number in _SIGNALS:
            if number is signal.SIGTERM or signal.getsignal(number) == server:
                self._before[number] = server
                self._handlers[number] = self._handle
                signal.signal(number, self._handlers[number])
        if notice is not None and getattr(server, "__module__", "").split(".")[0] in _LOOPS:
            LOGGER.warning(
                "there can be no notice: this server hears signals by its event loop, and closes before anybody could wait"
            )
            self._notice = None

    def leave(self) -> None:
        """Watch no more; a handler that somebody has put over ours meanwhile stays, and goes on calling it."""
        self._told = self._holds = self._notice = None
        self._left = True
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                if signal.getsignal(number) is handler:
                    signal.signal(number, self._behind(number))
        self.take()
        self.release()

    def _behind(self, number: int) -> Callable[[int, FrameType | None], Any]:
        """The handler behind this one, past those of ours that have left when others stood before them."""
        before = self._before[number]
        while (one := _ours(before)) is not None and one._left:
            before = one._before[number]
        return before

    def release(self) -> None:
        """Tell the server, if it has not been told, unless there is still a reason to wait."""
        number = self._kept
        if number is not None and not (self._holds is not None and self._holds()):
            self._kept = None
            self._pass_on(number, None)

    def take(self) -> None:
        """Take the signal now that `notice` was called for, as if it had only come; nothing if there is none, or no longer."""
        number, self._put_off = self._put_off, None
        if number is not None:
            # Those that came meanwhile stand before this one.
            first = _ours(signal.getsignal(number))
            (first if first is not None and self in first._chain(number) else self)._take(number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        chain = tuple(self._chain(number))
        again = any(one._came for one in chain)
        for one in chain:
            one._came = True
        # All of them: each says so at its own address.
        put_off = [] if again or number != signal.SIGTERM else [one._put_off_now() for one in chain]
        if not any(put_off):
            self._take(number, frame, again=again)

    def _put_off_now(self) -> bool:
        notice, self._notice = self._notice, None
        if notice is None:
            return False
        try:
            self._backend.soon_from_thread(notice)
        except RuntimeError:  # the event loop is over: nobody would call `take`
            return False
        self._put_off = signal.SIGTERM
        return True

    def _take(self, number: int, frame: FrameType | None, *, again: bool = False) -> None:
        # Others of ours that stand behind this one are told now, whenever the server is.
        for one in self._chain(number):
            one._put_off = None
            one._tell()
        if again:  # somebody cannot wait
            for one in self._chain(number):
                one._holds = None
            self.release()
        self._pass_on(number, frame)

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            try:
                self._backend.soon_from_thread(told)
            except RuntimeError:  # the event loop is over: nobody would call `release`
                self._holds = None

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._holds is not None and self._holds():
            self._kept = number
            return
        before = self._before[number]
        behind = _ours(before)
        if behind is None:
            before(number, frame)
        else:
            behind._pass_on(number, frame)

    def _chain(self, number: int) -> Iterator[StopSignals]:
        one: StopSignals | None = self
        while one is not None:
            yield one
            one = _ours(one._before.get(number))


def _ours(handler: object) -> StopSignals | None:
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, StopSignals) else None
