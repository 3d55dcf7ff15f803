"""The environment of a child: the names that runtimes need, and no other.

A list of names that are kept out is never whole: GH_PAT, PGPASS, a webhook's address. So a name
has to be in this list, or the user names it in QGATE_PASS_ENV.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LET_THROUGH = "QGATE_PASS_ENV"
"""More names for children: `NAME,NAME`. They pass whatever they look like."""
_NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM"),
        *("TMPDIR", "TMP", "TEMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
        *("XDG_RUNTIME_DIR", "VIRTUAL_ENV", "CONDA_PREFIX"),
        # a server's certificate
        *("SSL_CERT_FILE", "SSL_CERT_DIR"),
        # libraries, and compilers: Triton and torch.compile start them
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        *("LIBRARY_PATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CC", "CXX"),
        # Windows
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE"),
        *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "NUMBER_OF_PROCESSORS"),
    )
)
_FAMILIES = (
    *("LC_", "PYTHON", "QGATE_", "MALLOC_", "GLIBC_"),
    # threads and libraries of linear algebra
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_"),
    *("DNNL_", "ONEDNN_"),
    # runtimes
    *("GGML_", "LLAMA_", "VLLM_", "TORCH", "PYTORCH_", "TRITON_", "ATEN_", "FLASHINFER_"),
    *("HF_", "HUGGINGFACE_HUB_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "BITSANDBYTES_"),
    # devices
    *("CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "HIP_", "ROCR_", "ROCM_", "HSA_"),
    *("MIOPEN_", "AMD_", "GPU_", "ONEAPI_", "SYCL_", "ZE_", "GGML_VK_", "VK_"),
)
_SECRET_WORD = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEYS?|KEYFILE|AUTH|PWD|PAT)"
    r"(?:_|$)"
)
"""In a family, too, a name may be a secret's: HF_TOKEN, VLLM_API_KEY."""
_ADDRESS_WITH_LOGIN = re.compile(r"://[^/\s]*@")
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # Threads that spin for long are up to 8 times slower on a busy machine. Threads that sleep
        # at once wake too late for the short steps of answers: a spin of microseconds halves their
        # time on two quiet cores, and costs up to a third of it on busy ones.
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
        "OPENBLAS_NUM_THREADS": "1",  # the reductions bring threads of their own
        "GGML_NO_BACKTRACE": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",
    }
)


def child_environment(
    environ: Mapping[str, str], variables: Collection[str] = ()
) -> dict[str, str]:
    """Of the parent's environment what children need, with what makes runtimes behave.

    Nothing is fetched in a child, so neither HF_TOKEN nor a proxy is among it.

    Args:
        environ: the parent's.
        variables: names that this child gets and no other.
    """
    passed = passed_names(environ) | set(variables)
    kept = {
        name: value for name, value in environ.items() if name in passed or _is_needed(name, value)
    }
    return {**kept, **_SETTINGS}


def passed_names(environ: Mapping[str, str]) -> frozenset[str]:
    """The names that the user lets through to children."""
    names = (name.strip() for name in environ.get(LET_THROUGH, "").split(","))
    return frozenset(name for name in names if name)


def _is_needed(name: str, value: str) -> bool:
    upper = name.upper()
    if upper not in _NAMES and not upper.startswith(_FAMILIES):
        return False
    return not _SECRET_WORD.search(upper) and not _ADDRESS_WITH_LOGIN.search(value)
