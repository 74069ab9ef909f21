"""Streams written by hand with what they mean, and the way to the recorded ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Case(NamedTuple):
    """`events` are (type, data, last event id)."""

    name: str
    stream: bytes
    events: list[tuple[str, str, str]]
    retry: int | None = None
    last_event_id: str = ""


def _messages(*data: str) -> list[tuple[str, str, str]]:
    return [("message", one, "") for one in data]


CASES = [
    Case("nothing", b"", []),
    Case("one message", b"data: one\n\n", _messages("one")),
    Case("no space after the colon", b"data:one\n\n", _messages("one")),
    Case("only one space is dropped", b"data:  one \n\n", _messages(" one ")),
    Case("a tab is no space", b"data:\tone\n\n", _messages("\tone")),
    Case("a colon in the value", b"data: a:b: c\n\n", _messages("a:b: c")),
    Case("two lines", b"data: a\ndata: b\n\n", _messages("a\nb")),
    Case("empty first and last line", b"data\ndata: a\ndata:\n\n", _messages("\na\n")),
    Case("data without a colon", b"data\n\n", _messages("")),
    Case("data twice without a colon", b"data\ndata\n\n", _messages("\n")),
    Case("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", _messages("a", "b")),
    Case("CR", b"data: a\r\rdata: b\r\r", _messages("a", "b")),
    Case("every mix of line ends", b"data: a\n\rdata: b\r\r\ndata: c\r\n\ndata: d\n\r\n", _messages("a", "b", "c", "d")),
    Case("many empty lines", b"\n\r\n\r\r\ndata: a\n\n\n\ndata: b\n\n\n\n\n", _messages("a", "b")),
    Case("byte order mark", b"\xef\xbb\xbfdata: a\n\n", _messages("a")),
    Case("only one mark is dropped", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", _messages("b")),
    Case("a mark further down is data", b"data: \xef\xbb\xbfa\n\n\xef\xbb\xbfdata: b\n\n", _messages("\ufeffa")),
    Case("half a mark", b"\xef\xbbdata: a\n\ndata: b\n\n", _messages("b")),
    Case("a comment", b": hello\n\ndata: a\n: in between\ndata: b\n\n", _messages("a\nb")),
    Case("heartbeats with one LF", b": hb\n: hb\n: hb\ndata: a\n\n: hb\n", _messages("a")),
    Case("named", b"event: add\ndata: 1\n\n", [("add", "1", "")]),
    Case("name after the data", b"data: 1\nevent: add\n\n", [("add", "1", "")]),
    Case("the last name counts", b"event: a\nevent: b\ndata: 1\n\n", [("b", "1", "")]),
    Case("an empty name is message", b"event: a\nevent\ndata: 1\n\nevent: \ndata: 2\n\n", _messages("1", "2")),
    Case("a name does not outlive its block", b"event: a\n\ndata: 1\n\n", _messages("1")),
    Case(
        "three named in a row",
        b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\nevent: c\ndata: 3\n\n",
        [("a", "1", ""), ("b", "2", ""), ("c", "3", "")],
    ),
    Case(
        "named blocks of uneven shape",
        b"event: a\ndata: 1\ndata: 2\n\nevent: b\n\nevent: c\ndata: 3\n\n",
        [("a", "1\n2", ""), ("c", "3", "")],
    ),
    Case("id", b"id: 1\ndata: a\n\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "1")], last_event_id="1"),
    Case("id without data", b"id: 1\n\ndata: a\n\n", [("message", "a", "1")], last_event_id="1"),
    Case("id reset", b"id: 1\ndata: a\n\nid\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "")]),
    Case(
        "id with NUL", b"id: 1\ndata: a\n\nid: \x00\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "1")], last_event_id="1"
    ),
    Case("id cut off by the end", b"id: 1\ndata: a\n\nid: 2\n", [("message", "a", "1")], last_event_id="1"),
    Case(
        "event, id, data",
        b"event: e\nid: 4\ndata: a\n\nevent: e\nid: 5\ndata: b\n\n",
        [("e", "a", "4"), ("e", "b", "5")],
        last_event_id="5",
    ),
    Case("retry", b"retry: 3000\n\n", [], retry=3000),
    Case("retry holds at once", b"retry: 10\n", [], retry=10),
    Case("retry with zeros in front", b"retry: 0010\n", [], retry=10),
    Case("retry zero", b"retry: 0\n", [], retry=0),
    Case("retry that is none", b"retry: 1\nretry: -1\nretry: 1.5\nretry: 1 \nretry: \xd9\xa3\nretry\nretry: 1x\n", [], retry=1),
    Case("unknown fields", b"Data: a\n data: b\nfoo: c\nbar\ndata: d\n\n", _messages("d")),
    Case("NUL in data", b"data: a\x00b\n\n", _messages("a\0b")),
    Case(
        "other line separators are data",
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
        _messages("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"),
    ),
    Case("characters of two, three and four bytes", "data: é你😀\n\n".encode(), _messages("é你😀")),
    Case("malformed UTF-8", b"data: a\xffb\xc0\x80\n\n", _messages("a\ufffdb\ufffd\ufffd")),
    Case("a character cut by a line end", b"data: \xf0\x9f\x98\ndata: a\n\n", _messages("\ufffd\na")),
    Case("UTF-8 in name and id", "event: é\nid: 你\ndata: a\n\n".encode(), [("é", "a", "你")], last_event_id="你"),
    Case("a block without its end", b"data: a\n\ndata: b\n", _messages("a")),
    Case("a line without its end", b"data: a\n\ndata: b", _messages("a")),
    Case("not SSE at all", b"<html>\n<body>502</body>\n</html>\n", []),
    Case(
        "a mixed run",
        b"data: a\n\nevent: x\ndata: b\n\n: c\n\ndata:d\n\nid: 1\ndata: e\n\n",
        [*_messages("a"), ("x", "b", ""), *_messages("d"), ("message", "e", "1")],
        last_event_id="1",
    ),
]


def recorded(name: str, *path: str) -> Any:
    """The recorded data file `name` (at `path` inside it), or an empty list where STREAMKIT_SHARED does not say where they are."""
    folder = os.environ.get("STREAMKIT_SHARED")
    if not folder:
        return []
    value = json.loads((Path(folder) / "data" / name).read_text(encoding="utf-8"))
    for key in path:
        value = value[key]
    return value


def require_recorded(cases: Any) -> None:
    """Skip where the recorded data is not at hand; under CI that is a failure."""
    if not cases and os.environ.get("STREAMKIT_CI") == "1":
        pytest.fail("STREAMKIT_SHARED is not set: the recorded SSE cases did not run")
    if not cases:
        pytest.skip("STREAMKIT_SHARED is not set: the recorded SSE cases are not at hand")


def recorded_sse_cases() -> list[Case]:
    """The recorded conformance cases in our shape."""
    return [
        Case(
            case["name"],
            bytes.fromhex(case["input_hex"]),
            [(event["type"], event["data"], event["lastEventId"]) for event in case["expected_events"]],
            case["expected_retry"],
            case["expected_last_event_id"],
        )
        for case in recorded("sse_conformance.json", "cases")
    ]
