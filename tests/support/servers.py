"""Real servers, each started for a test: a package, a program, and vLLM in its own interpreter.

`pip install 'llama-cpp-python[server]'`; QGATE_LLAMA_SERVER names a llama-server, QGATE_VLLM_PYTHON
an interpreter with vLLM. What is not there is skipped.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_S = 180.0


@contextmanager
def started(command: list[str], port: int, log: Path, **more: str) -> Iterator[str]:
    """A server in a session of its own, once it answers; its address."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **more}
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}/v1"
        until = time.monotonic() + _START_S
        while not _answers(url):
            assert server.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < until, f"no answer of {command[0]}"
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:  # 503 while the model is loaded
        error.close()
        return False
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def llama_cpp_python(model: Path, log: Path) -> Iterator[str]:
    for name in ("fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings"):
        pytest.importorskip(name, reason="pip install 'llama-cpp-python[server]'")
    port = str(free_port())
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--port", port]
    with started([*command, "--n_ctx", "512", "--n_threads", "1"], int(port), log) as url:
        yield url


@contextmanager
def llama_server(model: Path, log: Path) -> Iterator[str]:
    program = os.environ.get("QGATE_LLAMA_SERVER")
    if not program:
        pytest.skip("QGATE_LLAMA_SERVER names no llama-server")
    port = str(free_port())
    command = [program, "-m", str(model), "--port", port, "-t", "1", "-c", "2048", "-np", "4"]
    with started(command, int(port), log) as url:
        yield url


@contextmanager
def vllm(model: Path, log: Path) -> Iterator[str]:
    python = os.environ.get("QGATE_VLLM_PYTHON")
    if not python:
        pytest.skip("QGATE_VLLM_PYTHON names no interpreter with vLLM")
    port = str(free_port())
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "demo", "--port", port, "--host", "127.0.0.1"]
    facts = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with TemporaryDirectory() as sockets:  # it leaves them behind
        facts["VLLM_RPC_BASE_PATH"] = sockets
        with started([*command, "--enforce-eager"], int(port), log, **facts) as url:
            yield url


SERVERS = {"llama-cpp-python": llama_cpp_python, "llama-server": llama_server, "vllm": vllm}
