"""One answer in a real browser: EventSource and fetch in Chromium, over a wire that tears, up to the end that stops them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, groupby

import httpx2
import pytest
from answers import HALF, TEXT, Answers, Kept, closing_takes
from browser import Browser, browser, with_pages
from node_clients import PATIENCE_S
from served import broken_wire, served, wait_until

from streamkit.wire.sse import Decoder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def url(answers: Answers) -> Iterator[str]:
    with served(with_pages(answers), "uvloop") as url:
        yield url


@pytest.mark.parametrize("how", ["whole", "bytewise"])
def test_an_event_source_reads_every_character_and_closes_at_the_typed_end(chromium: Browser, url: str, how: str) -> None:
    ran = chromium.run_page(f"{url}/pages/event_source.html?close=end&stream=/{how}/es-{how}")
    assert TEXT == ran.told["text"] == ran.told["shown"]
    assert ("end", 1, 0) == (ran.told["ended"], ran.told["opened"], ran.told["lost"])
    assert [] == ran.errors


def test_an_event_source_closes_at_an_end_that_has_a_name_of_its_own(chromium: Browser, url: str, answers: Answers) -> None:
    ran = chromium.run_page(f"{url}/pages/event_source.html?close=message_stop&stream=/whole/named/v1/messages")
    assert TEXT == ran.told["text"]
    assert ("message_stop", 1, []) == (ran.told["ended"], ran.told["opened"], ran.told["frames"])
    assert ["GET"] == answers.asked["named"]


def test_sse_13_markup_in_a_token_is_shown_as_text_and_runs_nothing(chromium: Browser, url: str) -> None:
    ran = chromium.run_page(f"{url}/pages/event_source.html?close=end&stream=/whole/markup")
    assert "<img src=x onerror=\"alert('xss')\"></script>&amp;" in ran.told["shown"]
    assert [] == ran.dialogs
    assert [] == [asked for asked in ran.requests if asked.endswith("/x")]


def test_an_event_source_is_told_a_failure_in_the_middle(chromium: Browser, url: str) -> None:
    ran = chromium.run_page(f"{url}/pages/event_source.html?close=end&stream=/failing/es-failing")
    assert (HALF, "The stream failed.", "error") == (ran.told["text"], ran.told["error"], ran.told["ended"])
    assert "secret" not in str(ran)


def test_an_event_source_is_not_told_why_it_was_refused_and_does_not_ask_again(
    chromium: Browser, url: str, answers: Answers
) -> None:
    ran = chromium.run_page(f"{url}/pages/event_source.html?close=end&stream=/refused/es-refused")
    assert ("closed by the server", 0, []) == (ran.told["ended"], ran.told["opened"], ran.told["frames"])
    assert ["GET"] == answers.asked["es-refused"]


def test_a_fetch_reads_every_character(chromium: Browser, url: str, answers: Answers) -> None:
    told = chromium.run_page(f"{url}/pages/fetch.html?stream=/whole/fetch").told
    assert (TEXT, None, 200, "end") == (told["text"], told["error"], told["status"], told["kinds"][-1])
    assert 1 <= told["comments"]
    assert ["POST"] == answers.asked["fetch"]


def test_a_fetch_whose_connection_is_torn_fails_and_one_that_is_cut_has_no_end(chromium: Browser, url: str) -> None:
    torn = chromium.run_page(f"{url}/pages/fetch.html?stream=/torn/fetch-torn").told
    assert "TypeError" == torn["error"]
    assert torn["text"] in ("", HALF)  # a body that fails forgets what nobody had read yet
    cut = chromium.run_page(f"{url}/pages/fetch.html?stream=/cut/fetch-cut").told
    assert (HALF, None) == (cut["text"], cut["error"])
    assert "end" not in cut["kinds"]


@pytest.mark.parametrize("how", ["silent", "endless"])
def test_aborting_a_fetch_closes_the_source(chromium: Browser, url: str, answers: Answers, how: str) -> None:
    key = f"abort-{how}"
    told = chromium.run_page(f"{url}/pages/fetch.html?stop=5&stream=/{how}/{key}").told
    assert "AbortError" == told["error"]
    assert told["text"].startswith(HALF)
    wait_until(lambda: key in answers.closed)


def test_leaving_a_page_closes_the_sources_of_its_event_sources(chromium: Browser, url: str, answers: Answers) -> None:
    numbers = count()

    def leave() -> Callable[[], bool]:
        key = f"leaving-{next(numbers)}"
        told = chromium.run_page(f"{url}/pages/event_source.html?close=text-delta&stream=/silent/{key}").told
        assert HALF == told["text"]
        return lambda: key in answers.closed

    assert 5 > closing_takes(leave)


def undisturbed(url: str) -> list[list[str | None]]:
    with httpx2.Client(timeout=PATIENCE_S) as client:
        frames = Decoder().feed(client.get(url).content)
    return [[frame.id, frame.data] for frame in frames]


@pytest.mark.parametrize("seed", [1, 2])
def test_an_event_source_over_a_torn_wire_loses_nothing_repeats_nothing_and_stops_at_204(chromium: Browser, seed: int) -> None:
    kept = Kept()
    # Behind the head of an answer: to a head that is torn an EventSource does not come back.
    with served(with_pages(kept)) as url, broken_wire(url, seed=seed, tears=12, least_bytes=700, most_bytes=2500) as wire:
        ran = chromium.run_page(f"{url}/pages/event_source.html?stream={wire.url}/whole")
        assert 12 == wire.torn
        whole = undisturbed(f"{url}/whole")
    assert kept.text == ran.told["text"]
    # The first event has two frames, and its id stands on the second: the first may come again.
    assert whole == [frame for frame, _ in groupby(ran.told["frames"])]
    assert "closed by the server" == ran.told["ended"]
    assert ["whole"] == kept.runs


def test_an_event_source_whose_answer_fails_is_told_once_and_stops_at_204(chromium: Browser) -> None:
    kept = Kept()
    with served(with_pages(kept)) as url:
        ran = chromium.run_page(f"{url}/pages/event_source.html?stream=/failing")
    assert kept.text == ran.told["text"]
    assert ("The stream failed.", "closed by the server") == (ran.told["error"], ran.told["ended"])
    assert 1 == sum("The stream failed." in data for _, data in ran.told["frames"])
    assert 1 == ran.told["opened"]
