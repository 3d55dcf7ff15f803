"""Where the real model stories260K lies, and the mark of a test that needs it."""

from __future__ import annotations

import pytest

from tests.conftest import SHARED

STORIES = SHARED / "models" / "stories260K"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="no shared/models/stories260K beside the repository"
)
