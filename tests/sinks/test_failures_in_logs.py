"""What a source says of its own failure, on its way into the log."""

from __future__ import annotations

import logging

import pytest

from streamkit.events import ErrorEvent
from streamkit.sinks.failures import report, told_once

CODES = {"overloaded": "overloaded", "a\ud83d": r"'a\ud83d'", "a\nforged line": r"'a\nforged line'"}


@pytest.mark.parametrize("code", CODES, ids=["plain", "half a character", "two lines"])
def test_a_code_of_a_source_is_one_line_that_can_be_written(code: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        report(ErrorEvent("m", code=code), before_first_byte=True)
        told_once({}, "a", ErrorEvent("m", code=code), None, "id")
    for record in caplog.records:
        assert f"(code {CODES[code]}, " in record.getMessage()
    assert 2 == len(caplog.records)


def test_a_long_code_is_cut_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        report(ErrorEvent("m", code="x" * 100_000), before_first_byte=False)
    assert len(caplog.records[0].getMessage()) < 300
