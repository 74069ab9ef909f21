"""What an AG-UI client hears besides the answer: its state, and the steps of the work.

Each is a `Custom` event whose name is AG-UI's own. `AGUIEncoder` writes it as that event, the native form keeps it, and every
other dialect treats it as it treats any `Custom`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from streamkit.errors import ConfigError
from streamkit.events import Custom

__all__ = [
    "STATE_DELTA",
    "STATE_SNAPSHOT",
    "STEP_FINISHED",
    "STEP_STARTED",
    "is_patch",
    "state_delta",
    "state_snapshot",
    "step_finished",
    "step_started",
]

STATE_SNAPSHOT: Final = "STATE_SNAPSHOT"
STATE_DELTA: Final = "STATE_DELTA"
STEP_STARTED: Final = "STEP_STARTED"
STEP_FINISHED: Final = "STEP_FINISHED"

# RFC 6901.
_POINTER: Final = re.compile("(?:/(?:[^/~]|~[01])*)*")
# What RFC 6902 wants in each operation besides `path`.
_OPERATIONS: Final = {
    "add": "value",
    "replace": "value",
    "test": "value",
    "remove": "path",
    "move": "from",
    "copy": "from",
}


def state_snapshot(state: object) -> Custom:
    """The whole state that the interface shows, any JSON value.

    >>> state_snapshot({"done": 1}).name
    'STATE_SNAPSHOT'
    """
    return Custom(STATE_SNAPSHOT, state)


def state_delta(operations: Iterable[Mapping[str, object]]) -> Custom:
    """A change of that state, as operations of JSON Patch (RFC 6902).

    Raises:
        ConfigError: what is no such list: a client ends its run over it.

    >>> state_delta([{"op": "replace", "path": "/done", "value": 2}]).name
    'STATE_DELTA'
    """
    patch = [dict(operation) for operation in operations]
    if not is_patch(patch):
        raise ConfigError(f"state_delta takes operations of JSON Patch (op, path, and value or from), got {patch!r:.200}")
    return Custom(STATE_DELTA, patch)


def step_started(name: str) -> Custom:
    """A named step of the work began; one that is open when the run ends is finished then.

    >>> step_started("search").data
    'search'
    """
    return Custom(STEP_STARTED, _checked("step_started", name))


def step_finished(name: str) -> Custom:
    """The step of that name ended; nothing is said of one that never began.

    >>> step_finished("search").name
    'STEP_FINISHED'
    """
    return Custom(STEP_FINISHED, _checked("step_finished", name))


def is_patch(value: object) -> bool:
    """Whether a client takes it for a JSON Patch.

    >>> is_patch([{"op": "remove", "path": "/a"}]), is_patch([{"op": "remove"}]), is_patch({})
    (True, False, False)
    """
    if not isinstance(value, list):
        return False
    return all(_is_operation(operation) for operation in cast("list[object]", value))


def _is_operation(operation: object) -> bool:
    if not isinstance(operation, dict):
        return False
    parts = cast("dict[object, object]", operation)
    kind = parts.get("op")
    needs = _OPERATIONS.get(kind) if isinstance(kind, str) else None
    if needs is None or needs not in parts:
        return False
    places = [parts.get("path"), *([parts["from"]] if needs == "from" else [])]
    return all(isinstance(place, str) and _POINTER.fullmatch(place) for place in places)


def _checked(where: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{where} takes the step's name, got {type(name).__name__}")
    return name
