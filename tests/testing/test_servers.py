"""`testing.servers`: each fault is on the wire what its name says, and what the server saw can be asked for."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import streamkit as sk
from streamkit.dialects import registry
from streamkit.errors import ConfigError
from streamkit.testing import servers

CHAT = "/v1/chat/completions"
# Seconds after which nothing will come any more.
PATIENCE = 60.0

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@contextmanager
def asked(server: servers.Server, path: str = CHAT, body: object = ASK, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """A response whose body has not been read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("POST", path, json.dumps(body), headers)
        yield connection.getresponse()
    finally:
        connection.close()


def body_of(server: servers.Server, path: str = CHAT, body: object = ASK) -> bytes:
    with asked(server, path, body) as response:
        return response.read()


def raw_exchange(server: servers.Server, *, bytes_wanted: int = 1 << 20) -> bytes:
    """Everything the socket gives for one request, headers and chunk sizes included."""
    said = json.dumps(ASK).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(said), said))
        got = b""
        while len(got) < bytes_wanted and b"\r\n0\r\n\r\n" not in got:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                return got + b"<reset>"
            if not piece:
                break
            got += piece
        return got


def texts(body: bytes) -> list[str]:
    """The contents of chat chunks."""
    chunks = [json.loads(block[6:]) for block in re.findall(rb"^data: \{.*(?=\n\n)", body, re.MULTILINE)]
    return [choice["delta"]["content"] for chunk in chunks for choice in chunk.get("choices", []) if choice["delta"].get("content")]


def test_text_goes_out_word_by_word_with_usage_a_reason_and_the_end_marker() -> None:
    with servers.provider("openai-chat", "One two  three") as server:
        body = body_of(server)
    assert ["One", " two", "  three"] == texts(body)
    assert b'"completion_tokens":3' in body
    assert b'"finish_reason":"stop"' in body
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("text", ["", " ", "a", "a b\n", "\n\n a  b \t c", "日本 語"])
def test_no_character_of_a_text_is_lost(text: str) -> None:
    with servers.provider("openai-chat", text) as server:
        assert text == "".join(texts(body_of(server)))


def test_events_go_out_as_they_are_one_chunk_each() -> None:
    script: servers.Script = [sk.TextDelta("a"), "b", sk.ToolCall("t", "add", "{}"), sk.Finish("tool-calls")]
    with servers.provider("openai-chat", script) as server:
        body = body_of(server)
    assert ["a", "b"] == texts(body)
    assert b'"name":"add"' in body
    assert b'"finish_reason":"tool_calls"' in body


def test_a_script_may_depend_on_what_was_asked() -> None:
    def script(body: Any) -> str:
        return str(body["messages"][0]["content"]).upper()

    with servers.provider("openai-chat", script) as server:
        assert ["HI"] == texts(body_of(server))


def test_an_answer_names_the_model_that_was_asked_for() -> None:
    with servers.provider("openai-chat", "a") as server:
        assert b'"model":"m"' in body_of(server)


def test_headers_are_those_of_the_provider() -> None:
    with servers.provider("openai-chat", "a") as server, asked(server) as response:
        assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
        assert "chunked" == response.headers["transfer-encoding"]
        assert "req-1" == response.headers["x-request-id"]


def test_what_was_asked_is_kept_and_keys_stay_out_of_the_repr() -> None:
    with servers.provider("openai-chat", "a") as server, asked(server, Authorization="Bearer sk-very-secret") as response:
        response.read()
        server.wait_done()
    (seen,) = server.requests
    assert ("POST", CHAT, ASK) == (seen.method, seen.path, seen.json)
    assert "Bearer sk-very-secret" == seen.headers["authorization"]
    assert "sk-very-secret" not in repr(server.requests)
    assert "authorization" in repr(seen)


def test_one_connection_serves_many_requests() -> None:
    with servers.provider("openai-chat", "a b") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        for _ in range(3):
            connection.request("POST", CHAT, json.dumps(ASK))
            assert ["a", " b"] == texts(connection.getresponse().read())
        server.wait_done(3)
        connection.close()
    assert 1 == server.connections
    assert [1, 1, 1] == [seen.connection for seen in server.requests]
    assert [4, 4, 4] == server.sent  # two words, usage, finish
    assert not server.left.is_set()


