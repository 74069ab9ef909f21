"""The routes of a chat: started, joined, resumed, stopped, looked at; and everything that may not be."""

from __future__ import annotations

import contextvars
import datetime
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import msgspec
import pydantic
import pytest
from anyio.lowlevel import checkpoint
from asgi_client import Client
from stopping import handling_signals

import streamkit as sk
from streamkit.hub.hub import Hub
from streamkit.sinks.chats import ChatRequest, ChatRoutes, Refused
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


async def call(routes: ChatRoutes, method: str, path: str, body: bytes = b"", **options: Any) -> Client:
    return await Client(method=method, path=path, body=(body,), **options).call(routes)


async def post(routes: ChatRoutes, body: object = None, **options: Any) -> Client:
    return await call(routes, "POST", "/", json.dumps(body).encode(), **options)


def told(client: Client) -> dict[str, Any]:
    assert "application/json" == client.headers["content-type"]
    assert str(len(client.body)) == client.headers["content-length"]
    value: dict[str, Any] = json.loads(client.body)
    return value


def code(client: Client) -> tuple[int, str]:
    return client.status, told(client)["error"]["code"]


def tokens(client: Client) -> list[str]:
    return [line[4:] for line in client.body.decode().split("\n") if line.startswith("id: ")]


def echo(request: ChatRequest) -> list[str]:
    return ["You said: ", request.json()["prompt"]]


async def test_a_start_is_answered_with_the_stream_and_where_to_find_it() -> None:
    async with ChatRoutes(echo) as routes:
        client = await post(routes, {"prompt": "Hi"})
        id = client.headers["x-stream-id"]
        assert (200, "You said: Hi") == (client.status, client.text)
        assert f"/{id}/stream" == client.headers["location"]
        assert 22 <= len(id)
        assert "You said: Hi" == (await call(routes, "GET", f"/{id}/stream")).text


async def test_a_stream_is_joined_resumed_looked_at_and_over() -> None:
    async with ChatRoutes(lambda request: ["a", "b", "c"]) as routes:
        client = await post(routes)
        id, (first, *_, last) = client.headers["x-stream-id"], tokens(client)
        assert "bc" == (await call(routes, "GET", f"/{id}/stream", headers={"last-event-id": first})).text
        assert "bc" == (await call(routes, "GET", f"/{id}/stream", query=f"after={first}")).text
        assert 204 == (await call(routes, "GET", f"/{id}/stream", headers={"last-event-id": last})).status
        assert 200 == (await call(routes, "HEAD", f"/{id}/stream")).status
        status = told(await call(routes, "GET", f"/{id}"))
        assert (id, "done", 4, last) == (status["id"], status["state"], status["events"], status["token"])
        assert {"id", "state", "events", "token", "reason", "started_at", "ended_at"} == set(status)


async def test_a_stream_is_stopped_once_and_stays_so() -> None:
    routes = ChatRoutes(lambda request: endless)
    async with routes, anyio.create_task_group() as tasks:
        client = Client(method="POST")
        tasks.start_soon(client.call, routes)
        while len(client.messages) < 3:
            await checkpoint()
        id = client.headers["x-stream-id"]
        for _ in range(2):
            stopped = await call(routes, "POST", f"/{id}/cancel")
            assert (200, "cancelled") == (stopped.status, told(stopped)["state"])
        resumed = await call(routes, "GET", f"/{id}/stream")
    assert "cancelled" == client.values[-2]["reason"] == resumed.values[-2]["reason"]


async def endless() -> AsyncIterator[str]:
    while True:
        yield "x"
        await checkpoint()


async def test_what_is_not_there_is_204_to_join_and_404_else() -> None:
    async with ChatRoutes(echo) as routes:
        assert (204, b"") == ((await call(routes, "GET", "/none/stream")).status, (await call(routes, "GET", "/none/stream")).body)
        assert (404, "not-found") == code(await call(routes, "POST", "/none/cancel"))
        assert (404, "not-found") == code(await call(routes, "GET", "/none"))


