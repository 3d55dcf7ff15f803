"""How fast ggml multiplies on this machine: no model. Run as a script, in a child.

    python speed.py THREADS

prints one line of JSON, the seconds that a multiplication of one weight takes for one token: many
tokens in a call (`read_s`), 16 (`together_s`), and one with weights of 16 and of 4.5 bits
(`alone_s`, `alone_packed_s`). Peer: `llama-bench` measures a model, which has to be loaded.

numpy does not tell ggml's pace: between two CPUs their ratio differs by a factor of two.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import time
from ctypes import c_bool, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

_F32, _F16, _Q4_K = 0, 1, 12
_BYTES = {_F16: 2.0, _Q4_K: 0.5625}
_WIDTH = 1024
_SPARE_BYTES = 64 << 20
"""For the graph and what ggml converts."""


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


def load_library() -> ctypes.CDLL:
    """Open ggml as llama-cpp-python brings it.

    Raises:
        OSError, AttributeError: it is not there, or is another one.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise OSError("llama_cpp is not installed")
    place = Path(spec.origin).parent / "lib"
    suffix = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    base = ctypes.CDLL(str(place / f"libggml-base.{suffix}"), mode=ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(str(place / f"libggml-cpu.{suffix}"))
    for name, result, arguments in (
        ("ggml_init", c_void_p, [_InitParams]),
        ("ggml_free", None, [c_void_p]),
        ("ggml_new_tensor_2d", c_void_p, [c_void_p, c_int, c_int64, c_int64]),
        ("ggml_mul_mat", c_void_p, [c_void_p, c_void_p, c_void_p]),
        ("ggml_get_data", c_void_p, [c_void_p]),
        ("ggml_nbytes", c_size_t, [c_void_p]),
        ("ggml_new_graph", c_void_p, [c_void_p]),
        ("ggml_build_forward_expand", None, [c_void_p, c_void_p]),
    ):
        function = getattr(base, name)
        function.restype, function.argtypes = result, arguments
        setattr(lib, name, function)
    lib.ggml_graph_compute_with_ctx.restype = c_int
    lib.ggml_graph_compute_with_ctx.argtypes = [c_void_p, c_void_p, c_int]
    return lib


def weight_s(
    lib: ctypes.CDLL, kind: int, matrices: int, tokens: int, threads: int, repeats: int
) -> float:
    """Seconds a weight and token of a chain of products: the best, as neighbours slow down.

    Args:
        lib: ggml.
        kind: of the weights, as ggml numbers types.
        matrices: of 1024 x 1024 weights each, all different.
        tokens: that are multiplied in a call.
        threads: that work on it.
        repeats: of which the best counts.
    """
    weights = matrices * _WIDTH**2
    states_bytes = 4 * (matrices + 1) * _WIDTH * tokens
    size = int(weights * _BYTES[kind]) + 2 * states_bytes + _SPARE_BYTES
    context = lib.ggml_init(_InitParams(size, None, False))
    try:
        state = _tensor(lib, context, _F32, tokens)
        for _ in range(matrices):
            state = lib.ggml_mul_mat(context, _tensor(lib, context, kind, _WIDTH), state)
        graph = lib.ggml_new_graph(context)
        lib.ggml_build_forward_expand(graph, state)
        lib.ggml_graph_compute_with_ctx(context, graph, threads)
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            lib.ggml_graph_compute_with_ctx(context, graph, threads)
            taken.append(time.perf_counter() - began)
    finally:
        lib.ggml_free(context)
    return min(taken) / (weights * tokens)


def _tensor(lib: ctypes.CDLL, context: int, kind: int, rows: int) -> int:
    """Of zeros that were written: memory that nobody wrote to is not read from anywhere."""
    tensor: int = lib.ggml_new_tensor_2d(context, kind, _WIDTH, rows)
    ctypes.memset(lib.ggml_get_data(tensor), 0, lib.ggml_nbytes(tensor))
    return tensor


def main(threads: int) -> None:
    """Measure and print."""
    lib = load_library()
    speed = {
        "read_s": weight_s(lib, _F16, 1, 512, threads, repeats=5),
        "together_s": weight_s(lib, _F16, 24, 16, threads, repeats=4),
        "alone_s": weight_s(lib, _F16, 40, 1, threads, repeats=5),
        "alone_packed_s": weight_s(lib, _Q4_K, 80, 1, threads, repeats=4),
    }
    sys.stdout.write(f"{json.dumps(speed)}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
