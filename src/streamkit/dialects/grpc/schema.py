"""The messages of `streamkit.proto`, made from its compiled form when they are first wanted.

`streamkit.binpb` beside it is the FileDescriptorSet that `protoc` writes. It pins no version of protobuf, as generated modules
do, and it lives in a pool of its own, so that an application may compile the `.proto` for itself, under any name. After a change,
in this folder:

    python -m grpc_tools.protoc -I . --descriptor_set_out=streamkit.binpb streamkit.proto
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from streamkit.extras import require

__all__ = ["FILE", "SERVICE", "Schema", "proto_text", "schema"]

FILE: Final = "streamkit.proto"
SERVICE: Final = "streamkit.v1.Streams"

_PACKAGE: Final = "streamkit.v1."


class Schema:
    """The descriptor pool and the message classes.

    Attributes:
        pool: A `google.protobuf.descriptor_pool.DescriptorPool` that holds the file.
        Events, Event, Request, Input, Answer, ResumeRequest, CancelRequest, CancelReply: Message classes.
    """

    # protobuf's message classes are made at run time, and no checker knows their fields.
    pool: Any
    Events: Any
    Event: Any
    Request: Any
    Input: Any
    Answer: Any
    ResumeRequest: Any
    CancelRequest: Any
    CancelReply: Any

    def __init__(self) -> None:
        wanted_by = "gRPC"
        descriptors: Any = require("google.protobuf.descriptor_pb2", extra="grpc", wanted_by=wanted_by)
        pools: Any = require("google.protobuf.descriptor_pool", extra="grpc", wanted_by=wanted_by)
        factory: Any = require("google.protobuf.message_factory", extra="grpc", wanted_by=wanted_by)
        self.pool = pools.DescriptorPool()
        for file in descriptors.FileDescriptorSet.FromString(_read("streamkit.binpb")).file:
            self.pool.AddSerializedFile(file.SerializeToString())
        for name in Schema.__annotations__:
            if name != "pool":
                setattr(self, name, factory.GetMessageClass(self.pool.FindMessageTypeByName(_PACKAGE + name)))


@cache
def schema() -> Schema:
    """The one schema of this process.

    Raises:
        MissingExtra: protobuf is not installed.

    >>> schema().Events(token="abc.7").token
    'abc.7'
    """
    return Schema()


def proto_text() -> str:
    """The published `streamkit.proto`, for clients in other languages to be made from.

    >>> "service Streams" in proto_text()
    True
    """
    return _read(FILE).decode()


def _read(name: str) -> bytes:
    return (files("streamkit.dialects.grpc") / name).read_bytes()
