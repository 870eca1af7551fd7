"""Fixtures that several adapters' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import checkout, git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return checkout(tmp_path / "repo")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "hub.git"))
    return tmp_path / "hub.git"
