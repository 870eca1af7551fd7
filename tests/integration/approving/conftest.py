"""The project that each test of decisions begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
from approvalworld import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
