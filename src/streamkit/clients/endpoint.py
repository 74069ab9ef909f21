"""A provider's model, ready to be asked: where its endpoint is, what goes into the headers, and who sends it.

    Request --payload--> body --+-- HttpClient.open ----------------> bytes --+--> events
                                +-- the user's SDK, raw response ---> bytes --+

The body is written when `stream` is called, so that what cannot be asked is said there; it is sent when the stream is
run, once for each run. Keys are looked up then too, and never kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Protocol, cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from streamkit.clients.decoding import Errors, Recipe, events_of
from streamkit.clients.http_client import HttpClient
from streamkit.clients.payloads import payload
from streamkit.clients.payloads.shapes import to_json
from streamkit.clients.request import Question, Request
from streamkit.dialects.registry import get
from streamkit.errors import AuthError, ConfigError
from streamkit.events import Event
from streamkit.flow.streams import Stream

__all__ = [
    "ENDPOINTS",
    "ProviderModel",
    "Transport",
    "endpoint_of",
    "is_anthropic_sdk",
    "is_openai_sdk",
    "over_http",
    "over_sdk",
]

ENDPOINTS: Final = {"openai-chat": "/chat/completions", "openai-responses": "/responses", "anthropic": "/messages"}

_ANTHROPIC_VERSION: Final = "2023-06-01"
_OPTIONS: Final = tuple(name for name in Request.__struct_fields__ if name not in ("messages", "model"))

# What an SDK's `create` demands by name; all else travels in `extra_body`, so that no version of it says no to a field.
_DEMANDED: Final = {"openai-chat": ("messages", "model"), "openai-responses": ("input", "model")}
_DEMANDED_OF_ANTHROPIC: Final = ("messages", "model", "max_tokens")


class Transport(Protocol):
    """How a body gets to the provider, and its answer back."""

    def ask(self, body: dict[str, Any], label: str) -> Stream[Event]:
        """The answer to a body, asked anew by each run."""
        ...

    async def warm_up(self) -> None:
        """Load what is lazy, open a connection."""
        ...

    async def aclose(self) -> None:
        """Close what is ours."""
        ...


class ProviderModel:
    """A model behind a provider's API: what `sk.model` gives for names and addresses.

    Args:
        label: What it is called in errors and in `repr`.
        dialect: What the provider speaks.
        model: The provider's name of the model, where a request has none.
        relative: Whether the server is another than the one whose API this is.
        defaults: Options of `Request`, for requests that have none of their own; `extra` is merged.

    Raises:
        ConfigError: a default that is no option of `Request`, or a wrong value.
    """

    def __init__(
        self,
        label: str,
        dialect: str,
        transport: Transport,
        *,
        model: str | None,
        relative: bool,
        needs_model: bool,
        defaults: Mapping[str, Any],
    ) -> None:
        unknown = defaults.keys() - set(_OPTIONS)
        if unknown:
            raise ConfigError(f"{label} has no option {', '.join(sorted(unknown))}; a request has {', '.join(_OPTIONS)}")
        self._label = label
        self._dialect = dialect
        self._transport = transport
        self._relative = relative
        self._needs_model = needs_model
        self._base = Request.of("checked", model=model, **defaults)

    def stream(self, request: Question, /) -> Stream[Event]:
        """The answer to a question, a list of messages or a `Request`. The stream can be run again, and asks again.

        Memory: the body of the request, and what the stream of its dialect holds.
        Cancellation: the request is given up, its connection closed.
        Raises:
            ConfigError: at the call: the provider has no word for a part or an option, or there is no model's name.
            AuthError: when run: there is no key, or a wrong one.
            SourceError: when run: what the provider refuses (`RateLimitError` with `retry_after`, ...), where the request
                is ours; errors of an SDK or an HTTP client pass untouched.
        """
        asked = self._filled(Request.of(request))
        body = payload(asked, self._dialect, relative=self._relative)
        if self._needs_model and not body.get("model"):
            raise ConfigError(f"{self._label} has no model's name: say it here or in the request (model=...)")
        return self._transport.ask(body, self._label)

    async def warm_up(self) -> None:
        """Load what is lazy and open a connection, which the next request in this event loop then finds.

        Raises:
            Errors of the HTTP client, if nobody can be reached.
        """
        await self._transport.warm_up()

    async def aclose(self) -> None:
        """Close the connections that are ours. A client that was given stays open."""
        await self._transport.aclose()

    async def __aenter__(self) -> ProviderModel:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def _filled(self, asked: Request) -> Request:
        """The request, with what the model has where it says nothing."""
        base = self._base
        changes: dict[str, Any] = {}
        for name in ("model", *_OPTIONS):
            own, default = getattr(asked, name), getattr(base, name)
            if name == "extra":
                changes[name] = {**default, **own} if default else own
            elif own is None or own == ():
                changes[name] = default
        return msgspec.structs.replace(asked, **changes)

    def __repr__(self) -> str:
        return self._label


# ---- over HTTP ------------------------------------------------------------------------------------


def over_http(
    url: str,
    dialect: str,
    *,
    client: object | None,
    label: str,
    provider: str | None,
    errors: Errors,
    key: str | None,
    key_variable: str | None,
    needs_key: bool,
    headers: Mapping[str, str] | None,
) -> Transport:
    """Requests of ours to one endpoint.

    Args:
        key: The key; None looks into the environment for `key_variable`, if there is one, when the request is sent.
        needs_key: Whether a request without a key is not even sent.
        headers: They win over ours.
    """
    _check_key(key, "api_key")
    if headers is not None and not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise ConfigError(f"headers is a mapping of names to texts, got {type(headers).__name__}")
    recipe = Recipe(get(dialect), errors=errors, provider=provider)
    return _Http(url, dialect, HttpClient(client, wanted_by=label), recipe, key, key_variable, needs_key, dict(headers or {}))


class _Http:
    def __init__(
        self,
        url: str,
        dialect: str,
        http: HttpClient,
        recipe: Recipe,
        key: str | None,
        key_variable: str | None,
        needs_key: bool,
        headers: dict[str, str],
    ) -> None:
        self._url = url
        self._dialect = dialect
        self._http = http
        self._recipe = recipe
        self._key = key
        self._key_variable = key_variable
        self._needs_key = needs_key
        self._headers = headers

    def ask(self, body: dict[str, Any], label: str) -> Stream[Event]:
        content = to_json(body)
        return events_of(
            lambda: self._http.open("POST", self._url, headers=self._all_headers(), content=content), self._recipe, label
        )

    async def warm_up(self) -> None:
        _load(self._dialect)
        await self._http.warm_up(self._url)

    async def aclose(self) -> None:
        await self._http.aclose()

    def _all_headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        given = {name.lower(): value for name, value in self._headers.items()}
        anthropic = self._dialect == "anthropic"
        if anthropic:
            headers["anthropic-version"] = _ANTHROPIC_VERSION
        if not given.keys() & {"authorization", "x-api-key", "api-key"}:
            key = self._key or self._found_key()
            if key is not None:
                headers.update({"x-api-key": key} if anthropic else {"authorization": f"Bearer {key}"})
        return {**headers, **given}

    def _found_key(self) -> str | None:
        variable = self._key_variable
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            if not self._needs_key:
                return None
            raise AuthError(
                f"there is no key: set the environment variable {variable}, or pass api_key=...", provider=self._recipe.provider
            )
        _check_key(key, variable)
        return key


def _check_key(key: object, where: str) -> None:
    """A key that no header can carry would be shown by the HTTP library's own error."""
    if key is None:
        return
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or not key or " " in key:
        raise ConfigError(f"{where} is no key: a key is printable ASCII without spaces")


