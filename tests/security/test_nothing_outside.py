"""Files planted with names and fields that lead elsewhere: nothing outside is removed, replaced or written."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files.paths import file_name, remove, remove_if_empty, remove_tree
from openood_multimodal.reporting.leaderboard_files import INDEX

PACKAGE = Path(__file__).resolve().parents[2] / "openood_multimodal"
REMOVERS = {"unlink", "remove", "rmtree", "rmdir", "removedirs"}


def test_files_are_removed_in_one_module_only():
    """No module but ``paths`` calls what removes a file or folder."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in REMOVERS and path.name != "paths.py":
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                if node.attr != "remove" or owner in (
                    "os",
                    "shutil",
                ):  # lists and registries have .remove too
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.attr}")
    assert found == []


@pytest.mark.parametrize("relative", ["../keep", "a/../../keep", "/keep", "link/keep", ""])
def test_removing_stays_below_the_root(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "keep").write_text("mine")
    (root / "link").symlink_to(tmp_path / "keep")
    relative = str(tmp_path / "keep") if relative == "/keep" else relative
    for remover in (remove, remove_tree, remove_if_empty):
        with pytest.raises(UserError):
            remover(root, relative)
    assert (tmp_path / "keep" / "keep").read_text() == "mine"


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    (tmp_path / "root" / "file").symlink_to(tmp_path / "mine")
    (tmp_path / "root" / "tree").symlink_to(tmp_path / "folder")
    remove(tmp_path / "root", "file")
    remove_tree(tmp_path / "root", "tree")
    assert not (tmp_path / "root" / "file").is_symlink()
    assert (tmp_path / "mine").exists()
    assert (tmp_path / "folder" / "mine").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a/b", "a\\b", "a\0", "a\nb", "C:x", "x" * 256, "ä" * 128]
)
def test_what_cannot_name_one_file(name):
    with pytest.raises(UserError, match="file name"):
        file_name(name, "set")


# --- records that a test finds ------------------------------------------------------------------------------


@pytest.mark.parametrize("postprocessor", ["x", "absolute", "../../victim", ".."])
def test_planted_records_remove_nothing_outside(tiny, trained, cli, postprocessor):
    victim = tiny.folder / "victim"
    victim.mkdir()
    for name in ("ood.csv", "id.npz", "mine.npz"):
        (victim / name).write_text("mine")
    postprocessor = str(victim) if postprocessor == "absolute" else postprocessor
    records = tiny.folder / "test" / "records"
    records.mkdir(parents=True)
    for ood_set in (str(victim / "mine"), "../victim/mine", "../../../victim/mine", "mine"):
        name = f"{quote(postprocessor, safe='')}@{quote(ood_set, safe='')}.record.json"
        (records / name).write_text("{}")
    hidden = postprocessor.startswith(".")  # files of hidden names are passed over as ever
    said = contextlib.nullcontext() if hidden else pytest.warns(UserWarning, match="left alone")
    with said:
        done = cli(tiny.test(checkpoint=trained / "best.ckpt"))
    assert done.code == 0, done.err
    assert sorted(path.name for path in victim.iterdir()) == ["id.npz", "mine.npz", "ood.csv"]


def test_links_among_scores_are_not_followed(tiny, trained, cli):
    victim = tiny.folder / "victim"
    victim.mkdir()
    (victim / "mine.npz").write_text("mine")
    scores = tiny.folder / "test" / "scores"
    scores.mkdir(parents=True)
    (scores / "other").symlink_to(victim)
    (scores.parent / "records").mkdir()
    (scores.parent / "records" / "other@mine.record.json").write_text("{}")
    done = cli(tiny.test(checkpoint=trained / "best.ckpt"))
    assert done.code == 2
    assert "outside that folder" in done.err
    assert (victim / "mine.npz").exists()


# --- leaderboards -------------------------------------------------------------------------------------------


def _index(out, **files):
    out.mkdir(exist_ok=True)
    entry = {"files": {name.replace("__", "."): digest for name, digest in files.items()}}
    (out / INDEX).write_text(json.dumps({"benchmarks": {"old": entry}}))


def test_a_users_file_that_the_index_lists_stays(tmp_path, cli):
    out = tmp_path / "out"
    digest = hashlib.sha256(b"mine").hexdigest()
    _index(out, mine__csv=digest, mine__md=digest)
    (out / "mine.csv").write_text("mine")
    (out / "mine.md").write_text("mine")
    assert cli(["leaderboard", "build", "--out", str(out)]).code == 0
    assert (out / "mine.csv").read_text() == (out / "mine.md").read_text() == "mine"


