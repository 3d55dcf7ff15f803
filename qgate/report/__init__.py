"""What becomes of a finished report: JSON on disk, a table, plots, MLflow."""

from __future__ import annotations
