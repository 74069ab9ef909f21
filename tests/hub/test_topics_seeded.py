"""A thousand random histories of topics; see `topic_histories`."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
from topic_histories import TopicHistory

from streamkit.testing import for_seeds


@pytest.mark.parametrize(("backend", "seeds"), [("asyncio", range(700)), ("trio", range(700, 1000))])
def test_random_histories_of_a_topic_follow_from_what_was_published(backend: Literal["asyncio", "trio"], seeds: range) -> None:
    rest = iter(seeds)
    counts: Counter[str] = Counter()
    for happened in for_seeds(lambda: TopicHistory(next(rest)).run(), seeds, backend=backend):
        counts.update(happened)
    # The histories hold what they are for.
    assert {"gaps", "left", "cancelled", "closed", "lagged", "cut"} == {what for what, count in counts.items() if count > 10}