def test_a_table_that_was_changed_by_hand_stays(tmp_path, cli):
    out = tmp_path / "out"
    assert cli(["leaderboard", "build", "--out", str(out)]).code == 0
    table = out / "hmdb51_25_26.csv"
    index = json.loads((out / INDEX).read_text())
    index["benchmarks"]["gone"] = {"files": {"gone.csv": hashlib.sha256(b"other").hexdigest()}}
    (out / INDEX).write_text(json.dumps(index))
    shutil.copy(table, out / "gone.csv")
    assert cli(["leaderboard", "build", "--out", str(out)]).code == 0
    assert (out / "gone.csv").exists()


def _records(folder, benchmark):
    """Plant a published record under another name of its benchmark."""
    from openood_multimodal.reporting.published import published_records

    record = published_records()[0].to_dict() | {"benchmark": benchmark, "run_id": benchmark}
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(benchmark.encode()).hexdigest()[:8]
    (folder / f"{name}@x.record.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("benchmark", ["README", "readme", "ReadMe", "Index", "con", "NUL.x", "x" * 300])
def test_reserved_names_of_benchmarks(tmp_path, cli, benchmark):
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    records = _records(tmp_path / "records", benchmark)
    done = cli(["leaderboard", "build", "--no-published", "--records", str(records), "--out", str(out)])
    assert done.code == 2
    assert "reserved" in done.err or "file name" in done.err
    assert [path.name for path in out.iterdir()] == ["README.md"]
    assert (out / "README.md").read_text() == "mine"


def test_benchmarks_that_differ_in_case_alone(tmp_path, cli):
    records = _records(tmp_path / "records", "bench")
    _records(records, "Bench")
    done = cli(
        ["leaderboard", "build", "--no-published", "--records", str(records), "--out", str(tmp_path / "out")]
    )
    assert done.code == 2
    assert "'Bench' and 'bench' differ in letter case alone" in done.err


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_the_way_is_not_replaced(tmp_path, cli, kind):
    out = tmp_path / "out"
    out.mkdir()
    victim = tmp_path / "victim" if kind == "link" else out / "bench.md"
    victim.write_text("mine")
    if kind == "link":
        (out / "bench.md").symlink_to(victim)
    records = _records(tmp_path / "records", "bench")
    done = cli(["leaderboard", "build", "--no-published", "--records", str(records), "--out", str(out)])
    assert done.code == 2
    assert "in the way" in done.err or "outside that folder" in done.err
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("benchmark", ["../../victim", "/victim", "..", ".bashrc"])
def test_a_benchmark_that_is_a_path(tmp_path, cli, benchmark):
    out = tmp_path / "a" / "out"
    records = _records(tmp_path / "records", benchmark)
    done = cli(["leaderboard", "build", "--no-published", "--records", str(records), "--out", str(out)])
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "records"]
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


# --- what score finds ---------------------------------------------------------------------------------------


def _score_inputs(folder):
    import numpy as np

    rng = np.random.default_rng(0)
    for name in ("train", "test", "ood"):
        labels = np.full(20, -1) if name == "ood" else np.arange(20) % 3
        np.savez(folder / f"{name}.npz", features=rng.normal(size=(20, 4)), labels=labels)
    np.savez(folder / "head.npz", weight=rng.normal(size=(3, 4)), bias=np.zeros(3))
    sets = {name: str(folder / f"{name}.npz") for name in ("train", "test", "ood", "head")}
    sets["ood"] = f"o={sets['ood']}"
    return ["score", *(word for name, path in sets.items() for word in (f"--{name}", path))]


@pytest.mark.parametrize(
    "name",
    ["scores/../../victim/mine.npz", "/victim/mine.npz", "scores/link/mine.npz", "scores/.../mine.npz"],
)
def test_metrics_that_list_foreign_files(tmp_path, cli, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine.npz").write_text("mine")
    out = tmp_path / "out"
    (out / "scores").mkdir(parents=True)
    (out / "scores" / "link").symlink_to(victim)
    name = name.replace("/victim", str(victim)) if name.startswith("/") else name
    (out / "metrics.json").write_text(json.dumps({"_meta": {"files": [name]}}))
    done = cli([*_score_inputs(tmp_path), "--postprocessors", "msp", "--out", str(out)])
    assert (victim / "mine.npz").read_text() == "mine"
    assert done.code in (0, 2)
    assert done.code == 0 or "outside that folder" in done.err


# --- names out of YAML files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "..", "a\\b"])
def test_names_out_of_config_files_hold_no_separators(tiny, cli, name):
    planted = tiny.folder / "planted.yml"
    planted.write_text(f"dataset:\n  name: '{name}'\n")
    words = tiny.train("multimodal_baseline", files=(str(planted),))
    words = words[: words.index("--exp_name")]
    before = sorted(tiny.folder.parent.rglob("*"))
    done = cli(words)
    assert done.code == 2
    assert "value of dataset.name (set by" in done.err
    assert sorted(tiny.folder.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "'@{dataset.name}'/../../x"])
