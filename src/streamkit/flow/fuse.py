"""One loop per segment: neighbouring steps become one function, written for their shape.

A segment reads a source, runs each item through its steps and hands what comes out to one of a few
endings. Its code is generated once per shape (kinds of steps, kind of source, ending) and cached; the
callables, counts and stages of a pipeline are its arguments. The text is kept in `linecache`, so
that a traceback through it reads like any other.

Why generate: measured beside nested async generators (2.0x a hand loop for five steps) and pushed
closures (1.7x), one flat body is 1.1x.

The rules that the text holds:

* Where an exception came from is read off its line: every line belongs to a step. An error of step k
  flushes the steps behind it and delivers their outputs, then is raised; an error of the source
  flushes all. `Enough`, raised by a `take` that has what it wants, does the same and is not raised.
* Cancellation, GeneratorExit and the like flush nothing.
* A source that never suspends lets the loop turn every `FAIRNESS` items.
* Until an item has passed all steps, each result of a plain callable is checked for being an
  awaitable; a loop of its own does that, and then gives way to the one that does not check.
"""

from __future__ import annotations

import inspect
import linecache
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from itertools import repeat
from typing import Any, Literal, TypeAlias

from streamkit.flow.channel import FAIRNESS
from streamkit.flow.plan import Step, describe

__all__ = ["END", "MAX_STEPS", "MULTIPLYING", "NOTHING", "Ending", "Enough", "Shape", "arguments_of", "bind"]

# What a source's iterator gives: single items; lists of items (one read of a wire); or batches
# popped lazily from a channel, which paces its reader by itself.
Shape: TypeAlias = Literal["items", "lists", "drains"]

# What happens to what comes out: yielded one by one, yielded as one list per read, appended (a
# callable), or put into a channel.
Ending: TypeAlias = Literal["yield", "lists", "append", "push"]

# Nested loops of one segment stay well below CPython's limit of 20 nested blocks.
MAX_STEPS = 12


# What a watched source gives instead of StopAsyncIteration.
END: Any = object()

# What `pairwise` and `changes` remember before their first item.
NOTHING: Any = object()


class Enough(Exception):  # not an error: a step has all it wants
    """Raised inside a segment by a step that needs no more input."""


def bind(shape: Shape, steps: Sequence[Step], ending: Ending, *, watched: bool = False) -> Callable[..., Any]:
    """The function of this shape: `segment(source, start, arguments, out, checkpoint, leave)`.

    * `source` an async iterator, or with `start` given what `await start()` returns. A watched one is
      stepped by hand: `begin()` gives what makes a step, `await wait(step, future, seen)` its item or END.
    * `arguments` one value per step (see `arguments_of`).
    * `out` for "append": the callable; for "push": (append or offer, channel, go_on, settle).
    * `leave` is awaited with the exception in flight, or None, when the segment is over.
    """
    return _compiled(shape, tuple([(step.kind, step.awaits) for step in steps]), ending, watched)


def arguments_of(steps: Sequence[Step]) -> tuple[Any, ...]:
    """What one Run passes to the segment: a new stage for each factory, everything else as it is."""
    return tuple([_made(step) if step.kind == "stage" else step.argument for step in steps])


def _made(step: Step) -> Any:
    stage = step.argument()
    if not hasattr(stage, "feed"):
        refuse_awaitable(stage, step.argument)
        raise TypeError(f"{step.label} made a {type(stage).__name__}, which is no stage: it needs feed(item)")
    with suppress(AttributeError):  # of a stage that computes it
        stage.done = stage.done  # found on the stage itself it is read 10 ns faster, which is once per item
    return stage


Key: TypeAlias = tuple[Shape, tuple[tuple[str, Any], ...], Ending, bool]

# Segments by shape, the longest unused first. Programs have a few dozen shapes; one that keeps inventing
# new ones pays a compilation each time, and no memory.
_SHAPES = 512
_segments: dict[Key, tuple[Callable[..., Any], str]] = {}
_lock = threading.Lock()


def _compiled(*key: *Key) -> Callable[..., Any]:
    with _lock:  # event loops of several threads share the shapes
        found = _segments.pop(key, None)
        if found is None:
            if len(_segments) >= _SHAPES:
                _, name = _segments.pop(next(iter(_segments)))
                linecache.cache.pop(name, None)
            found = _compile(*key)
        _segments[key] = found
        return found[0]


