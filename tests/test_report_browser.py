"""The report in a real browser: by day, by night and on a telephone, with sound and without a network.

Needs Debian's chromium (apt-get install chromium) and the extra "browser" (pip install "pyspk[browser]").
"""

import os
import shutil

import pytest
from test_report import HOSTILE, write_experiment

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install \"pyspk[browser]\"")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

WAYS = {"light": ((1200, 900), "light"), "dark": ((1200, 900), "dark"), "phone": ((360, 740), "light")}


@pytest.fixture(scope="module")
def browser():
    options = ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM,
                                             args=[*options, *(["--no-sandbox"] if os.geteuid() == 0 else [])])
        yield started
        started.close()


@pytest.fixture
def report(tmp_path, step):
    exp = write_experiment(tmp_path)
    step("make_report.py", exp)
    return exp / "report.html"


@pytest.fixture(params=WAYS)
def opened(request, browser, report):
    """(the page, what it asked for and what went wrong, which way it is shown)."""
    (width, height), scheme = WAYS[request.param]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    noticed = []
    page.on("console", lambda message: noticed.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: noticed.append(f"error: {error}"))
    page.on("dialog", lambda dialog: noticed.append(f"dialog: {dialog.message}"))
    page.on("request", lambda asked: noticed.append(f"request: {asked.url}"[:100])
            if not asked.url.startswith("data:") else None)
    page.goto(report.as_uri(), wait_until="load")
    yield page, noticed, request.param
    page.close()


def test_it_shows_and_plays_in_every_way_and_asks_for_nothing(opened, report):
    page, noticed, way = opened
    assert page.evaluate("document.documentElement.scrollWidth") == WAYS[way][0][0]      # nothing runs over the edge
    paper = [int(part) for part in page.evaluate("getComputedStyle(document.body).backgroundColor")[4:-1].split(",")]
    ink = [int(part) for part in page.evaluate("getComputedStyle(document.body).color")[4:-1].split(",")]
    assert (sum(paper) < sum(ink)) == (way == "dark")
    charts = page.locator("svg.chart")
    assert charts.count() >= 6
    for number in range(charts.count()):
        box = charts.nth(number).bounding_box()
        assert box["width"] >= 250 and box["height"] >= 130
    line = page.locator("#curves .line").first
    assert line.evaluate("one => getComputedStyle(one).stroke") not in ("none", "rgb(0, 0, 0)")

    for number in range(page.locator("audio").count()):
        sound = page.locator("audio").nth(number).evaluate("""async audio => {
            await audio.play();
            while (audio.currentTime === 0) await new Promise(done => setTimeout(done, 20));
            audio.pause();
            return [audio.duration, audio.error];
        }""")
        assert 1 <= sound[0] <= 4 and sound[1] is None
    page.locator("summary").first.click()
    assert page.get_by_text("equal error rate: the share of wrong decisions").is_visible()
    assert noticed == [f"request: {report.as_uri()}"[:100]]


def test_a_screen_reader_is_told_everything(opened):
    page, *_ = opened
    assert page.title() == "net: speaker verification report"
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("heading", level=2).all_text_contents() == [
        "Measures", "Errors at every threshold", "Scores", "By group", "Worst mistakes, to listen to", "Training",
        "Settings and versions"]
    assert page.get_by_role("img", name="DET curves").count() == 1
    assert page.get_by_role("table", name="Lower is better").get_by_role("rowheader", name="cosine").count() == 1
    assert page.get_by_role("heading", level=4, name=HOSTILE).count() >= 1               # a name, and nothing else
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the measures"


def test_not_even_a_script_that_got_in_would_run(browser, report):
    page = browser.new_page()
    report.write_text(report.read_text().replace("</body>", "<script>document.title = 'mine'</script></body>"))
    page.goto(report.as_uri())
    assert page.title() == "net: speaker verification report"
    page.close()
