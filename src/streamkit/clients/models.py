"""Models by name: a request in, a stream of events out.

A name is a kind and, for kinds that serve many models, a colon and the model: "local", "kind:name".
Other packages add kinds with an entry point in the group `streamkit.models`, whose object is called with
the part behind the colon and the options.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, overload

from streamkit.clients.request import Question, Request
from streamkit.clients.so_far import AnswerSoFar
from streamkit.errors import ConfigError
from streamkit.events import Event
from streamkit.flow.clock import Clock
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from streamkit.clients.local import LocalModel

__all__ = ["ENTRY_POINTS", "Model", "model"]

ENTRY_POINTS: Final = "streamkit.models"

_LIST_ITEMS: Final = 256


class Model(Protocol):
    """Anything that answers: one method."""

    def stream(self, request: Question, /) -> Stream[Event]:
        """The answer to a question, a list of messages or a `Request`. Nothing happens until it is run."""
        ...


@overload
def model(name: Literal["local"], /, *, pace: float | None = 80.0, seed: int | None = None) -> Model: ...
@overload
def model(name: str, /, **options: object) -> Model: ...
def model(name: str, /, **options: object) -> Model:
    """The model called `name`, ready to be asked.

    Args:
        name: "local", the embedded model, which needs no network, key or download; or a kind that another package brings.
        options: For "local": `pace` in tokens per second (80 unless told, None is as fast as possible), and `seed` for
            requests that have none. Other kinds say what they take.

    Memory and cancellation are those of the stream: for "local" the answer, composed when it is first wanted, and nothing to
    close.
    Raises:
        ConfigError: nobody offers that name, or an option is wrong or unknown.

    >>> import asyncio
    >>> answer = asyncio.run(model("local", pace=None).stream("What is a buffer?").message())
    >>> answer.finish.reason
    'stop'
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"a model is given by its name, got {type(name).__name__}")
    kind, _, rest = name.partition(":")
    if name == "local":
        return _local(options)
    for point in _entry_points():
        if point.name == kind and kind != "local":
            found: Model = point.load()(rest, **options)
            return found
    raise ConfigError(f"there is no model {name!r:.80}; known are {', '.join(_names())}")


def _local(options: dict[str, object]) -> Model:
    from streamkit.clients.local import LocalModel

    unknown = options.keys() - {"pace", "seed"}
    if unknown:
        raise ConfigError(f'model("local") takes pace and seed, not {", ".join(sorted(unknown))}')
    seed: Any = options.get("seed")
    Request.of("checked", seed=seed)
    pace: Any = options.get("pace", 80.0)
    return _Local(LocalModel(pace=pace), seed)


class _Local:
    """The embedded model, with its tokens in time."""

    def __init__(self, engine: LocalModel, seed: int | None) -> None:
        self._engine = engine
        self._seed = seed

    def stream(self, request: Question, /) -> Stream[Event]:
        asked = Request.of(request)
        if asked.seed is None and self._seed is not None:
            asked = Request.of(asked, seed=self._seed)
        return Stream(Source('model("local")', lambda run: self._feed(asked, run), repeatable=True))

    def _feed(self, asked: Request, run: Run[Any]) -> Feed:
        so_far = AnswerSoFar()
        run.keep_partial(so_far.message)
        lists = _in_time(self._engine, asked, run.clock, so_far)
        return Feed(lists, shape="lists", closers=[('model("local")', lists.aclose)])

    def __repr__(self) -> str:
        return f'model("local", pace={self._engine.pace!r}, seed={self._seed!r})'


async def _in_time(engine: LocalModel, asked: Request, clock: Clock, so_far: AnswerSoFar) -> AsyncGenerator[list[Event]]:
    """The events that are due, in one list."""
    started = clock.now()
    ready: list[Event] = []
    for due, event in engine.schedule(asked):
        wait = started + due - clock.now()
        if ready and (wait > 0 or len(ready) >= _LIST_ITEMS):
            so_far.add(ready)
            yield ready
            ready = []
            wait = started + due - clock.now()  # the reader took its time
        if wait > 0:
            await clock.sleep(wait)
        ready.append(event)
    so_far.add(ready)
    yield ready


def _names() -> list[str]:
    return sorted({"local", *(point.name for point in _entry_points())})


def _entry_points() -> Iterable[EntryPoint]:
    # Imported here: reading package metadata costs more than all of this package.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)
