"""What OpenAI's two vocabularies, chat completions and Responses, say alike: the counts of tokens, and what an error is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from streamkit.dialects.json_line import known
from streamkit.dialects.outcomes import Outcome
from streamkit.events import Usage

__all__ = ["error_type", "hints", "usage_counts"]

_ERROR_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rate-limited": "rate_limit_error",
        "bad-request": "invalid_request_error",
        "content-blocked": "invalid_request_error",
    }
)


def usage_counts(usage: Usage, asked: str, answered: str) -> dict[str, object]:
    """The counts that are known, of what was asked and what was answered, by the names that the vocabulary has for the two.

    >>> usage_counts(Usage(input_tokens=3, output_tokens=4, reasoning_tokens=1), "prompt", "completion")
    {'prompt_tokens': 3, 'completion_tokens': 4, 'total_tokens': 7, 'completion_tokens_details': {'reasoning_tokens': 1}}
    """
    read, written = usage.input_tokens, usage.output_tokens
    return known(
        **{
            f"{asked}_tokens": read,
            f"{answered}_tokens": written,
            "total_tokens": None if read is None or written is None else read + written,
            f"{asked}_tokens_details": known(cached_tokens=usage.cache_read_tokens, cache_write_tokens=usage.cache_write_tokens)
            or None,
            f"{answered}_tokens_details": known(reasoning_tokens=usage.reasoning_tokens) or None,
        }
    )


def error_type(outcome: Outcome) -> str:
    """OpenAI's own word for the kind of an error, beside which our code stands.

    >>> error_type(Outcome("error", "rate-limited")), error_type(Outcome("truncated", "truncated"))
    ('rate_limit_error', 'server_error')
    """
    return _ERROR_TYPES.get(outcome.code, "server_error")


def hints(outcome: Outcome) -> dict[str, object]:
    """The fields of an error that are ours: whether and when to try again, and what to look for in the log.

    >>> hints(Outcome("error", "overloaded", retryable=True, retry_after=2.5))
    {'retryable': True, 'retry_after': 2.5}
    """
    return known(retryable=outcome.retryable, retry_after=outcome.retry_after, correlation_id=outcome.correlation_id)