def _compile(shape: Shape, kinds: tuple[tuple[str, Any], ...], ending: Ending, watched: bool) -> tuple[Callable[..., Any], str]:
    writer = _Writer(shape, kinds, ending, watched)
    text, owners = writer.write()
    steps = [{True: "async ", "gen": "async gen "}.get(awaits, "") + kind for kind, awaits in kinds]
    name = f"<streamkit {'watched ' if watched else ''}{shape}|{'|'.join(steps) or 'as is'}|{ending}>"
    linecache.cache[name] = (len(text), None, [line + "\n" for line in text.splitlines()], name)

    def place(error: BaseException) -> int:
        """The step whose line raised: -1 is the source, len(kinds) the ending."""
        traceback = error.__traceback__
        return -1 if traceback is None else owners[traceback.tb_lineno - 1]

    scope: dict[str, Any] = {
        "END": END,
        "NOTHING": NOTHING,
        "Enough": Enough,
        "aclosing": aclosing,
        "deque": deque,
        "place": place,
        "refuse_awaitable": refuse_awaitable,
        "refuse_async_iterable": refuse_async_iterable,
        "repeat": repeat,
    }
    exec(compile(text, name, "exec"), scope)  # our own text, built from a closed set of words
    return scope["segment"], name


def refuse_awaitable(result: object, fn: object) -> None:
    """Raise for a plain callable that turned out to be asynchronous."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"{describe(fn)} returned an awaitable ({type(result).__name__}): streamkit awaits only what it can see is "
            f"asynchronous; write it as `async def`, or wrap it: `async def call(item): return await {describe(fn)}(item)`"
        )


def refuse_async_iterable(result: object, fn: object) -> None:
    """Raise for a flat_map callable whose result cannot be looped over here."""
    refuse_awaitable(result, fn)
    if hasattr(result, "__aiter__"):
        name = describe(fn)
        raise TypeError(
            f"{name} returned an async iterable: write map({name}) | flatten(), or give flat_map an async generator function"
        )


class _Writer:
    """Writes the text of one segment, remembering which step each line belongs to."""

    def __init__(self, shape: Shape, kinds: tuple[tuple[str, Any], ...], ending: Ending, watched: bool) -> None:
        self.shape = shape
        self.kinds = kinds
        self.ending = ending
        self.watched = watched
        self.lines: list[str] = []
        self.owners: list[int] = []
        # Whether the results of plain callables are looked at, in the part that is being written.
        self.fresh = any(awaits is False and kind in _CALLING for kind, awaits in kinds)

    def line(self, depth: int, text: str, owner: int) -> None:
        self.lines.append("    " * depth + text)
        self.owners.append(owner)

    def write(self) -> tuple[str, list[int]]:
        count = len(self.kinds)
        self.line(0, "async def segment(source, start, arguments, out, checkpoint, leave):", -1)
        self._prologue()
        self.line(1, "try:", -1)
        self.line(2, "try:", -1)
        self._loop()
        self.line(2, "except Enough as stop:", -1)
        self.line(3, "at = place(stop)", -1)
        self.line(2, "except Exception as failure:", -1)
        self.line(3, "error = failure", -1)
        self.line(3, "at = place(failure)", -1)
        for index, (kind, _) in enumerate(self.kinds):
            if kind in _GIVING_AT_THE_END:
                self._flush(index)
        if self.ending == "lists":
            self.line(2, "if outs:", count)
            self.line(3, "yield outs", count)
        self.line(2, "if error is not None:", count)
        self.line(3, "raise error", count)
        self.line(1, "except BaseException as failure:", count)
        self.line(2, "error = None", count)  # else the frame and its own traceback would keep each other
        self.line(2, "if leave is not None:", count)
        self.line(3, "await leave(failure)", count)
        self.line(2, "raise", count)
        self.line(1, "if leave is not None:", count)
        self.line(2, "await leave(None)", count)
        return "\n".join(self.lines) + "\n", self.owners

    def _prologue(self) -> None:
        names = [_ARGUMENTS[kind].format(i=i) for i, (kind, _) in enumerate(self.kinds)]
        if names:
            self.line(1, f"({', '.join(names)},) = arguments", -1)
        for i, (kind, _) in enumerate(self.kinds):
            if kind in _REMEMBERING:
                self.line(1, _REMEMBERING[kind].format(i=i), -1)
        if self.ending == "append":
            self.line(1, "append = out", -1)
        elif self.ending == "push":
            self.line(1, "append, channel, go_on, settle = out", -1)
            self.line(1, "del out", -1)  # it would stay as long as this runs
            self.line(1, "buffer = channel.buffer", -1)
        elif self.ending == "lists":
            self.line(1, "outs = []", -1)
        self.line(1, "error = None", -1)
        self.line(1, "at = -1", -1)
        if self.fresh:
            self.line(1, "fresh = True", -1)
        if self.shape == "items":
            self.line(1, "quota = 256", -1)
            self.line(1, f"turn = {FAIRNESS // 256}", -1)
        elif self.shape == "lists":
            self.line(1, f"quota = {FAIRNESS}", -1)

    def _loop(self) -> None:
        # Before the source is even opened, from the last step up: of two `start_with` the later stands in front, and nothing
        # gets past a `take(0)`.
        for i, (kind, _) in reversed([*enumerate(self.kinds)]):
            if kind == "take":
                self.line(3, f"if n{i} < 1:", i)
                self.line(4, "raise Enough", i)
            elif kind == "start_with":
                self.line(3, f"for x in p{i}:", i)
                self._body(4, i + 1)
                self._hand_over(3)
        self.line(3, "if start is not None:", -1)
        self.line(4, "source = await start()", -1)
        if self.watched:
            self.line(3, "ask = source.begin()", -1)
            self.line(3, "wait = source.wait", -1)
            self.line(3, "seen = False", -1)
        if not self.fresh:
            self._pull(3)
            return
        self._pull(3)
        self.fresh = False
        # An iterator that has ended is not asked again: some start over.
        self.line(3, "if not fresh:", -1)
        self._pull(4)

    def _pull(self, depth: int) -> None:
        """The loop over the source, with one pass of the body."""
        if self.watched:
            self._pull_by_hand(depth)
            return
        self.line(depth, f"async for {self._target} in source:", -1)
        self._items(depth + 1)
        if self.shape == "items":
            # Counted in small integers, which are made once and for all.
            self.line(depth + 1, "quota -= 1", -1)
            self.line(depth + 1, "if not quota:", -1)
            self.line(depth + 2, "quota = 256", -1)
            self.line(depth + 2, "turn -= 1", -1)
            self.line(depth + 2, "if not turn:", -1)
            self.line(depth + 3, f"turn = {FAIRNESS // 256}", -1)
            self.line(depth + 3, "await checkpoint()", -1)
        self._leave_fresh(depth + 1)

    def _pull_by_hand(self, depth: int) -> None:
        """The same over a watched source: a step that does not suspend costs no timer."""
        target = self._target
        self.line(depth, "while True:", -1)
        self.line(depth + 1, f"for _ in repeat(None, {FAIRNESS}):", -1)
        self.line(depth + 2, "step = ask()", -1)
        self.line(depth + 2, "try:", -1)
        self.line(depth + 3, "future = step.send(None)", -1)
        self.line(depth + 2, "except StopIteration as stop:", -1)
        self.line(depth + 3, f"{target} = stop.value", -1)
        self.line(depth + 2, "except StopAsyncIteration:", -1)
        self.line(depth + 3, "break", -1)
        self.line(depth + 2, "else:", -1)
        self.line(depth + 3, f"{target} = await wait(step, future, seen)", -1)
        self.line(depth + 3, f"if {target} is END: break", -1)
        self.line(depth + 2, "seen = True", -1)
        self._items(depth + 2)
        self._leave_fresh(depth + 2)
        self.line(depth + 1, "else:", -1)
        self.line(depth + 2, "await checkpoint()", -1)
        self.line(depth + 2, "continue", -1)
        self.line(depth + 1, "break", -1)

    @property
    def _target(self) -> str:
        return "x" if self.shape == "items" else "batch"

    def _items(self, depth: int) -> None:
        """What is done with one item, or with each item of one read."""
        if self.shape == "items":
            self._body(depth, 0)
            self._hand_over(depth)
            return
        if not self.kinds and self.ending == "lists" and self.shape == "lists":
            self.line(depth, "yield batch", len(self.kinds))
        else:
            self.line(depth, "for x in batch:", -1)
            self._body(depth + 1, 0)
            self._hand_over(depth)
        if self.shape == "lists":  # a channel paces its reader by itself
            self.line(depth, "quota -= len(batch)", -1)
            self.line(depth, "if quota <= 0:", -1)
            self.line(depth + 1, f"quota = {FAIRNESS}", -1)
            self.line(depth + 1, "await checkpoint()", -1)

    def _leave_fresh(self, depth: int) -> None:
        if self.fresh:
            self.line(depth, "if not fresh: break", -1)

    def _hand_over(self, depth: int) -> None:
        """One list per read leaves the segment."""
        if self.ending == "lists":
            self.line(depth, "if outs:", len(self.kinds))
            self.line(depth + 1, "yield outs", len(self.kinds))
            self.line(depth + 1, "outs = []", len(self.kinds))

    def _body(self, depth: int, first: int) -> None:
        """The steps from `first` on, for one item `x`, and the ending."""
        after: list[tuple[int, list[str], int]] = []
        for i in range(first, len(self.kinds)):
            depth = self._step(depth, i, after)
        self._tail(depth)
        for at_depth, lines, owner in reversed(after):
            for text in lines:
                self.line(at_depth, text, owner)

    def _step(self, depth: int, i: int, after: list[tuple[int, list[str], int]]) -> int:
        """Write step i; give the depth at which the rest goes on. `after` is written behind the rest."""
        kind, awaits = self.kinds[i]
        call = f"await f{i}(x)" if awaits is True else f"f{i}(x)"
        check = awaits is False and self.fresh
        match kind:
            case "map":
                self.line(depth, f"x = {call}", i)
                if check:
                    self.line(depth, f"refuse_awaitable(x, f{i})", i)
            case "tap":
                self.line(depth, f"y = {call}" if check else call, i)
                if check:
                    self.line(depth, f"refuse_awaitable(y, f{i})", i)
            case "filter":
                self._test(depth, i, call, check)
                self.line(depth, "if y:", i)
                return depth + 1
            case "take_while":
                self._test(depth, i, call, check)
                self.line(depth, "if not y: raise Enough", i)
            case "scan":
                self.line(depth, f"a{i} = x = {call.replace('(x)', f'(a{i}, x)')}", i)
                if check:
                    self.line(depth, f"refuse_awaitable(x, f{i})", i)
            case "flat_map" if awaits == "gen":
                self.line(depth, f"async with aclosing(f{i}(x)) as many:", i)
                self.line(depth + 1, "async for x in many:", i)
                return depth + 2
            case "flat_map":
                self.line(depth, f"y = {call}", i)
                if check:
                    self.line(depth, f"refuse_async_iterable(y, f{i})", i)
                self.line(depth, "for x in y:", i)
                return depth + 1
            case "skip":
                self.line(depth, f"if n{i}:", i)
                self.line(depth + 1, f"n{i} -= 1", i)
                self.line(depth, "else:", i)
                return depth + 1
            case "drop_while":
                self.line(depth, f"if d{i}:", i)
                self._test(depth + 1, i, call, check)
                self.line(depth + 1, f"d{i} = bool(y)", i)
                self.line(depth, f"if not d{i}:", i)
                return depth + 1
            case "enumerate":
                self.line(depth, f"x = (n{i}, x)", i)
                self.line(depth, f"n{i} += 1", i)
            case "pairwise":
                self.line(depth, f"y = p{i}", i)
                self.line(depth, f"p{i} = x", i)
                self.line(depth, "if y is not NOTHING:", i)
                self.line(depth + 1, "x = (y, x)", i)
                return depth + 1
            case "changes" | "changes_by":
                key = self._key(depth, i, kind == "changes_by", call, check)
                self.line(depth, f"if {key} != p{i}:", i)
                self.line(depth + 1, f"p{i} = {key}", i)
                return depth + 1
            case "distinct" | "distinct_by":
                key = self._key(depth, i, kind == "distinct_by", call, check)
                self.line(depth, f"if {key} not in d{i}:", i)
                self.line(depth + 1, f"d{i}.add({key})", i)
                self.line(depth + 1, f"q{i}.append({key})", i)
                self.line(depth + 1, f"if len(q{i}) > m{i}: d{i}.discard(q{i}.popleft())", i)
                return depth + 1
            case "start_with":
                return depth  # its items went before all others
            case "default_if_empty":
                self.line(depth, f"z{i} = False", i)
            case "take":
                self.line(depth, f"n{i} -= 1", i)
                after.append((depth, [f"if not n{i}: raise Enough"], i))
            case "stage":
                self.line(depth, f"for x in feed{i}(x):", i)
                after.append((depth, [f"if s{i}.done: raise Enough"], i))
                return depth + 1
            case _:
                raise ValueError(f"no such step: {kind}")
        return depth

    def _key(self, depth: int, i: int, by: bool, call: str, check: bool) -> str:
        """What an item is compared by: itself, or what a function says of it."""
        if not by:
            return "x"
        self._test(depth, i, call, check)
        return "y"

    def _test(self, depth: int, i: int, call: str, check: bool) -> None:
        self.line(depth, f"y = {call}", i)
        if check:
            self.line(depth, f"refuse_awaitable(y, f{i})", i)

    def _tail(self, depth: int) -> None:
        last = len(self.kinds)
        if self.fresh:
            self.line(depth, "fresh = False", last)
        match self.ending:
            case "yield":
                self.line(depth, "yield x", last)
            case "lists":
                self.line(depth, "outs.append(x)", last)
            case "append":
                self.line(depth, "append(x)", last)
            case _:  # "push"
                self.line(depth, "append(x)", last)
                self.line(depth, "if len(buffer) >= channel.limit and not go_on(): await settle()", last)

    def _flush(self, i: int) -> None:
        """The stage's held-back output, through the steps behind it, unless a later step is where it ended."""
        self.line(2, f"if at < {i}:", i)
        self.line(3, "try:", i)
        self.line(4, f"for x in {_GIVING_AT_THE_END[self.kinds[i][0]].format(i=i)}:", i)
        self._body(5, i + 1)
        self.line(3, "except Enough as stop:", i)
        self.line(4, "at = place(stop)", i)
        self.line(3, "except Exception as failure:", i)
        self.line(4, "error = error or failure", i)
        self.line(4, "at = place(failure)", i)


