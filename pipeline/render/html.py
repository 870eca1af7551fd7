"""The dossier as one page that needs nothing but itself.

Rules: nothing is fetched and nothing runs: no script, a policy (CSP) that allows the page's own style by its
hash and refuses everything else; every text that is put in is first one harmless line (`domain/text.plain`)
and then escaped, by the environment and not by the templates, so that none can forget it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.domain.dossier.difference import How, Risk, SizeOf, Sizes
from pipeline.domain.dossier.dossier import Dossier, Missing
from pipeline.domain.text import plain
from pipeline.domain.vulnerabilities import Severity
from pipeline.render import figures
from pipeline.render.picture import columns, treemap

SHOWN_ROWS = 500
"""Rows of one table on the page; what is left out is told."""

_LONGEST = 400
_TILES = 40
_REST = "everything else"
_MARKS = 3
"""Combining marks on one letter; more would climb over the lines above."""


def dossier_html(dossier: Dossier, *, version: str) -> str:
    """Return the page; the same dossier gives the same bytes.

    Args:
        dossier: What is shown.
        version: This program's, for the foot of the page.
    """
    environment = _environment()
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("dossier.html.j2").render(
        dossier=dossier,
        sections=_sections(dossier),
        style=Markup(style),  # noqa: S704 - a file of this package, the very bytes that were hashed
        style_hash=digest,
        version=version,
    )


def shown(text: str) -> str:
    """Return any text as one harmless line, with no more combining marks on a letter than languages need."""
    line = plain(text, _LONGEST)
    if line.isascii():
        return line
    kept: list[str] = []
    marks = 0
    for char in line:
        marks = marks + 1 if unicodedata.combining(char) else 0
        kept.append(char if marks <= _MARKS else f"\\u{ord(char):04x}")
    return "".join(kept)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters |= {
        "size": figures.size,
        "growth": figures.growth,
        "duration": figures.duration,
        "points": figures.points,
        "thousands": lambda count: f"{count:,}",
        "px": lambda number: f"{number:.1f}",
        "size_point": lambda one: (one.name, one.total),
    }
    environment.globals |= {
        "many": figures.many,
        "share": figures.share,
        "treemap": treemap,
        "columns": columns,
        "tiles_of": tiles_of,
        "growth_class": growth_class,
        "rows": SHOWN_ROWS,
        "clip": clip,
        "command": command,
        "How": How,
        "Risk": Risk,
        "Severity": Severity,
    }
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    return environment


def _harmless(value: Any) -> Any:
    """Make what a template puts in harmless; what is markup already was made by a template."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _style() -> str:
    loader = PackageLoader("pipeline.render")
    return loader.get_source(Environment(autoescape=True), "dossier.css")[0]


def tiles_of(sizes: Sizes) -> tuple[tuple[SizeOf, int], ...]:
    """Return the packages a treemap shows with their weights, largest first; the rest is one, last."""
    present = sorted(
        (one for one in sizes.packages if one.after), key=lambda one: (-(one.after or 0), one.name)
    )
    shown_ones = [(one, one.after or 0) for one in present[:_TILES]]
    rest = sizes.after - sum(weight for _, weight in shown_ones)
    if rest > 0:
        shown_ones.append((SizeOf(name=_REST, before=rest, after=rest), rest))
    return tuple(shown_ones)


def growth_class(one: SizeOf, *, compared: bool) -> str:
    """Return how a size is coloured: `rest`, `fresh`, `grown`, `shrunk` or `same`."""
    if one.name == _REST:
        return "rest"
    if not compared:
        return "same"
    if one.before is None:
        return "fresh"
    return "grown" if one.delta > 0 else "shrunk" if one.delta < 0 else "same"


def command(words: Sequence[str]) -> Markup:
    """Return a command for a POSIX shell, over three lines: up to the verb, what of, why."""
    lines = (shlex.join(words[:-3]), shlex.quote(words[-3]), shlex.join(words[-2:]))
    return Markup(" \\\n  ").join(shown(line) for line in lines)


def clip(text: str, most: int) -> str:
    """Return a harmless text of `most` characters at the most, for labels in pictures."""
    line = shown(text)
    return line if len(line) <= most else f"{line[: max(most - 1, 0)]}…"


def _sections(dossier: Dossier) -> tuple[tuple[str, str, str], ...]:
    """Return the sections in order: id, title, and how each is marked (`bad`, `warn` or nothing)."""
    blocking = {point.section.partition("-")[0] for point in dossier.judgement.blocks}
    asking = {point.section.partition("-")[0] for point in dossier.judgement.cautions}
    return tuple(
        (name, title, "bad" if name in blocking else "warn" if name in asking else "")
        for name, title in _SECTIONS.items()
    )


_SECTIONS = {
    "history": "What and why",
    "gates": "Gates",
    "boot": "Boot test",
    "changes": "What changed",
    "licences": "Licences",
    "size": "Size",
    "pin": "Kernel pin",
    "sbom": "SBOM",
    "vulnerabilities": "Vulnerabilities",
    "provenance": "Provenance",
    "evidence": "Evidence",
    "decide": "Decide",
}
