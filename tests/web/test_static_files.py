"""Style, script, fonts and icons: where they are from, what they weigh, and that colours can be told apart."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from bgapp import assets
from bgapp.models import Status
from bgapp.runtime import Runtime
from bgapp.web import static
from tests.web.conftest import Browser
from tests.web.rows import add


def test_attributes_of_the_live_parts_stand_in_the_macros_alone() -> None:
    found = list(Path(assets.templates()).rglob("*.html"))
    assert len(found) > 20
    for path in found:
        source = path.read_text(encoding="utf-8")
        assert path.name == "_macros.html" or not re.search(r"\shx-", source), path
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?! src=)|\|\s*safe\b|autoescape", source), path


def test_vendored_files_are_those_that_are_named_and_no_others() -> None:
    folder = Path(assets.static()) / "vendor"
    told = dict(
        re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (folder / "VENDORED.md").read_text(), re.MULTILINE)
    )
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"VENDORED.md"}
    assert set(told) == there
    for name, digest in told.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_the_style_sheet_names_its_fonts_by_their_content() -> None:
    folder = Path(assets.static())
    named = re.findall(r'url\("([^"?]+)\?v=([0-9a-f]+)"\)', (folder / "app.css").read_text())
    assert len(named) == 4
    for name, version in named:
        assert static.version(name) == version


def test_a_first_visit_stays_light(browser: Callable[..., Browser], runtime: Runtime) -> None:
    for _ in range(60):
        add(runtime, Status.FAILED, error="ValueError: " + "x" * 80)
    folder = Path(assets.static())

    def weight(*names: str) -> int:
        return sum(len(gzip.compress((folder / name).read_bytes(), 9)) for name in names)

    fonts = sum((folder / "vendor/fonts" / name).stat().st_size for name in ("next-latin.woff2", "mono-latin.woff2"))
    html = len(gzip.compress(browser("viewer").get("/jobs").data, 9))
    script, style = weight("app.js", "vendor/htmx.min.js"), weight("app.css")
    assert script < 20_000
    assert style < 8_000
    assert html < 15_000
    assert script + style + html + fonts + weight("icons.svg") < 110_000


def test_the_tokens_have_enough_contrast() -> None:
    css = (Path(assets.static()) / "app.css").read_text()
    tokens = {name: pair for name, *pair in re.findall(r"--([a-z0-9-]+): light-dark\((#\w{6}), (#\w{6})\)", css)}
    statuses = ("pending", "scheduled", "running", "completed", "failed", "cancelled", "retrying")
    for theme in (0, 1):
        for ground in ("bg", "surface", "sunken"):
            for ink in ("ink", "ink-2", "accent"):
                assert contrast(tokens[ink][theme], tokens[ground][theme]) >= 4.5, (ink, ground)
        for ground in ("bg", "surface"):
            assert contrast(tokens["edge"][theme], tokens[ground][theme]) >= 3
            assert contrast(tokens["focus"][theme], tokens[ground][theme]) >= 3
            for status in statuses:
                assert contrast(tokens[status][theme], tokens[ground][theme]) >= 4.5, (status, ground)
        for status in statuses:
            assert contrast(tokens[status][theme], tokens[f"{status}-tint"][theme]) >= 4.5, status
        for fill in ("accent", "danger"):
            assert contrast(tokens[fill][theme], tokens[f"on-{fill}"][theme]) >= 4.5, fill


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