def test_models_are_listed_for_clients_that_warm_up() -> None:
    with servers.provider("openai-chat") as server, urllib.request.urlopen(f"{server.url}/v1/models", timeout=PATIENCE) as response:
        assert ["scripted"] == [model["id"] for model in json.loads(response.read())["data"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/nowhere", ASK, 404),
        (CHAT, {"model": "m"}, 400),
        (CHAT, ["stream"], 400),
        ("/openai/deployments/d/chat/completions?v=1", ASK, 200),
    ],
)
def test_only_a_streamed_request_to_the_dialects_own_path_is_served(path: str, body: object, status: int) -> None:
    with servers.provider("openai-chat") as server, asked(server, path, body) as response:
        assert status == response.status


@pytest.mark.parametrize(
    "dialect", [name for name in registry.names() if registry.get(name).encoder and registry.get(name).decoder]
)
def test_every_dialect_that_is_written_and_read_gives_back_its_script(dialect: str) -> None:
    paths = {"openai-responses": "/v1/responses", "anthropic": "/v1/messages"}
    with servers.provider(dialect, "Hello to you") as server:
        body = body_of(server, paths.get(dialect, CHAT))
    message = sk.decode([body], dialect).iter()
    assert "Hello to you" == "".join(event.text for event in message if isinstance(event, sk.TextDelta))


# ---- faults -------------------------------------------------------------------------------------


def test_cut_ends_the_body_cleanly_after_so_many_events() -> None:
    with servers.provider("openai-chat", "a b c", servers.cut(after=2)) as server:
        body = body_of(server)
    assert ["a", " b"] == texts(body)
    assert b"[DONE]" not in body
    assert [2] == server.sent


def test_cut_at_zero_gives_an_empty_body() -> None:
    with servers.provider("openai-chat", "a", servers.cut()) as server:
        assert b"" == body_of(server)


def test_cut_behind_the_end_is_no_fault() -> None:
    with servers.provider("openai-chat", "a", servers.cut(after=99)) as server:
        assert body_of(server).endswith(b"[DONE]\n\n")


def test_torn_leaves_a_chunk_unfinished() -> None:
    with servers.provider("openai-chat", "a b", servers.torn(after=1)) as server:
        got = raw_exchange(server)
    assert got.endswith(b'\r\n40\r\ndata: {"')


def test_torn_with_reset_sends_a_rst() -> None:
    with servers.provider("openai-chat", "a b", servers.torn(after=1, reset=True)) as server:
        assert raw_exchange(server).endswith(b"<reset>")


def test_error_is_the_dialects_own_frame_in_the_stream_and_no_end_marker_follows() -> None:
    with (
        servers.provider("openai-chat", "a b c", servers.error(after=2, code="rate-limited", retry_after=3.0)) as server,
        asked(server) as response,
    ):
        assert 200 == response.status
        body = response.read()
    assert ["a", " b"] == texts(body)
    last = json.loads(body.strip().splitlines()[-1][6:])["error"]
    assert ("rate-limited", 3.0, True) == (last["code"], last["retry_after"], last["retryable"])


def test_status_is_an_http_error_in_the_providers_form() -> None:
    with (
        servers.provider("openai-chat", "a", servers.status(429, retry_after=1.5, message="slow down")) as server,
        asked(server) as response,
    ):
        assert 429 == response.status
        assert ("2", "1500") == (response.headers["retry-after"], response.headers["retry-after-ms"])
        assert "slow down" == json.loads(response.read())["error"]["message"]
        assert "req-1" == response.headers["x-request-id"]


def test_first_spoils_the_first_requests_alone() -> None:
    with servers.provider("openai-chat", "a", servers.first(2, servers.status(500))) as server:
        statuses = []
        for _ in range(3):
            with asked(server) as response:
                statuses.append(response.status)
    assert [500, 500, 200] == statuses


