"""Every page in a real browser: no accessibility violation, no sideways scroll, nothing that the policy blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE, Installation, paths, size

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROWEST = (320, 640)
# Radio buttons and ticks are small, their labels are not, and those are what one hits.
SMALL = """() => [...document.querySelectorAll("button, summary, select, textarea, input, .button")]
    .filter(one => one.checkVisibility() && !one.matches("[type=hidden], [type=radio], [type=checkbox]"))
    .filter(one => one.getBoundingClientRect().height < 24).map(one => one.outerHTML.slice(0, 100))"""


def violations(page: Any) -> list[str]:
    """Return what axe finds wrong with a page as it stands."""
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run({runOnly: rules}).then(found => found.violations)", RULES)
    return [f"{one['id']}: {node['html'][:160]} ({node['failureSummary']})" for one in found for node in one["nodes"]]


def faults(page: Any, width: int) -> list[str]:
    """Return what is wrong with how a page is laid out."""
    page.evaluate("() => document.querySelectorAll('main details').forEach(one => { one.open = true; })")
    found = [f"a target is too small: {html}" for html in page.evaluate(SMALL)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        found.append(f"it scrolls sideways: {wide} px")
    for element in ("h1", "main"):
        count = page.locator(element).count()
        if count != 1:
            found.append(f"it has {count} {element}")
    return found


@pytest.mark.parametrize(("theme", "screen"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
def test_no_page_has_a_fault(installation: Installation, theme: str, screen: tuple[int, int]) -> None:
    page = installation.page(viewport=size(screen), color_scheme=theme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found: dict[str, list[str]] = {}
    for name, path in paths(installation.made).items():
        page.goto(path)
        found[name] = violations(page) + faults(page, screen[0])
        assert page.title().startswith("Error:") == (name == "error")
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert [url for url in asked if not url.startswith(installation.address)] == []


def test_no_page_scrolls_sideways_on_the_narrowest_screen(installation: Installation) -> None:
    page = installation.page(viewport=size(NARROWEST), java_script_enabled=False)
    found = {}
    for name, path in paths(installation.made).items():
        page.goto(path)
        found[name] = faults(page, NARROWEST[0])
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_no_page_of_an_empty_installation_has_a_fault(install: Callable[..., Installation]) -> None:
    empty = install(furnished=False, allowed_jobs={})
    page, found = empty.page(role=None), {}
    page.goto("/setup")
    found["/setup"] = violations(page) + faults(page, DESKTOP[0])
    page = empty.page()
    for path in ("/", "/jobs", "/jobs/new", "/users", "/account"):
        page.goto(path)
        found[path] = violations(page) + faults(page, DESKTOP[0])
    page = empty.page(role=None)
    page.goto("/login")
    found["/login"] = violations(page) + faults(page, DESKTOP[0])
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_axe_finds_nothing_in_an_open_menu_and_a_refused_form(installation: Installation) -> None:
    page = installation.page("/")
    page.click(".menu summary")
    assert violations(page) == []
    page.goto(paths(installation.made)["run-everything"])
    page.fill("[name='p.number']", "twelve")
    page.click("text=Run the job")
    assert page.title().startswith("Error:")
    assert violations(page) == []


def test_the_first_job_is_on_the_first_screen_of_a_phone(installation: Installation) -> None:
    page = installation.page("/jobs", viewport=size(PHONE))
    row, bar = page.locator(".jobs tbody tr").first.bounding_box(), page.locator("header.bar").bounding_box()
    assert row is not None
    assert row["y"] + row["height"] < PHONE[1]
    assert bar is not None
    assert bar["height"] < 64


@pytest.mark.parametrize(("theme", "ground"), [("dark", "rgb(17, 22, 20)"), ("light", "rgb(245, 246, 242)")])
def test_the_chosen_colours_win_over_the_devices_and_stay(installation: Installation, theme: str, ground: str) -> None:
    page = installation.page("/jobs?status=failed", color_scheme="dark" if theme == "light" else "light")
    page.click(".menu summary")
    page.click(f".theme button[value={theme}]")
    assert page.url.endswith("/jobs?status=failed")
    page.goto("/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground


def test_without_colours_a_status_is_told_by_glyph_and_word(installation: Installation) -> None:
    page = installation.page("/jobs")
    glyphs = {}
    for chip in page.locator(".chip").all():
        glyphs[chip.inner_text().strip()] = chip.locator("svg use").get_attribute("href")
    assert set(glyphs) == {"pending", "running", "scheduled", "retrying", "cancelled", "completed", "failed"}
    assert len(set(glyphs.values())) == len(glyphs)
