"""The dossier in a real browser: read, clicked and typed through, its numbers held against the documents."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dossiers
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from pipeline.domain.dossier.dossier import Dossier, Missing
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.text import plain
from pipeline.render import figures
from pipeline.render.dossier import dossier_json
from pipeline.render.html import dossier_html, shown

INSTALL = "chromium is not installed; install it: apt-get install -y --no-install-recommends chromium"
PHONE = {"width": 375, "height": 812}
DESKTOP = {"width": 1280, "height": 900}
MANY = 700


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program is not None, INSTALL
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield started
        started.close()


class Opened:
    """A page with everything it said and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._on_request)
        page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        self.said.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.asked.append(request.url)

    def require_silent(self, file: Path) -> None:
        assert self.said == []
        assert self.asked == [file.as_uri()]


@pytest.fixture
def dossier() -> Dossier:
    document = dossiers.diff_document(files=dossiers.files(MANY))
    return dossiers.dossier(documents={**dossiers.documents(), EvidenceKind.DIFF: document})


def write(folder: Path, dossier: Dossier) -> Path:
    file = folder / "dossier.html"
    file.write_bytes(dossier_html(dossier, version="0.4.0").encode())
    return file


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def open_dossier(dossier: Dossier, size: dict[str, int], **options: Any) -> tuple[Opened, Path]:
        file = write(tmp_path, dossier)
        context = browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.goto(file.as_uri())
        return opened, file

    yield open_dossier
    for context in contexts:
        context.close()


def no_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def open_everything(page: Page) -> None:
    for summary in page.locator("summary").all():
        if summary.is_visible() and summary.evaluate("one => !one.parentElement.open"):
            summary.click()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_word_a_request_or_a_sideways_scroll(
    open_page: Any, dossier: Dossier, size: dict[str, int], scheme: str
) -> None:
    opened, file = open_page(dossier, size, color_scheme=scheme)
    page = opened.page
    assert page.locator("h1").inner_text() == "debian/base"
    assert page.locator("#verdict-title").inner_text().strip() == "May be approved"
    assert no_sideways_scroll(page)
    open_everything(page)
    assert page.locator("details:not([open])").count() == 0
    assert no_sideways_scroll(page)
    opened.require_silent(file)


def test_it_works_where_scripts_are_forbidden(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP, java_script_enabled=False)
    opened.page.locator("#changes-files > summary").click()
    assert opened.page.locator("#changes-files .changes tbody tr").first.is_visible()


def test_dark_is_dark_and_light_is_light(open_page: Any, dossier: Dossier) -> None:
    shades = []
    for scheme in ("light", "dark"):
        opened, _ = open_page(dossier, DESKTOP, color_scheme=scheme)
        colour = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(int(part) for part in re.findall(r"\d+", colour)[:3]))
    assert shades[0] > 600
    assert shades[1] < 150