async def who(request: ChatRequest) -> str | None:
    await checkpoint()
    name = request.headers.get("x-user")
    if name == "banned":
        raise Refused(403, "Not you.")
    return name


async def test_res_02_and_03_another_user_can_neither_read_nor_stop_nor_see_it() -> None:
    async with ChatRoutes(lambda request: ["a"], owner=who) as routes:
        mine = await post(routes, headers={"x-user": "a"})
        id, token = mine.headers["x-stream-id"], tokens(mine)[0]
        for other in ({"x-user": "b"}, {}):
            joined = await call(routes, "GET", f"/{id}/stream", headers=other)
            resumed = await call(routes, "GET", f"/{id}/stream", headers={**other, "last-event-id": token})
            unknown = await call(routes, "GET", "/none/stream", headers=other)
            assert unknown.messages == joined.messages == resumed.messages
            for method, path in (("POST", "/{}/cancel"), ("GET", "/{}")):
                foreign = await call(routes, method, path.format(id), headers=other)
                nobody = await call(routes, method, path.format("none"), headers=other)
                assert (404, "not-found") == code(foreign) == code(nobody)
                assert foreign.headers == nobody.headers
        me = {"x-user": "a"}
        assert "a" == (await call(routes, "GET", f"/{id}/stream", headers=me)).text
        assert ["done"] * 2 == [
            told(await call(routes, method, path, headers=me))["state"]
            for method, path in (("POST", f"/{id}/cancel"), ("GET", f"/{id}"))
        ]


async def test_a_forged_token_is_400_and_not_204() -> None:
    async with ChatRoutes(lambda request: ["a"]) as routes:
        id = (await post(routes)).headers["x-stream-id"]
        for token in ("forged", "abc.1"):
            assert (400, "bad-token") == code(await call(routes, "GET", f"/{id}/stream", headers={"last-event-id": token}))


async def test_an_owner_function_may_refuse_every_route() -> None:
    async with ChatRoutes(echo, owner=who) as routes:
        for method, path in (("POST", "/"), ("GET", "/x/stream"), ("POST", "/x/cancel"), ("GET", "/x")):
            assert (403, "forbidden") == code(await call(routes, method, path, b"{}", headers={"x-user": "banned"}))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", "POST"),
        ("PUT", "/", "POST"),
        ("OPTIONS", "/", "POST"),
        ("POST", "/x/stream", "GET, HEAD"),
        ("DELETE", "/x/stream", "GET, HEAD"),
        ("GET", "/x/cancel", "POST"),
        ("POST", "/x", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_those_that_are_right(method: str, path: str, allowed: str) -> None:
    async with ChatRoutes(echo) as routes:
        client = await call(routes, method, path)
    assert (405, "method-not-allowed") == code(client)
    assert allowed == client.headers["allow"]


@pytest.mark.parametrize("path", ["/x/", "/x/y", "/x/stream/", "//stream", "//", "/x/y/stream", "/stream/x/cancel", "x"])
async def test_a_wrong_path_is_404(path: str) -> None:
    async with ChatRoutes(echo) as routes:
        for method in ("GET", "POST"):
            assert (404, "not-found") == code(await call(routes, method, path))


# -- the body


async def test_a_body_that_is_too_large_is_413_however_it_comes() -> None:
    called: list[ChatRequest] = []

    def handler(request: ChatRequest) -> list[str]:
        called.append(request)
        return ["a"]

    async with ChatRoutes(handler, max_body=100) as routes:
        assert 200 == (await call(routes, "POST", "/", b"x" * 100)).status
        for client in (
            await call(routes, "POST", "/", b"x" * 101),
            await call(routes, "POST", "/", b"", headers={"content-length": "101"}),
            await call(routes, "POST", "/", b"", headers={"content-length": "9" * 5000}),
            await Client(method="POST", body=[b"x" * 60, b"x" * 60, None]).call(routes),
        ):
            assert (413, "too-large") == code(client)
    assert [100] == [len(request.body) for request in called]


async def test_a_body_that_does_not_come_is_408(clock: VirtualClock) -> None:
    async with ChatRoutes(echo, body_timeout=7.0) as routes:
        client = await Client(method="POST", body=[b"x", None]).call(routes)
    assert (408, "timeout") == code(client)
    assert 7.0 == clock.now()


async def test_a_client_that_leaves_in_its_upload_is_not_answered_and_starts_nothing() -> None:
    async with ChatRoutes(echo) as routes:
        client = Client(method="POST", body=[b"x", None])
        client.leave()
        await client.call(routes)
        assert [] == client.messages
        assert [] == await routes.hub.list()


class Prompt(msgspec.Struct):
    prompt: str
    count: int = 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"prompt": NaN}'])