def test_a_name_of_an_experiment_stays_below_the_output_folder(tiny, cli, name):
    planted = tiny.folder / "planted.yml"
    planted.write_text(json.dumps({"exp_name": name}))
    words = tiny.train("multimodal_baseline", files=(str(planted),))
    done = cli(words[: words.index("--exp_name")])
    assert done.code == 2
    assert "exp_name is" in done.err


def test_the_command_line_may_name_any_folder(tiny):
    words = tiny.train("multimodal_baseline", "--dataset.name", "a/b")
    words = words[: words.index("--exp_name")] + words[words.index("--exp_name") + 2 :]
    assert "/a/b_p0_" in tiny.config(words).output_dir


@pytest.mark.parametrize("name", ["../../x", "a/b", ".."])
def test_sets_out_of_config_files(tiny, trained, cli, name):
    planted = tiny.folder / "planted.yml"
    section = tiny.config(tiny.test(checkpoint="x")).to_dict()["ood_dataset"]["nearood"]
    section = {**section, "datasets": [name], name: section[section["datasets"][0]]}
    planted.write_text(json.dumps({"ood_dataset": {"nearood": section}}))
    if "." in name:  # a dotted key is a path of sections, and no set of that name exists
        section.pop(name)
        planted.write_text(json.dumps({"ood_dataset": {"nearood": section}}))
    done = cli(tiny.test(checkpoint=trained / "best.ckpt", files=(str(planted),)))
    assert done.code == 2
    assert "OOD set" in done.err
    assert not (tiny.folder / "x").exists()


@pytest.mark.parametrize("key", ["benchmark", "modalities"])
def test_suites_name_no_folders(tmp_path, cli, key):
    suite = {
        "runs": [{"benchmark": "synthetic/synthetic_far", "trainings": ["multimodal_baseline"]}],
        "partitions": 1,
        "seeds": 1,
    }
    planted = tmp_path / "suite.yml"
    victim = tmp_path / "victim"
    victim.mkdir()
    suite["runs"][0] |= {"modalities": [["../../victim"]]} if key == "modalities" else {"benchmark": "x/.."}
    planted.write_text(json.dumps(suite))
    done = cli(["benchmark", "--suite", str(planted), "--output-dir", str(tmp_path / "a" / "b")])
    assert done.code == 2
    assert "can't be a file name" in done.err
    assert victim.is_dir()


# --- split cards --------------------------------------------------------------------------------------------


def test_a_card_that_lists_a_users_file(tmp_path):
    from openood_multimodal.datasets.manifest import Manifest
    from openood_multimodal.datasets.split_card import SplitCard, entry_of, write_split

    manifest = Manifest.create(
        clips=["a", "b"],
        labels=[0, 1],
        class_names=["x", "y"],
        groups=["", ""],
        files={"video": ["a.mp4", "b.mp4"]},
    )
    keys = ("train", "val", "nearood_old")
    card = SplitCard("b", 1, "demo", ["x", "y"], {key: entry_of(manifest, f"{key}.csv") for key in keys})
    write_split(tmp_path, dict.fromkeys(keys, manifest), card)
    (tmp_path / "mine.csv").write_text("clip,label\nmine,0\n")
    content = json.loads((tmp_path / "split.json").read_text())
    content["splits"]["nearood_mine"] = {**content["splits"]["val"], "manifest": "mine.csv"}
    (tmp_path / "split.json").write_text(json.dumps(content))
    fewer = SplitCard("b", 1, "demo", ["x", "y"], {"train": card.splits["train"]})
    write_split(tmp_path, {"train": manifest}, fewer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "split.json", "train.csv"]


# --- locks --------------------------------------------------------------------------------------------------


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    from openood_multimodal.files.locks import FOLDER_LOCK, holding

    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / FOLDER_LOCK).symlink_to(victim)
    with pytest.raises(UserError, match="symbolic link"), holding(tmp_path):
        pass
    assert victim.read_text() == "mine"


def test_scores_and_records_are_not_written_through_links(tiny, trained, cli):
    victim = tiny.folder / "victim"
    victim.mkdir()
    (victim / "id.npz").write_text("mine")
    scores = tiny.folder / "test" / "scores"
    scores.mkdir(parents=True)
    (scores / "msp").symlink_to(victim)
    done = cli(tiny.test(checkpoint=trained / "best.ckpt"))
    assert done.code == 2
    assert "outside that folder" in done.err
    assert [(path.name, path.read_text()) for path in victim.iterdir()] == [("id.npz", "mine")]
