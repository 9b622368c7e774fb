"""The leaderboard's page: what goes into it, from records alone, and that no text of a record can act in it."""

import json
import re
from dataclasses import replace

import pytest
from made_leaderboards import contents, record, write

from openood_multimodal.errors import MissingPackageError
from openood_multimodal.reporting.leaderboard import build, collect, make_boards
from openood_multimodal.reporting.leaderboard_files import INDEX
from openood_multimodal.reporting.page import PAGE, html, page, payload
from openood_multimodal.reporting.page.commands import commands
from openood_multimodal.vocabulary import METRICS


def metrics(auroc):
    return {
        name: {"value": auroc, "ci_low": auroc - 0.05, "ci_high": auroc + 0.05}
        if name == "AUROC"
        else {"value": 0.5, "ci_low": None, "ci_high": None}
        for name in METRICS
    }


def more(aurc):
    """Failure detection and calibration, with and without temperature scaling."""

    def entries(**values):
        return {name: {"value": value, "ci_low": None, "ci_high": None} for name, value in values.items()}

    scaled = entries(ECE=0.01, Brier=0.5, NLL=1.23456)
    return {
        "failure": {"metrics": entries(AURC=aurc, OSCR=1 - aurc, **{"risk@80": 0.25}), "val_range": None},
        "calibration": {
            "metrics": entries(ECE=0.1, Brier=1.5, NLL=2.5),
            "temperature": 2.0,
            "scaled": scaled,
        },
    }


def records():
    """Two methods of two seeds and partitions, one under a condition, one with auxiliary data, two OOD sets."""
    return [
        record(
            metrics=metrics(value + seed / 100), seed=seed, partition=partition, ood_set=ood_set, **changes
        )
        for value, changes in (
            (0.8, more(0.125)),
            (0.7, {"training": "multimodal_baseline", "discrepancy": None, "protocol": None, **more(0.25)}),
            (0.9, {"training": "outliers", "auxiliary": {"name": "places", "digest": None}}),
        )
        for seed in range(2)
        for partition in "01"
        for ood_set in ("near", "other")
    ]


def of(content, row, field):
    return content["strings"][row["text"][content["fields"].index(field)]]


def test_a_row_holds_means_intervals_runs_and_what_its_records_rest_on():
    content = payload(make_boards(records()))
    json.dumps(content, allow_nan=False)
    row = next(
        r
        for r in content["rows"]
        if of(content, r, "training") == "a2d" and of(content, r, "ood_set") == "near"
    )
    place = content["metrics"].index("AUROC")
    assert (row["mean"][place], row["low"][place], row["high"][place]) == pytest.approx((80.5, 75.5, 85.5))
    assert row["std"][place] == 0  # the partitions' means are equal
    assert row["counts"] == [2, 2, 4]
    assert [(content["strings"][partition], seed, draw) for partition, seed, draw, *_ in row["runs"]] == [
        ("0", 0, -1), ("0", 1, -1), ("1", 0, -1), ("1", 1, -1)]  # fmt: skip
    assert [run[3 + place] for run in row["runs"]] == pytest.approx([80, 81, 80, 81])
    assert len(row["records"]) == 4
    average = next(
        r
        for r in content["rows"]
        if of(content, r, "training") == "a2d" and of(content, r, "ood_set") == "average"
    )
    assert len(average["records"]) == 8
    assert of(content, row, "tier") == "self-reported"
    assert [*content["scope"]] == ["setting", "track", "id_set", "ood_set", "csid", "condition", "auxiliary"]
    assert len({r["id"] for r in content["rows"]}) == len(content["rows"])