def endpoint_of(url: str, dialect: str) -> str:
    """Where to send a request, of an address as people have it.

    A path that ends in the dialect's own (`/chat/completions`, `/responses`, `/messages`) is the endpoint. Else the
    address is a base: one that ends in a version (`/v1`, `/v1beta`) gets the dialect's path; one without a path gets
    `/v1` and the dialect's path. Any other base gets the dialect's path for OpenAI's dialects, and `/v1/messages` for
    Anthropic's, as their SDKs do. A query stays.

    >>> endpoint_of("http://127.0.0.1:8080", "openai-chat")
    'http://127.0.0.1:8080/v1/chat/completions'
    >>> endpoint_of("https://example.org/api/v1/?version=2", "openai-responses")
    'https://example.org/api/v1/responses?version=2'

    Raises:
        ConfigError: no address, or a dialect in which nobody is asked.
    """
    own = ENDPOINTS.get(dialect)
    if own is None:
        raise ConfigError(f"nobody is asked in the dialect {dialect!r:.80}; known are {', '.join(ENDPOINTS)}")
    parts = _split(url)
    path = parts.path.rstrip("/")
    if not path.endswith(own):
        last = path.rpartition("/")[2]
        versioned = last[:1] == "v" and last[1:2].isdigit()
        if not versioned and (dialect == "anthropic" or not path):
            path += "/v1"
        path += own
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0):
            return parts
    except ValueError:
        pass
    raise ConfigError("an address begins with http:// or https:// and names a host")


