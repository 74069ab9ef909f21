"""The chunks of the UI message stream that need more than one line: what an event says, in the fields that clients know.

Fields are those that every release of the client since version 1 of the protocol takes: some of them refuse a chunk with a field
that they do not know. What has no field of its own goes under `streamkit` in `providerMetadata`, which clients keep and send back.
Nothing is null unless the application said so. A value of a tool or of the application that clients would refuse
(`is_refused`) goes out as its JSON text.
"""

from __future__ import annotations

from base64 import b64encode

from streamkit.dialects.json_line import dump, known
from streamkit.dialects.outcomes import Outcome
from streamkit.dialects.protocol import OutFrame
from streamkit.events import Citation, DataDelta, File, ToolResult, Usage

__all__ = [
    "chunk",
    "data_part",
    "failure",
    "file",
    "growing_data",
    "is_refused",
    "metadata_of",
    "output",
    "source",
    "sum_of",
    "usage_counts",
]


def chunk(type: str, **fields: object) -> OutFrame:
    """One chunk, without the fields that are None.

    >>> chunk("text-end", id="text-1", providerMetadata=None).data
    b'{"type":"text-end","id":"text-1"}'
    """
    return OutFrame(dump({"type": type, **known(**fields)}))


def data_part(name: str, data: object, *, transient: bool = False) -> OutFrame:
    """A part of the application's own kind; a transient one is shown to `onData` and kept by nobody."""
    part: dict[str, object] = {"type": f"data-{name}", "data": data}
    if transient:
        part["transient"] = True
    return _with_value(part, "data")


def metadata_of(**ours: object) -> dict[str, object] | None:
    """`providerMetadata` with what is not None of ours."""
    told = known(**ours)
    return {"streamkit": told} if told else None


def output(event: ToolResult) -> OutFrame:
    """What a tool gave back."""
    if not event.is_error:
        return _with_value({"type": "tool-output-available", "toolCallId": event.id, "output": event.output}, "output")
    text = event.output if isinstance(event.output, str) else dump(event.output).decode()
    return chunk("tool-output-error", toolCallId=event.id, errorText=text)


def is_refused(data: bytes) -> bool:
    """Whether clients end the message over a name in this JSON, which they take for an attack on the objects of the page.

    >>> is_refused(b'{"__proto__":1}'), is_refused(b'{"is":"__proto__"}')
    (True, False)
    """
    # As `dump` writes it, these are names and never text: a quote in a text has a backslash before it.
    return b'"__proto__":' in data or (b'"constructor":{' in data and b'"prototype":' in data)


def source(event: Citation, number: int) -> OutFrame | None:
    """A source: a page by its address, else a document by its title; None for one that says nothing."""
    quote = metadata_of(quote=event.quote)
    if event.url:
        return chunk("source-url", sourceId=f"source-{number}", url=event.url, title=event.title, providerMetadata=quote)
    title = event.title or event.quote
    if not title:
        return None
    return chunk("source-document", sourceId=f"source-{number}", mediaType="text/plain", title=title, providerMetadata=quote)


def file(event: File) -> OutFrame | None:
    """A file: its address, or itself in one; None for one without contents."""
    url = event.url
    if event.data is not None:
        url = f"data:{event.media_type};base64,{b64encode(event.data).decode()}"
    if not url:
        return None
    return chunk("file", url=url, mediaType=event.media_type, providerMetadata=metadata_of(filename=event.name))


def growing_data(event: DataDelta) -> OutFrame:
    """More of a binary part: there is no chunk that grows but text, so `onData` gets the pieces, in base64."""
    told = {"mediaType": event.media_type, "index": event.index, "base64": b64encode(event.data).decode()}
    return data_part("bytes", told, transient=True)


def failure(outcome: Outcome) -> list[OutFrame]:
    """The error that clients raise; before it what programs want to know, for `onData`."""
    told = known(
        code=outcome.code, retryable=outcome.retryable, retryAfter=outcome.retry_after, correlationId=outcome.correlation_id
    )
    return [data_part("error", told, transient=True), chunk("error", errorText=outcome.message)]


def sum_of(first: Usage | None, second: Usage | None) -> Usage | None:
    """The tokens of two requests of one answer; what neither provider said stays unknown."""
    if first is None or second is None:
        return first or second
    counts = {name: _sum(getattr(first, name), getattr(second, name)) for name in _COUNTS}
    return Usage(**counts, final=first.final and second.final, estimated=first.estimated or second.estimated)


def usage_counts(usage: Usage) -> dict[str, object]:
    """The counts that are known, by the names that the AI SDK gives them."""
    prompt = known(cacheReadTokens=usage.cache_read_tokens, cacheWriteTokens=usage.cache_write_tokens)
    answer = known(reasoningTokens=usage.reasoning_tokens)
    counts = known(
        inputTokens=usage.input_tokens,
        outputTokens=usage.output_tokens,
        totalTokens=_total(usage),
        inputTokenDetails=prompt or None,
        outputTokenDetails=answer or None,
    )
    if counts and usage.estimated:
        counts["estimated"] = True
    return counts


def _with_value(fields: dict[str, object], name: str) -> OutFrame:
    """A chunk that holds an application's own value; as its JSON text, if clients refuse it."""
    data = dump(fields)
    return OutFrame(dump({**fields, name: dump(fields[name]).decode()}) if is_refused(data) else data)


_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def _total(usage: Usage) -> int | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
