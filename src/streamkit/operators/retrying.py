"""`retry`: ask again when a stream fails before it has given anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.flow.backoff import Backoff, Jitter, RetryBudget, check_number, is_transient
from streamkit.flow.fuse import refuse_awaitable
from streamkit.flow.plan import Around, Laid, Same, check_callable, check_count, is_async_callable
from streamkit.flow.runs import Run
from streamkit.flow.series import Series
from streamkit.flow.siblings import Plan
from streamkit.flow.sources import Feed, Source

__all__ = ["retry"]

# Which errors: their types, or a function that looks at one.
On: TypeAlias = "type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]"


def retry(
    attempts: int = 3,
    *,
    on: On | None = None,
    backoff: float = 0.5,
    factor: float = 2.0,
    max_backoff: float = 30.0,
    max_retry_after: float = 60.0,
    jitter: Jitter = "full",
    after_output: Literal["raise", "repeat"] = "raise",
    budget: RetryBudget | None = None,
    rng: random.Random | None = None,
) -> Same:
    """Run the stream before it again when it fails before its first output.

    Args:
        attempts: Most attempts, the first one included.
        on: Types of errors, or a function of one, after which it is tried again. By default those that may pass: what
            says so itself (`error.retryable`), cuts, timeouts, lost connections, an SDK's 408, 425, 429 and 5xx.
        backoff: The longest wait before the second attempt, in seconds; 0 waits only where the error asks for it.
        factor: How much longer it is each time.
        max_backoff: The longest wait of these.
        max_retry_after: The longest wait that an error may ask for (its `retry_after`); that one is waited before the other.
        jitter: "full" draws each wait between 0 and the longest, "none" waits that long.
        after_output: "raise" gives an error behind the first output as it is: an answer is never told twice. "repeat"
            tries again there too, and what was given comes once more, for readers who can begin anew.
        budget: How many new attempts are allowed, shared by many streams.
        rng: Where draws come from; one with a seed waits the same each time.

    Each failed attempt is closed before the wait. The last error is raised itself, with a note of the attempts.

    Yields:
        The items. The events `Start`, `Ping` and `Usage` are no output: they are held back until some comes, and those
        of a failed attempt are dropped. So there is one `Start`, and it is that of the answer given.

    Memory: at most 64 of those events.
    Cancellation: passes at once, a wait included; the source is closed.
    Raises:
        ConfigError, TypeError: numbers that cannot work, at the call; a source that can be read only once, where it is put
            on the stream.

    >>> from collections.abc import Iterator
    >>> answers: list[Exception | str] = [ConnectionResetError(), "Hello"]
    >>> def ask() -> Iterator[str]:
    ...     answer = answers.pop(0)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     yield answer
    >>> run((stream(ask) | retry(backoff=0)).collect())
    ['Hello']
    """
    check_count("retry", "attempts", attempts, 1)
    check_number("retry", "backoff", backoff, 0.0)
    check_number("retry", "factor", factor, 1.0)
    check_number("retry", "max_backoff", max_backoff, 0.0)
    check_number("retry", "max_retry_after", max_retry_after, 0.0)
    if jitter not in ("full", "none"):
        raise ConfigError(f'retry(jitter={jitter!r}): "full" or "none"')
    if after_output not in ("raise", "repeat"):
        raise ConfigError(f'retry(after_output={after_output!r}): "raise", or "repeat" to give again what was given')
    if budget is not None and not isinstance(budget, RetryBudget):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise TypeError(f"retry(budget=...) takes a RetryBudget, got {type(budget).__name__}")
    if rng is not None and not isinstance(rng, random.Random):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise TypeError(f"retry(rng=...) takes a random.Random, got {type(rng).__name__}")
    waits = Backoff(first=backoff, factor=factor, most=max_backoff, jitter=jitter, most_asked=max_retry_after, rng=rng)
    return Same(_Retry(attempts, asked_of("retry", on), waits, after_output == "repeat", budget))


def asked_of(operator: str, on: On | None) -> Callable[[Exception], object]:
    """The function that says of an error whether it is one of those meant; checked."""
    if on is None:
        return is_transient
    if isinstance(on, tuple | type):
        kinds = cast("tuple[type[Exception], ...]", on if isinstance(on, tuple) else (on,))
        for kind in kinds:
            check_exception(operator, "on", kind)
        return lambda error: isinstance(error, kinds)
    check_callable(operator, on)
    if is_async_callable(on):
        raise TypeError(f"{operator}(on=...) is asked in passing: give a plain function, not an async one")

    def asked(error: Exception) -> object:
        told = on(error)
        refuse_awaitable(told, on)  # it would be taken for a yes
        return told

    return asked


def check_exception(operator: str, name: str, kind: object) -> None:
    """Raise TypeError for what is no type of exceptions that may be caught: cancels are not."""
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise TypeError(f"{operator}({name}=...) takes subclasses of Exception, got {kind!r}")


class _Retry(Around):
    """`retry` in a plan."""

    def __init__(
        self, attempts: int, passing: Callable[[Exception], object], waits: Backoff, repeats: bool, budget: RetryBudget | None
    ) -> None:
        self.label = f"retry({attempts})"
        self.attempts = attempts
        self.passing = passing
        self.waits = waits
        self.repeats = repeats
        self.budget = budget

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        if not source.repeatable:
            raise ConfigError(
                f"retry() opens its stream again, and {source.label} can be read only once: give sk.stream a zero-argument "
                "callable that makes the source"
            )

        for part in parts:
            if getattr(part, "once", False):
                raise ConfigError(
                    f"retry() opens its stream again, and the signal of {part.label} can be waited for only once: give take_until "
                    "a zero-argument callable that makes it (`event.wait` without the brackets), or put it behind retry()"
                )

        def open_feed(run: Run[Any]) -> Feed:
            if self.budget is not None:
                self.budget.request(run.clock.now())
            series = Series(run, (source, parts), _Attempts(self, run, (source, parts)).again, after_output=self.repeats)
            return series.feed(source.label)

        return Source(lambda: f"{source.label} | {self.label}", open_feed, repeatable=True, inner=((source, parts),))


class _Attempts:
    """The attempts of one Run."""

    __slots__ = ("_failed", "_plan", "_retry", "_run")

    def __init__(self, retry: _Retry, run: Run[Any], plan: Plan) -> None:
        self._retry = retry
        self._run = run
        self._plan = plan
        self._failed = 0

    async def again(self, error: Exception, begun: bool) -> Plan:
        """The same plan once more, after a wait; or the error."""
        retry, clock = self._retry, self._run.clock
        self._failed += 1
        if not retry.passing(error):
            raise error
        if self._failed >= retry.attempts:
            self._give_up(error, "it was the last")
        if retry.budget is not None and not retry.budget.spend(clock.now()):
            self._give_up(error, "the budget for new attempts is spent")
        await clock.sleep(retry.waits.wait(self._failed, error))
        return self._plan

    def _give_up(self, error: Exception, why: str) -> None:
        if self._retry.attempts > 1:
            error.add_note(f"retry: attempt {self._failed} of {self._retry.attempts} failed; {why}")
        raise error