# ---- over an SDK ----------------------------------------------------------------------------------


def is_openai_sdk(client: object) -> bool:
    """Whether a client is OpenAI's, of any flavour, by what it can do."""
    return hasattr(getattr(client, "chat", None), "completions")


def is_anthropic_sdk(client: object) -> bool:
    """Whether a client is Anthropic's, of any flavour, by what it can do."""
    return not is_openai_sdk(client) and hasattr(getattr(client, "messages", None), "create")


def over_sdk(client: object, dialect: str, *, errors: Errors, headers: Mapping[str, str] | None) -> Transport:
    """Requests of the user's SDK, with its keys, retries and options; their answers are read raw."""
    Recipe(get(dialect), errors=errors)  # says at the call what is wrong with `errors`
    return _Sdk(client, dialect, errors, dict(headers or {}))


class _Sdk:
    def __init__(self, client: Any, dialect: str, errors: Errors, headers: dict[str, str]) -> None:
        self._client = client
        self._dialect = dialect
        self._errors: Errors = errors
        self._headers = headers

    def ask(self, body: dict[str, Any], label: str) -> Stream[Event]:
        demanded = _DEMANDED.get(self._dialect, _DEMANDED_OF_ANTHROPIC)
        named = {name: body[name] for name in demanded if name in body}
        rest = {name: value for name, value in body.items() if name not in named and name != "stream"}
        to_json(rest)  # what no JSON can carry is said here, and not by the SDK in the middle of a run
        options: dict[str, Any] = {"extra_body": rest} if rest else {}
        if self._headers:
            options["extra_headers"] = self._headers

        def answer() -> object:
            return self._resource().with_streaming_response.create(**named, stream=True, **options)

        if self._dialect == "anthropic":
            from streamkit.clients.anthropic import from_anthropic

            return from_anthropic(answer, errors=self._errors)
        from streamkit.clients.openai import from_openai

        return from_openai(answer, errors=self._errors)

    async def warm_up(self) -> None:
        _load(self._dialect)
        _ = self._resource().with_streaming_response
        inner = getattr(self._client, "_client", None)  # the SDK's HTTP client, which holds its connections
        if inner is not None:
            await HttpClient(inner, wanted_by="warm_up").warm_up(str(self._client.base_url))

    async def aclose(self) -> None:
        """The client is the user's."""

    def _resource(self) -> Any:
        if self._dialect == "openai-chat":
            return self._client.chat.completions
        return self._client.responses if self._dialect == "openai-responses" else self._client.messages


def _load(dialect: str) -> None:
    decoder = cast("Any", get(dialect)).decoder
    decoder(provider=None)
    import_module("streamkit.clients.payloads." + dialect.replace("-", "_"))
