"""What lies on disk: discovery, headers and digests of GGUF files and Hugging Face directories.

Standard library only: an artifact's facts are known before any runtime or numpy is loaded, and no
code from an artifact runs.
"""

from __future__ import annotations

from qgate.artifacts.digest import Stamp, digest, stamp
from qgate.artifacts.discovery import beside, discover
from qgate.artifacts.selection import choose_reference

__all__ = ["Stamp", "beside", "choose_reference", "digest", "discover", "stamp"]
