"""A source that watches how it is treated.

`Probe` is the object kind (like an SDK's stream: `__anext__` and `aclose`), and `probe.generator()` the
asynchronous generator kind of the same script. Both keep one record: which tasks iterated it, which
closed it, how often, and what was thrown into it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Generic, TypeVar

from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend

__all__ = ["Probe"]

T = TypeVar("T")


class Probe(Generic[T]):
    """Items, and a record of what was done to their source.

    Args:
        items: What it gives, in order.
        error: Raised behind the items, in the place of the end.
        clean_up_error: Raised by its clean-up, once that is through.
        clean_up: Seconds its clean-up takes, on the clock in place; `inf` never ends.
        stubborn: Its clean-up, and its waiting, start over when they are cancelled.
        at_step: Called with the number of items given so far before each further one; where it
            returns True the source waits for ever there.

    Attributes:
        asked: Items asked for, the end included.
        given: Items given.
        closed: How often it was closed.
        iterated_by, closed_by: The tasks that did.
        ended: It came to its own end or error.
        thrown: What interrupted it while it waited, or the GeneratorExit at its `yield`.

    >>> import asyncio
    >>> from streamkit.flow.streams import stream
    >>> probe = Probe("abc")
    >>> asyncio.run(stream(probe).take(2).collect()), probe.given, probe.closed
    (['a', 'b'], 2, 1)
    """

    def __init__(
        self,
        items: Sequence[T] = (),
        *,
        error: BaseException | None = None,
        clean_up_error: BaseException | None = None,
        clean_up: float = 0.0,
        stubborn: bool = False,
        at_step: Callable[[int], object] | None = None,
    ) -> None:
        self._items = items
        self._error = error
        self._clean_up_error = clean_up_error
        self._clean_up = clean_up
        self._stubborn = stubborn
        self._at_step = at_step
        self.asked = 0
        self.given = 0
        self.closed = 0
        self.ended = False
        self.iterated_by: set[object] = set()
        self.closed_by: set[object] = set()
        self.thrown: list[type[BaseException]] = []

    # -- the object kind

    def __aiter__(self) -> Probe[T]:
        return self

    async def __anext__(self) -> T:
        await self._step()
        return self._items[self.given - 1]

    async def aclose(self) -> None:
        """The end of the object kind."""
        await self._close()

    # -- the generator kind

    async def generator(self) -> AsyncGenerator[T]:
        """The same as an asynchronous generator, whose `finally` is its clean-up."""
        try:
            while True:
                try:
                    await self._step()
                except StopAsyncIteration:
                    return
                try:
                    yield self._items[self.given - 1]
                except BaseException as error:
                    self.thrown.append(type(error))
                    raise
        finally:
            await self._close()

    # -- what both do

    async def _step(self) -> None:
        self.iterated_by.add(current_backend().current_task())
        self.asked += 1
        if self._at_step is not None and self._at_step(self.given):
            await self._wait_for_ever()
        if self.given >= len(self._items):
            self.ended = True
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        self.given += 1

    async def _wait_for_ever(self) -> None:
        while True:
            try:
                await current_backend().waiter().wait()
            except BaseException as error:
                self.thrown.append(type(error))
                # However stubborn: a coroutine that is dropped, at the end of the interpreter, would spin for ever.
                if not self._stubborn or isinstance(error, GeneratorExit | RuntimeError):
                    raise

    async def _close(self) -> None:
        self.closed += 1
        self.closed_by.add(current_backend().current_task())
        if self._clean_up == float("inf"):
            await self._wait_for_ever()
        elif self._clean_up > 0:
            await current_clock().sleep(self._clean_up)
        if self._clean_up_error is not None:
            raise self._clean_up_error

    @property
    def one_task(self) -> bool:
        """Whether exactly one task iterated it and the same one closed it, or nobody iterated it."""
        return len(self.iterated_by | self.closed_by) <= 1
