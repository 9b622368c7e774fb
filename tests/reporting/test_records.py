import copy
import json
from pathlib import Path

import numpy as np
import pytest

import openood_multimodal
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import METRICS, compute_ood_metrics
from openood_multimodal.reporting import claims, records, schema
from openood_multimodal.reporting.records import ResultRecord, load_records, read_record


def entry(value=0.5, low=0.4, high=0.6):
    return {"value": value, "ci_low": low, "ci_high": high}


def fields(**changes):
    return {
        "run_id": "htad_4_3-0-a2d-s0",
        "benchmark": "htad_4_3",
        "partition": "0",
        "track": "grouped",
        "setting": "near",
        "id_set": "htad",
        "ood_set": "htad_ood",
        "modalities": ["audio", "accelerometer"],
        "networks": {"audio": "mlp", "accelerometer": "mlp"},
        "training": "a2d",
        "protocol": "multiood-code",
        "synthesis": None,
        "discrepancy": "hellinger",
        "postprocessor": "knn",
        "parameters": {"K": 50, "nested": {"a": [1, 2.5, None, True]}},
        "preset": "openood",
        "fit_on": "train",
        "engine": {"name": "native", "version": "0.1.0"},
        "seed": 0,
        "best_epoch": 12,
        "metrics": {name: entry() for name in METRICS},
        "n_id": 100,
        "n_ood": 50,
        "digests": {
            "manifest": "m" * 64,
            "training": "t" * 64,
            "checkpoint": "c" * 64,
            "store": None,
            "config": "f" * 64,
            "inputs": None,
            "scores": "s" * 64,
        },
        "notes": ["2 clips skipped"],
        **changes,
    }


def json_of(**changes):
    return {**ResultRecord(**fields()).to_dict(), **changes}


def test_round_trip():
    record = ResultRecord(**fields())
    assert ResultRecord.from_json(record.to_json()) == record
    assert ResultRecord.from_json(record.to_dict()) == record
    raw = json.loads(record.to_json())
    assert list(raw) == [name for name in records.FIELDS if name not in schema.OPTIONAL]
    assert raw["schema_version"] == schema.SCHEMA_VERSION
    assert raw["package_version"] == openood_multimodal.__version__
    assert raw["source"] == "reproduced"
    assert raw["metrics"]["AUROC"] == {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}


def test_takes_metrics_and_numpy_scalars_as_they_come():
    rng = np.random.default_rng(0)
    labels = np.zeros(30, int)
    metrics = compute_ood_metrics(rng.normal(1, 1, 30), rng.normal(0, 1, 20), labels, labels)
    record = ResultRecord(
        **fields(metrics=metrics, n_id=np.int64(30), modalities=("a",), parameters={"x": np.float32(0.5)})
    )
    assert record.metrics["AUROC"]["value"] == metrics["AUROC"].value
    assert record.n_id == 30
    assert record.modalities == ["a"]
    assert ResultRecord.from_json(record.to_json()) == record


FAILURE = {"metrics": {"AURC": entry(), "AUTC": entry()}, "val_range": [-2.5, 7.0]}
SOFTMAX = {"ECE": entry(), "Brier": entry(1.2, 1.1, 1.3), "NLL": entry(3.0, 2.5, 4.0)}
CALIBRATION = {"metrics": SOFTMAX, "temperature": 1.7, "scaled": SOFTMAX}


def softmax(metrics):
    return {**CALIBRATION, "metrics": metrics}


