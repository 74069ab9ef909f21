"""A pytest plugin: one clear last line, and no quiet skip where everything must run.

Under `STREAMKIT_CI=1` a skipped test fails the run and is named, and so is a run without any test.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from time import monotonic

import pytest

STARTED = monotonic()
SKIPS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPS] = []


def must_run_everything() -> bool:
    return os.environ.get("STREAMKIT_CI", "") not in {"", "0"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[SKIPS].append(f"{item.nodeid}: {_reason(report)}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if report.skipped:
        collector.config.stash[SKIPS].append(f"{collector.nodeid}: {_reason(report)}")
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.stash[SKIPS] and must_run_everything() and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    counts = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
    skips = config.stash[SKIPS]
    if skips and must_run_everything():
        print("Skipped, and STREAMKIT_CI=1 lets nothing be skipped:", *skips, sep="\n  ")
    bad = counts["failed"] + counts["error"] + (len(skips) if must_run_everything() else 0)
    word = "OK" if counts["passed"] and not bad else "NOT OK"
    figures = f"{counts['passed']} passed, {counts['failed']} failed, {counts['error']} errors, {len(skips)} skipped"
    print(f"tests {word}: {figures}, {monotonic() - STARTED:.0f} s, Python {platform.python_version()}")
