"""Random histories of one topic, held to a small model.

A history has publishers, readers of every policy and from everywhere, members and watchers; each leaves, fails or is cancelled
when a seed says so, and some histories end with the topic closed while all of them are there. The model is a list: what was
published, in the order of the tokens. Afterwards

    a publisher's items stand together, once each, in its own order; one that was cancelled has left out a tail of its last call
    a reader with "lag" or "backpressure" got a piece of the list, each event once, with its own token, and a Gap that counts
    what it missed; "conflate" the same text; "latest" what the gaps leave; "disconnect" a piece, then the token to go on from
    a watcher knows who is there
    an end is typed; nothing is left: no reader, no member, no task, no timer
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeAlias

import anyio

from streamkit.errors import ReaderLagged, StreamBusy, StreamDraining
from streamkit.events.model import Custom, Event, Gap, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.reading import Policy
from streamkit.hub.tokens import parse_token
from streamkit.hub.topics import Topic
from streamkit.testing import VirtualClock

Ending: TypeAlias = Literal["left", "cancelled", "closed", "lagged"]

POLICIES: tuple[Policy, ...] = ("lag", "lag", "conflate", "latest", "disconnect", "backpressure")
PAUSES: tuple[int | float, ...] = (0, 0, 1, 1, 2, 3, 0.5, 1.0)
NAMES = ("ada", "bob", None)


class Reading:
    """What one reader got, from where, and how it ended."""

    def __init__(self, policy: Policy, lag: int, after: str | None) -> None:
        self.policy: Policy = policy
        self.lag = lag
        self.after = after
        # The offset of the first event that it is owed.
        self.begin = 0
        self.entries: list[tuple[str, Event]] = []
        self.ending: Ending = "cancelled"
        self.resume: str | None = None


class TopicHistory:
    """One seed's topic and what becomes of it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.published: list[tuple[str, list[str], str | None]] = []
        self.tokens: list[str] = []
        self.readings: list[Reading] = []
        self.known: list[tuple[Ending, dict[str, object]]] = []
        self.members: dict[str, object] = {}

    async def run(self) -> dict[str, int]:
        """Let it happen, and hold it to the model; how often what happened."""
        dice = self.dice
        max_events = dice.choice([2, 5, 1000])
        closes = dice.random() < 0.5
        async with Hub(ttl=dice.choice([5.0, 1000.0])) as hub:
            topic = hub.topic("room", max_events=max_events)
            # Somebody is there as long as it lasts, or the topic might be forgotten, and have another beginning.
            async with topic.join("keeper"), topic.entries(after="start") as whole:
                everything: list[tuple[str, Event]] = []
                async with anyio.create_task_group() as group:
                    witness = anyio.CancelScope()
                    group.start_soon(self.witness, whole, everything, witness)
                    async with anyio.create_task_group() as actors:
                        for number in range(dice.randrange(1, 4)):
                            self.begin(actors, self.publish, topic, f"{number}")
                        for _ in range(dice.randrange(1, 6)):
                            self.begin(actors, self.read, topic)
                        for _ in range(dice.randrange(0, 3)):
                            self.begin(actors, self.be_there, topic)
                        for _ in range(dice.randrange(0, 3)):
                            self.begin(actors, self.watch, topic)
                        await anyio.lowlevel.checkpoint()
                        await self.settle(dice.choice([10, 30, 60]))
                        if closes:
                            await topic.aclose()
                        else:
                            actors.cancel_scope.cancel()
                    await self.settle(20)
                    there = {name: dict(member.metadata) for name, member in topic.members.items()}
                    assert ({} if closes else {"keeper": {}}) == there
                    witness.cancel()
                self.judge(everything, whole_is_known=max_events == 1000)
            assert not topic.in_use
            assert 0 == topic.readers
            log, presence = topic._log, topic._presence
            if log is not None and presence is not None:
                log.crowd.wake()
                presence.crowd.wake()
                await self.settle(3)
                assert not log.crowd.sitting
                assert not presence.crowd.sitting
                assert not log.lockstep
        clock = current_clock()
        assert isinstance(clock, VirtualClock)
        assert 0 == clock.pending
        counts = dict.fromkeys(("gaps", "left", "cancelled", "closed", "lagged", "cut"), 0)
        for reading in self.readings:
            counts[reading.ending] += 1
            counts["gaps"] += any(isinstance(event, Gap) for _, event in reading.entries)
        counts["cut"] = sum(token is None for _, _, token in self.published)
        return counts

    def begin(self, group: anyio.abc.TaskGroup, act: Callable[..., object], *args: object) -> None:
        """Somebody does something, some of them until they are cancelled."""
        scope = anyio.CancelScope()
        dice = self.dice
        late, patience = dice.choice(PAUSES), dice.choice([None, None, 0, 1, 2, 4, 7, 0.5, 2.0])
        seed = dice.random()

        async def perform() -> None:
            await wait(late)
            with scope:
                await act(random.Random(seed), *args)  # type: ignore[misc]  # one of the four below

        async def cancel() -> None:
            assert patience is not None
            await wait(late)
            await wait(patience)
            scope.cancel()

        group.start_soon(perform)
        if patience is not None:
            group.start_soon(cancel)

    async def witness(self, whole: object, into: list[tuple[str, Event]], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                async for entry in whole:  # type: ignore[attr-defined]
                    into.append(entry)
            except StreamDraining:
                return

    # -- who acts

    async def publish(self, dice: random.Random, topic: Topic, name: str) -> None:
        for call in range(dice.randrange(1, 12)):
            texts = [f"[{name}.{call}.{number}]" for number in range(dice.choice([1, 1, 2, 6]))]
            at = len(self.published)
            self.published.append((name, texts, None))
            items = [Custom("said", text) if dice.random() < 0.2 else text for text in texts]
            try:
                token = await topic.publish(*items)
            except StreamDraining:
                return
            self.published[at] = (name, texts, token)
            self.tokens.append(token)
            await wait(dice.choice(PAUSES))

    async def read(self, dice: random.Random, topic: Topic) -> None:
        after = dice.choice([None, "start", "token"])
        if after == "token":
            after = dice.choice(self.tokens) if self.tokens else None
        reading = Reading(dice.choice(POLICIES), dice.choice([1, 2, 8]), after)
        leaves = dice.choice([None, None, 1, 3, 10])
        pauses = [dice.choice(PAUSES) for _ in range(3)]
        try:
            async with topic.entries(after=after, policy=reading.policy, lag=reading.lag) as entries:
                log = topic._log
                assert log is not None
                reading.begin = log.head if after is None else 0 if after == "start" else parse_token(after)[1] + 1
                self.readings.append(reading)
                there = 0
                async for entry in entries:
                    reading.entries.append(entry)
                    there = there or log.head
                    if reading.policy == "backpressure":
                        head = log.head - log.over  # its end waits for nobody
                        ahead = head - max(there, parse_token(entry[0])[1])
                        assert ahead <= reading.lag, f"publishers are {ahead} events ahead"
                    if len(reading.entries) == leaves:
                        reading.ending = "left"
                        break
                    await wait(pauses[len(reading.entries) % 3])
        except StreamDraining:
            reading.ending = "closed"
        except ReaderLagged as lagged:
            reading.ending = "lagged"
            reading.resume = lagged.token

    async def be_there(self, dice: random.Random, topic: Topic) -> None:
        for _ in range(dice.randrange(1, 4)):
            try:
                async with topic.join(dice.choice(NAMES), metadata={"n": 0}) as member:
                    for number in range(dice.randrange(4)):
                        await wait(dice.choice(PAUSES))
                        await member.update({"n": number})
                        assert {"n": number} == topic.members[member.name].metadata
                    if dice.random() < 0.2:
                        raise ZeroDivisionError
            except (StreamBusy, ZeroDivisionError):
                await wait(dice.choice(PAUSES))
            except StreamDraining:
                return

    async def watch(self, dice: random.Random, topic: Topic) -> None:
        known: dict[str, object] = {}
        pause = dice.choice(PAUSES)
        try:
            async with topic.presence() as changes:
                async for change in changes:
                    name = change.member.name
                    match change.kind:
                        case "joined":
                            assert name not in known
                            known[name] = change.member
                        case "updated":
                            assert name in known
                            known[name] = change.member
                        case "left":
                            del known[name]
                    await wait(pause)
        except StreamDraining:
            assert {} == known

    async def settle(self, turns: int) -> None:
        for _ in range(turns):
            await wait(self.dice.choice(PAUSES))

    # -- the model

    def judge(self, everything: list[tuple[str, Event]], *, whole_is_known: bool) -> None:
        """Hold all of it to what a reader saw that was always there."""
        model: dict[int, str] = {}
        for token, event in everything:
            if not isinstance(event, Gap):
                model[parse_token(token)[1]] = text_of(event)
        if whole_is_known:
            assert list(model) == list(range(len(model)))
            self.judge_publishers("".join(model.values()))
        for reading in self.readings:
            assert Follows(reading, model).holds()

    def judge_publishers(self, said: str) -> None:
        count = 0
        for _, texts, token in self.published:
            whole = "".join(texts)
            if token is not None:
                assert whole in said
                count += len(texts)
                continue
            cut = [text for text in texts if text in said]
            assert cut == texts[: len(cut)]  # what waited when it was cut off is a tail
            count += len(cut)
        assert said.count("[") == count
        for name in {name for name, _, _ in self.published}:
            own = "".join("".join(texts) for one, texts, _ in self.published if one == name)
            heard = "".join(f"[{piece}]" for piece in said[1:-1].split("][") if piece.startswith(f"{name}.")) if said else ""
            assert in_order(heard, own), f"{heard} is not in the order of {own}"


class Follows:
    """Whether what a reader got follows from what was published."""

    def __init__(self, reading: Reading, model: dict[int, str]) -> None:
        self.reading = reading
        self.model = model

    def holds(self) -> bool:
        reading, model = self.reading, self.model
        at = reading.begin
        for token, event in reading.entries:
            last = parse_token(token)[1]
            assert last >= at, f"{event} came twice, or out of order: {reading.entries}"
            if isinstance(event, Gap):
                assert event.count == last - at + 1, "a gap that does not count what is missing"
            else:
                known = "".join(model.get(offset, "?") for offset in range(at, last + 1))
                assert "?" in known or known == text_of(event), f"{known} is not {event}"
                assert reading.policy == "conflate" or last == at, "some are missing, and nothing says so"
            at = last + 1
        if reading.ending == "lagged":
            assert reading.policy == "disconnect"
            assert reading.resume is None or parse_token(reading.resume)[1] == at - 1
        if reading.ending == "closed" and model:
            assert at == max(reading.begin, max(model) + 1), "it was closed, and not all had been given"
        if reading.policy == "backpressure":  # before its first read nobody waits for it
            assert not any(isinstance(event, Gap) for _, event in reading.entries[1:]), "it is lossless, and lost something"
        return True


def text_of(event: Event) -> str:
    match event:
        case TextDelta(text=text):
            return text
        case Custom(data=str(text)):
            return text
        case _:
            raise AssertionError(f"{event} was never published")


def in_order(heard: str, own: str) -> bool:
    """Whether what was heard is the publisher's own text without some pieces, in the same order."""
    pieces = iter(own[1:-1].split("]["))
    return not heard or all(piece in pieces for piece in heard[1:-1].split("]["))


async def wait(pause: int | float) -> None:
    """A pause: an int in turns, a float in seconds."""
    if isinstance(pause, float):
        await current_clock().sleep(pause)
    else:
        checkpoint = current_backend().checkpoint
        for _ in range(pause):
            await checkpoint()
