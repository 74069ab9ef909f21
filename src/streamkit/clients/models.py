"""Models by name: a request in, a stream of events out.

A name is a kind and, for kinds that serve many models, a colon and the model: "local", "openai:NAME", "anthropic:NAME";
or the address of a server. Other packages add kinds with an entry point in the group `streamkit.models`, whose object is
called with the part behind the colon and the options.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast, overload

from streamkit.clients.request import Question, Request
from streamkit.clients.so_far import AnswerSoFar
from streamkit.errors import ConfigError, scrub
from streamkit.events import Event
from streamkit.flow.clock import Clock
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from streamkit.clients.endpoint import ProviderModel
    from streamkit.clients.local import LocalModel

__all__ = ["ENTRY_POINTS", "Model", "ModelClient", "model"]

ENTRY_POINTS: Final = "streamkit.models"

_LIST_ITEMS: Final = 256
_OURS: Final = ("anthropic", "local", "openai")
_OPENAI: Final = "https://api.openai.com/v1"
_ANTHROPIC: Final = "https://api.anthropic.com"
_OPENAI_HOSTS: Final = (
    "api.openai.com",
    ".api.openai.com",
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
)
_APIS: Final = {"chat": "openai-chat", "responses": "openai-responses"}


class Model(Protocol):
    """Anything that answers: one method."""

    def stream(self, request: Question, /) -> Stream[Event]:
        """The answer to a question, a list of messages or a `Request`. Nothing happens until it is run."""
        ...


class ModelClient(Model, Protocol):
    """What `sk.model` gives: a model that can be warmed up and closed."""

    async def warm_up(self) -> None:
        """Load what is lazy and open a connection, so that the first answer does not wait for it."""
        ...

    async def aclose(self) -> None:
        """Close what is its own; a client that was given stays open."""
        ...

    async def __aenter__(self) -> ModelClient: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@overload
def model(name: Literal["local"], /, *, pace: float | None = 80.0, seed: int | None = None) -> ModelClient: ...
@overload
def model(name: str, /, **options: object) -> ModelClient: ...
def model(name: str, /, **options: object) -> ModelClient:
    """The model called `name`, ready to be asked.

    Args:
        name: "local", the embedded model, which needs no network, key or download; "openai:NAME"; "anthropic:NAME"; the
            address of a server, "http://127.0.0.1:8080/v1"; or a kind that another package brings.
        options: For "local": `pace` in tokens per second (80 unless told, None is as fast as possible), and `seed` for
            requests that have none. Other packages' kinds say what they take. For all others:

            - `client`: the SDK's client (`AsyncOpenAI`, `OpenAI`, `AsyncAnthropic`, `Anthropic` and their flavours for
              clouds), which keeps its keys, retries and options; or an HTTP client of httpx, httpx2 or aiohttp; None is
              one of ours. It is never closed here, and a sync one works on a thread.
            - `api`, for "openai:": "chat" or "responses".
            - `dialect` and `model`, for addresses: "openai-chat", "openai-responses" or "anthropic", unless told what the
              path ends in, and else "openai-chat"; and the model's name, if the server wants one.
            - `api_key`: None looks into `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` when a request is sent. An address as the
              name is never sent a key from the environment.
            - `base_url`: another server for "openai:" or "anthropic:"; None looks into `OPENAI_BASE_URL` or
              `ANTHROPIC_BASE_URL`. An address is a base, or the endpoint itself (`streamkit.clients.endpoint.endpoint_of`).
            - `headers`: they win over ours.
            - `errors`: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
            - Options of `Request` (`max_tokens=`, `system=`, `tools=` ...) for requests that have none of their own.

    Memory and cancellation are those of the stream: for "local" the answer, composed when it is first wanted, and nothing to
    close; for a provider its body is closed at once.
    Raises:
        ConfigError: nobody offers that name, or an option is wrong or unknown.
        TypeError: a client that is none of those.

    >>> import asyncio
    >>> answer = asyncio.run(model("local", pace=None).stream("What is a buffer?").message())
    >>> answer.finish.reason
    'stop'
    >>> model("openai:gpt-9", api="responses", max_tokens=100)
    model('openai:gpt-9')
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"a model is given by its name, got {type(name).__name__}")
    kind, _, rest = name.partition(":")
    if name == "local":
        return _local(options)
    if rest.startswith("//"):
        return _address(name, cast("dict[str, Any]", options))
    if kind in ("openai", "anthropic") and rest:
        made = _openai if kind == "openai" else _anthropic
        return made(rest, **cast("dict[str, Any]", options))
    for point in _entry_points():
        if point.name == kind and kind not in _OURS:
            found: ModelClient = point.load()(rest, **options)
            return found
    raise ConfigError(f"there is no model {scrub(repr(name), 80)}; known are {', '.join(_names())}, and http(s)://...")


# ---- providers ------------------------------------------------------------------------------------


