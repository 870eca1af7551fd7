"""The demo's own dossier in a real browser: no word, no request, and it says what the JSON says."""

from __future__ import annotations

import shutil

import pytest
from e2e.conftest import Demo
from playwright.sync_api import sync_playwright

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def test_the_real_page_opens_on_a_phone_and_its_numbers_are_the_documents(demo: Demo) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.fail("chromium is not installed; install it: apt-get install chromium")
    dossier = demo.json("review", "debian/web-1")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": 375, "height": 800})
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((demo.folder / "dossier.html").resolve().as_uri())
        for folded in page.locator("details:not([open]) > summary").all():
            if folded.is_visible():
                folded.click()
        text = page.inner_text("body")
        wide = page.evaluate("document.documentElement.scrollWidth")
        started.close()
    assert (said, len(asked)) == ([], 1)
    assert wide <= 375
    passed = [gate for gate in dossier["gates"] if gate["verdict"] in ("pass", "waived")]
    assert f"{len(passed)} of {len(dossier['gates'])}" in text
    assert dossier["candidate"]["digest"] in text
    assert "May be approved" in text
