"""Treemaps and trends: areas and heights are as the numbers, nothing overlaps, nothing leaves the picture."""

from __future__ import annotations

import math

import dossiers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.dossier.difference import SizeOf, Sizes
from pipeline.domain.dossier.dossier import Missing
from pipeline.render import figures
from pipeline.render.html import growth_class, tiles_of
from pipeline.render.picture import Box, columns, treemap

weights = st.lists(st.integers(min_value=0, max_value=10**10), max_size=60)


def overlap(one: Box, other: Box) -> float:
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(wide, 0) * max(high, 0)


@given(weights)
def test_areas_are_as_weights_inside_the_picture_and_side_by_side(found: list[int]) -> None:
    tiles = treemap([(index, weight) for index, weight in enumerate(found)], width=960, height=300)
    total = sum(found)
    assert [tile.item for tile in tiles] == [index for index, weight in enumerate(found) if weight]
    for tile in tiles:
        box = tile.box
        assert math.isclose(box.width * box.height, 960 * 300 * found[tile.item] / total, rel_tol=1e-6)
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= 960.001
        assert box.y + box.height <= 300.001
    for index, tile in enumerate(tiles):
        assert all(overlap(tile.box, other.box) < 0.01 for other in tiles[index + 1 :])


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=12))
def test_columns_are_as_high_as_their_values(values: list[int]) -> None:
    made = columns([(str(index), value) for index, value in enumerate(values)], width=340, height=100)
    assert [one.value for one in made] == values
    assert [one.newest for one in made] == [False] * (len(values) - 1) + [True] * bool(values)
    for one in made:
        assert math.isclose(one.box.height, 100 * one.value / (max(values) or 1), abs_tol=1e-6)
        assert one.box.x + one.box.width <= 340.001


def test_a_treemap_s_tiles_are_the_whole_image() -> None:
    difference = dossiers.dossier().difference
    assert not isinstance(difference, Missing)
    tiles = tiles_of(difference.sizes)
    assert sum(weight for _, weight in tiles) == difference.sizes.after
    assert tiles[-1][0].name == "everything else"
    assert len(tiles) == 41


def test_packages_that_claim_more_than_the_image_has_leave_no_rest() -> None:
    sizes = Sizes(
        before=None,
        after=5,
        grown=0,
        download=1,
        fetched=1,
        packages=(SizeOf(name="a", before=None, after=9),),
    )
    assert [weight for _, weight in tiles_of(sizes)] == [9]


@pytest.mark.parametrize(
    ("before", "after", "compared", "expected"),
    [
        (1, 2, True, "grown"),
        (2, 1, True, "shrunk"),
        (None, 1, True, "fresh"),
        (1, 1, True, "same"),
        (None, 1, False, "same"),
    ],
)
def test_growth_has_a_colour(before: int | None, after: int, compared: bool, expected: str) -> None:  # noqa: FBT001
    assert growth_class(SizeOf(name="x", before=before, after=after), compared=compared) == expected


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (12_900, "12.6 KiB"),
        (846 << 20, "846 MiB"),
        (1046 << 20, "1.02 GiB"),
        (-3 << 20, "\N{MINUS SIGN}3.00 MiB"),
    ],
)
def test_bytes_are_told_in_the_largest_unit_that_fits(count: int, told: str) -> None:
    assert figures.size(count) == told


def test_figures() -> None:
    assert (figures.growth(0), figures.growth(1024)) == ("±0", "+1.00 KiB")
    assert (figures.share(5, 0), figures.share(-10, 1000)) == ("", "\N{MINUS SIGN}1.0 %")
    assert [figures.duration(ms) for ms in (840, 13_240, 285_000)] == ["840 ms", "13.2 s", "4 min 45 s"]
    assert [figures.points(found) for found in (943, 700, 5)] == ["9.43", "7", "0.05"]
    assert (figures.many(1, "package"), figures.many(1204, "entry", "entries")) == (
        "1 package",
        "1,204 entries",
    )
