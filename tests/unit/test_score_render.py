"""The table of scores: both figures, what is lacking, and nothing that runs in a terminal."""

from __future__ import annotations

from fractions import Fraction
from io import StringIO

from boms import bom
from rich.console import Console

from pipeline.domain.sbom.score import Scorecard, scorecard
from pipeline.render.score import decimal, headline, show


def poorer(name: str = "libc6") -> Scorecard:
    document = bom()
    document["components"][1].pop("version")
    document["components"][1]["name"] = name
    return scorecard(document, schema_valid=True)


def printed(
    card: Scorecard, beside: Scorecard | None = None, other: str = "plain syft", width: int = 160
) -> str:
    out = StringIO()
    show(card, Console(file=out, width=width, force_terminal=False), beside=beside, other=other)
    return out.getvalue()


def line(text: str, name: str) -> list[str]:
    return next(row.split() for row in text.splitlines() if row.split()[:1] == [name])


def test_the_headline_tells_all_three_results() -> None:
    assert headline(scorecard(bom(), schema_valid=True)) == (
        "NTIA 7/7, BSI required 13/13, sbomqs 9.90/10, 3 components"
    )


def test_each_item_shows_both_figures_and_what_is_lacking() -> None:
    text = printed(poorer(), scorecard(bom(), schema_valid=True))
    assert line(text, "comp_with_version")[1:] == ["0.42", "0.28", "2/3", "0.42", "3/3"]
    assert "  comp_with_version: no version: libc6" in text.splitlines()
    assert "comp_with_name:" not in text
    assert "this document: NTIA 6/7, BSI required 12/13" in text
    assert "plain syft: NTIA 7/7, BSI required 13/13" in text


def test_one_document_alone_has_no_second_column() -> None:
    text = printed(poorer())
    assert "plain syft" not in text
    assert line(text, "comp_with_version")[1:] == ["0.42", "0.28", "2/3"]


def test_a_narrow_terminal_shows_every_figure_and_reason_in_one_piece() -> None:
    text = printed(poorer(), scorecard(bom(), schema_valid=True), width=80)
    assert line(text, "comp_with_strong_checksums")[1:] == ["0.91", "0.91", "3/3", "0.91", "3/3"]
    assert "  sbom_signature: the signature inside is not verified here" in text.splitlines()


def test_names_from_an_image_neither_run_nor_mark_up() -> None:
    text = printed(poorer("\x1b]0;owned\x07[bold]x[/bold]"), poorer(), other="[red]\x1b[31m")
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text
    assert "[red]" in text


def test_points_are_rounded_down() -> None:
    assert decimal(Fraction(9999, 1000)) == "9.99"
    assert decimal(Fraction(5, 100)) == "0.05"
