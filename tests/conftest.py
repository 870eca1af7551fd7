"""What all tests share: the slow, real build comes last, so that it can go on while the others run."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the end-to-end tests last, and last of these the ones that wait for a long boot."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, bool]:
    waits = "boots" in getattr(item, "fixturenames", ())
    return item.get_closest_marker("e2e") is not None, waits
