"""Vocabularies of providers and user interfaces: frames to events, and events to frames.

`protocol` says what a dialect is and how one is driven, `registry` finds them by name, `outcomes` says
how a stream may end in words fit for its readers, `provider_errors` turns refusals into the error
tree. The rest are the dialects, each imported when it is first asked for.
"""

from __future__ import annotations

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, outcome_of, to_error_event
from streamkit.dialects.protocol import Decoder, Dialect, Encoder, InFrame, OutFrame
from streamkit.dialects.registry import get, names

__all__ = [
    "CANCELLED",
    "DONE",
    "Decoder",
    "Dialect",
    "Encoder",
    "InFrame",
    "OutFrame",
    "Outcome",
    "get",
    "names",
    "outcome_of",
    "to_error_event",
]
