"""A real llama.cpp server on loopback, with a model that was never trained.

The model is written here, from random numbers: two layers, 64 wide, a tokenizer with all 256 bytes. It answers
noise, the same noise for the same prompt, with characters cut between tokens: hard input, and no download.
The server runs in a process of its own, which ends when its standard input does, also if the tests die.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

MODEL = "tiny-random"

_WIDTH = 64
_LAYERS = 2
_HEADS = 4
_HIDDEN = 128
_START_SECONDS = 90.0


def missing_packages() -> list[str]:
    """The packages that the server needs and that are not installed."""
    return [name for name in ("xllamacpp", "gguf", "numpy") if importlib.util.find_spec(name) is None]


@contextmanager
def running_llama() -> Iterator[str]:
    """Write the model, start the server, give its address; stop it on the way out."""
    with tempfile.TemporaryDirectory(prefix="tiny-model-") as folder:
        model = Path(folder) / "model.gguf"
        write_model(model)
        reading, writing = os.pipe()
        with os.fdopen(reading, encoding="utf-8") as told:
            process = subprocess.Popen(
                [sys.executable, __file__, str(model), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writing],
            )
            os.close(writing)
            try:
                # Its own choice of a port: one that was free a moment ago may be somebody else's by the time the model is read.
                address = told.readline().strip()
                _wait_until_healthy(address, process)
                yield address
            finally:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()


def write_model(path: Path) -> None:
    """A llama of random numbers, always the same."""
    import gguf
    import numpy

    rng = numpy.random.default_rng(7)
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    words = ["\u2581", *(chr(code) for code in range(33, 127)), "\u2581the", "\u2581stream", "\u2581a", "ing", "\u00e9"]
    pieces += [word.encode() for word in words]
    kinds += [gguf.TokenType.NORMAL] * len(words)
    vocabulary = len(pieces)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(MODEL)
    writer.add_context_length(32768)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(number) for number in range(vocabulary)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:")

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, rng.normal(0, 0.3, shape).astype(numpy.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, numpy.ones(_WIDTH, dtype=numpy.float32))

    tensor("token_embd.weight", vocabulary, _WIDTH)
    tensor("output.weight", vocabulary, _WIDTH)
    ones("output_norm.weight")
    for layer in range(_LAYERS):
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{part}.weight", _WIDTH, _WIDTH)
        tensor(f"blk.{layer}.ffn_gate.weight", _HIDDEN, _WIDTH)
        tensor(f"blk.{layer}.ffn_up.weight", _HIDDEN, _WIDTH)
        tensor(f"blk.{layer}.ffn_down.weight", _WIDTH, _HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    if not address:
        raise RuntimeError(f"the llama.cpp server ended at once, with code {process.wait()}")
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address + "/health", timeout=_START_SECONDS) as answer:
                if answer.status == 200:
                    return
        except (OSError, HTTPException):
            time.sleep(0.05)  # a process of another program starts: there is nothing to wait on
    raise RuntimeError(f"the llama.cpp server was not ready after {_START_SECONDS:g} s")


def _serve(model: str, told: int) -> None:
    """The server process: until standard input ends. Its address is written into the file of that number."""
    import xllamacpp  # type: ignore[import-untyped]  # a compiled module without stubs

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {MODEL}
    params.port = 0
    params.n_ctx = 65536
    params.n_parallel = 2
    params.use_jinja = True
    params.warmup = False
    params.endpoint_slots = True
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    with os.fdopen(told, "w", encoding="utf-8") as telling:
        telling.write(f"{server.listening_address}\n")
    sys.stdin.buffer.read()
    del server
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
