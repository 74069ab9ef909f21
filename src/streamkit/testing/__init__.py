"""What users test their own parts with: virtual time, scripted models, and the contract as a suite.

    report = await check_operator(my_operator(), items=["a", "b", "c"], expected=["A", "B", "C"])
    print(report)

`clock` is time that jumps, `diagrams` draws streams as text, `seeded` decides whose turn it is, `scripted` a model that plays
what it is told, `probes` a source that watches how it is treated, `leaks` looks for what was left behind, and
`source_contract`, `operator_contract`, `sink_contract` and `store_contract` are the checks. All of it runs on asyncio,
uvloop and trio and needs no test framework.

`servers` are providers on loopback; `pytest_plugin` is a fixture that records and replays, for pytest alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.testing.clock import Deadlock as Deadlock
    from streamkit.testing.clock import VirtualClock as VirtualClock
    from streamkit.testing.clock import timed as timed
    from streamkit.testing.contract import RULES as RULES
    from streamkit.testing.contract import ContractBroken as ContractBroken
    from streamkit.testing.contract import Report as Report
    from streamkit.testing.diagrams import MarbleError as MarbleError
    from streamkit.testing.diagrams import Observed as Observed
    from streamkit.testing.diagrams import assert_marbles as assert_marbles
    from streamkit.testing.diagrams import drawn as drawn
    from streamkit.testing.diagrams import marbles as marbles
    from streamkit.testing.diagrams import observe as observe
    from streamkit.testing.leaks import assert_no_leaks as assert_no_leaks
    from streamkit.testing.operator_contract import check_operator as check_operator
    from streamkit.testing.probes import Probe as Probe
    from streamkit.testing.scripted import CUT as CUT
    from streamkit.testing.scripted import Play as Play
    from streamkit.testing.scripted import ScriptedModel as ScriptedModel
    from streamkit.testing.seeded import SeededLoop as SeededLoop
    from streamkit.testing.seeded import for_seeds as for_seeds
    from streamkit.testing.seeded import run_seeded as run_seeded
    from streamkit.testing.sink_contract import check_sink as check_sink
    from streamkit.testing.source_contract import check_source as check_source
    from streamkit.testing.store_contract import STORE_RULES as STORE_RULES
    from streamkit.testing.store_contract import check_store as check_store

# A module is loaded when its first name is asked for: pytest loads this package at every start, for the fixture in it.
_HOMES = {
    "streamkit.testing.clock": "Deadlock VirtualClock timed",
    "streamkit.testing.contract": "RULES ContractBroken Report",
    "streamkit.testing.leaks": "assert_no_leaks",
    "streamkit.testing.diagrams": "MarbleError Observed assert_marbles drawn marbles observe",
    "streamkit.testing.operator_contract": "check_operator",
    "streamkit.testing.probes": "Probe",
    "streamkit.testing.scripted": "CUT Play ScriptedModel",
    "streamkit.testing.seeded": "SeededLoop for_seeds run_seeded",
    "streamkit.testing.sink_contract": "check_sink",
    "streamkit.testing.source_contract": "check_source",
    "streamkit.testing.store_contract": "STORE_RULES check_store",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = list(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    from importlib import import_module

    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'streamkit.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
