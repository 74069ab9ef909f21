"""A fixture for pytest: streams from recordings that lie beside the test.

    async def test_the_answer_is_short(recording):
        chunks = recording("answer.jsonl", live=lambda: client.stream("POST", URL, json=QUESTION))
        assert len(await sk.decode(chunks, "openai-chat").join()) < 100

With the file there, it is replayed, and nobody is asked. Without it, `pytest --streamkit-record` asks once and keeps the
answer; plain `pytest` fails and says so. Only the recording of a test that passed is kept: half an answer would be replayed
from then on. To record anew, delete the file. pytest finds this by itself where streamkit is
installed; it loads nothing of streamkit before a test asks for a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from streamkit.flow.streams import Stream

__all__ = ["Recording", "recording"]

_OPTION = "--streamkit-record"

_passed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--streamkit-record`."""
    group = parser.getgroup("streamkit", "recordings of streams")
    group.addoption(_OPTION, action="store_true", default=False, help="ask live sources for the recordings that are missing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself passed."""
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


class Recording(Protocol):
    """What the fixture gives."""

    def __call__(self, name: str, *, live: Callable[[], object] | None = None, speed: float | None = None) -> Stream[Any]:
        """A stream of what was recorded, or is being recorded.

        Args:
            name: The file, relative to the folder of the test.
            live: Called when there is none and `--streamkit-record` is given; gives a stream, or what `sk.stream` or
                `sk.body` takes: a response, `client.stream(...)`, an async generator.
            speed: How fast it is replayed: None at once, 1 as it was.
        """
        ...


@pytest.fixture
def recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """Replay a recording beside the test, or make it (see the module)."""
    folder = request.path.parent
    may_ask = bool(request.config.getoption(_OPTION))
    made: dict[Path, Path] = {}

    def of(name: str, *, live: Callable[[], object] | None = None, speed: float | None = None) -> Stream[Any]:
        path = folder / name
        for found in (path, made.get(path)):
            if found is not None and found.exists():
                from streamkit.clients.recordings import replay

                return replay(found, speed=speed)
        if live is None:
            pytest.fail(f"there is no recording {path}, and no live= to make it from", pytrace=False)
        if not may_ask:
            pytest.fail(f"there is no recording {path}: run `pytest {_OPTION}` once, with the live source in reach", pytrace=False)
        made[path] = path.with_name(f"{path.name}.unfinished")
        return _recorded(live(), made[path])

    yield of
    node: pytest.Item = request.node  # pyright: ignore[reportUnknownMemberType]  # untyped there
    for path, unfinished in made.items():
        if unfinished.exists():
            if node.stash.get(_passed, False):
                unfinished.replace(path)
            else:
                unfinished.unlink()


def _recorded(source: Any, path: Path) -> Stream[Any]:
    from streamkit.clients.bodies import is_response
    from streamkit.clients.recordings import body, record
    from streamkit.flow.streams import stream

    path.parent.mkdir(parents=True, exist_ok=True)
    # What must be entered or awaited first may turn out to be a response, and `body` knows both.
    opaque = not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")
    return (body(source) if opaque or is_response(source) else stream(source)) | record(path)
