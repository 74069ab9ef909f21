"""Clients of npm that connect again: over a wire that tears they lose nothing, repeat nothing, and stop where the answer ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import httpx2
import pytest
from answers import Kept
from node_clients import PATIENCE_S, NodeSession, node_session
from served import broken_wire, served

from streamkit.wire.sse import Decoder, Frame


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("clients.mjs") as running:
        yield running


def undisturbed(url: str) -> list[Frame]:
    with httpx2.Client(timeout=PATIENCE_S) as client:
        return Decoder().feed(client.get(url).content)


def without_repeats(frames: list[Any]) -> list[Any]:
    """The first event has two frames, and its id stands on the second: if a wire is torn between, the first comes again."""
    return [frame for frame, _ in groupby(frames)]


@pytest.mark.parametrize("seed", [1, 3])
def test_eventsource_4_loses_nothing_repeats_nothing_and_stops_at_204(node: NodeSession, seed: int) -> None:
    kept = Kept()
    with served(kept) as url, broken_wire(url, seed=seed, tears=12, least_bytes=1, most_bytes=2500) as wire:
        got = node.call("eventSourceAgain", url=f"{wire.url}/whole")
        assert 12 == wire.torn
        whole = undisturbed(f"{url}/whole")
    assert kept.text == got["text"]
    # Where a frame has no id, its messages have none: not the last one that there was, as those of browsers have.
    assert [frame.data for frame in whole] == [data for _, data in without_repeats(got["frames"])]
    assert 204 == got["code"]
    assert ["whole"] == kept.runs


def test_eventsource_4_is_told_a_failure_once_and_stops_at_204(node: NodeSession) -> None:
    kept = Kept()
    with served(kept) as url:
        got = node.call("eventSourceAgain", url=f"{url}/failing")
    assert (kept.text, "The stream failed.", 204) == (got["text"], got["told"], got["code"])
    assert 1 == got["kinds"].count("error")


def test_fetch_event_source_2_resumes_what_was_torn_in_the_data_of_events_and_no_heartbeat_is_a_message(node: NodeSession) -> None:
    kept = Kept(tears=8)
    with served(kept) as url:
        got = node.call("microsoftAgain", url=f"{url}/whole")
        assert 8 == kept.torn == got["lost"]
        whole = undisturbed(f"{url}/whole")
    assert 9 == got["opened"]
    assert kept.text == got["text"]
    assert [frame.data for frame in whole] == [data for _, data in without_repeats(got["frames"])]
    assert ("end", None) == (got["finish"], got["error"])


def test_one_generation_with_ids_on_its_frames_is_read_by_all_clients_at_once(node: NodeSession) -> None:
    clients = [
        *("openaiChatRaw", "openaiChatStream", "ai6Compatible", "ai7Compatible", "openaiResponsesRaw", "openaiResponsesStream"),
        *("anthropicRaw", "anthropicStream", "eventSource", "parser", "microsoft"),
    ]
    kept = Kept()
    with served(kept) as url:
        asked = [node.ask(client, url=f"{url}/whole", method="POST") for client in clients]
        got = dict(zip(clients, (node.result(one) for one in asked), strict=True))
    assert dict.fromkeys(clients, kept.text) == {client: one["text"] for client, one in got.items()}
    assert dict.fromkeys(clients) == {client: one["error"] for client, one in got.items()}
    assert ["whole"] == kept.runs
