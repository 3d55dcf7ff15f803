"""Shared by all tests.

An editable installation's checklist is collected from below this file, so nothing here may do more
than offer fixtures; `pytester` is switched on in pyproject.toml instead.
"""

from __future__ import annotations