def test_a_record_has_other_metrics_only_where_they_were_asked_for():
    plain = ResultRecord(**fields())
    assert (plain.failure, plain.calibration) == (None, None)
    assert not set(schema.OPTIONAL) & plain.to_dict().keys()
    record = ResultRecord(**fields(failure=FAILURE, calibration=CALIBRATION))
    assert ResultRecord.from_json(record.to_json()) == record
    assert (record.to_dict()["failure"], record.to_dict()["calibration"]) == (FAILURE, CALIBRATION)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("failure", {**FAILURE, "val_range": None}, "failure.val_range' is null, and AUTC is scaled by it"),
        ("failure", {**FAILURE, "metrics": {"AURK": entry()}}, r"AURK' is not a metric.*'AURC'"),
        ("failure", {**FAILURE, "range": [0, 1]}, "failure.range' is unknown"),
        ("calibration", {**CALIBRATION, "scaled": None}, "go together"),
        ("calibration", {**CALIBRATION, "temperature": 0.0}, "must be above 0, is 0.0"),
        ("calibration", softmax({"ECE": entry(1.2, 1.1, 1.3)}), "from 0 to 1, is 1.2"),
        ("calibration", softmax({"Brier": entry(1.2, 1.1, 2.3)}), "Brier.ci_high' must be .* 0 to 2"),
        ("calibration", softmax({"NLL": entry(-1.0, None, None)}), "a finite number, at least 0, is -1"),
        ("calibration", softmax({"NLL": entry(float("nan"), None, None)}), "NLL.value' must be a finite"),
    ],
)  # fmt: skip
def test_other_metrics_have_bounds_of_their_own(field, value, message):
    with pytest.raises(UserError, match=message):
        ResultRecord(**fields(**{field: value}))


@pytest.mark.parametrize("name", [name for name in records.FIELDS if name not in schema.OPTIONAL])
def test_a_missing_field_is_named(name):
    raw = json_of()
    del raw[name]
    with pytest.raises(UserError, match=rf"somewhere\.json: field '{name}'"):
        ResultRecord.from_json(raw, "somewhere.json")


CONDITION = {
    **{"kind": "noise", "modalities": ["audio"], "severity": 3, "level": "embedding"},
    **{"applied_to": "both", "seed": 0},
}
HALF = {"value": 0.5, "ci_low": None, "ci_high": None}
WRONG = {
    "unseen_recordings": [
        1,
        {},
        {"metrics": None, "n_id": 1},
        {"metrics": {"AUROC": 2}, "n_id": 1, "n_ood": 1},
        {"metrics": {"AUROC": HALF}, "n_id": -1, "n_ood": 1},
        {"metrics": {"AUROC": HALF}, "n_id": 1, "n_ood": 1, "more": 1},
    ],
    "csid": [None, "a", ["a", "a"], [""], [1]],
    "condition": [
        *(
            "clean",
            {},
            {**CONDITION, "kind": ""},
            {**CONDITION, "modalities": []},
            {**CONDITION, "level": "x"},
        ),
        *({**CONDITION, "applied_to": "test"}, {**CONDITION, "seed": -1}, {**CONDITION, "severity": True}),
        *({**CONDITION, "severity": [1]}, {**CONDITION, "more": 1}),
    ],
    "auxiliary": ["imagenet", {}, {"name": "", "digest": None}, {"name": "a"}, {"name": "a", "digest": 1}],
    "failure": [
        1,
        {},
        {"metrics": {}, "val_range": None},
        {**FAILURE, "val_range": [1.0]},
        {**FAILURE, "val_range": [2, 1]},
    ],
    "calibration": [
        1,
        {},
        {"metrics": None, "temperature": None, "scaled": None},
        {**CALIBRATION, "temperature": "1"},
    ],
    "schema_version": ["1", 0, schema.SCHEMA_VERSION + 1, None, True],
    "run_id": ["", "  ", 3, None],
    "benchmark": ["", None],
    "partition": [0, None],
    "track": ["other", None, []],
    "setting": ["both", None],
    "id_set": [None, 1],
    "ood_set": [None, ["a"]],
    "modalities": [[], "video", ["a", "a"], [1], None],
    "networks": [None, 3, ["a"]],
    "training": [None],
    "protocol": [3, ""],
    "synthesis": [["npmix"]],
    "discrepancy": [False],
    "postprocessor": [None],
    "parameters_from": ["default", 1],
    "parameters": [None, [], {"a": float("nan")}, {"a": [float("inf")]}, {"a": {"b": float("nan")}}],
    "preset": [1],
    "fit_on": ["test", 1],
    "engine": ["native", {"name": "native"}, {"name": None, "version": "1"}, {"name": "n", "version": 1}],
    "seed": [-1, 0.0, "0", True],
    "best_epoch": [-1, 1.5, "3"],
    "n_id": [0, -1, 5.0, None, True],
    "n_ood": [0, None],
    "digests": [
        None,
        {},
        {"manifest": "a"},
        {"manifest": "a", "training": "", "checkpoint": "", "store": "", "config": ""},
        {**dict.fromkeys(schema.DIGEST_NAMES), "manifest": 1},
    ],
    "notes": [None, "a note", [1], [""]],
    "environment": [None, [], {"blas": 1}, {"blas": ""}],
    "package_version": [None, ""],
    "date": ["yesterday", None, 2024],
    "source": ["guessed", None],
    "metrics": [None, {}, [], {"AUROC": 0.5}],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_names_file_and_field(name, value):
    with pytest.raises(UserError, match=rf"^r\.json: field '{name}"):
        ResultRecord.from_json(json_of(**{name: value}), "r.json")


def test_every_field_was_tried():
    assert set(WRONG) == set(records.FIELDS)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry(1.5, None, None), "metrics.AUROC.value' must be a fraction"),
        (entry(-0.1, None, None), "must be a fraction"),
        (entry(67.2, None, None), "must be a fraction"),
        (entry(float("nan"), None, None), "must be a fraction"),
        (entry(float("inf"), None, None), "must be a fraction"),
        (entry("0.5", None, None), "must be a number"),
        (entry(True, None, None), "must be a number"),
        (entry(None, None, None), "must be a number"),
        (entry(0.5, 0.4, None), "one bound"),
        (entry(0.5, 0.4, 1.1), r"ci_high' must be a fraction"),
        (entry(0.5, 0.6, 0.7), "outside its own interval"),
        ({"value": 0.5}, r"metrics\.AUROC\.ci_low' is missing"),
        ({**entry(), "std": 0.1}, r"metrics\.AUROC\.std' is unknown"),
    ],
)
def test_bad_metrics(bad, message):
    raw = json_of()
    raw["metrics"] = {**raw["metrics"], "AUROC": bad}
    with pytest.raises(UserError, match=message):
        ResultRecord.from_json(raw)
    with pytest.raises(UserError, match=message):
        ResultRecord(**fields(metrics=raw["metrics"]))


