"""A pytest plugin: one clear last line, and no quiet skip where everything must run.

Under `STREAMKIT_CI=1` a skipped test fails the run and is named, and so is a run without any test.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from time import monotonic
from typing import Any

import pytest

STARTED = monotonic()
SKIPS = pytest.StashKey[list[str]]()
BROKEN = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPS] = []
    config.stash[BROKEN] = False


def must_run_everything() -> bool:
    return os.environ.get("STREAMKIT_CI", "") not in {"", "0"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[SKIPS].append(f"{item.nodeid}: {_reason(report)}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        collector.config.stash[SKIPS].append(f"{collector.nodeid}: {_reason(report)}")
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist has ended: what it skipped counts here."""
    output = getattr(node, "workeroutput", {})  # none of one that died, which is a failure by itself
    node.config.stash[SKIPS].extend(output.get("streamkit_skips", []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    worker: Any = session.config
    if hasattr(worker, "workeroutput"):
        worker.workeroutput["streamkit_skips"] = session.config.stash[SKIPS]
        return
    # What broke off the run itself is no test that failed.
    session.config.stash[BROKEN] = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if session.config.stash[SKIPS] and must_run_everything() and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> Generator[None]:
    # Around the others: what a test left behind is found by them, and is raised here.
    clean = False
    try:
        yield
        clean = True
    finally:
        _tell(config, clean=clean)


def _tell(config: pytest.Config, *, clean: bool) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    counts = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
    found: list[str] = config.stash[SKIPS]
    skips = list(dict.fromkeys(found))  # each worker collects all
    if skips and must_run_everything():
        print("Skipped, and STREAMKIT_CI=1 lets nothing be skipped:", *skips, sep="\n  ")
    bad = counts["failed"] + counts["error"] + (len(skips) if must_run_everything() else 0) + (not clean) + config.stash[BROKEN]
    word = "OK" if counts["passed"] and not bad else "NOT OK"
    figures = f"{counts['passed']} passed, {counts['failed']} failed, {counts['error']} errors, {len(skips)} skipped"
    print(f"tests {word}: {figures}, {monotonic() - STARTED:.0f} s, Python {platform.python_version()}", flush=True)
