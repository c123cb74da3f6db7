"""The page in a real browser: no error, no request, and a click shows the architecture of that point."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invnas.confusion import Confusion
from invnas.report.collect import ReportData
from invnas.report.drawing import operator_label
from invnas.report.html_confusion import PLOT
from invnas.report.render_html import write

pytestmark = pytest.mark.browser
pytest.importorskip("plotly")
webdriver = pytest.importorskip("selenium.webdriver")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait

# Where point `number` stands in the window, from plotly's own axes.
PLACE = """
const plot = document.getElementById(arguments[0]), number = arguments[1];
for (const trace of plot.data) {
  const i = (trace.customdata || []).indexOf(number);
  if (i < 0) continue;
  const axes = plot._fullLayout, box = plot.getBoundingClientRect();
  const place = (axis, value) => axis._offset + axis.d2p(value);
  return [box.left + place(axes.xaxis, trace.x[i]), box.top + place(axes.yaxis, trace.y[i])];
}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(f"no {'chromium' if chromium is None else 'chromedriver'} on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    quiet = ["quic", "gpu", "sync", "background-networking", "component-update", "dev-shm-usage"]
    for argument in (*(f"disable-{name}" for name in quiet), "headless", "no-sandbox", "no-first-run"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--window-size=1280,1400")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(data, tmp_path_factory.mktemp("report"))


def opened(browser: Any, page: Path) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(lambda b: b.execute_script("return document.body.dataset.ready") == "yes")


def requested(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # chrome: is the browser's own first page.
    return [url for url in sent if not url.startswith(("data:", "blob:", "chrome:"))]


def click(browser: Any, plot: str, number: int) -> None:
    x, y = browser.execute_script(PLACE, plot, number)
    chain = webdriver.ActionChains(browser)
    chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    chain.pause(0.4)
    chain.w3c_actions.pointer_action.click()
    chain.perform()


def test_the_page_opens_without_an_error_or_a_request(browser: Any, page: Path) -> None:
    opened(browser, page)
    assert requested(browser) == [page.as_uri()]
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    buttons = browser.find_elements("css selector", ".modebar-btn")
    names = {button.get_attribute("data-title") or button.get_attribute("aria-label") for button in buttons}
    assert names == {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}, "nothing sends data"


def test_the_knee_is_shown_first(browser: Any, page: Path, data: ReportData) -> None:
    opened(browser, page)
    assert data.knee is not None
    panel = browser.find_element("id", "panel")
    assert panel.get_attribute("data-trial") == str(data.knee.number)


def test_a_click_shows_the_architecture_of_the_point(browser: Any, page: Path, data: ReportData) -> None:
    opened(browser, page)
    best = data.front[-1]
    click(browser, "plot-0", best.number)
    panel = browser.find_element("id", "panel")
    WebDriverWait(browser, 10).until(lambda b: panel.get_attribute("data-trial") == str(best.number))
    assert panel.find_element("css selector", "h3").text.startswith(f"Trial {best.number}:")
    drawn = [element.text for element in panel.find_elements("css selector", "svg text")]
    for _, operator in best.trial.architecture.operators:
        assert operator_label(operator) in drawn
    assert f"{100 * best.measurement.top1:.1f} %" in panel.text
    marked = browser.find_elements("css selector", "#table tr.selected")
    assert {row.get_attribute("data-trial") for row in marked} == {str(best.number)}
    assert browser.get_log("browser") == []


def test_a_number_in_the_table_shows_that_trial_and_its_decisions(browser: Any, page: Path, data: ReportData) -> None:
    opened(browser, page)
    cheapest = data.front[0]
    browser.find_element("css selector", f'#table button[data-trial="{cheapest.number}"]').click()
    panel = browser.find_element("id", "panel")
    assert panel.get_attribute("data-trial") == str(cheapest.number)
    panel.find_element("css selector", "summary").click()
    rows = panel.find_elements("css selector", ".decisions tr")
    assert len(rows) == len(cheapest.trial.decisions)


@pytest.mark.parametrize("kind", [{"count": 0}, {"count": 1}, {"count": 9, "latency": True}])
def test_sparse_runs_open_in_a_narrow_window(
    browser: Any, make: Callable[..., ReportData], tmp_path: Path, kind: dict[str, Any]
) -> None:
    objectives = ("top1", "macs", "latency_ms") if kind.get("latency") else ("top1", "macs")
    path = write(make(**kind, objectives=objectives), tmp_path)
    browser.set_window_size(800, 1200)
    opened(browser, path)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.set_window_size(1280, 1400)


def test_the_menu_draws_what_another_member_takes_for_what(browser: Any, data: ReportData, tmp_path: Path) -> None:
    found = {p.number: Confusion({(0, 0): 9, (0, 1): 1 + i, (1, 1): 9}) for i, p in enumerate(data.front)}
    beyond = replace(data.beyond, confusions=found, classes=("cat", "<b>dog</b> & more"))
    opened(browser, write(replace(data, beyond=beyond), tmp_path))
    knee = data.front.index(data.knee)  # type: ignore[arg-type]
    drawn = f"return document.getElementById('{PLOT}').data[0].text[0][1]"
    assert browser.execute_script(drawn) == str(1 + knee)
    labels = [tick.text for tick in browser.find_elements("css selector", f"#{PLOT} .ytick text")]
    assert sorted(labels) == ["<b>dog</b> & more", "cat"]
    header = browser.find_element("css selector", f"#{PLOT} .updatemenu-header")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", header)
    webdriver.ActionChains(browser).move_to_element(header).click().pause(0.6).perform()  # it unfolds
    other = knee - 1 if knee else 1
    option = browser.find_elements("css selector", f"#{PLOT} .updatemenu-dropdown-button")[other]
    webdriver.ActionChains(browser).move_to_element(option).click().perform()
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(drawn) == str(1 + other))
    assert browser.get_log("browser") == []


def test_a_click_draws_the_hypervolume_over_epochs_and_back(browser: Any, page: Path, data: ReportData) -> None:
    opened(browser, page)
    trials, epochs = browser.find_elements("css selector", "#plot-hypervolume .updatemenu-button")
    last = (
        "const p = document.getElementById('plot-hypervolume'); return [p.data[1].x.at(-1), p.layout.xaxis.title.text]"
    )
    for button, shown in ((epochs, [data.search.epochs[-1], "Epochs trained"]), (trials, [40, "Finished trials"])):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        webdriver.ActionChains(browser).move_to_element(button).click().perform()
        WebDriverWait(browser, 10).until(lambda b, shown=shown: b.execute_script(last) == shown)