def test_unknown_names_are_suggested():
    with pytest.raises(UserError, match=r"'postprocesor' is not a field.*'postprocessor'"):
        ResultRecord.from_json(json_of(postprocesor="knn"))
    raw = json_of()
    raw["metrics"]["AUROK"] = entry()
    with pytest.raises(UserError, match=r"metrics\.AUROK' is not a metric.*'AUROC'"):
        ResultRecord.from_json(raw)


def test_metrics_may_lack_only_where_published():
    few = {"AUROC": entry(0.8, None, None)}
    with pytest.raises(UserError, match=r"metrics\.FPR@95' is missing"):
        ResultRecord(**fields(metrics=few))
    ResultRecord(**fields(metrics=few, source="published", n_id=None, n_ood=None, seed=None, fit_on=None))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "is a list"),
        ('{"a": NaN}', "contains NaN"),
        ('{"a": -Infinity}', "contains -Infinity"),
        ('{"a": 1, "a": 2}', "'a' is set twice"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
        ('{"schema_version": 99}', "99; this package reads 5: update"),
        ('{"schema_version": 0}', "it can't be migrated"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(UserError, match=rf"^r\.json.*({message})"):
        ResultRecord.from_json(text, "r.json")


@pytest.mark.parametrize("version", range(1, schema.SCHEMA_VERSION))
def test_records_of_every_older_version_are_read(version, tmp_path):
    record = read_record(Path(__file__).parent / "old_records" / f"version{version}.record.json")
    assert record.schema_version == schema.SCHEMA_VERSION
    assert record.metrics["AUROC"] == entry()
    assert (record.digests["manifest"], record.digests["inputs"], record.digests["scores"]) == (
        "a" * 64,
        None,
        None,
    )
    # version 1 didn't look at recordings; only a note told of a search before version 3
    unseen = None if version == 1 else {"metrics": None, "n_id": 12, "n_ood": 50}
    assert record.unseen_recordings == unseen
    assert record.parameters_from == (None if version == 1 else "searched")
    assert (record.condition, record.csid, record.auxiliary) == (None, [], None)
    record.write(tmp_path)
    assert load_records(tmp_path) == [record]


@pytest.mark.parametrize("field", ["notes", "digests"])
@pytest.mark.parametrize("value", [3, "text", None, [1]])
def test_a_damaged_record_of_an_older_version_is_refused_by_field(field, value):
    old = json.loads((Path(__file__).parent / "old_records" / "version2.record.json").read_text())
    with pytest.raises(UserError, match=rf"^r\.json: field '{field}"):
        ResultRecord.from_json({**old, field: value}, "r.json")


@pytest.mark.parametrize("name", schema.OPEN_ON_OWN)
def test_only_track_own_may_leave_open_what_embeddings_do_not_say(name):
    assert getattr(ResultRecord(**fields(track="own", **{name: None})), name) is None
    with pytest.raises(UserError, match=rf"'{name}' is null; only a record of track 'own'"):
        ResultRecord(**fields(**{name: None}))


@pytest.mark.parametrize("benchmark", claims.MULTIOOD_BENCHMARKS)
def test_track_own_may_name_any_benchmark(tmp_path, benchmark):
    record = ResultRecord(**fields(benchmark=benchmark, track="own"))
    record.write(tmp_path)
    assert load_records(tmp_path) == [record]


def test_migration(monkeypatch):
    def from_zero(old):
        added = (
            "score",
            "unseen_recordings",
            "parameters_from",
            "environment",
            "csid",
            "condition",
            "auxiliary",
        )
        kept = {k: v for k, v in old.items() if k not in added}
        return {**kept, "postprocessor": old["score"]}

    monkeypatch.setitem(schema.MIGRATIONS, 0, from_zero)
    old = json_of(schema_version=0, score="vim")
    del old["postprocessor"]
    kept = copy.deepcopy(old)
    assert ResultRecord.from_json(old).postprocessor == "vim"
    assert ResultRecord.from_json(old).schema_version == schema.SCHEMA_VERSION
    assert old == kept


def test_write_and_load(tmp_path):
    made = [
        ResultRecord(**fields(postprocessor=p, ood_set=s, seed=seed, run_id=f"run{seed}"))
        for p in ("vim", "knn")
        for s in ("b", "a")
        for seed in (1, 0)
    ]
    for record in made:
        path = record.write(tmp_path / record.run_id)
        assert path.name == f"{record.postprocessor}@{record.ood_set}.record.json"
        assert read_record(path) == record
    (tmp_path / "metrics.json").write_text("{}")
    loaded = load_records(tmp_path)
    assert len(loaded) == 8
    assert all(record in loaded for record in made)
    (tmp_path / "run0").rename(tmp_path / "zzz")
    assert load_records(tmp_path) == loaded
    replaced = ResultRecord(
        **fields(postprocessor="vim", ood_set="b", seed=1, run_id="run1", notes=["again"])
    )
    replaced.write(tmp_path / "run1")
    assert replaced in load_records(tmp_path)
    assert len(load_records(tmp_path)) == 8


def test_file_names_are_safe_and_do_not_collide(tmp_path):
    pairs = [("a@b", "c"), ("a", "b@c"), ("../x", "y/z"), ("a", "é"), ("a", "..")]
    made = [ResultRecord(**fields(postprocessor=p, ood_set=s)) for p, s in pairs]
    changes = [{}, {"seed": 1}, {"severity": None}, {"applied_to": "id"}, {"level": "input"}, {"kind": "a"}]
    changes.append({"modalities": ["audio", "../x"]})
    made += [ResultRecord(**fields(condition={**CONDITION, **change})) for change in changes]
    made += [ResultRecord(**fields(csid=csid)) for csid in (["a"], ["a", "b"])]
    paths = [record.write(tmp_path) for record in made]
    assert len(set(paths)) == len(made)
    assert load_records(tmp_path) == sorted(load_records(tmp_path), key=records._order)
    assert len(load_records(tmp_path)) == len(made)
    name = ResultRecord(**fields(condition=CONDITION, csid=["a"])).file_name
    assert name == "knn@htad_ood@csid~a@audio~noise~3~embedding~both~0.record.json"
    assert all(path.parent == tmp_path for path in paths)


def test_the_same_result_twice_is_refused(tmp_path):
    record = ResultRecord(**fields())
    record.write(tmp_path / "a")
    record.write(tmp_path / "copy")
    with pytest.raises(UserError, match="count twice"):
        load_records(tmp_path)


def test_load_names_the_file(tmp_path):
    path = ResultRecord(**fields()).write(tmp_path)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "seed": "zero"}))
    with pytest.raises(UserError, match=r"knn@htad_ood\.record\.json: field 'seed'"):
        load_records(tmp_path)
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        load_records(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nothing.*there is no such file"):
        read_record(tmp_path / "nothing.record.json")


@pytest.mark.parametrize("benchmark", claims.MULTIOOD_BENCHMARKS)
@pytest.mark.parametrize("track", ["multiood", "grouped"])
def test_multiood_s_names_need_their_manifests(tmp_path, monkeypatch, benchmark, track):
    monkeypatch.setattr(claims, "benchmark_splits_dir", lambda: tmp_path)
    record = ResultRecord(**fields(benchmark=benchmark, track=track))
    with pytest.raises(UserError, match=rf"'{benchmark}' yet: no digest of its manifests is known"):
        record.write(tmp_path / "r")
    assert not (tmp_path / "r").exists()
    splits = tmp_path / f"{benchmark}.yml"
    splits.write_text(f"name: x\nmanifest_digests: [{'0' * 63}a]\n")
    with pytest.raises(UserError, match=r"its manifest digest \(mmmm.* is not one of"):
        record.write(tmp_path / "r")
    splits.write_text(f"manifest_digests:\n- {'m' * 64}\n")
    record.write(tmp_path / "r")
    assert load_records(tmp_path) == [record]
    splits.unlink()
    with pytest.raises(UserError, match="yet"):
        load_records(tmp_path)


def test_published_records_may_name_them(tmp_path):
    record = ResultRecord(
        **fields(benchmark="far_hmdb51", track="multiood", source="published", ood_set="average")
    )
    record.write(tmp_path)
    assert load_records(tmp_path) == [record]


def test_only_a_claim_reads_the_description_of_a_benchmark(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(claims, "read_benchmark", lambda path: asked.append(path.stem) or {})
    for change in ({}, {"benchmark": "far_hmdb51", "track": "own"}):
        read_record(ResultRecord(**fields(**change)).write(tmp_path))
    assert asked == []
    with pytest.raises(UserError, match="yet"):
        ResultRecord(**fields(benchmark="far_hmdb51")).write(tmp_path)
    assert asked == ["far_hmdb51"]


def test_track_multiood_is_theirs_alone(tmp_path):
    with pytest.raises(UserError, match="'htad_4_3' is none of them"):
        ResultRecord(**fields(track="multiood")).write(tmp_path)


@pytest.mark.parametrize("text", ["- a", "manifest_digests: abc", "manifest_digests: [1]", "a: [", "b: \xff"])
def test_bad_table_of_digests(tmp_path, text):
    (tmp_path / "far_hmdb51.yml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"far_hmdb51\.yml"):
        claims.known_manifest_digests(tmp_path)


def test_a_failed_write_keeps_the_old_record(tmp_path, monkeypatch):
    path = ResultRecord(**fields()).write(tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ResultRecord(**fields(notes=[])).write(tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
