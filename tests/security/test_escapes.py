"""Texts out of files in everything that is written: no markup, link, formula, broken row or terminal code."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace

import pytest

from openood_multimodal import escapes
from openood_multimodal.reporting import exports
from openood_multimodal.reporting.leaderboard import collect, make_boards
from openood_multimodal.reporting.openood_rows import links_csv, openood_rows, rows_csv
from openood_multimodal.reporting.published import published_records

ATTACKS = {
    "html": "<img src=x onerror=alert(1)>",
    "closing": "</td><script>alert(1)</script>",
    "entity": "&lt;script&gt; &#x3c;b>",
    "link": "[click](https://evil.example/a)",
    "image": "![x](http://evil.example/x.png)",
    "autolink": "see https://evil.example and www.evil.example and a@evil.example",
    "angle": "<https://evil.example>",
    "reference": "[x][y]",
    "code": "`x` ``y``",
    "row": "a | b\n| c | d |",
    "line": "a\n\n# heading\r\n- x",
    "heading": "# heading",
    "rule": "---",
    "list": "1. x",
    "formula": '=HYPERLINK("http://evil.example")',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd",
    "at": "@SUM(1+1)",
    "quoted formula": '"=1+1',
    "tab formula": "\t=1+1",
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31m",
    "backspace": "good\x08\x08\x08\x08evil",
    "return": "good\revil",
    "right to left": "abc\u202edef\u2066x",
    "separator": "a\u2028b\u2029c",
    "quotes": "\" onmouseover='alert(1)', b",
    "comma": 'a, "b", ,',
    "marks": "\u200eabc\u200f\u2067\u061c",
    "bibtex": "x},\n}\n@book{evil, title = {x}",
    "comment": "100% \\\\ & \\\\hline",
    "latex": r"\input{/etc/passwd} $x_1$ 50% #1 ~ ^",
}
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
FIELDS = ("id_set", "ood_set", "modalities", "networks", "training", "protocol", "synthesis", "discrepancy",
          "postprocessor", "preset", "notes", "parameters", "engine", "benchmark")  # fmt: skip


def planted(folder, attack):
    """A record whose every text is the attack, and one beside it that differs, so that all columns are shown."""
    folder.mkdir()
    first = next(r for r in published_records() if r.benchmark == "hmdb51_25_26").to_dict()
    for number, suffix in enumerate(("", " 2")):
        text = attack + suffix
        record = first | {
            name: text for name in FIELDS if isinstance(first[name], str) or first[name] is None
        }
        record |= {"modalities": [text], "networks": text, "notes": [text], "parameters": {text: text}}
        record |= {"engine": {"name": text, "version": text}, "benchmark": attack, "id_set": attack}
        record |= {"training": attack, "postprocessor": attack, "run_id": f"x{number}", "ood_set": attack}
        (folder / f"{number}.record.json").write_text(json.dumps(record))
    return folder


def check_markdown(page):
    assert not UNSEEN.search(page)
    assert not re.search(r"(?<!\\)<(?!/?(?:br)>)", page), "raw HTML"
    assert not re.search(r"(?<!\\)\]\s*[(\[]", page), "a link"
    assert not re.search(r"(?i)\b(https?:|www\.)", page), "an automatic link"
    assert not re.search(r"[\w.+-]@[\w-]+\.\w", page), "an automatic link to an address"
    tables = re.findall(r"(?:^\|.*\n)+", page, flags=re.M)
    assert tables
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, "a broken row"
    headings = re.findall(r"^#+ (.*)$", page, flags=re.M)
    assert all("heading" not in each or "\\#" in each or "x" in each for each in headings)


def check_csv(text):
    assert not UNSEEN.search(text)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert "\n" not in cell
        assert not re.match(r"^[\s\"']*[=+@]|^[\s\"]*-(?!\d*\.?\d*$)", cell) or cell.startswith("'"), cell


def check_page(html):
    """Texts are only in the data block, which nothing in it can end; the page's own script sets them as text."""
    (data,) = re.findall(r'(?s)<script type="application/json" id="data">(.*?)</script>', html)
    assert "<" not in data
    assert not any(UNSEEN.search(text) for text in json.loads(data)["strings"])
    assert not re.search("alert|evil|passwd|onerror=", html.replace(data, "").partition("<script")[0])
    assert html.count("</script>") == 3


def check_latex(text):
    assert not UNSEEN.search(text)
    ours = "begin|end|centering|caption|toprule|midrule|bottomrule|pm|times|uparrow|downarrow"
    signs = "textbackslash|textascii|textless|textgreater|textbar|textquotedbl"
    lines = [line for line in text.splitlines() if not line.startswith("% needs")]
    rows = [line.removesuffix(" \\\\") for line in lines if line.endswith(" \\\\")]
    code = "\n".join(line.removesuffix(" \\\\") for line in lines)
    assert not re.search(rf"\\(?!{ours}|{signs}|[{{}}$&#_%])", code), "a command"
    assert not re.search(r"(?<!\\)[#_%^~\"<>|]", code), "a character of LaTeX's own"
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1
    plain = re.sub(r"\\[{}]", "", code)
    assert plain.count("{") == plain.count("}")