def _openai(
    name: str,
    *,
    client: object | None = None,
    api: str = "chat",
    api_key: str | None = None,
    base_url: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Any = "raise",
    **defaults: Any,
) -> ModelClient:
    from streamkit.clients import endpoint

    dialect = _APIS.get(api)
    if dialect is None:
        raise ConfigError(f'api is "chat" or "responses", got {scrub(repr(api), 40)}')
    label = f"model({f'openai:{name}'!r})"
    if endpoint.is_openai_sdk(client):
        _refuse_for_sdk(api_key=api_key, base_url=base_url)
        transport = endpoint.over_sdk(client, dialect, errors=errors, headers=headers)
        relative = not _is_openai(str(getattr(client, "base_url", _OPENAI)))
    else:
        _refuse_sdk(client, "OpenAI")
        url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        transport = endpoint.over_http(
            endpoint.endpoint_of(url or _OPENAI, dialect),
            dialect,
            client=client,
            label=label,
            provider="openai",
            errors=errors,
            key=api_key,
            key_variable="OPENAI_API_KEY",
            needs_key=url is None,
            headers=headers,
        )
        relative = url is not None and not _is_openai(url)
    return _provider_model(label, dialect, transport, model=name, relative=relative, defaults=defaults)


def _anthropic(
    name: str,
    *,
    client: object | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Any = "raise",
    **defaults: Any,
) -> ModelClient:
    from streamkit.clients import endpoint

    label = f"model({f'anthropic:{name}'!r})"
    if endpoint.is_anthropic_sdk(client):
        _refuse_for_sdk(api_key=api_key, base_url=base_url)
        transport = endpoint.over_sdk(client, "anthropic", errors=errors, headers=headers)
    else:
        _refuse_sdk(client, "Anthropic")
        url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or None
        transport = endpoint.over_http(
            endpoint.endpoint_of(url or _ANTHROPIC, "anthropic"),
            "anthropic",
            client=client,
            label=label,
            provider="anthropic",
            errors=errors,
            key=api_key,
            key_variable="ANTHROPIC_API_KEY",
            needs_key=url is None,
            headers=headers,
        )
    return _provider_model(label, "anthropic", transport, model=name, relative=False, defaults=defaults)


def _address(url: str, options: dict[str, Any]) -> ModelClient:
    from streamkit.clients import endpoint
    from streamkit.clients.http_client import shown

    path = url.partition("?")[0].rstrip("/")
    told = next((dialect for dialect, own in endpoint.ENDPOINTS.items() if path.endswith(own)), "openai-chat")
    dialect = options.pop("dialect", None) or told
    client = options.pop("client", None)
    _refuse_sdk(client, None)
    where = endpoint.endpoint_of(url, dialect)  # says first what is wrong with the address
    label = f"model({shown(url)!r})"
    transport = endpoint.over_http(
        where,
        dialect,
        client=client,
        label=label,
        provider=None,
        errors=options.pop("errors", "raise"),
        key=options.pop("api_key", None),
        key_variable=None,
        needs_key=False,
        headers=options.pop("headers", None),
    )
    name = options.pop("model", None)
    return _provider_model(label, dialect, transport, model=name, relative=not _is_openai(url), defaults=options, needs_model=False)


def _provider_model(
    label: str,
    dialect: str,
    transport: Any,
    *,
    model: str | None,
    relative: bool,
    defaults: dict[str, Any],
    needs_model: bool = True,
) -> ProviderModel:
    from streamkit.clients.endpoint import ProviderModel

    return ProviderModel(label, dialect, transport, model=model, relative=relative, needs_model=needs_model, defaults=defaults)


def _is_openai(url: str) -> bool:
    from urllib.parse import urlsplit

    host = urlsplit(url).hostname or ""
    return any(host == known or (known[0] == "." and host.endswith(known)) for known in _OPENAI_HOSTS)


def _refuse_for_sdk(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name} is the SDK client's own: give it to the client")


def _refuse_sdk(client: object, wanted: str | None) -> None:
    from streamkit.clients.endpoint import is_anthropic_sdk, is_openai_sdk

    if is_openai_sdk(client) or is_anthropic_sdk(client):
        instead = "an HTTP client" if wanted is None else f"a client of {wanted}'s SDK or an HTTP client"
        raise TypeError(f"client is {instead}, got a {type(client).__name__}")


# ---- the embedded one -----------------------------------------------------------------------------


def _local(options: dict[str, object]) -> ModelClient:
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

    async def warm_up(self) -> None:
        """Read the pages that it answers from."""
        from anyio import to_thread

        await to_thread.run_sync(lambda: list(self._engine.schedule(Request.of("What is a buffer?", max_tokens=1))))

    async def aclose(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> _Local:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

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
    ours = (name if name == "local" else f"{name}:NAME" for name in _OURS)
    return sorted({*ours, *(point.name for point in _entry_points() if point.name not in _OURS)})


def _entry_points() -> Iterable[EntryPoint]:
    # Imported here: reading package metadata costs more than all of this package.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)
