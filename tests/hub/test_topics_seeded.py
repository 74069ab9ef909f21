"""A thousand random histories of topics; see `topic_histories`."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
from topic_histories import TopicHistory

from streamkit.testing import for_seeds

# In pieces that a slow machine has done in its time for one test.
PIECES = [
    ("asyncio", range(250)),
    ("asyncio", range(250, 500)),
    ("asyncio", range(500, 700)),
    ("trio", range(700, 850)),
    ("trio", range(850, 1000)),
]


@pytest.mark.parametrize(("backend", "seeds"), PIECES)
def test_random_histories_of_a_topic_follow_from_what_was_published(backend: Literal["asyncio", "trio"], seeds: range) -> None:
    rest = iter(seeds)
    counts: Counter[str] = Counter()
    for happened in for_seeds(lambda: TopicHistory(next(rest)).run(), seeds, backend=backend):
        counts.update(happened)
    # The histories hold what they are for.
    assert {"gaps", "left", "cancelled", "closed", "lagged", "cut"} == {what for what, count in counts.items() if count > 1}, counts
