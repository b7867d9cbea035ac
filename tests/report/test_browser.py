"""The page in a real browser: it draws all of itself, loads nothing, fits a phone, and is dark where the reader wants that."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pages import HOSTILE, course, written
from studies import comparison_page, search_page
from traces import run_of, write

from hbo_plugin.report.cli import report

pytest.importorskip("plotly")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: `apt-get install chromium`")

NAMES = ["sums", "words", HOSTILE]
SCREENS = {"wide": 1280, "phone": 360}
RUNS: dict[str, Callable[[], list[list[Any]]]] = {
    "three datasets": lambda: [course(NAMES, 12, levels=5)],
    "200 datasets": lambda: [course([f"set {number}" for number in range(199)] + [HOSTILE], 40)],
    "killed": lambda: [course(NAMES, 3, ended=False)],
    "just begun": lambda: [course(NAMES, 0, ended=False)[:1]],
    "earlier version": lambda: [run_of(*NAMES)],
    "three runs": lambda: [course(NAMES, 12), course(NAMES[:2], 9, levels=1), run_of("tales")],
}
STUDIES = {"comparison": comparison_page, "search": search_page}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Root, as which CI may run, has no sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def write_plain(folder: Path, records: list[Any]) -> Path:
    return write(folder, *records)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each of these runs."""
    made = {}
    for name, records_of in RUNS.items():
        folder = tmp_path_factory.mktemp("page")
        write_run = write_plain if name == "earlier version" else written
        folders = [write_run(folder / str(number), records) for number, records in enumerate(records_of())]
        made[name] = folder / "report.html"
        done = CliRunner().invoke(report, [*map(str, folders), "--html", str(made[name])])
        assert done.exit_code == 0, done.output
    for name, write_page in STUDIES.items():
        folder = tmp_path_factory.mktemp("page")
        write_page(folder, HOSTILE)
        made[name] = folder / "report.html"
    return made


class Reader:
    """A page that somebody looks at, with all that goes wrong."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("request", lambda request: self.faults.extend({request.url} - {path.as_uri()}))
        self.page.goto(path.as_uri())

    def open_all(self) -> None:
        """Unfold all, and let every figure be drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        self.page.set_viewport_size({"width": self.page.viewport_size["width"], "height": 30_000})
        sync_api.expect(self.page.locator(".figure > script")).to_have_count(0, timeout=60_000)

    def luminance(self, selector: str, style: str) -> float:
        """Of a colour of the first such element, from 0 to 1."""
        found = self.page.eval_on_selector(selector, f"(of) => getComputedStyle(of)['{style}']")
        red, green, blue = (float(part) for part in found[found.index("(") + 1 : -1].split(",")[:3])
        return round((0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255, 6)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("run", [*RUNS, *STUDIES])
def test_a_page_draws_all_of_itself(chromium: Any, paths: dict[str, Path], run: str, screen: str) -> None:
    reader = Reader(chromium, paths[run], width=SCREENS[screen])
    reader.open_all()
    page = reader.page
    drawn = page.eval_on_selector_all(
        ".figure", "(all) => all.map((each) => each.querySelectorAll('.main-svg').length)"
    )
    assert drawn
    assert min(drawn) > 0
    assert page.eval_on_selector_all(".figure .xtick", "(all) => all.length") > 0
    assert page.evaluate("document.documentElement.scrollWidth") == SCREENS[screen]
    spilled = "(all) => all.filter((each) => each.scrollWidth > each.parentElement.clientWidth).length"
    assert page.eval_on_selector_all(".figure .main-svg", spilled) == 0
    assert not page.locator("#old").is_visible()
    assert reader.faults == []
    page.close()


def test_dark_is_dark_and_light_is_light(chromium: Any, paths: dict[str, Path]) -> None:
    for scheme, dark in (("dark", True), ("light", False)):
        reader = Reader(chromium, paths["200 datasets"], scheme=scheme)
        reader.open_all()
        for ground in ("body", ".card", ".tile", ".table input"):
            found = reader.luminance(ground, "backgroundColor")
            assert found < 0.2 if dark else found > 0.9, ground
        texts = {"h1": "color", ".card p": "color", "td": "color", ".figure .xtick text": "fill", "thead th": "color"}
        for text, style in texts.items():
            found = reader.luminance(text, style)
            assert found > 0.55 if dark else found < 0.45, text
        found = reader.luminance('[style*="stroke: rgb(1, 2, 3)"]', "stroke")  # the loss of the target
        assert found > 0.55 if dark else found < 0.45
        reader.page.close()


def test_a_table_is_searched_and_sorted(chromium: Any, paths: dict[str, Path]) -> None:
    page = Reader(chromium, paths["200 datasets"]).page
    table = page.locator("[data-name=datasets]")
    shown = table.locator("tbody tr:visible")
    assert shown.count() == 200
    table.locator("xpath=ancestor::div[@class='table']").locator("input").fill("SET 19")
    assert shown.count() == 10  # 19 and 190 to 198
    table.locator("th", has_text="rows").first.click()
    table.locator("th", has_text="weight now").click()
    values = table.locator("tbody tr:visible td:nth-child(5)").evaluate_all(
        "(all) => all.map((of) => +of.dataset.value)"
    )
    assert values == sorted(values, reverse=True)
    table.locator("th", has_text="weight now").click()
    values = table.locator("tbody tr:visible td:nth-child(5)").evaluate_all(
        "(all) => all.map((of) => +of.dataset.value)"
    )
    assert values == sorted(values)
    page.close()


def test_paper_has_every_figure(chromium: Any, paths: dict[str, Path]) -> None:
    reader = Reader(chromium, paths["three datasets"], scheme="dark")
    reader.page.locator(".main-svg").first.wait_for()  # the library is there
    reader.page.emulate_media(media="print")
    reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    waiting = "(all) => all.filter((each) => each.offsetParent && each.querySelector('script')).length"
    assert reader.page.eval_on_selector_all(".figure", waiting) == 0
    widths = reader.page.eval_on_selector_all(
        ".figure .main-svg", "(all) => all.map((each) => +each.getAttribute('width'))"
    )
    assert set(widths) == {660}
    assert reader.luminance("body", "backgroundColor") == 1
    assert len(reader.page.pdf()) > 10_000
    assert reader.faults == []
    reader.page.close()
