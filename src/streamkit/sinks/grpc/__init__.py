"""Streams over gRPC, on `grpc.aio`.

requests     what a handler is given
turns        one run of one stream into one call
servicer     the methods of the service
kept         streams of a hub as encoded messages
serving      a server with health and reflection, and how it drains
"""

from __future__ import annotations