def check_exports(boards):
    selected = exports.select(boards, columns=["all"])
    check_csv(exports.csv(selected))
    check_latex(exports.as_latex(exports.select(boards)))
    lines = exports.jsonl(selected).splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == sum(len(each.rows) for each in selected)
    assert not UNSEEN.search("".join(str(value) for row in rows for value in row.values()))
    entries = exports.as_bibtex(selected)
    assert entries.count("@") == len(re.findall(r"(?m)^@\w+\{[a-z0-9]+,$", entries))
    assert "evil" not in entries


@pytest.mark.parametrize("attack", ATTACKS)
def test_leaderboards(tmp_path, cli, attack):
    folder, out = planted(tmp_path / "records", ATTACKS[attack]), tmp_path / "out"
    done = cli(["leaderboard", "build", "--no-published", "--records", str(folder), "--out", str(out)])
    assert done.code == 0, done.err
    assert not UNSEEN.search(done.out + done.err)
    pages, tables = sorted(out.glob("*.md")), sorted(out.glob("*.csv"))
    assert len(pages) == len(tables) == 1
    check_markdown(pages[0].read_text())
    check_csv(tables[0].read_text())
    check_page((out / "index.html").read_text())
    check_exports(make_boards(collect([folder], published=False).records).values())


@pytest.mark.parametrize("attack", ["colour", "title", "right to left", "return", "separator"])
def test_errors_and_tables_on_the_terminal(tmp_path, cli, attack):
    folder = planted(tmp_path / "records", ATTACKS[attack])
    name = " ".join(ATTACKS[attack].split())
    shown = cli(["leaderboard", "show", ATTACKS[attack], "--no-published", "--records", str(folder)])
    assert shown.code == 0, shown.err
    assert not UNSEEN.search(shown.out)
    refused = cli(["leaderboard", "show", name + "x", "--no-published", "--records", str(folder)])
    assert refused.code == 2
    assert not UNSEEN.search(refused.err)
    unknown = cli(["run", "--config", ATTACKS[attack]])
    assert unknown.code == 2
    assert not UNSEEN.search(unknown.err)


@pytest.mark.parametrize("attack", ATTACKS)
def test_benchmark_reports(tmp_path, attack):
    from openood_multimodal.reporting.benchmark import write_report

    folder = planted(tmp_path / "records", ATTACKS[attack])
    for path in folder.iterdir():
        record = json.loads(path.read_text())
        metric = {"value": 0.5, "ci_low": None, "ci_high": None}
        names = ("FPR@95", "FPR@95_ID_TPR", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
        record |= {"source": "reproduced", "metrics": dict.fromkeys(names, metric), "n_id": 9, "n_ood": 9}
        record |= {
            "track": "demo",
            "seed": 0,
            "partition": "0",
            "fit_on": "train",
            "modalities": [ATTACKS[attack]],
        }
        path.write_text(json.dumps(record))
    records = collect([folder], published=False).records
    rows = openood_rows([replace(each, setting="near") for each in records], records[0].benchmark)
    check_csv(rows_csv(rows))
    check_csv(links_csv(rows))
    report = write_report({folder: ""}, tmp_path / "out")
    assert not UNSEEN.search(report.text.replace("\n", ""))
    check_markdown((tmp_path / "out" / "leaderboard.md").read_text())
    for table in (tmp_path / "out").glob("*.csv"):
        if table.stat().st_size > 1:
            check_csv(table.read_text())


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_and_latex(attack):
    """For pages and papers: nothing that a parser would take for its own."""
    html = escapes.html(ATTACKS[attack])
    assert not re.search("[<>\"']", html)
    assert not UNSEEN.search(html)
    latex = escapes.latex(ATTACKS[attack])
    assert not UNSEEN.search(latex)
    assert not re.search(
        r"(?<!\\)[$&#_%^~]", latex.replace(r"\textasciicircum{}", "").replace(r"\textasciitilde{}", "")
    )
    assert not re.search(
        r"\\(?!textbackslash|textascii|textless|textgreater|textbar|textquotedbl|[{}$&#_%])", latex
    )


@pytest.mark.parametrize(
    "text",
    ["hmdb51_25_26", "A2D+NP-Mix", "-", "FPR@95", "93.10 ± 0.42", "k = 10", "(a, b)", "straße", "数据"],
)
def test_plain_names_stay(text):
    assert escapes.markdown(text) == text
    assert escapes.one_line(text) == text
    assert escapes.csv_cell(text) == text


@pytest.mark.parametrize("number", ["-0.5", "+3", "1e-4", "-1e+10", "-inf", ".5", "-"])
def test_numbers_are_no_formulas(number):
    assert escapes.csv_cell(number) == number


def test_progress_bars_move(capsys):
    with escapes.escaped_streams():
        sys.stderr.write("\r 50%|x")
        sys.stderr.write("\n\n")
        sys.stderr.write("\x1b[A\x1b[A")
        sys.stderr.write("bad \x1b[A \r name")
        sys.stdout.write("\r bad")
    out, err = capsys.readouterr()
    assert err == "\r 50%|x\n\n\x1b[A\x1b[Abad \\x1b[A \\r name"
    assert out == "\\r bad"
