"""The dossier on a page and in a terminal: hostile texts stay texts, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
from html.parser import HTMLParser

import dossiers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.domain.diff.areas import Area
from pipeline.domain.dossier.dossier import Dossier, Missing
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.text import plain
from pipeline.render.dossier import dossier_json, show_dossier
from pipeline.render.html import clip, dossier_html, shown

_VOID = {"meta", "link", "br", "rect", "line", "path"}


class Page(HTMLParser):
    """Reads a page: its elements with attributes, its texts, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(dossier: Dossier) -> Page:
    return Page(dossier_html(dossier, version="0.4.0"))


def terminal(dossier: Dossier, width: int = 110) -> str:
    out = io.StringIO()
    show_dossier(dossier, Console(file=out, width=width, highlight=False, markup=False, force_terminal=False))
    return out.getvalue()


def test_the_page_is_the_same_bytes_for_the_same_dossier() -> None:
    assert dossier_html(dossiers.dossier(), version="1") == dossier_html(dossiers.dossier(), version="1")


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    text = dossier_html(dossiers.dossier(), version="0.4.0")
    found = Page(text)
    assert {tag for tag, _ in found.elements} & {
        "script",
        "iframe",
        "img",
        "object",
        "embed",
        "form",
        "base",
    } == set()
    attributes = [(name, value or "") for _, each in found.elements for name, value in each.items()]
    assert [name for name, _ in attributes if name.startswith("on") or name == "style"] == []
    targets = [value for name, value in attributes if name in ("href", "src", "action", "xlink:href")]
    assert [target for target in targets if not target.startswith(("#", "data:,"))] == []
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_allows_the_page_s_own_style_and_nothing_else() -> None:
    text = dossier_html(dossiers.dossier(), version="0.4.0")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    (policy,) = [one["content"] for one in Page(text).all("meta") if one.get("http-equiv")]
    assert policy is not None
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_every_link_and_label_leads_to_something_that_is_there_once() -> None:
    found = page(dossiers.dossier())
    ids = [each["id"] for _, each in found.elements if "id" in each]
    assert len(ids) == len(set(ids))
    links = {(each["href"] or "")[1:] for each in found.all("a")}
    labels = {each["aria-labelledby"] for _, each in found.elements if "aria-labelledby" in each}
    assert links | labels <= set(ids)
    assert found.open == []


def test_headings_go_down_one_step_at_a_time_and_head_cells_say_what_of() -> None:
    found = page(dossiers.dossier())
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(each.get("scope") in ("row", "col") for each in found.all("th"))
    assert {tag for tag, _ in found.elements} >= {"header", "main", "nav", "footer"}


@pytest.mark.parametrize("text", dossiers.HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    clean, found = page(dossiers.dossier()), page(dossiers.poisoned(text))
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in clean.elements}
    assert {name for _, each in found.elements for name in each} <= {
        name for _, each in clean.elements for name in each
    }
    assert found.open == []
    whole = "".join(found.texts)
    assert shown(text) in whole
    assert plain(whole.replace("\n", " "), len(whole)) == whole.replace("\n", " ")


@pytest.mark.parametrize("text", dossiers.HOSTILE)
def test_hostile_texts_do_nothing_to_a_terminal_or_to_json(text: str) -> None:
    told = terminal(dossiers.poisoned(text))
    assert [char for char in told if char != "\n" and plain(char) != char] == []
    document = json.dumps(dossier_json(dossiers.poisoned(text)), ensure_ascii=False)
    assert plain(document, len(document)) == document
    document.encode()


@given(st.text(max_size=60))
def test_any_name_is_one_harmless_line_on_the_page(name: str) -> None:
    told = shown(name)
    assert plain(told) == told
    assert "\n" not in told
    assert len(clip(name, 7)) <= 7


def test_marks_do_not_climb_over_the_line_above() -> None:
    assert shown("z" + "\u0301" * 9).count("\u0301") == 3
    assert shown("z" + "\u0301" * 2) == "z\u0301\u0301"


def test_a_long_list_is_cut_and_counted() -> None:
    document = dossiers.diff_document(
        files=dossiers.files(700), areas=(Area(name="documentation", added=1, removed=0, changed=699),)
    )
    dossier = dossiers.dossier(documents={**dossiers.documents(), EvidenceKind.DIFF: document})
    text = dossier_html(dossier, version="0.4.0")
    assert "The first 500 of 700 changes are shown" in text
    assert "part-498" in text
    assert "part-600" not in text
    assert "more; --html shows them" in terminal(dossier)


def test_what_is_missing_is_loud_on_the_page_and_in_the_terminal() -> None:
    documents = {kind: Missing(why=f"no {kind.value} here") for kind in dossiers.documents()}
    dossier = dossiers.dossier(
        documents=documents,
        history=Missing(why="no commits here"),
        pin=Missing(why="no pin here"),
        vulnerabilities=Missing(why="no report here"),
    )
    text, told = dossier_html(dossier, version="0.4.0"), terminal(dossier)
    for why in (
        *(f"no {kind.value} here" for kind in documents),
        "no commits here",
        "no pin here",
        "no report here",
    ):
        assert why in text
        assert why in told
    assert "Not to be approved" in text
    assert "Not to be approved" in told
    assert text.count("<strong>Missing.</strong>") == 9


def test_the_terminal_tells_the_verdict_first_and_the_whole_commands_last() -> None:
    dossier = dossiers.dossier()
    lines = terminal(dossier, width=72).splitlines()
    assert "May be approved" in lines[1]
    assert lines[-2:] == [
        f"  pipeline {verb} {dossier.approve[2]} --why 'WHY YOU {verb.upper()}'"
        for verb in ("approve", "reject")
    ]


def test_a_first_image_says_that_there_is_nothing_to_compare_with() -> None:
    document = dossiers.diff_document(old=None, files=(), texts=(), because="it was never released")
    documents = {**dossiers.documents(), EvidenceKind.DIFF: document}
    text = dossier_html(dossiers.dossier(documents=documents, trend=()), version="0.4.0")
    assert "Compared with nothing: it was never released." in text
    assert "There is no earlier release to draw a trend from." in text