# Steps that call a user's function, whose first results are looked at.
_CALLING = frozenset({"map", "filter", "flat_map", "scan", "tap", "take_while", "drop_while", "changes_by", "distinct_by"})

# Steps that give several items for one, or before the first.
MULTIPLYING = frozenset({"flat_map", "stage", "start_with"})

# What a step gives once its input is over.
_GIVING_AT_THE_END = {
    "stage": "s{i}.flush() if error is None else s{i}.abort()",
    "default_if_empty": "(e{i},) if z{i} and error is None else ()",
}

# What a step remembers of a run, before the first item.
_REMEMBERING = {
    "stage": "feed{i} = s{i}.feed",
    "drop_while": "d{i} = True",
    "pairwise": "p{i} = NOTHING",
    "changes": "p{i} = NOTHING",
    "changes_by": "p{i} = NOTHING",
    "distinct": "d{i} = set(); q{i} = deque()",
    "distinct_by": "d{i} = set(); q{i} = deque()",
    "default_if_empty": "z{i} = True",
}

_ARGUMENTS = {
    "map": "f{i}",
    "filter": "f{i}",
    "flat_map": "f{i}",
    "tap": "f{i}",
    "take_while": "f{i}",
    "drop_while": "f{i}",
    "changes_by": "f{i}",
    "changes": "_",
    "pairwise": "_",
    "enumerate": "n{i}",
    "distinct": "m{i}",
    "distinct_by": "(f{i}, m{i})",
    "start_with": "p{i}",
    "default_if_empty": "e{i}",
    "scan": "(f{i}, a{i})",
    "take": "n{i}",
    "skip": "n{i}",
    "stage": "s{i}",
}
