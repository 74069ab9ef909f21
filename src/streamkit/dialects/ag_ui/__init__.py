"""AG-UI 1.0, the protocol between agents and their user interfaces: written, not read.

`encoder` has the vocabulary and its order, `signals` the events that say more than an answer does: state and steps.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from streamkit.dialects.ag_ui.encoder import AGUIEncoder as AGUIEncoder
from streamkit.dialects.ag_ui.signals import state_delta as state_delta
from streamkit.dialects.ag_ui.signals import state_snapshot as state_snapshot
from streamkit.dialects.ag_ui.signals import step_finished as step_finished
from streamkit.dialects.ag_ui.signals import step_started as step_started
from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError

__all__ = ["DIALECT", "AGUIEncoder", "for_run", "state_delta", "state_snapshot", "step_finished", "step_started"]

DIALECT: Final = Dialect("ag-ui", "sse", encoder=AGUIEncoder)


def for_run(thread_id: str, run_id: str) -> Dialect:
    """The dialect for one run, named as the client named it: `threadId` and `runId` of the request's body.

    The name "ag-ui" does as well where a client does not look at them: a run then has the stream's own id.

    Raises:
        TypeError, ConfigError: an id that is no str, or empty.

    >>> for_run("t-1", "r-1").encoder().open()[0].data
    b'{"type":"RUN_STARTED","threadId":"t-1","runId":"r-1"}'
    """
    for name, value in (("thread_id", thread_id), ("run_id", run_id)):
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # it comes out of a request's body
            raise TypeError(f"for_run({name}=...) takes a str, got {type(value).__name__}")
        if not value:
            raise ConfigError(f"for_run({name}=''): the client's own id, which is never empty")
    return Dialect("ag-ui", "sse", encoder=partial(AGUIEncoder, thread_id=thread_id, run_id=run_id))
