"""qgate: is this quantized artifact still the model we had?"""

from __future__ import annotations

__version__ = "0.1.0"
