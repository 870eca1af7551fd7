"""The releases that tests of audits forge: made once for all of them, put back after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from auditworld import Made
from registries import running_registry
from releaseworld import ReleaseWorld


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("audit")
    with running_registry(folder / "registry") as running:
        yield Made(folder, running)


@pytest.fixture
def world(made: Made) -> Iterator[ReleaseWorld]:
    yield made.world
    made.kept.restore()
    made.world.now = made.now
