"""The leaderboard's page as readers use it, driven in headless Chromium."""

import csv
import importlib.util
import io
import json
import shutil
import time
from pathlib import Path

import pytest
from test_leaderboard_page import records

from openood_multimodal import escapes
from openood_multimodal.reporting import exports
from openood_multimodal.reporting.leaderboard import make_boards
from openood_multimodal.reporting.page import html, payload
from openood_multimodal.reporting.published import published_records

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed (Debian: chromium-driver)"
)
HMDB = "#benchmark=hmdb51_25_26"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def boards():
    return make_boards([*published_records(), *records()])


@pytest.fixture(scope="module")
def content(boards):
    return payload(boards)


@pytest.fixture(scope="module")
def browser(folder, content):
    (folder / "index.html").write_text(html.render(content), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1360,950"):
        options.add_argument(word)
    prefs = {"profile.default_content_setting_values.automatic_downloads": 1}
    options.add_experimental_option("prefs", {"download.default_directory": str(folder), **prefs})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def go(browser, folder):
    def visit(fragment=HMDB, name="index.html"):
        browser.get("about:blank")
        browser.get((folder / name).as_uri() + fragment)
        for _ in range(200):  # the driver may be back before the page's module has run
            if browser.execute_script("return document.documentElement.dataset.ready"):
                return browser
            time.sleep(0.05)
        raise AssertionError(browser.get_log("browser"))

    return visit


def js(browser, script, *arguments):
    return browser.execute_script(script, *arguments)


def shown(browser):
    """The table as readers see it."""
    return js(
        browser,
        "return [...document.querySelectorAll('tbody tr[data-id]')]"
        ".map(r => [...r.cells].map(c => c.innerText.trim()))",
    )


def click(browser, selector):
    js(browser, "document.querySelector(arguments[0]).click()", selector)


def test_it_sorts_ranks_and_filters(go):
    browser = go()
    rows = shown(browser)
    assert len(rows) == 94
    assert (rows[0][0], rows[0][1], rows[0][2]) == ("1", "A2D + NP-Mix + LogitNorm", "MSP")
    assert [row[0] for row in rows[4:7]] == ["5", "6", "6"]
    click(browser, "th.is-FPR-95")
    assert js(browser, "return document.querySelector('th.is-FPR-95').ariaSort") == "ascending"
    head = js(browser, "return [...document.querySelectorAll('thead th')].map(h => h.innerText)")
    column = next(i for i, title in enumerate(head) if "FPR@95" in title)
    values = [float(row[column].split("±")[0]) for row in shown(browser)]
    assert values == sorted(values)
    assert shown(browser)[0][0].rstrip("*") == "1"
    click(browser, "[data-filter=postprocessor] input[value=knn]")
    assert {row[2] for row in shown(browser)} == {"KNN"}
    assert "ranked by FPR@95" in js(browser, "return document.getElementById('count').innerText")
    click(browser, "#clear")
    assert len(shown(browser)) == 94


def test_a_link_brings_back_the_whole_state(go):
    browser = go()
    click(browser, "[data-filter=training] input[value=a2d]")
    click(browser, "th.is-ACC")
    click(browser, "#columns input[value=preset]")
    for box in (1, 2):
        click(browser, f"tbody tr:nth-child({box}) .pick input")
    link, rows = browser.current_url, shown(browser)
    go("#benchmark=ucf101_50_51")
    assert shown(browser) != rows
    browser = go("#" + link.partition("#")[2])
    assert shown(browser) == rows
    assert js(browser, "return document.querySelectorAll('.pick input:checked').length") == 2
    assert browser.current_url == link
    browser = go("#benchmark=<script>&sort=x.asc&in.training=nobody")
    assert "does not have (benchmark, sort)" in js(
        browser, "return document.getElementById('count').innerText"
    )


def downloaded(browser, folder, kinds):
    for kind in kinds:
        browser.find_element(
            "css selector", "#download summary"
        ).click()  # one download for each act of a user
        browser.find_element("css selector", f"[data-format={kind}]").click()
    board = js(browser, "return new URLSearchParams(location.hash.slice(1)).get('benchmark')")
    files = [folder / f"leaderboard-{board}.{kind}" for kind in kinds]
    for _ in range(100):
        if all(path.is_file() for path in files):
            break
        time.sleep(0.05)
    texts = [path.read_text(encoding="utf-8") for path in files]
    for path in files:
        path.unlink()
    return texts


@pytest.mark.parametrize(
    ("fragment", "choice"),
    [
        (
            HMDB + "&in.postprocessor=knn&sort=FPR@95.asc",
            {"where": {"postprocessor": ["knn"]}, "sort": "FPR@95"},
        ),
        ("#benchmark=bench&ood_set=near", {"where": {"ood_set": ["near"], "auxiliary": [""]}}),
        (
            "#benchmark=bench&ood_set=near&columns=training,AUROC,AURC,risk@80,Brier,NLL_scaled&sort=AURC.asc",
            {
                "where": {"ood_set": ["near"], "auxiliary": [""]},
                "columns": ["training", "AUROC", "AURC", "risk@80", "Brier", "NLL_scaled"],
                "sort": "AURC",
            },
        ),
        (
            "#benchmark=bench&columns=training,AUROC,AUROC_ci,runs,rank,average_rank,notes",
            {
                "where": {"ood_set": ["average"], "auxiliary": [""]},
                "columns": ["training", "AUROC", "AUROC_ci", "runs", "rank", "average_rank", "notes"],
            },
        ),
    ],
)
def test_downloads_equal_the_table_and_the_exports(go, folder, boards, fragment, choice):
    browser = go(fragment)
    table = shown(browser)
    as_csv, as_json, as_tex, as_bib = downloaded(browser, folder, ("csv", "json", "tex", "bib"))
    name = fragment.partition("=")[2].partition("&")[0]
    selected = exports.select([boards[name]], **choice)
    assert len(table) == len(selected[0].rows) > 1
    assert as_csv == exports.csv(selected)
    assert as_tex == exports.as_latex(selected)
    assert as_bib == exports.as_bibtex(selected)
    assert json.loads(as_json)["rows"] == [json.loads(line) for line in exports.jsonl(selected).splitlines()]
    for row, ours in zip(table, csv.DictReader(io.StringIO(as_csv)), strict=True):
        assert row[0] == ours["rank"]
        assert any(cell.startswith(ours["AUROC"]) for cell in row)
        if "NLL_scaled" in ours:
            assert ours["NLL_scaled"] == "1.2346"
            assert any(cell.startswith("1.2346") for cell in row), row


def test_texts_are_escaped_as_in_every_output(go):
    browser = go()
    names = ["=1+1", "+1|cmd", "-2+3", "@SUM(1)", 'a,"b"', "-", "-0.5", r"\input{x} $1_2$ 5% #~^<>|"]
    assert js(browser, "return arguments[0].map(pageFor.csvCell)", names) == [
        next(iter(csv.reader([cell]))) and _quoted(escapes.csv_cell(cell)) for cell in names
    ]
    assert js(browser, "return arguments[0].map(pageFor.latex)", names) == [
        escapes.latex(each) for each in names
    ]


def _quoted(cell):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([cell])
    return buffer.getvalue()


def test_a_method_has_the_colour_of_the_figures(go):
    from openood_multimodal.reporting.figures.style import style_of

    browser = go()
    drawn = js(
        browser,
        "const named = (m) => pageFor.byId.get(m.closest('tr').dataset.id).training;"
        "return [...document.querySelectorAll('tbody .mark')]"
        ".map(m => [named(m), getComputedStyle(m).fill, m.tagName])",
    )
    assert len({name for name, *_ in drawn}) > 4
    shapes = {"o": "circle", "s": "rect"}
    for name, fill, tag in drawn:
        style = style_of(name)
        red, green, blue = (int(style.colour[place : place + 2], 16) for place in (1, 3, 5))
        assert (fill, tag) == (f"rgb({red}, {green}, {blue})", shapes.get(style.marker, "path")), name


def test_rows_with_other_auxiliary_data_are_never_together(go):
    browser = go("#benchmark=bench")
    assert {row[1] for row in shown(browser)} == {"A2D", "Cross-entropy"}
    browser = go("#benchmark=bench&auxiliary=places")
    assert {row[1] for row in shown(browser)} == {"outliers"}
    assert "Auxiliary data: places" in js(browser, "return document.getElementById('about').innerText")


def test_two_rows_are_compared_run_by_run(go):
    browser = go("#benchmark=bench&ood_set=near")
    for box in (1, 2):
        click(browser, f"tbody tr:nth-child({box}) .pick input")
    click(browser, "#compare")
    cells = js(
        browser,
        "return [...document.querySelectorAll('dialog tbody tr')].map(r => [...r.cells].map(c => c.innerText))",
    )
    auroc = next(each for each in cells if each[0].startswith("AUROC"))
    assert auroc[1:] == ["80.50", "70.50", "+10.00", "+10.00", "+10.00 to +10.00", "2 partitions"]
    nll = next(each for each in cells if each[0] == "NLL (nats), temperature scaled ↓")
    assert nll[1:5] == ["1.2346", "1.2346", "+0.0000", "+0.0000"]


def test_a_comparison_says_which_rows_are_unverified(go):
    browser = go("#benchmark=hmdb51_25_26&in.training=dpu")
    assert [row[0] for row in shown(browser)] == ["1", "2*", "3*", "4*"]
    for box in (1, 2):
        click(browser, f"tbody tr:nth-child({box}) .pick input")
    click(browser, "#compare")
    assert "Unverified: B. Read in a summary" in js(
        browser, "return document.querySelector('dialog').innerText"
    )


def test_it_works_by_keyboard_alone(go):
    from selenium.webdriver.common.keys import Keys

    browser = go()
    browser.switch_to.active_element.send_keys(Keys.TAB)
    for _ in range(200):
        active = browser.switch_to.active_element
        if active.get_attribute("data-row"):
            break
        active.send_keys(Keys.TAB)
    active.send_keys(Keys.ENTER)
    assert js(browser, "return document.getElementById('dialog').open")
    assert "openood-mm reproduce table" in js(browser, "return document.getElementById('dialog').innerText")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not js(browser, "return document.getElementById('dialog').open")
    assert browser.switch_to.active_element.get_attribute("data-row") == active.get_attribute("data-row")


@pytest.mark.parametrize("where", [HMDB, "#benchmark=bench", "dialog"])
def test_axe_finds_nothing_serious(go, where):
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None:
        pytest.skip("axe-core-python is not installed")
    browser = go(HMDB if where == "dialog" else where)
    if where == "dialog":
        click(browser, "[data-row]")
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    js(browser, Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
    serious = {
        each["id"]: [node["html"][:200] for node in each["nodes"]][:3]
        for each in found
        if each["impact"] in ("serious", "critical")
    }
    assert not serious


def test_nothing_is_asked_of_any_host_and_nothing_is_refused(go):
    browser = go()
    browser.get_log("performance")
    browser.get_log("browser")
    go()
    click(browser, "[data-row]")
    events = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    urls = {
        each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"
    }
    assert all(url.startswith(("file:", "about:", "data:")) for url in urls), urls
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("n", [10_000, 50_000])
def test_many_rows(go, folder, content, n):
    near = [row for row in content["rows"] if content["strings"][row["text"][0]] == "hmdb51_25_26"]
    many = [{**near[i % len(near)], "id": str(i)} for i in range(n)]
    (folder / "many.html").write_text(html.render({**content, "rows": many}), encoding="utf-8")
    browser = go(HMDB, "many.html")
    painted = js(
        browser,
        "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? performance.now()",
    )
    took = browser.execute_async_script(
        "const done = arguments[0], begin = performance.now();"
        "document.querySelector('[data-filter=postprocessor] input[value=knn]').click();"
        "requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)))"
    )
    table = int(js(browser, "return document.documentElement.dataset.ready"))
    print(f"{n} rows: first paint after {painted:.0f} ms, table {table} ms, filter {took:.0f} ms")
    assert {row[2] for row in shown(browser)} == {"KNN"}
    assert took < 10_000
