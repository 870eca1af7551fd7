"""What tests of seals share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registries import running_registry
from sealagain import SealAgain


@pytest.fixture(scope="module")
def seals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SealAgain]:
    """The world that the tests of a module begin with; each lets it begin again."""
    folder = tmp_path_factory.mktemp("seals")
    with running_registry(folder / "registry", remembers=False) as running:
        (folder / "registry/storage").mkdir(exist_ok=True)
        made = SealAgain(folder, running)
        yield made
        made.close()