async def test_what_is_no_json_is_400_for_a_handler_that_asks(body: bytes) -> None:
    async with ChatRoutes(echo) as routes:
        assert (400, "bad-request") == code(await call(routes, "POST", "/", body))
    async with ChatRoutes(lambda request: [str(len(request.body))]) as routes:
        assert str(len(body)) == (await call(routes, "POST", "/", body)).text


async def test_json_of_a_type_is_checked() -> None:
    async with ChatRoutes(lambda request: [request.json(Prompt).prompt]) as routes:
        assert "Hi" == (await post(routes, {"prompt": "Hi"})).text
        client = await post(routes, {"prompt": "Hi", "count": "one"})
        assert (400, "bad-request") == code(client)
        assert "$.count" in told(client)["error"]["message"]


class Modelled(pydantic.BaseModel):
    prompt: str
    at: datetime.date = pydantic.Field(default=datetime.date.min, strict=True)


@pytest.mark.parametrize("kind", [Modelled, dict[str, Modelled]])
async def test_json_of_a_pydantic_model_is_read_and_was_refused_as_no_model(kind: Any) -> None:
    def value(inner: object) -> object:
        return inner if kind is Modelled else {"a": inner}

    def answer(request: ChatRequest) -> list[str]:
        read = request.json(kind)
        return [(read if kind is Modelled else read["a"]).at.isoformat()]

    async with ChatRoutes(answer) as routes:
        assert "2026-01-02" == (await post(routes, value({"prompt": "Hi", "at": "2026-01-02"}))).text
        for wrong, where in (({}, "prompt"), ({"prompt": 3}, "prompt"), ({"prompt": "Hi", "at": 1}, "at")):
            client = await post(routes, value(wrong))
            assert (400, "bad-request") == code(client)
            assert f"in `{where}`" in told(client)["error"]["message"]
            assert "pydantic" not in told(client)["error"]["message"]


def test_a_type_that_no_json_can_be_is_the_callers_mistake_and_not_the_clients() -> None:
    with pytest.raises(TypeError, match=r"json\(object_of_no_json\) .* pydantic"):
        ChatRequest({"type": "http"}, "/", b'{"prompt": "Hi"}').json(type("object_of_no_json", (), {}))


# -- the handler


async def later(request: ChatRequest) -> list[str]:
    await checkpoint()
    return ["a", "b"]


async def generated(request: ChatRequest) -> AsyncIterator[str]:
    yield "a"
    yield "b"


HANDLERS: dict[str, Callable[[ChatRequest], Any]] = {
    "a function that gives a list": lambda request: ["a", "b"],
    "a function that gives a stream": lambda request: sk.stream(["a", "b"]),
    "a coroutine function": later,
    "an async generator function": generated,
    "a function that gives a callable": lambda request: lambda: iter(["a", "b"]),
}


@pytest.mark.parametrize("name", HANDLERS)
async def test_a_handler_gives_whatever_sk_stream_takes(name: str) -> None:
    async with ChatRoutes(HANDLERS[name]) as routes:
        assert "ab" == (await post(routes)).text