def test_other_metrics_are_columns_to_choose_sorted_in_their_direction():
    content = payload(make_boards(records()))
    columns = {column["name"]: column["title"] for column in content["columns"]}
    assert content["metrics"] == [
        *METRICS, "AURC", "risk@80", "OSCR", "ECE", "Brier", "NLL", "ECE_scaled", "Brier_scaled", "NLL_scaled"
    ]  # fmt: skip
    assert (columns["AURC"], columns["OSCR"], columns["Brier"], columns["NLL_scaled"]) == (
        "AURC ↓", "OSCR ↑", "Brier (0 to 2) ↓", "NLL (nats), temperature scaled ↓"
    )  # fmt: skip
    assert set(content["metrics"]) - set(content["lower"]) == {"AUROC", "AUPR_IN", "AUPR_OUT", "ACC", "OSCR"}
    assert not {name for _, shown, _ in content["scopes"] for name in shown} & {"AURC", "OSCR", "ECE", "NLL"}
    row = next(r for r in content["rows"] if of(content, r, "training") == "a2d")
    values = dict(zip(content["metrics"], row["mean"], strict=True))
    assert [
        values[name] for name in ("AURC", "risk@80", "ECE", "Brier", "NLL", "NLL_scaled")
    ] == pytest.approx([12.5, 25, 10, 1.5, 2.5, 1.23456])  # percent, but for the last three
    without = next(r for r in content["rows"] if of(content, r, "training") == "outliers")
    assert [without["mean"][content["metrics"].index(name)] for name in ("AURC", "NLL")] == [None, None]


def test_the_same_records_give_the_same_bytes_whatever_their_order_and_dates():
    made = records()
    later = [replace(each, date="2030-12-31", package_version="9.9") for each in reversed(made)]
    assert page(make_boards(made)) == page(make_boards(later))
    assert page(make_boards(made)) != page(make_boards(made[1:]))


def test_the_page_may_load_nothing_and_run_only_its_own_scripts():
    written = page(make_boards(records()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', written)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    outside = re.sub(r"(?s)<script type=\"(module|application/json)\".*?</script>", "", written)
    assert not re.search(r"\b(src|srcset|data|action)=", outside)
    assert re.findall(r'href="(https?:[^"]*)"', outside) == ["https://datatables.net/"]


def test_commands_come_from_what_a_record_knows():
    published = next(each for each in collect([]).records if each.training == "a2d_npmix")
    (line,) = commands([published])
    assert re.fullmatch(r"openood-mm reproduce table\d+ --data-root DATA --rows '\S+/\*/a2d_npmix'", line)
    ours = record(
        benchmark="htad_4_3", postprocessor="knn", parameters={"K": 5}, parameters_from="given", partition="2"
    )
    train, test = commands([ours])
    assert train.startswith(
        "openood-mm run --config datasets/htad/htad_4_3.yml networks/mlp_fusion.yml pipelines/train/a2d.yml "
    )
    assert "--dataset.partition 2 --seed 0" in train
    assert """--postprocessor_args '{"knn": {"K": 5}}'""" in test
    assert "htad_4_3_ood.yml" in test
    assert commands([record(benchmark="elsewhere")]) == []
    (line,) = commands([record(track="own", ood_set="a; rm -rf ~")])
    assert "'a; rm -rf ~=OOD1'" in line


def test_build_writes_the_page_of_all_its_benchmarks_and_removes_one_it_cannot_renew(tmp_path, monkeypatch):
    out = tmp_path / "out"
    build(out, [write(tmp_path / "r", record(), record(benchmark="second"))], published=False)
    both = contents(out)[PAGE]
    build(out, [tmp_path / "r"], ["second"], published=False)
    assert contents(out)[PAGE] == both

    def absent(name):
        raise html.PackageNotFoundError(name)

    monkeypatch.setattr(html, "distribution", absent)
    with pytest.raises(MissingPackageError, match=r"pip install .*\[report\]"):
        page(make_boards([record()]))
    built = build(out, [tmp_path / "r"], published=False)
    assert "itables" in built.no_page
    assert PAGE not in contents(out)
    assert INDEX in contents(out)
    (out / PAGE).write_text("<html>mine</html>")
    build(out, [tmp_path / "r"], published=False)
    assert contents(out)[PAGE] == b"<html>mine</html>"