CONTRAST = """
() => {
  const numbers = text => text.match(/[0-9.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const rgb = numbers(getComputedStyle(one).backgroundColor);
      if (rgb.length < 4 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const worst = {};
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || one.closest('svg') || !one.checkVisibility()) continue;
    const [a, b] = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const name = one.tagName + '.' + one.className;
    if (ratio < 4.5) worst[name] = ratio;
  }
  return worst;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ok", [True, False])
def test_every_text_has_the_contrast_that_reading_needs(open_page: Any, scheme: str, ok: bool) -> None:  # noqa: FBT001
    lost = {kind: Missing(why="it was lost") for kind in dossiers.documents()}
    whole = dossiers.dossier() if ok else dossiers.dossier(documents=lost)
    opened, _ = open_page(whole, DESKTOP, color_scheme=scheme)
    open_everything(opened.page)
    assert opened.page.evaluate(CONTRAST) == {}


def test_its_numbers_are_those_of_the_documents(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP)
    page = opened.page
    document = json.loads(json.dumps(dossier_json(dossier)))
    difference = document["difference"]
    open_everything(page)
    for group in difference["groups"]:
        place = page.locator(f"#changes-{group['kind']}")
        if not group["changes"]:
            assert place.evaluate("one => one.tagName") == "LI"
            continue
        rows = place.locator(".changes tbody tr")
        assert rows.count() == min(len(group["changes"]), 500)
        hows = [how.inner_text() for how in rows.locator(".how").all()[:40]]
        assert hows == [one["how"] for one in group["changes"]][:40]
        names = [name.inner_text() for name in rows.locator("th").all()[:40]]
        assert names == [one["name"] for one in group["changes"]][:40]
        counted = place.locator("summary .tally").inner_text()
        assert f"{group['total']:,}" in counted
    tiles = page.locator(".tiles").inner_text()
    assert figures.size(difference["sizes"]["after"]) in tiles
    assert figures.growth(difference["sizes"]["grown"]) in tiles
    assert str(sum(group["total"] for group in difference["groups"] if group["kind"] != "noise")) in tiles
    assert f"{len(document['gates'])} of {len(document['gates'])}" in tiles
    assert document["candidate"]["pins"]["kernel"] in tiles
    for line in document["sbom"]["scores"]:
        row = page.locator("#sbom tbody tr", has_text=line["name"])
        assert f"{figures.points(line['points'])} of {figures.points(line['best'])}" in row.inner_text()
    assert page.locator("#evidence tbody tr").count() == len(document["evidence"])
    assert page.locator("#pin tbody tr").count() == len(document["pin"]["passed_over"])
    for word in ("came", "went", "stayed"):
        section = page.locator("#vulnerabilities details", has_text=word.title()).first
        assert section.locator("tbody tr").count() == len(document["vulnerabilities"][word])
    told = page.locator(".points li").all_inner_texts()
    assert [one.strip() for one in told] == [point["text"] for point in document["judgement"]["cautions"]]


def test_the_pictures_have_a_rectangle_for_each_number(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP)
    page = opened.page
    assert page.locator("#size svg.wide rect.tile").count() == 41
    assert page.locator("#size svg.wide rect.column").count() == 6
    assert page.locator("#size svg.narrow").first.is_hidden()
    page.set_viewport_size(PHONE)
    assert page.locator("#size svg.narrow").first.is_visible()
    assert page.locator("#size svg.wide").first.is_hidden()


def test_a_keyboard_is_enough(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP)
    page = opened.page
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the verdict"
    assert page.locator(":focus").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    files = page.locator("#changes-files")
    assert files.get_attribute("open") is None
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.locator(":focus").evaluate("one => one.parentElement.id") == "changes-files":
            break
    page.keyboard.press("Enter")
    assert files.get_attribute("open") is not None
    page.keyboard.press("Space")
    assert files.get_attribute("open") is None


def test_a_point_leads_to_its_section(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP, reduced_motion="reduce")
    page = opened.page
    page.locator(".points a", has_text="newgrp").click()
    assert page.url.endswith("#changes-privileges")
    top = page.locator("#changes-privileges").bounding_box()
    assert top is not None
    assert 0 <= top["y"] < DESKTOP["height"]


def test_a_screen_reader_finds_landmarks_headings_and_tables(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, PHONE)
    page = opened.page
    for role, count in (("banner", 1), ("main", 1), ("navigation", 1), ("contentinfo", 1)):
        assert page.get_by_role(role, include_hidden=False).count() == count
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("region", name="What changed").count() == 1
    changes = page.get_by_role("table", name="Packages")
    assert changes.get_by_role("row").count() == 7
    assert changes.get_by_role("rowheader").first.inner_text() == "openssh-server:amd64"
    assert page.get_by_role("img", name=re.compile("Treemap")).count() == 1


def test_the_commands_are_those_of_the_dossier(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP)
    told = [one.inner_text() for one in opened.page.locator("#decide .command").all()]
    assert [" ".join(text.replace("\\\n", " ").split()) for text in told] == [
        f"pipeline {verb} {dossier.approve[2]} --why 'WHY YOU {verb.upper()}'"
        for verb in ("approve", "reject")
    ]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_hostile_names_are_read_and_nothing_else(open_page: Any, size: dict[str, int]) -> None:
    for text in dossiers.HOSTILE:
        opened, file = open_page(dossiers.poisoned(text), size)
        page = opened.page
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.title().startswith("May be approved: debian/base")
        assert no_sideways_scroll(page)
        assert page.locator("script, img, iframe").count() == 0
        names = page.locator("#changes .changes th bdi").all_text_contents()
        assert set(names) == {shown(text)}
        whole = page.locator("body").inner_text().replace("\n", " ").replace("\t", " ")
        assert plain(whole, len(whole)) == whole
        opened.require_silent(file)


def test_it_prints_with_everything_unfolded(open_page: Any, dossier: Dossier) -> None:
    opened, _ = open_page(dossier, DESKTOP)
    page = opened.page
    page.emulate_media(media="print")
    assert page.locator(".contents").is_hidden()
    assert page.locator("#changes-files tbody tr").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
