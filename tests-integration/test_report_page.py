"""The aligner's report in a browser: it opens, filters, draws and plays."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from hmm_align import AlignedInterval, Alignment, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CLIPS = 1_000


def clip(number: int) -> Alignment:
    """Return words "a" and "b", the second the less certain the higher the number."""
    edge = 0.5 + 0.0001 * number
    confidence = 1.0 - number / (2 * CLIPS)
    tier = (AlignedInterval(0.0, edge, "a", 1.0), AlignedInterval(edge, 1.0, "b", confidence))
    return Alignment(f"speaker/clip{number:04}", 1.0, tier, tier, log_likelihood_per_frame=-40.0)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a thousand utterances, one of which failed; all have one recording."""
    folder = tmp_path_factory.mktemp("report")
    noise = np.random.default_rng(0).normal(0.0, 0.1, 16_000)
    noise[8_000:] *= 0.01  # loud, then quiet
    soundfile.write(folder / "clip.wav", noise, 16_000)
    alignments = [clip(number) for number in range(CLIPS - 1)]
    alignments.append(Alignment.failure("speaker/lost", "no path"))
    recordings = {item.id: folder / "clip.wav" for item in alignments}
    write_report(alignments, folder / "report.html", recordings, title="A thousand")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(report: Path) -> Iterator["Page"]:
    """Open the report in headless Chromium; an error in its script fails the test that caused it."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get("HMM_REQUIRE_BROWSER") == "1":
            pytest.fail(f"HMM_REQUIRE_BROWSER=1, but none of {', '.join(NAMES)} is installed")
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        # Chromium refuses its sandbox to root, and the page is ours.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 800})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report.as_uri())
        yield page
        browser.close()
    assert errors == []


@pytest.fixture(autouse=True)
def fresh(page: "Page") -> None:
    """Start each test with the page as it opens."""
    page.reload()


def shown(page: "Page") -> list[str]:
    names: list[str] = page.locator("#list button").evaluate_all(
        "all => all.map(button => button.dataset.id)"
    )
    return names


def test_the_worst_come_first_and_the_first_is_open(page: "Page") -> None:
    assert page.title() == "A thousand"
    assert page.inner_text("#summary") == "1000 utterances, 1 failed, 0 suspicious; 1000 shown"
    names = shown(page)
    assert names[:2] == ["speaker/lost", "speaker/clip0998"]
    assert names[-1] == "speaker/clip0000"
    assert page.inner_text("article h2") == "speaker/lost"
    assert "no path" in page.inner_text("article")


def test_filters_and_orders_apply(page: "Page") -> None:
    page.fill("#search", "clip0007")
    assert shown(page) == ["speaker/clip0007"]
    page.fill("#search", "b")
    assert len(shown(page)) == CLIPS - 1
    page.fill("#search", "")
    page.select_option("#show", "failed")
    assert shown(page) == ["speaker/lost"]
    page.select_option("#show", "fine")
    page.select_option("#sort", "id")
    assert shown(page)[0] == "speaker/clip0000"
    page.fill("#below", "0.6")
    assert len(shown(page)) == 198  # clips 801 to 998


def test_an_utterance_is_drawn_with_its_boundaries(page: "Page", tmp_path: Path) -> None:
    page.click("[data-id='speaker/clip0500']")
    page.wait_for_function("sound !== null")
    assert page.locator("#words button").all_inner_texts() == ["a", "b"]
    dark = """() => {
      const canvas = document.getElementById("spectrogram"), context = canvas.getContext("2d");
      const row = context.getImageData(0, canvas.height / 2, canvas.width, 1).data;
      const mean = (from, to) => {
        let sum = 0;
        for (let x = from; x < to; x++) sum += row[4 * x];
        return sum / (to - from);
      };
      return [mean(10, canvas.width / 2 - 20), mean(canvas.width / 2 + 60, canvas.width - 10)];
    }"""
    loud, quiet = page.evaluate(dark)
    assert loud < quiet - 50  # of 255: loud is dark
    left = page.locator("#words button").nth(1).evaluate("button => parseFloat(button.style.left)")
    assert left == pytest.approx(55.0, abs=0.01)  # per cent of the second that is shown
    picture = tmp_path / "page.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 20_000


def test_a_click_on_an_interval_plays_it(page: "Page") -> None:
    page.click("[data-id='speaker/clip0500']")
    page.wait_for_function("sound !== null")
    page.locator("#phones button").nth(1).click()
    assert page.evaluate("page.played") == ["speaker/clip0500", 0.55, 1.0]
    assert page.evaluate("playing !== null")
    page.get_by_text("Stop").click()
    assert page.evaluate("playing === null")


def test_keys_go_through_the_list_and_buttons_through_time(page: "Page") -> None:
    page.locator("#list button").nth(0).focus()
    page.keyboard.press("ArrowDown")
    assert page.inner_text("article h2") == "speaker/clip0998"
    page.get_by_text("Zoom in").click()
    assert page.inner_text("#where") == "0.25 to 0.75 s"
    page.get_by_text("Later").click()
    assert page.inner_text("#where") == "0.50 to 1.00 s"
