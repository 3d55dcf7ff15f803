"""A report in MLflow: its runs, their content, the upload."""

from __future__ import annotations
