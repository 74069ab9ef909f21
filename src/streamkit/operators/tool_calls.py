"""Operators for tool calls: read their arguments while they grow, and run the calls while the stream goes on.

How `run_tools` runs them. The source is read in a task of its own; its events go into a channel at once, but for
those that end the answer. Each call is an entry in a row, in the order of the calls:

    queued     as many tools run as may: it waits for one of them
    running    in a task of the Run's own, or on a thread where the function is a plain one
    settled    it has a result, or an error that stands for one; given when all entries before it are
    dropped    the stream failed, or its reader left: whatever comes of it is nobody's

A time that ran out settles an entry at once and cancels its task; the task's end is waited for when the Run ends.
"""

from __future__ import annotations

import contextvars
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, cast

import msgspec

from streamkit.errors import ConfigError, RemoteProtocolError, ToolError, ToolFailure, scrub
from streamkit.events.model import ErrorEvent, Event, Finish, ToolCall, ToolResult, Usage
from streamkit.events.tool import Tool
from streamkit.flow.channel import Channel
from streamkit.flow.plan import Op, Same, Step, check_count, check_seconds, is_async_callable
from streamkit.flow.pumps import Job
from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import Timer
from streamkit.flow.threads import ThreadCall
from streamkit.stages.partial_json import MAX_CHARS, MAX_DEPTH, PartialJson, PartialValue

__all__ = ["partial_json", "run_tools"]

# Events read ahead of the consumer.
AHEAD = 16

# Events that end the answer and wait for results: one for each choice, as a rule. More go on without waiting.
MOST_HELD = 256

CONCURRENCY = 8


def partial_json(
    *, of: Literal["text", "calls"] | None = None, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str | Event, PartialValue]:
    """Read JSON while it arrives: the value so far, growing in place.

    Args:
        of: What is read of events: "text" (the answer is JSON), the arguments of tool "calls", or None for both. Each
            block of text and each call has a value of its own. A stream of str is one text, whatever this says.
        max_chars: Most characters of one value's text.
        max_depth: Most containers inside each other.

    Yields:
        A `PartialValue` for each item that changed a value. `.value` is live: the same dict or list each time, so
        copy it to keep a moment. Strings grow as they arrive; numbers, literals and keys come when they are
        whole. `.complete` is never True for a text that was cut. How the text was cut changes nothing.
        Of a key given twice the last value wins.

    Memory: the open values. Time is linear in the text.
    Cancellation: open values are dropped; the source is closed.
    Raises:
        ConfigError: bounds below 1, at the call.
        RemoteProtocolError: the text is no JSON (RFC 8259, nothing more), is nested deeper than max_depth, or longer
            than max_chars; with the value so far as `.partial`.

    >>> values = stream(['{"city": "Par', 'is", "days": 1', '4}']) | partial_json()
    >>> run(values.map(lambda one: (str(one.value), one.complete)).collect())[::2]
    [("{'city': 'Par'}", False), ("{'city': 'Paris', 'days': 14}", True)]
    """
    PartialJson(of=of, max_chars=max_chars, max_depth=max_depth)  # what cannot work is said here
    return Op(Step("stage", "partial_json()", lambda: PartialJson(of=of, max_chars=max_chars, max_depth=max_depth)))