def test_stall_is_silent_after_so_many_events_until_the_client_leaves() -> None:
    with servers.provider("openai-chat", "a b c", servers.stall(after=2)) as server:
        with asked(server) as response:
            server.wait_sent(2)
            body = b""
            while len(texts(body)) < 2:
                body += response.read1()
            assert ["a", " b"] == texts(body)
            assert not server.requests[0].done
        server.wait_left()
    assert [2] == server.sent
    assert server.requests[0].left


def test_silent_sends_headers_and_no_body() -> None:
    with servers.provider("openai-chat", "a", servers.silent()) as server:
        with asked(server) as response:
            assert 200 == response.status
        server.wait_left()
    assert [0] == server.sent


def test_mute_sends_nothing_at_all() -> None:
    with servers.provider("openai-chat", "a", servers.mute()) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            connection.sendall(b'POST %b HTTP/1.1\r\ncontent-length: 15\r\n\r\n{"stream":true}' % CHAT.encode())
            server.wait_requests()
            connection.settimeout(0)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        server.wait_left()


def test_pings_for_ever_are_comments_where_the_dialect_has_no_word_for_them() -> None:
    with servers.provider("openai-chat", "a b", servers.pings(after=1, every=0.0)) as server:
        with asked(server) as response:
            body = response.read(4000)
        server.wait_left()
    assert ["a"] == texts(body)
    assert body.count(b": hb\n") > 100
    assert [1] == server.sent


def test_counted_pings_are_followed_by_the_rest() -> None:
    with servers.provider("openai-chat", "a b", servers.pings(every=0.0, count=3)) as server:
        body = body_of(server)
    assert 3 == body.count(b": hb\n")
    assert ["a", " b"] == texts(body)


def test_garbage_is_a_page_where_a_stream_was_expected() -> None:
    with servers.provider("openai-chat", "a", servers.garbage()) as server, asked(server) as response:
        assert (200, "text/html") == (response.status, response.headers["content-type"])
        assert response.read().startswith(b"<!doctype html>")


def test_a_bad_frame_stands_between_good_ones() -> None:
    with servers.provider("openai-chat", "a b", servers.bad_frame(b"data: nope\n\n", after=1)) as server:
        body = body_of(server)
    assert body.index(b'"a"') < body.index(b"data: nope") < body.index(b'" b"')


def chunk_sizes(raw: bytes) -> list[int]:
    """The sizes of the chunks of a response, the last (0) included."""
    rest = raw.partition(b"\r\n\r\n")[2]
    sizes = []
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        sizes.append(int(line, 16))
        rest = rest[sizes[-1] + 2 :]
    return sizes


def test_pieces_are_all_of_one_size_and_the_bytes_are_the_same() -> None:
    with servers.provider("openai-chat", "a b") as whole, servers.provider("openai-chat", "a b", servers.pieces(7)) as cut:
        expected = body_of(whole)
        sizes = chunk_sizes(raw_exchange(cut))
        got = body_of(cut)
    assert without_time(expected) == without_time(got.replace(b"answer-2", b"answer-1"))
    assert {7} == set(sizes[:-2])
    assert 1 <= sizes[-2] <= 7
    assert 0 == sizes[-1]
    assert [4, 4] == cut.sent


def without_time(body: bytes) -> bytes:
    head, _, tail = body.partition(b'"created":')
    return head + b"".join(part[10:] for part in tail.split(b'"created":'))


def test_together_puts_many_events_into_one_write() -> None:
    with servers.provider("openai-chat", ["a"] * 10, servers.together(4)) as server:
        sizes = chunk_sizes(raw_exchange(server))
        server.wait_done()
    assert 4 == len(sizes)  # 4, 4, 2 and the end, and the last chunk of HTTP
    assert [10] == server.sent


def test_faults_are_applied_from_left_to_right() -> None:
    with servers.provider("openai-chat", ["a"] * 10, servers.together(4), servers.cut(after=5)) as server:
        assert 8 == len(texts(body_of(server)))
    with servers.provider("openai-chat", ["a"] * 10, servers.cut(after=5), servers.together(4)) as server:
        assert 5 == len(texts(body_of(server)))


