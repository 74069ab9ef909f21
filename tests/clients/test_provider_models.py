"""`sk.model` for providers: what is sent, by whom, with which key; what comes back; and who is closed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from event_loops import asyncio_only
from provider_scripts import leisurely

import streamkit as sk
from streamkit.clients.endpoint import endpoint_of
from streamkit.clients.payloads import DIALECTS
from streamkit.errors import ConfigError
from streamkit.testing import servers

aiohttp: Any = pytest.importorskip("aiohttp")
anthropic: Any = pytest.importorskip("anthropic")
httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
openai: Any = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too;
    # trio warns of that. The response itself is closed, which is what these tests look at.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

ANSWER = "Hello to you all"
KEY = "sk-test-0123456789abcdef"
PATHS = {"openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses", "anthropic": "/v1/messages"}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def ours(server: servers.Server, dialect: str, **options: Any) -> Any:
    """The model on our own HTTP path."""
    options.setdefault("api_key", KEY)
    if dialect == "anthropic":
        return sk.model("anthropic:m", base_url=server.url, **options)
    api = "chat" if dialect == "openai-chat" else "responses"
    return sk.model("openai:m", base_url=f"{server.url}/v1", api=api, **options)


def sdk_of(server: servers.Server, dialect: str, *, sync: bool, **options: Any) -> Any:
    options = {"api_key": KEY, "max_retries": 0, **options}
    if dialect == "anthropic":
        return (anthropic.Anthropic if sync else anthropic.AsyncAnthropic)(base_url=server.url, **options)
    return (openai.OpenAI if sync else openai.AsyncOpenAI)(base_url=f"{server.url}/v1", **options)


def on_sdk(client: Any, dialect: str, **options: Any) -> Any:
    if dialect == "anthropic":
        return sk.model("anthropic:m", client=client, **options)
    return sk.model("openai:m", client=client, api="chat" if dialect == "openai-chat" else "responses", **options)


@asynccontextmanager
async def sdk_model(server: servers.Server, dialect: str, *, sync: bool, **options: Any) -> AsyncIterator[Any]:
    client = sdk_of(server, dialect, sync=sync)
    try:
        yield on_sdk(client, dialect, **options)
    finally:
        if sync:
            client.close()
        else:
            await client.close()


# ---- one answer, whoever asks ---------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("way", ["ours", "async sdk", "sync sdk", "httpx", "httpx2", "sync httpx2", "address"])
async def test_every_way_gives_the_answer(dialect: str, way: str) -> None:
    with servers.provider(dialect, ANSWER) as server:
        async with AsyncExitStack() as stack:
            if way.endswith("sdk"):
                model = await stack.enter_async_context(sdk_model(server, dialect, sync=way == "sync sdk"))
            elif way == "address":
                model = sk.model(server.url + PATHS[dialect], model="m", api_key=KEY)
            else:
                client: Any = None
                if way == "sync httpx2":
                    client = stack.enter_context(httpx2.Client())
                elif way != "ours":
                    client = await stack.enter_async_context({"httpx": httpx, "httpx2": httpx2}[way].AsyncClient())
                model = ours(server, dialect, client=client)
            await stack.enter_async_context(model)
            stream = model.stream(sk.Request.of("hi", temperature=0.5, max_tokens=50))
            assert [ANSWER, ANSWER] == [await stream.join(), await stream.join()]
        seen = server.requests[0]
    assert PATHS[dialect] == seen.path
    body = cast("dict[str, Any]", seen.json)
    assert ("m", 0.5, True) == (body["model"], body["temperature"], body["stream"])
    assert KEY in (seen.headers.get("x-api-key"), seen.headers.get("authorization", "").removeprefix("Bearer "))


@asyncio_only
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_aiohttp_asks_too(dialect: str) -> None:
    with servers.provider(dialect, ANSWER) as server:
        async with aiohttp.ClientSession() as client:
            assert ANSWER == await ours(server, dialect, client=client).stream("hi").join()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_sdk_sends_what_we_send(dialect: str) -> None:
    def now(zone: str) -> str:
        """The time."""
        return zone

    now.__annotations__ = {"zone": str}
    request = sk.Request.of(
        [sk.Turn("user", ("look", sk.File("image/png", data=b"pixels")))],
        system="short",
        tools=[now],
        tool_choice="now",
        top_p=0.5,
        output={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        extra={"odd": {"deep": [1, None]}},
    )
    with servers.provider(dialect, ANSWER) as server:
        async with ours(server, dialect) as model:
            await model.stream(request).run()
        for sync in (False, True):
            async with sdk_model(server, dialect, sync=sync) as model:
                await model.stream(request).run()
    first, *others = [seen.json for seen in server.requests]
    assert [first, first] == others
    assert {"deep": [1, None]} == cast("dict[str, Any]", first)["odd"]


async def test_our_headers_are_those_the_provider_demands_and_the_callers_win() -> None:
    with servers.provider("anthropic", ANSWER) as server:
        async with ours(server, "anthropic", headers={"Anthropic-Version": "2099-01-01", "x-own": "1"}) as model:
            await model.stream("hi").run()
        headers = server.requests[0].headers
    assert ("2099-01-01", "1", KEY, "application/json") == tuple(
        headers[name] for name in ("anthropic-version", "x-own", "x-api-key", "content-type")
    )
    with servers.provider("openai-chat", ANSWER) as server:
        async with ours(server, "openai-chat", headers={"API-Key": "azure"}) as model:
            await model.stream("hi").run()
        async with sdk_model(server, "openai-chat", sync=False, headers={"x-own": "1"}) as model:
            await model.stream("hi").run()
    assert "azure" == server.requests[0].headers["api-key"]
    assert "authorization" not in server.requests[0].headers
    assert "1" == server.requests[1].headers["x-own"]


# ---- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variable"), [("openai:m", "OPENAI_API_KEY"), ("anthropic:m", "ANTHROPIC_API_KEY")])
async def test_a_missing_key_is_named_when_asked_and_not_before(name: str, variable: str) -> None:
    stream = sk.model(name).stream("hi")
    with pytest.raises(sk.AuthError, match=variable):
        await stream.run()


async def test_a_key_is_read_when_a_request_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.provider("openai-chat", ANSWER) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        async with sk.model("openai:m") as model:
            stream = model.stream("hi")
            monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
            await stream.run()
            monkeypatch.delenv("OPENAI_API_KEY")
            await stream.run()
    assert [f"Bearer {KEY}", None] == [seen.headers.get("authorization") for seen in server.requests]


async def test_an_address_is_never_sent_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with servers.provider("openai-chat", ANSWER) as server:
        async with sk.model(server.url) as model:
            await model.stream("hi").run()
    assert not {"authorization", "x-api-key"} & set(server.requests[0].headers)


async def test_a_key_is_in_no_repr_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.provider("openai-chat", ANSWER, servers.status(401, message=f"bad key {KEY}")) as server:
        async with ours(server, "openai-chat") as model:
            stream = model.stream("hi")
            with pytest.raises(sk.AuthError) as caught:
                await stream.run()
    for shown in (repr(model), repr(stream), str(caught.value), repr(caught.value), repr(vars(caught.value))):
        assert KEY not in shown
    for wrong in ("two words", "line\nend", "schlüssel", ""):
        with pytest.raises(ConfigError, match="api_key is no key") as refused:
            sk.model("openai:m", api_key=wrong)
        assert not wrong or wrong not in str(refused.value)
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is no key"):
        await sk.model("openai:m").stream("hi").run()
    assert "model('http://127.0.0.1/v1')" == repr(sk.model("http://me:secret@127.0.0.1/v1?key=secret"))


# ---- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("status", "kind"), [(401, sk.AuthError), (400, sk.BadRequestError), (429, sk.RateLimitError), (503, sk.OverloadedError)]
)
async def test_a_refusal_is_typed_on_our_own_path(dialect: str, status: int, kind: type[sk.SourceError]) -> None:
    fault = servers.status(status, retry_after=7 if status == 429 else None)
    with servers.provider(dialect, ANSWER, fault) as server:
        async with ours(server, dialect) as model:
            with pytest.raises(kind) as caught:
                await model.stream("hi").run()
        async with ours(server, dialect, errors="yield") as model:
            events = await model.stream("hi").collect()
    assert (status, 7 if status == 429 else None) == (caught.value.status, caught.value.retry_after)
    assert [sk.ErrorEvent] == [type(event) for event in events]


async def test_errors_of_the_sdk_pass_untouched() -> None:
    with servers.provider("openai-chat", ANSWER, servers.status(429, retry_after=7)) as server:
        for sync in (False, True):
            async with sdk_model(server, "openai-chat", sync=sync) as model:
                with pytest.raises(openai.RateLimitError):
                    await model.stream("hi").run()
    with servers.provider("anthropic", ANSWER, servers.status(401)) as server:
        async with sdk_model(server, "anthropic", sync=False) as model:
            with pytest.raises(anthropic.AuthenticationError):
                await model.stream("hi").run()


async def test_the_sdk_keeps_its_retries() -> None:
    with servers.provider("openai-chat", ANSWER, servers.first(1, servers.status(503))) as server:
        client = sdk_of(server, "openai-chat", sync=False, max_retries=1)
        try:
            assert ANSWER == await on_sdk(client, "openai-chat").stream("hi").join()
        finally:
            await client.close()
    assert 2 == len(server.requests)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_cut_answer_is_told_with_what_came(dialect: str) -> None:
    with servers.provider(dialect, ANSWER, servers.cut(after=3)) as server:
        for way in ("ours", "sdk"):
            async with AsyncExitStack() as stack:
                if way == "ours":
                    model = await stack.enter_async_context(ours(server, dialect))
                else:
                    model = await stack.enter_async_context(sdk_model(server, dialect, sync=False))
                with pytest.raises(sk.StreamTruncated) as caught:
                    await model.stream("hi").run()
                partial = cast("sk.Message", caught.value.partial)
                assert partial.text and ANSWER.startswith(partial.text) and partial.text != ANSWER


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("way", ["ours", "async sdk", "sync sdk"])
async def test_leaving_early_closes_the_connection(dialect: str, way: str) -> None:
    with servers.provider(dialect, leisurely) as server:
        async with AsyncExitStack() as stack:
            if way == "ours":
                model = await stack.enter_async_context(ours(server, dialect))
            else:
                model = await stack.enter_async_context(sdk_model(server, dialect, sync=way == "sync sdk"))
            stream = model.stream("hi")
            async with stream as run:
                async for event in run:
                    if isinstance(event, sk.TextDelta):
                        break
            sent = server.sent[0]
            await anyio.to_thread.run_sync(server.wait_left)
            assert server.sent[0] <= sent + 10
            assert stream is not None


async def test_a_cancel_closes_the_connection_before_the_first_byte() -> None:
    with servers.provider("openai-chat", ANSWER, servers.mute()) as server:
        async with ours(server, "openai-chat") as model, anyio.create_task_group() as tasks:
            tasks.start_soon(model.stream("hi").run)
            await anyio.to_thread.run_sync(server.wait_requests)
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(server.wait_left)
    assert 1 == len(server.requests)


# ---- defaults, connections, scripts ---------------------------------------------------------------


async def test_the_models_defaults_stand_in_for_what_a_request_does_not_say() -> None:
    with servers.provider("openai-chat", ANSWER) as server:
        async with ours(server, "openai-chat", temperature=0.1, system="short", extra={"a": 1, "b": 1}) as model:
            await model.stream("hi").run()
            await model.stream(sk.Request.of("hi", model="other", temperature=0, extra={"b": 2})).run()
    first, second = [cast("dict[str, Any]", seen.json) for seen in server.requests]
    assert ("m", 0.1, 1, 1) == tuple(first[name] for name in ("model", "temperature", "a", "b"))
    assert ("other", 0, 1, 2) == tuple(second[name] for name in ("model", "temperature", "a", "b"))
    assert "system" == first["messages"][0]["role"] == second["messages"][0]["role"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("way", ["ours", "async sdk", "sync sdk", "users"])
async def test_a_warm_model_asks_on_the_connection_that_is_open(dialect: str, way: str) -> None:
    with servers.provider(dialect, ANSWER) as server:
        async with AsyncExitStack() as stack:
            if way.endswith("sdk"):
                model = await stack.enter_async_context(sdk_model(server, dialect, sync=way == "sync sdk"))
            else:
                client = None if way == "ours" else await stack.enter_async_context(httpx2.AsyncClient())
                model = await stack.enter_async_context(ours(server, dialect, client=client))
            await model.warm_up()
            server.wait_connections(1)
            assert ANSWER == await model.stream("hi").join()
            assert ANSWER == await model.stream("hi").join()
    assert 1 == server.connections


async def test_closing_a_model_leaves_the_users_client_open() -> None:
    with servers.provider("openai-chat", ANSWER) as server:
        async with httpx2.AsyncClient() as client:
            async with ours(server, "openai-chat", client=client) as model:
                await model.stream("hi").run()
            assert not client.is_closed
        client = sdk_of(server, "openai-chat", sync=False)
        async with on_sdk(client, "openai-chat") as model:
            await model.stream("hi").run()
        assert not client.is_closed()
        await client.close()


def test_a_plain_script_iterates_again_and_again() -> None:
    with servers.provider("openai-chat", ANSWER) as server:
        model = ours(server, "openai-chat")
        for _ in range(3):
            text = [event.text for event in model.stream("hi").iter() if isinstance(event, sk.TextDelta)]
            assert ANSWER == "".join(text)
        with sdk_of(server, "openai-chat", sync=True) as client:
            for _ in range(2):
                events: Iterator[sk.Event] = on_sdk(client, "openai-chat").stream("hi").iter()
                assert ANSWER == sk.Message(list(events)).text
        assert [ANSWER] * 2 == [asyncio.run(model.stream("hi").join()) for _ in range(2)]


async def test_a_round_of_tools() -> None:
    def answer(body: Any) -> Any:
        if any(message["role"] == "tool" for message in body["messages"]):
            return f"It is {body['messages'][-1]['content']}."
        return [sk.ToolCall("call_1", "now", '{"zone":"utc"}'), sk.Finish("tool-calls")]

    def now(zone: str) -> str:
        """The time."""
        return f"noon in {zone}"

    now.__annotations__ = {"zone": str, "return": str}
    tool = sk.Tool.of(now)
    with servers.provider("openai-chat", answer) as server:
        async with ours(server, "openai-chat", tools=[tool]) as model:
            request = sk.Request.of("time?")
            message = await model.stream(request).message()
            (call,) = message.tool_calls
            assert tool.function is not None
            result = tool.function(**tool.call_arguments(call.input()))
            assert "It is noon in utc." == await model.stream(request.then(message, sk.ToolResult(call.id, result))).join()


# ---- a real server --------------------------------------------------------------------------------

# The noise of a random model: the same for the same prompt, which is all that is compared.
ROUND = [
    sk.Turn("system", "short"),
    sk.Turn("user", ("What is ", {"type": "text", "text": "a stream?"})),
    sk.Turn("assistant", "well"),
    sk.Turn("user", "go on"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_real_llama_answers_all_ways_alike(llama: str, dialect: str) -> None:
    request = sk.Request.of(ROUND, model="tiny-random", temperature=0, max_tokens=24)
    messages: list[sk.Message] = []
    async with sk.model(llama + PATHS[dialect]) as model:
        await model.warm_up()
        messages += [await model.stream(request).message(), await model.stream(request).message()]
    for sync in (False, True):
        url = llama if dialect == "anthropic" else f"{llama}/v1"
        kind = {"anthropic": (anthropic.AsyncAnthropic, anthropic.Anthropic)}.get(dialect, (openai.AsyncOpenAI, openai.OpenAI))[
            sync
        ]
        client = kind(base_url=url, api_key="none", max_retries=0)
        messages.append(await on_sdk(client, dialect).stream(request).message())
        closing = client.close()
        if closing is not None:
            await closing
    assert 1 == len({message.text for message in messages})
    assert 10 < len(messages[0].text)
    for message in messages:
        assert message.finish is not None and message.usage is not None
        # Of Responses, this server says "completed" even where it stopped at the limit.
        reason = "stop" if dialect == "openai-responses" else "length"
        assert (reason, 24) == (message.finish.reason, message.usage.output_tokens)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_real_llama_takes_a_round_of_tools_and_a_schema(llama: str, dialect: str) -> None:
    tool = sk.Tool("now", "The time.", {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]})
    said = sk.Message([sk.TextDelta("let me see"), sk.ToolCall("call_1", "now", '{"zone":"utc"}')])
    request = sk.Request.of("time?", temperature=0, max_tokens=12, tools=[tool], tool_choice="none")
    async with sk.model(llama + PATHS[dialect], model="tiny-random") as model:
        message = await model.stream(request.then(said, sk.ToolResult("call_1", {"hour": 12}))).message()
        assert message.complete
        if dialect != "openai-chat":
            return  # this server keeps to a schema only there
        schema = {"type": "object", "properties": {"ok": {"enum": ["yes"]}}, "required": ["ok"], "additionalProperties": False}
        formed = await model.stream(sk.Request.of("ok?", output=schema, max_tokens=400, temperature=0)).message()
        assert "yes" == json.loads(formed.text)["ok"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_leaving_a_real_llama_ends_its_work(llama: str, dialect: str) -> None:
    async with (
        sk.model(llama + PATHS[dialect], model="tiny-random", extra={"ignore_eos": True}) as model,
        httpx2.AsyncClient(timeout=60, headers={"connection": "close"}) as http,
    ):
        async with model.stream(sk.Request.of("go on", max_tokens=30_000)) as run:
            async for event in run:
                if isinstance(event, sk.TextDelta):
                    break
        with anyio.fail_after(90):
            while any(slot["is_processing"] for slot in (await http.get(f"{llama}/slots")).json()):
                await anyio.lowlevel.checkpoint()


# ---- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "dialect", "endpoint"),
    [
        ("http://h:1", "openai-chat", "http://h:1/v1/chat/completions"),
        ("http://h/", "openai-responses", "http://h/v1/responses"),
        ("http://h/v1/", "openai-chat", "http://h/v1/chat/completions"),
        ("https://h/openai/v1beta", "openai-chat", "https://h/openai/v1beta/chat/completions"),
        ("https://h/api", "openai-chat", "https://h/api/chat/completions"),
        ("https://h/x/chat/completions?v=1", "openai-chat", "https://h/x/chat/completions?v=1"),
        ("https://h", "anthropic", "https://h/v1/messages"),
        ("https://h/v1", "anthropic", "https://h/v1/messages"),
        ("https://h/gate/anthropic", "anthropic", "https://h/gate/anthropic/v1/messages"),
        ("https://h/v1/messages", "anthropic", "https://h/v1/messages"),
    ],
)
def test_an_address_is_a_base_or_the_endpoint(url: str, dialect: str, endpoint: str) -> None:
    assert endpoint == endpoint_of(url, dialect)


SDK = openai.AsyncOpenAI(api_key="none")


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: sk.model("openai:m", api="completions"), ConfigError, 'api is "chat" or "responses"'),
        (lambda: sk.model("openai:m", warmth=1), ConfigError, "has no option warmth; a request has max_tokens"),
        (lambda: sk.model("openai:m", temperature="hot"), ConfigError, "temperature is a number"),
        (lambda: sk.model("openai:m", errors="hide"), ConfigError, "errors is"),
        (lambda: sk.model("openai:m", client=SDK, errors="hide"), ConfigError, "errors is"),
        (lambda: sk.model("openai:m", client=SDK, api_key=KEY), ConfigError, "api_key is the SDK client's own"),
        (lambda: sk.model("openai:m", client=3), TypeError, "got a int"),
        (lambda: sk.model("anthropic:m", client=SDK), TypeError, "Anthropic's SDK or an HTTP client, got a AsyncOpenAI"),
        (lambda: sk.model("http://h", client=SDK), TypeError, "an HTTP client, got a AsyncOpenAI"),
        (lambda: sk.model("http://h", dialect="native"), ConfigError, "nobody is asked in the dialect 'native'"),
        (lambda: sk.model("ftp://h"), ConfigError, "http:// or https://"),
        (lambda: sk.model("http://"), ConfigError, "names a host"),
        (lambda: sk.model("openai:m", headers="x"), ConfigError, "headers is a mapping"),
        (lambda: sk.model("openai:m").stream(sk.Request.of("hi", top_k=3)), ConfigError, "has no top_k"),
        (lambda: sk.model("openai:m").stream(sk.Request.of("hi", extra={"x": object()})), ConfigError, "object has no JSON form"),
        (lambda: sk.model("openai:m", client=SDK).stream(sk.Request.of("hi", extra={"x": object()})), ConfigError, "no JSON form"),
        (lambda: sk.model("openai:m").stream("half \ud83d"), ConfigError, "half a character"),
    ],
)
def test_wrong_arguments_fail_at_the_call(call: Callable[[], object], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        call()


def test_no_provider_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys, streamkit as sk\n"
        "sk.model('local')\n"
        "loaded = {'httpx', 'httpx2', 'openai', 'anthropic', 'aiohttp', 'streamkit.clients.endpoint'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "sk.model('openai:m').stream('hi')\n"
        "loaded = {'httpx', 'httpx2', 'openai', 'anthropic', 'aiohttp', 'pydantic'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