@pytest.mark.parametrize(
    ("error", "status", "its_code"),
    [
        (Refused(402, "Pay first."), 402, "payment-required"),
        (Refused(418, "Tea.", code="teapot", headers={"X-Pot": "small"}), 418, "teapot"),
        (Refused(499, "?"), 499, "error"),
        (sk.BadRequestError("key sk-secret-secret-secret"), 400, "bad-request"),
        (sk.RateLimitError("secret", retry_after=3), 429, "rate-limited"),
        (ValueError("secret"), 500, "error"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_handler_that_fails_before_its_stream_is_a_status(error: Exception, status: int, its_code: str) -> None:
    def handler(request: ChatRequest) -> list[str]:
        raise error

    async with ChatRoutes(handler) as routes:
        client = await post(routes)
        assert [] == await routes.hub.list()
    assert (status, its_code) == code(client)
    assert "secret" not in client.body.decode()
    if isinstance(error, Refused):
        assert error.message == told(client)["error"]["message"]
        assert "small" == client.headers.get("x-pot", "small")


async def test_a_handler_that_gives_what_is_no_stream_is_500() -> None:
    async with ChatRoutes(lambda request: "text") as routes:
        assert 500 == (await post(routes)).status


async def test_a_stream_that_fails_before_its_first_event_is_a_status_too() -> None:
    async def limited() -> AsyncIterator[str]:
        raise sk.OverloadedError("no")
        yield ""

    async with ChatRoutes(lambda request: limited) as routes:
        assert (503, "overloaded") == code(await post(routes))


async def test_errors_that_are_somebody_elses_to_answer_are_raised() -> None:
    class Theirs(Exception):
        pass

    def handler(request: ChatRequest) -> list[str]:
        raise Theirs

    async with ChatRoutes(handler, lets_through=(Theirs,)) as routes:
        with pytest.raises(Theirs):
            await post(routes)


async def test_a_handler_sees_the_request_as_it_came() -> None:
    seen: list[ChatRequest] = []
    user = contextvars.ContextVar[str]("user")

    async def source() -> AsyncIterator[str]:
        yield user.get()

    def handler(request: ChatRequest) -> Any:
        seen.append(request)
        return source

    async with ChatRoutes(handler) as routes:
        user.set("a")
        client = await call(routes, "POST", "/", b"body", query="a=1&a=2&b=%20", headers={"X-One": "1", "accept": "x"})
    (request,) = seen
    assert "a" == client.text
    assert ("POST", "/", b"body") == (request.method, request.path, request.body)
    assert ("1", "x") == (request.headers["x-one"], request.headers["accept"])
    assert {"a": "2", "b": " "} == dict(request.query)
    assert client.scope is request.scope


# -- ids that clients choose


def chosen(request: ChatRequest) -> str | None:
    return request.query.get("id")


async def test_a_chosen_id_that_is_over_makes_room_for_the_next() -> None:
    async with ChatRoutes(lambda request: [request.body.decode()], id=chosen) as routes:
        for text in ("one", "two"):
            client = await call(routes, "POST", "/", text.encode(), query="id=chat%201")
            assert (text, "chat%201", "/chat%201/stream") == (
                client.text,
                client.headers["x-stream-id"],
                client.headers["location"],
            )
        assert "two" == (await call(routes, "GET", "/chat 1/stream")).text
        assert 22 <= len((await post(routes)).headers["x-stream-id"])


@pytest.mark.parametrize("if_running", ["join", "raise", "replace"])
async def test_a_chosen_id_that_runs_is_joined_refused_or_replaced(if_running: Any) -> None:
    called: list[int] = []
    go = anyio.Event()

    async def source() -> AsyncIterator[str]:
        number = len(called)
        yield f"{number} "
        await go.wait()
        yield f"{number}"

    def handler(request: ChatRequest) -> Any:
        called.append(1)
        return source

    routes = ChatRoutes(handler, id=chosen, if_running=if_running)
    first, second = Client(method="POST", query="id=c"), Client(method="POST", query="id=c")
    async with routes, anyio.create_task_group() as tasks:
        tasks.start_soon(first.call, routes)
        while len(first.messages) < 2:
            await checkpoint()
        tasks.start_soon(second.call, routes)
        while len(second.messages) < 2:
            await checkpoint()
        go.set()
    match if_running:
        case "join":
            assert ("1 1", "1 1", 1) == (first.text, second.text, len(called))
        case "raise":
            assert ("1 1", (409, "conflict"), 1) == (first.text, code(second), len(called))
        case _:
            assert ("cancelled", "2 2") == (first.values[-2]["reason"], second.text)


async def test_two_who_start_one_id_at_once_get_one_answer() -> None:
    called: list[int] = []

    async def handler(request: ChatRequest) -> Any:
        called.append(1)
        await checkpoint()
        return endless_then_end

    async def endless_then_end() -> AsyncIterator[str]:
        for _ in range(20):
            yield "x"
            await checkpoint()

    clients = [Client(method="POST", query="id=c") for _ in range(5)]
    routes = ChatRoutes(handler, id=chosen)
    async with routes, anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.call, routes)
    assert ["x" * 20] * 5 == [client.text for client in clients]
    assert [1] == called


async def test_a_chosen_id_of_somebody_else_is_404_and_untouched() -> None:
    async with ChatRoutes(lambda request: [request.body.decode()], id=chosen, owner=who) as routes:
        await call(routes, "POST", "/", b"mine", query="id=c", headers={"x-user": "a"})
        assert (404, "not-found") == code(await call(routes, "POST", "/", b"b", query="id=c", headers={"x-user": "b"}))
        assert "mine" == (await call(routes, "GET", "/c/stream", headers={"x-user": "a"})).text


@pytest.mark.parametrize("id", ["a/b", "x" * 201, "a\nb", "\x00"])
async def test_an_id_that_cannot_be_is_400(id: str) -> None:
    async with ChatRoutes(lambda request: ["a"], id=lambda request: id) as routes:
        assert (400, "bad-request") == code(await post(routes))


async def test_an_id_function_that_gives_no_text_is_a_bug_and_500() -> None:
    bad: Any = lambda request: 7  # noqa: E731
    async with ChatRoutes(lambda request: ["a"], id=bad) as routes:
        assert 500 == (await post(routes)).status


# -- where it stands, and how it ends


@pytest.mark.parametrize("path", ["/chat/", "/chat", "/"])
async def test_where_it_is_mounted_is_in_the_location_and_not_in_the_path(path: str) -> None:
    async with ChatRoutes(lambda request: [request.path]) as routes:
        client = Client(method="POST", path=path)
        client.scope["root_path"] = "/chat"
        await client.call(routes)
        location = client.headers["location"]
        assert f"/chat/{client.headers['x-stream-id']}/stream" == location
        again = Client(path=location)
        again.scope["root_path"] = "/chat"
        assert client.text == (await again.call(routes)).text


async def test_an_answer_ends_with_its_last_reader_where_that_is_asked_for() -> None:
    async with ChatRoutes(lambda request: endless, on_disconnect="cancel") as routes:
        client = Client(method="POST", on_send=lambda number: client.leave() if number == 3 else None)
        await client.call(routes)
        assert ["cancelled"] == [status.state for status in await routes.hub.list()]


async def test_a_client_that_left_before_its_first_byte_was_the_last_reader_too() -> None:
    async def handler(request: ChatRequest) -> Any:
        client.leave()
        return anyio.sleep_forever

    async with ChatRoutes(handler, on_disconnect="cancel") as routes:
        client = Client(method="POST")
        await client.call(routes)
        assert ["cancelled"] == [status.state for status in await routes.hub.list()]


async def test_lifespan_events_are_answered_and_the_own_hub_is_closed() -> None:
    routes = ChatRoutes(lambda request: endless)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    client = Client(method="POST")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, routes)
        while len(client.messages) < 3:
            await checkpoint()
        await routes({"type": "lifespan"}, receive, send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent
    assert "draining" == client.values[-1]["code"]
    assert (503, "draining") == code(await post(routes))


@pytest.mark.parametrize("owns", [True, False], ids=["a hub of its own", "somebody else's hub"])
async def test_an_answer_that_nobody_reads_was_cut_at_once_when_the_process_was_told_to_stop(
    clock: VirtualClock, owns: bool
) -> None:
    said: list[str] = []

    async def long() -> AsyncIterator[str]:
        yield "Now "
        said.append("begun")
        await clock.sleep(3.0)
        yield "it is whole."
        said.append("whole")

    async with AsyncExitStack() as stack:
        hub = None if owns else await stack.enter_async_context(Hub())
        stack.enter_context(handling_signals())
        routes = ChatRoutes(lambda request: long, hub, drain=5.0)
        client = Client(method="POST", on_send=lambda number: client.leave() if number == 2 else None)
        await client.call(routes)
        signal.raise_signal(signal.SIGTERM)
        while not routes.draining:
            await checkpoint()
        await routes.aclose()  # as the server's shutdown does
        assert (3.0, ["begun", "whole"]) == (clock.now(), said)


async def test_an_answer_that_is_not_over_in_time_is_draining_though_nobody_reads_it(clock: VirtualClock) -> None:
    closed: list[float] = []

    async def longer() -> AsyncIterator[str]:
        try:
            await clock.sleep(60.0)
            yield "too late"
        finally:
            closed.append(clock.now())

    with handling_signals():
        routes = ChatRoutes(lambda request: longer, drain=2.0)
        client = Client(method="POST")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, routes)
            while not await routes.hub.list():
                await checkpoint()
            client.leave()
            signal.raise_signal(signal.SIGTERM)
            while not routes.draining:
                await checkpoint()
            await routes.aclose()
        assert [2.0] == closed


async def test_somebody_elses_hub_stays_open() -> None:
    async with Hub() as hub:
        async with ChatRoutes(lambda request: ["a"], hub) as routes:
            assert routes.hub is hub
        assert "a" == await (await hub.start(None, ["a"])).subscribe().join()


async def test_a_websocket_is_closed_and_an_unknown_scope_raises() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    routes = ChatRoutes(echo)
    await routes({"type": "websocket"}, Client()._receive, send)  # pyright: ignore[reportPrivateUsage]
    assert ["websocket.close"] == [message["type"] for message in sent]
    with pytest.raises(sk.ConfigError, match="mail"):
        await routes({"type": "mail"}, Client()._receive, send)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "options",
    [
        {"if_running": "x"},
        {"on_disconnect": "x"},
        {"max_body": 0},
        {"max_body": True},
        {"body_timeout": float("nan")},
        {"body_timeout": 0},
        {"ttl": -1},
        {"drain": -1.0},
        {"drain": False},
        {"lets_through": [ValueError]},
        {"lets_through": (ValueError(),)},
        {"lag": 0},
        {"policy": "fast"},
        {"dialect": "none"},
        {"headers": {"content-length": "1"}},
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(options: dict[str, Any]) -> None:
    with pytest.raises((sk.ConfigError, TypeError)):
        ChatRoutes(echo, **options)


async def test_what_is_no_function_is_refused_at_the_call() -> None:
    bad: Any = "x"
    for options in ({"handler": bad}, {"handler": echo, "id": bad}, {"handler": echo, "owner": bad}):
        with pytest.raises(TypeError):
            ChatRoutes(**options)
    with pytest.raises(sk.ConfigError):
        Refused(200, "")
