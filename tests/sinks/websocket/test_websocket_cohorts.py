"""Those who read a stream together: whatever one of them does, each of the others gets all of it, once and in order."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from websocket_peer import Mailbox, Peer

from streamkit.hub.hub import Hub
from streamkit.sinks.websocket import WebSocketRoutes
from streamkit.sinks.websocket.limits import Slow

pytestmark = pytest.mark.anyio

SCOPE: dict[str, Any] = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}

# Courses of events; each costs a few milliseconds.
SEEDS = 30


class Numbers:
    """A source that counts: event `n` of the stream says "n,"."""

    def __init__(self) -> None:
        self._inbox = Mailbox()
        self.said = 0

    async def __call__(self) -> Any:
        while True:
            try:
                yield await self._inbox.take()
            except EOFError:
                return

    def say(self, count: int) -> None:
        for _ in range(count):
            self._inbox.put(f"{self.said},")
            self.said += 1

    def end(self) -> None:
        self._inbox.close()


def whole(peer: Peer, slow: Slow, count: int) -> bool:
    """Whether a client's last reading has ended; what it was told has no hole and nothing twice."""
    tokens: dict[str, int] = {}
    due, ended = 0, False
    for message in peer.said:
        match message["type"]:
            case "started":
                due, ended = tokens[message["token"]] + 1 if message.get("token") else 0, False
            case "events":
                assert (due, False) == (message["first"], ended)
                wanted = "".join(f"{number}," for number in range(due, min(message["last"] + 1, count)))
                said = "".join(event["text"] for event in message["events"] if event["type"] == "text-delta")
                if slow == "drop":
                    missed = sum(event["count"] for event in message["events"] if event["type"] == "gap")
                    assert wanted.endswith(said)
                    finishes = message["events"][-1]["type"] == "finish"
                    assert message["last"] - due + 1 == missed + said.count(",") + finishes
                else:
                    assert wanted == said
                due = message["last"] + 1
                tokens[message["token"]] = message["last"]
            case "end":
                assert ("done", count) == (message["ending"], message["last"])
                ended = True
            case other:
                assert other == "hello"
    return ended


class Client:
    """One of many, who does as it is told."""

    def __init__(self, routes: WebSocketRoutes, group: Any) -> None:
        self.peer = Peer()
        self.here = True
        self.reads = False
        self._asked = 0
        self.scope = anyio.CancelScope()
        self._routes = routes
        group.start_soon(self._serve)

    async def _serve(self) -> None:
        with self.scope:
            await self._routes(dict(SCOPE), self.peer.receive, self.peer.send)

    def resume(self, draw: random.Random) -> None:
        told = [message for message in self.peer.said if message["type"] == "events"]
        after = draw.choice(told)["token"] if told and draw.random() < 0.7 else None
        self.peer.say("resume", stream="a", **({} if after is None else {"after": after}))
        self.reads = True
        self._asked += 1

    def stall(self) -> None:
        self.peer.read_on()  # or whoever waits already would wait for ever
        self.peer.stall()

    def leave_the_stream(self) -> None:
        self.peer.say("leave", stream="a")
        self.reads = False

    def go(self, draw: random.Random) -> None:
        self.here = False
        if draw.random() < 0.5:
            self.peer.leave()
            self.peer.read_on()  # a server's `send` does not wait for who is gone
        else:
            self.scope.cancel()

    @property
    def has_begun(self) -> bool:
        """Whether it was told so: what a client asked for it can leave from then on."""
        return self.reads and self._asked == sum(message["type"] == "started" for message in self.peer.said)


@pytest.mark.parametrize("slow", ["send", "coalesce", "drop"])
@pytest.mark.parametrize("kept", [4, 1000])
async def test_whatever_others_do_everybody_gets_all_of_it_once_and_in_order(slow: Slow, kept: int) -> None:
    for seed in range(SEEDS):
        draw, numbers = random.Random(f"{seed} {slow} {kept}"), Numbers()
        async with Hub(max_events=kept) as hub, anyio.create_task_group() as group:
            routes = WebSocketRoutes(
                lambda request: [], hub, allow_missing_origin=True, slow=slow, max_pending_bytes=150, max_messages_per_second=10_000
            )
            await hub.start("a", numbers)
            clients: list[Client] = []
            for _ in range(60):
                here = [client for client in clients if client.here]
                one = draw.choice(here) if here else None
                match draw.choice(["say", "say", "say", "come", "stall", "read on", "again", "stop", "go", "turn", "turn"]):
                    case "say":
                        numbers.say(draw.choice([1, 1, 1, 2, 7, 30]))
                    case "come" if len(here) < 8:
                        clients.append(Client(routes, group))
                        clients[-1].resume(draw)
                    case "stall" if one is not None:
                        one.stall()
                    case "read on" if one is not None:
                        one.peer.read_on()
                    case "again" if one is not None and not one.reads:
                        one.resume(draw)
                    case "stop" if one is not None and one.has_begun:
                        one.leave_the_stream()
                    case "go" if one is not None:
                        one.go(draw)
                    case _:
                        for _ in range(draw.choice([1, 2, 5, 20])):
                            await checkpoint()
            numbers.say(3)
            numbers.end()
            here = [client for client in clients if client.here]
            for client in here:
                client.peer.read_on()
            for client in here:
                if client.reads:
                    await client.peer.until(partial(whole, client.peer, slow, numbers.said))
            for client in here:
                client.peer.leave()
        for client in clients:
            whole(client.peer, slow, numbers.said)