def run_tools(
    tools: Iterable[object] | Mapping[str, object],
    *,
    timeout: float | None = None,
    concurrency: int = CONCURRENCY,
    on_error: Literal["result", "raise"] = "result",
) -> Same:
    """Run the tools that the model calls, while its answer goes on.

    Args:
        tools: What `Tool.of` takes: typed functions, sync or async, or `Tool`s; or a mapping from the names that
            the model uses. A call of a tool without a function is left to whoever runs it.
        timeout: Most seconds for one call, from its start. None sets no limit.
        concurrency: Most calls that run at once, at least 1; the others wait in their order. One whose time is up does
            not count any more.
        on_error: "result" tells the model of a failure, as a `ToolResult` with `is_error`; "raise" raises a
            `ToolError` in its place.

    Each complete `ToolCall` starts its tool at once: an async function in a task, a plain one on a thread, both in
    the caller's context. A call that was cut off is never run, and neither are calls that the provider runs itself.
    A failed call is one that was cut off, names no tool, has arguments that are no JSON or do not fit, raises, gives
    what is no JSON, or takes too long. What the model is told of it has no traceback, and of an
    exception its type and its text with known secrets masked; raise `ToolError` in a tool to choose the words.

    Yields:
        The events, unchanged and at once, and a `ToolResult` for each call, in the order of the calls: one that is
        ready early waits for those before it. A final `Usage`, `Finish` and `ErrorEvent` wait for all results, so that
        they stay last.

    Memory: 16 events, 256 of those that wait, and the calls without a result with what came of them: not more than the
    answer holds.
    A slow consumer suspends the source, and no tool.
    Cancellation: leaving and cancelling cancel the tools that run and wait for their clean-up. A plain function cannot
    be interrupted: it is waited for, for the close timeout, and then runs on alone with a ResourceWarning; so is
    one whose time is up.
    Raises:
        ConfigError, TypeError: no tools, two of one name, a wrong limit, at the call.
        ToolError: with on_error="raise", in the place of the result; the tools still running are cancelled.
        An error of the source: behind the results that are ready; the other tools are cancelled, unless the answer
        had finished. An `ErrorEvent` does the same.

    >>> async def add(a: int, b: int) -> int:
    ...     return a + b
    >>> answer = stream([ToolCall("1", "add", '{"a": 1, "b": 2}'), Finish("tool-calls")])
    >>> [event.type for event in run((answer | run_tools([add])).collect())]
    ['tool-call', 'tool-result', 'finish']
    """
    known = _tools_by_name(tools)
    if timeout is not None:
        check_seconds("run_tools", "timeout", timeout)
    check_count("run_tools", "concurrency", concurrency, 1)
    if on_error not in ("result", "raise"):
        raise ConfigError(f'run_tools(on_error={on_error!r}): "result" or "raise"')
    return Same(_ToolsBoundary(known, timeout, concurrency, on_error == "raise"))


