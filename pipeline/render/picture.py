"""Where the rectangles of a treemap and the points of a trend lie; the templates draw them.

Rules: plain numbers only, so that nothing from an image takes part in drawing but as text that is escaped.
The treemap is squarified (Bruls, Huizing, van Wijk, 2000): rows are filled while that makes their
rectangles squarer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle, in the units of the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile(Generic[Item]):
    """One thing of a treemap and its rectangle."""

    item: Item
    box: Box


def treemap(items: Sequence[tuple[Item, int]], *, width: float, height: float) -> tuple[Tile[Item], ...]:
    """Lay things out in their order, their areas as their weights; what has no weight gets no tile.

    The greatest first makes the squarest.
    """
    todo = [(item, weight) for item, weight in items if weight > 0]
    total = sum(weight for _, weight in todo)
    room = Box(x=0, y=0, width=width, height=height)
    scale = width * height / total if total else 0
    tiles: list[Tile[Item]] = []
    while todo:
        row = _row([weight * scale for _, weight in todo], min(room.width, room.height))
        boxes, room = _lay(row, room)
        tiles.extend(Tile(item=item, box=box) for (item, _), box in zip(todo, boxes, strict=False))
        todo = todo[len(row) :]
    return tuple(tiles)


def _row(areas: Sequence[float], side: float) -> list[float]:
    """Return the areas of the next row: as many as make its worst rectangle squarer."""
    row = [areas[0]]
    for area in areas[1:]:
        longer = [*row, area]
        if _worst(longer, side) > _worst(row, side):
            break
        row = longer
    return row


def _worst(row: Sequence[float], side: float) -> float:
    """Return the greatest ratio of sides in a row along `side`."""
    total = sum(row)
    if not total or not side:
        return 0
    return max(side * side * max(row) / total**2, total**2 / (side * side * min(row)))


def _lay(row: Sequence[float], room: Box) -> tuple[list[Box], Box]:
    """Put a row along the shorter side of the room; return its boxes and the room that is left."""
    total = sum(row)
    boxes = []
    if room.width >= room.height:
        thick = total / room.height if room.height else 0
        y = room.y
        for area in row:
            high = area / thick if thick else 0
            boxes.append(Box(x=room.x, y=y, width=thick, height=high))
            y += high
        left = Box(x=room.x + thick, y=room.y, width=max(room.width - thick, 0), height=room.height)
        return boxes, left
    thick = total / room.width if room.width else 0
    x = room.x
    for area in row:
        wide = area / thick if thick else 0
        boxes.append(Box(x=x, y=room.y, width=wide, height=thick))
        x += wide
    return boxes, Box(x=room.x, y=room.y + thick, width=room.width, height=max(room.height - thick, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a trend: what it stands for, its value, its rectangle, and whether it is the newest."""

    name: str
    value: int
    box: Box
    newest: bool


def columns(
    values: Sequence[tuple[str, int]], *, width: float, height: float, gap: float = 8
) -> tuple[Column, ...]:
    """Lay values out as columns from zero, so that their heights are as their values."""
    if not values:
        return ()
    top = max(value for _, value in values) or 1
    wide = (width - gap * (len(values) - 1)) / len(values)
    made = []
    for index, (name, value) in enumerate(values):
        high = height * value / top
        box = Box(x=index * (wide + gap), y=height - high, width=wide, height=high)
        made.append(Column(name=name, value=value, box=box, newest=index == len(values) - 1))
    return tuple(made)