def test_gzipped_is_compressed_and_says_so() -> None:
    with servers.provider("openai-chat", "a b", servers.gzipped()) as server, asked(server) as response:
        assert "gzip" == response.headers["content-encoding"]
        assert ["a", " b"] == texts(gzip.decompress(response.read()))


def test_an_endless_script_is_sent_until_the_client_leaves() -> None:
    with servers.provider("openai-chat", servers.endless("on and ")) as server:
        with asked(server) as response:
            assert texts(response.read(20_000))[:2] == ["on and ", "on and "]
        server.wait_left()
    assert server.sent[0] > 50


def test_slow_leaves_the_client_time_to_leave_and_that_is_noticed_in_the_pause() -> None:
    with servers.provider("openai-chat", "a b c", servers.slow(3600.0)) as server:
        with asked(server):
            server.wait_requests()
        server.wait_left(20.0)  # its connection lives for 30
    assert [0] == server.sent


def test_a_pause_in_a_script_waits_and_loses_nothing() -> None:
    with servers.provider("openai-chat", ["a", 0.01, "b"]) as server:
        assert ["a", "b"] == texts(body_of(server))


def test_a_fault_of_ones_own_changes_the_answer() -> None:
    def teapot(answer: servers.Answer) -> None:
        answer.headers["x-teapot"] = f"{answer.number} {answer.dialect}"

    with servers.provider("openai-chat", "a", servers.Fault("teapot", teapot)) as server, asked(server) as response:
        assert "1 openai-chat" == response.headers["x-teapot"]


# ---- bounds and ends ----------------------------------------------------------------------------


def test_leaving_the_block_ends_everything() -> None:
    before = set(threading.enumerate())
    with servers.provider("openai-chat", "a", servers.stall(after=1)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("POST", CHAT, json.dumps(ASK))
        response = connection.getresponse()
        server.wait_sent(1)
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()
    assert not set(threading.enumerate()) - before
    assert not server.left.is_set()
    assert -1 == server._listener.fileno(), "it listens no more; its port may be somebody else's by now"


def test_no_connection_outlives_its_time() -> None:
    with servers.provider("openai-chat", "a", servers.stall(after=1), seconds=0.2) as server:
        # Where the machine is slow its time is up before the first event, or before the answer.
        got = raw_exchange(server)
        assert not got.endswith(b"\r\n0\r\n\r\n")
        assert not server.left.is_set()


def test_connections_are_bounded_in_number() -> None:
    with servers.provider("openai-chat", "a") as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) for _ in range(64)]
        server.wait_connections(64)
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as extra:
            assert b"" == extra.recv(1)
        for connection in held:
            connection.close()
    assert 64 == server.connections


def test_what_a_script_raises_comes_out_of_the_block() -> None:
    def broken(body: object) -> Iterator[str]:
        yield "a"
        raise LookupError("no such word")

    with pytest.raises(LookupError, match="no such word"):
        read_what_breaks(broken)


def test_a_script_that_holds_no_events_is_told_so() -> None:
    with pytest.raises(TypeError, match="a sink writes events and text"):
        read_what_breaks([object()])  # type: ignore[list-item]  # that is the point


def read_what_breaks(script: servers.Script) -> None:
    with servers.provider("openai-chat", script) as server, asked(server) as response, pytest.raises(http.client.IncompleteRead):
        response.read()


def test_waiting_in_vain_says_for_what() -> None:
    with servers.provider("openai-chat") as server:
        with pytest.raises(TimeoutError, match="no client has left"):
            server.wait_left(0.01)
        with pytest.raises(TimeoutError, match="3 events sent"):
            server.wait_sent(3, 0.01)


@pytest.mark.parametrize("make", [lambda: servers.status(200), lambda: servers.pieces(0), lambda: servers.together(0)])
def test_arguments_without_meaning_are_refused_at_the_call(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="got"):
        make()


def test_an_unknown_dialect_is_refused_before_anything_listens() -> None:
    with pytest.raises(ConfigError, match="there is no dialect 'nope'"), servers.provider("nope"):
        pass


def test_a_request_without_a_length_is_refused() -> None:
    with (
        servers.provider("openai-chat") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection,
    ):
        connection.sendall(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 411 ")
