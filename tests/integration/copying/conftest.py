"""The site that tests of copies copy from, made once for all of them: real programs sign it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from copyworld import Site
from faultyregistry import FaultyRegistry, faulty_registry
from registries import RunningRegistry, running_registry


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, FaultyRegistry]]:
    folder = tmp_path_factory.mktemp("near")
    with running_registry(folder / "registry") as real, faulty_registry(real.host) as proxy:
        site = Site(folder, proxy.host)
        site.begin()
        site.fill()
        yield site, proxy


@pytest.fixture
def site(near: tuple[Site, FaultyRegistry]) -> Site:
    return near[0]


@pytest.fixture
def proxy(near: tuple[Site, FaultyRegistry]) -> Iterator[FaultyRegistry]:
    """What stands before the site's registry and can be told to fail."""
    yield near[1]
    near[1].faults.clear()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path / "far") as real:
        yield real
