"""The yard that each test of pins begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
from buildkit import Yard, make_yard


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    made = make_yard(tmp_path)
    made.upstream_candidate()
    return made
