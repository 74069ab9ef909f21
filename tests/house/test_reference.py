"""The reference has every exported name, once."""

from __future__ import annotations

import re
from collections import Counter

from exported import EXPORTED
from source_tree import ROOT

from streamkit import testing

TESTING = [f"testing.{name}" for name in testing.__all__]
LISTED = re.compile(r"^\.\. auto(?:function|class|data):: streamkit\.((?:testing\.)?\w+)$", re.MULTILINE)


def test_the_reference_has_every_exported_name_once() -> None:
    pages = (ROOT / "docs" / "reference").rglob("*.md")
    assert dict.fromkeys([*EXPORTED, *TESTING], 1) == Counter(
        name for page in pages for name in LISTED.findall(page.read_text("utf-8"))
    )
