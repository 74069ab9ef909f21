"""The input of a gRPC call on its way out, while the answer comes in.

It has a task of its own, which ends with the call; its source is closed by then. What the source fails with ends the call, and is
what the caller sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from streamkit.errors import StreamInterrupted
from streamkit.flow.runs import Run
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Timer

__all__ = ["InputPump", "is_stray"]


class InputPump:
    """Sends a stream of pieces, in a task of its own, until it ends or the call is over.

    Args:
        encode: Gives the message of a piece.

    Attributes:
        failure: What the source of the input failed with.
    """

    def __init__(self, inputs: Stream[Any], encode: Callable[[Any], bytes]) -> None:
        self._inputs = inputs
        self._encode = encode
        self._task: asyncio.Task[None] | None = None
        self._run: Run[Any] | None = None
        self._timer: Timer | None = None
        self.failure: Exception | None = None

    def begin(self, call: Any) -> None:
        """Start."""
        self._task = asyncio.get_running_loop().create_task(self._main(call), name="streamkit input")

    async def leave(self) -> None:
        """End it, and wait until its source is closed."""
        task = self._task
        if task is None:
            return
        self._call_off()
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
        if self._timer is not None:
            self._timer.cancel()
        if cancelled is not None:
            raise cancelled

    def _call_off(self) -> None:
        """Cancel it, unless its source is being closed; and again, every `close_timeout` seconds, if the source swallows that."""
        task, run = self._task, self._run
        if task is None or task.done() or (run is not None and run.closing):
            return
        task.cancel()
        if run is not None:
            self._timer = run.clock.call_at(run.clock.now() + run.close_timeout, self._call_off)

    async def _main(self, call: Any) -> None:
        try:
            async with self._inputs.open() as run:
                self._run = run
                async for piece in run:
                    if not await self._sent(call, self._encode(piece)):
                        return
            self._run = None
            await self._done(call)
        except Exception as error:
            self._fail(error, call)
        except asyncio.CancelledError as error:
            if not is_stray():
                raise
            # Nobody asked this task for it: without a word the call would wait for input for ever.
            failure = StreamInterrupted("a task that the source of the input waited for was cancelled")
            failure.__cause__ = error
            self._fail(failure, call)

    def _fail(self, failure: Exception, call: Any) -> None:
        self.failure = failure
        call.cancel()

    async def _sent(self, call: Any, message: bytes) -> bool:
        """Whether the call is still open."""
        try:
            await call.write(message)
        except Exception:  # its status says why
            return False
        return True

    async def _done(self, call: Any) -> None:
        if not call.done():
            with suppress(Exception):  # as above: the call ended meanwhile
                await call.done_writing()


def is_stray() -> bool:
    """Whether nobody cancels the current task: gRPC raises the same where a call is cancelled, as by closing its channel."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