def _tools_by_name(tools: Iterable[object] | Mapping[str, object]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    if isinstance(tools, Mapping):
        for name, value in cast("Mapping[str, object]", tools).items():
            found[name] = msgspec.structs.replace(Tool.of(value), name=name)
    else:
        if isinstance(tools, str) or not isinstance(tools, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise TypeError(f"run_tools() takes a list of tools or a mapping from names, got {type(tools).__name__}")
        for value in tools:
            tool = Tool.of(value)
            if tool.name in found:
                raise ConfigError(f"run_tools() got two tools named {tool.name!r}: a mapping gives them names of their own")
            found[tool.name] = tool
    if not found:
        raise ConfigError("run_tools() needs at least one tool")
    return found


class _ToolsBoundary:
    """`run_tools` in a plan."""

    __slots__ = ("_concurrency", "_raises", "_timeout", "_tools", "label")

    def __init__(self, tools: dict[str, Tool], timeout: float | None, concurrency: int, raises: bool) -> None:
        self.label = f"run_tools({', '.join(tools)})"
        self._tools = tools
        self._timeout = timeout
        self._concurrency = concurrency
        self._raises = raises

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(AHEAD)
        pump = run.pump(strand, channel, self.label)
        calls = _Calls(self._tools, self._timeout, self._concurrency, self._raises, channel, run, pump.finish)
        pump.offer = calls.offer
        pump.finish = calls.finish
        channel.on_close.append(calls.drop)
        return run.reading(channel, self.label)


class _Entry:
    """One call in the row."""

    __slots__ = ("call", "context", "error", "job", "result", "timer", "tool")

    def __init__(self, call: ToolCall, tool: Tool | None) -> None:
        self.call = call
        self.tool = tool
        # The source's task has the consumer's context; a timer, which may start the call, has none.
        self.context = contextvars.copy_context()
        self.job: Job | None = None
        self.timer: Timer | None = None
        self.result: ToolResult | None = None
        self.error: ToolError | None = None

    @property
    def settled(self) -> bool:
        return self.result is not None


class _Calls:
    """The row of calls of one Run."""

    __slots__ = (
        "_append",
        "_channel",
        "_concurrency",
        "_dropped",
        "_end",
        "_error",
        "_finished",
        "_held",
        "_over",
        "_queue",
        "_raises",
        "_row",
        "_run",
        "_running",
        "_starting",
        "_timeout",
        "_tools",
    )

    def __init__(
        self,
        tools: dict[str, Tool],
        timeout: float | None,
        concurrency: int,
        raises: bool,
        channel: Channel[Any],
        run: Run[Any],
        end: Callable[[BaseException | None], None],
    ) -> None:
        self._tools = tools
        self._timeout = timeout
        self._concurrency = concurrency
        self._raises = raises
        self._channel = channel
        self._append = channel.buffer.append
        self._run = run
        self._end = end
        self._row: deque[_Entry] = deque()
        self._queue: deque[_Entry] = deque()
        self._running: set[_Entry] = set()
        self._held: deque[Event] = deque()
        self._dropped = False
        self._finished = False
        self._starting = False
        self._over = False
        self._error: BaseException | None = None

    # -- told by the source's task

    def offer(self, item: Any) -> None:
        """One item from the source."""
        kind = item.__class__
        if kind not in _WATCHED:
            self._append(item)
        elif kind is ToolCall:
            self._append(item)
            if not item.server:
                self._take(item)
        elif kind is ErrorEvent:
            self._cut_short()
            self._append(item)
        else:
            self._finished = self._finished or kind is Finish
            if self._row and not (kind is Usage and not item.final):
                self._held.append(item)
                if len(self._held) > MOST_HELD:
                    self._append(self._held.popleft())
            else:
                self._append(item)

    def finish(self, error: BaseException | None) -> None:
        """The source is over and closed."""
        self._over = True
        self._error = error
        if error is not None and not (self._finished and isinstance(error, Exception)):
            self._cut_short()
        self._end_if_done()

    def _take(self, call: ToolCall) -> None:
        tool = self._tools.get(call.name)
        if self._dropped or (tool is not None and tool.function is None):
            return
        entry = _Entry(call, tool)
        self._row.append(entry)
        if not call.complete:
            self._fail(entry, "cut", "the call was cut off before its arguments were complete; the tool was not run")
        elif tool is None:
            names = ", ".join(self._tools)
            self._fail(entry, "unknown", f"there is no tool named {scrub(call.name, 60)!r}; there are: {names}")
        else:
            self._queue.append(entry)
            self._start()

    # -- running

    def _start(self) -> None:
        if self._starting:  # a loop may begin a task at once, and end it: the loop below goes on
            return
        self._starting = True
        while self._queue and len(self._running) < self._concurrency:
            entry = self._queue.popleft()
            self._running.add(entry)
            label = f"the tool {entry.call.name!r}"
            entry.job = entry.context.run(self._run.job, partial(self._call, entry), label)
            if self._timeout is not None and not entry.settled:
                clock = self._run.clock
                entry.timer = clock.call_at(clock.now() + self._timeout, partial(self._too_late, entry))
        self._starting = False

    async def _call(self, entry: _Entry, job: Job) -> None:
        """The task of one call. An entry may be settled already when it comes to its end: then nobody listens."""
        try:
            output = await self._output(entry, job)
        except ToolError as error:
            reason = error.reason if error.reason in _SAID else "failed"
            self._fail(entry, reason, _text_of(error) or type(error).__name__, error)
        except Exception as error:
            text = scrub(_text_of(error))
            self._fail(entry, "failed", f"{type(error).__name__}: {text}" if text else type(error).__name__, error)
        except (KeyboardInterrupt, SystemExit) as error:
            self._channel.fail(error)
        except BaseException as error:
            if job.left:
                raise
            # A cancel from inside the tool is a failure of the tool.
            self._fail(entry, "failed", "the tool was cancelled", error)
        else:
            self._settle(entry, ToolResult(entry.call.id, output))

    async def _output(self, entry: _Entry, job: Job) -> object:
        call, tool = entry.call, cast("Tool", entry.tool)
        try:
            value = call.input()
        except RemoteProtocolError as error:
            raise ToolError("the arguments are no JSON", reason="arguments") from error
        try:
            arguments = tool.call_arguments(value)
        except RemoteProtocolError as error:
            raise ToolError(str(error), reason="arguments") from error
        function = cast("Callable[..., object]", tool.function)
        if is_async_callable(function):
            output = await cast("Any", function(**arguments))
        else:
            output = await self._on_thread(partial(function, **arguments), call.name, job)
            if inspect.isawaitable(output):
                output = await output
        if output.__class__ in _PLAIN:
            return output
        try:
            return msgspec.to_builtins(output, str_keys=True, enc_hook=_dumped)
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolError(f"the tool gave a {type(output).__name__}, which is no JSON") from error

    async def _on_thread(self, function: Callable[[], object], name: str, job: Job) -> object:
        thread = ThreadCall(function, self._run.backend, f"tool {name}")
        job.abandon = thread.abandon
        try:
            return await thread.result()
        finally:
            job.abandon = None

    def _too_late(self, entry: _Entry) -> None:
        entry.timer = None
        self._fail(entry, "timeout", f"the tool gave no result within {self._timeout:g} seconds")
        if entry.job is not None:
            entry.job.leave()

    # -- settling

    def _fail(
        self,
        entry: _Entry,
        reason: ToolFailure,
        text: str,
        cause: BaseException | None = None,
    ) -> None:
        if self._raises and not entry.settled:
            # What the model wrote and the tool said is content, which no message holds: `call` and the cause have it.
            entry.error = ToolError(f"tool {scrub(entry.call.name, 60)!r} {_SAID[reason]}", call=entry.call, reason=reason)
            entry.error.__cause__ = cause
        self._settle(entry, ToolResult(entry.call.id, text, is_error=True))

    def _settle(self, entry: _Entry, result: ToolResult) -> None:
        if entry.settled:
            return
        entry.result = result
        self._forget(entry)
        self._deliver()
        self._start()

    def _forget(self, entry: _Entry) -> None:
        self._running.discard(entry)
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    def _deliver(self) -> None:
        """Give what is settled, from the front of the row on; then what waited for it."""
        row, ready = self._row, list[Event]()
        while row and (result := row[0].result) is not None:
            error = row.popleft().error
            if error is not None:
                self._channel.extend(ready)
                self.drop()
                self._held.clear()
                self._channel.fail(error)
                self._over = False  # the reader has an end: no second one behind it
                return
            ready.append(result)
        if not row and self._held:
            ready += self._held
            self._held.clear()
        if ready:
            self._channel.extend(ready)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._over and not self._row:
            self._over = False
            self._end(self._error)

    def _cut_short(self) -> None:
        """The stream fails: give the results that are ready and what was held, and drop the other calls."""
        ready: list[Event] = [entry.result for entry in self._row if entry.result is not None and entry.error is None]
        self.drop()
        ready += self._held
        self._held.clear()
        if ready:
            self._channel.extend(ready)

    def drop(self) -> None:
        """Nobody wants what is not settled: cancel what runs, start nothing more."""
        self._dropped = True
        self._queue.clear()
        self._row.clear()
        for entry in list(self._running):
            self._forget(entry)
            entry.result = _DROPPED
            if entry.job is not None:
                entry.job.leave()


_WATCHED = frozenset({ToolCall, Usage, Finish, ErrorEvent})
_PLAIN = frozenset({str, int, float, bool, type(None)})
_DROPPED: Final = ToolResult("", is_error=True)

# What an error's message says of a call; the result for the model says more.
_SAID: Final = {
    "cut": "was not run: its call was cut off before the arguments were complete",
    "unknown": "is none of those given to run_tools",
    "arguments": "was not run: the arguments do not fit",
    "failed": "failed",
    "timeout": "gave no result in time",
}


def _text_of(error: Exception) -> str:
    """What an exception says; nothing, if saying it fails."""
    try:
        return str(error)
    except Exception:
        return ""


def _dumped(value: object) -> object:
    """A pydantic model as plain values; TypeError for what has no such form."""
    dump = getattr(value, "model_dump", None)
    if not callable(dump):
        raise TypeError(type(value).__name__)
    return dump(mode="json")
