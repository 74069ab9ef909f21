"""All benchmarks as one table, in the terminal and as JSON: `make bench`.

    python benchmarks/run.py [--rounds 7] [--only kernel,sse] [--json FILE] [--markdown]

Each `benchmarks/bench_*.py` has `rows(rounds)`, a list of dicts:

    what, ours, peer, peer_name, unit     a figure of ours and one of a peer, None for one that is not installed
    ratio                                 ours against the peer's
    hold                                  the promise, or None
    bound                                 what the promise means: "least" (ratio at least), "most" (ratio at most) or
                                          "figure" (ours at most, in its unit)
    others                                further peers in the same measure as `ratio`, None for one that is not installed

CPU time, the best of several rounds, ours and the peers in turns: a busy machine slows all of them.
A promise that is missed is said with how much is lacking; it does not fail the run, because figures
depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

Row: TypeAlias = dict[str, object]

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "latest.json"
PEERS = (
    "aioitertools",
    "aiostream",
    "anyio",
    "asyncstdlib",
    "broadcaster",
    "grpcio",
    "httptools",
    "httpx-sse",
    "httpx2",
    "jiter",
    "jsonriver",
    "msgspec",
    "openai",
    "partial-json-parser",
    "reactivex",
    "sse-starlette",
    "streamable",
    "uvicorn",
    "websockets",
)
BOUNDS = {"least": ">=", "most": "<=", "figure": "<="}


def benchmarks(only: str) -> list[str]:
    """The modules to run, by name: all, or those whose names are given, with or without `bench_`."""
    found = sorted(path.stem for path in HERE.glob("bench_*.py"))
    wanted = {f"bench_{name.strip().removeprefix('bench_')}" for name in only.split(",") if name.strip()}
    if unknown := wanted - set(found):
        raise SystemExit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    return [name for name in found if not wanted or name in wanted]


def met(row: Row) -> bool | None:
    """Whether the promise of a row is kept; None where there is no promise, or no peer to measure it by.

    >>> met({"ratio": 2.0, "hold": 1.7, "bound": "least"}), met({"ratio": 2.0, "hold": 1.7, "bound": "most"})
    (True, False)
    """
    hold, measured = row["hold"], row["ours"] if row["bound"] == "figure" else row["ratio"]
    if not isinstance(hold, int | float) or not isinstance(measured, int | float):
        return None
    return measured >= hold if row["bound"] == "least" else measured <= hold


def lacking(row: Row) -> str:
    """By how much a promise is missed, in per cent of it.

    >>> lacking({"ratio": 1.5, "hold": 1.2, "bound": "most"})
    '25 %'
    """
    hold, measured = row["hold"], row["ours"] if row["bound"] == "figure" else row["ratio"]
    assert isinstance(hold, int | float)
    assert isinstance(measured, int | float)
    return f"{abs(measured - hold) / hold * 100:.0f} %"


def cells(row: Row) -> list[str]:
    """A row of the table: what, measured, hold, verdict, figures, peers."""
    hold = "" if row["hold"] is None else f"{BOUNDS[str(row['bound'])]} {number(row['hold'])}"
    verdict = {True: "met", False: "missed", None: "" if row["hold"] is None else "no peer"}[met(row)]
    if verdict == "missed":
        verdict = f"missed by {lacking(row)}"
    measured = number(row["ours"]) if row["bound"] == "figure" else ("" if row["ratio"] is None else f"{number(row['ratio'])}x")
    peer = "" if row["peer"] is None else f"{number(row['peer'])}, "
    beside = f"{peer}{row['peer_name']}{others(row)}"
    return [str(row["what"]), measured, hold, verdict, f"{number(row['ours'])} {row['unit']}", beside]


def others(row: Row) -> str:
    found = row.get("others") or {}
    assert isinstance(found, dict)
    told = [f"{name} {'not installed' if ratio is None else f'{number(ratio)}x'}" for name, ratio in found.items()]
    return "".join(f"; {one}" for one in told)


def number(value: object) -> str:
    """Three digits that matter.

    >>> number(0.12345), number(12.345), number(20480)
    ('0.123', '12.3', '20,480')
    """
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


HEAD = ["what", "measured", "hold", "", "ours", "beside it"]


def table(rows: Iterable[Row]) -> str:
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(rows: Iterable[Row]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> dict[str, object]:
    """What the figures were measured on, without a name or a path of it."""
    found: dict[str, object] = {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="All benchmarks as one table.")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", default="", help="names of benchmarks, by comma")
    options.add_argument("--json", type=Path, default=RESULTS, help="where the figures go as JSON")
    options.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    typed = options.parse_args(argv)
    sys.path.insert(0, str(HERE))
    rows: list[Row] = []
    for name in benchmarks(typed.only):
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += [{"benchmark": name} | row for row in importlib.import_module(name).rows(typed.rounds)]
    print((markdown if typed.markdown else table)(rows))
    about = machine()
    absent = [name for name in PEERS if about[name] is None]
    kept = [met(row) for row in rows]
    where = f"Python {about['python']}, {about['cpus']} CPUs, {typed.rounds} rounds"
    print(f"\n{kept.count(True)} promises met, {kept.count(False)} missed; {where}")
    if absent:
        print(f"not installed, so not beside us: {', '.join(absent)}")
    typed.json.parent.mkdir(parents=True, exist_ok=True)
    typed.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", "utf-8")
    print(f"as JSON: {typed.json.relative_to(Path.cwd()) if typed.json.is_relative_to(Path.cwd()) else typed.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
