"""``openood-mm score``: files in, files out, exit codes, nothing half-written."""

import csv
import errno
import io
import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.files import atomic
from openood_multimodal.scoring import files as score_files

NINE = ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"]
FAST = ["--postprocessors", "msp,ash"]
CLASSES, DIM = 3, 270


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((CLASSES, DIM))

    def draw(count, spread):
        labels = np.arange(count) % CLASSES
        rows = np.maximum(centres[labels] + spread * rng.standard_normal((count, DIM)), 0)
        return rows.astype("f4"), labels

    for name, count in (("train", 300), ("val", 60), ("test", 50)):
        features, labels = draw(count, 1.0)
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    np.savez(tmp_path / "ucf.npz", features=draw(40, 2.0)[0])
    np.savez(tmp_path / "hac.npz", features=draw(45, 3.0)[0], labels=np.full(45, 77), clips=np.arange(45))
    np.savez(tmp_path / "head.npz", weight=0.1 * centres, bias=np.zeros(CLASSES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(*more, ood=("ucf=ucf.npz", "hac=hac.npz"), out="out", test="test.npz"):
    return ["score", "--test", test, "--ood", *ood, "--head", "head.npz", "--out", out, *more]


def run(capsys, *arguments):
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_all_nine(folder, capsys):
    code, out, err = run(capsys, *words("--train", "train.npz", "--val", "val.npz"))
    assert code == 0, err
    assert "hac (hac.npz): features and labels are read; other arrays are not: clips." in err
    assert "out/ood.csv" in out
    assert "average" in out
    assert out.splitlines()[0].split()[:4] == ["postprocessor", "dataset", "AUROC", "FPR@95"]
    assert max(map(len, out.splitlines()[:28])) <= 80
    result = folder / "out"
    rows = list(csv.DictReader(io.StringIO((result / "ood.csv").read_text())))
    assert (
        (result / "ood.csv")
        .read_text()
        .startswith("postprocessor,dataset,FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC\n")
    )
    assert [(r["postprocessor"], r["dataset"]) for r in rows] == [
        (p, s) for p in NINE for s in ("ucf", "hac")
    ]
    metrics = json.loads((result / "metrics.json").read_text())
    assert [key for key in metrics if key != "_meta"] == NINE
    for row in rows:
        exact = metrics[row["postprocessor"]][row["dataset"]]
        for name in ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"):
            assert re.fullmatch(r"\d+\.\d\d", row[name])
            assert abs(float(row[name]) - 100 * exact[name]) <= 0.005 + 1e-9
            low, high = exact[f"{name}_ci"]
            assert 0 <= low <= exact[name] <= high <= 1
        assert 0 <= exact["FPR@95_ID_TPR"] <= 1
    meta = metrics["_meta"]
    assert (meta["n_id"], meta["n_ood"]) == (50, {"ucf": 40, "hac": 45})
    assert meta["preset"] == "openood"
    assert {engine["name"] for engine in meta["engine"].values()} == {"native"}
    assert meta["parameters"]["knn"] == {"K": 50}
    assert {"numpy", "python", "openood-multimodal"} <= set(meta["versions"])
    assert len(meta["inputs"]["test"]["sha256"]) == 64
    for name in NINE:
        for which, count in (("id", 50), ("ucf", 40), ("hac", 45)):
            with np.load(result / "scores" / name / f"{which}.npz", allow_pickle=False) as saved:
                assert sorted(saved) == ["conf", "label", "pred"]
                assert all(len(saved[key]) == count for key in saved)
                expected = np.arange(50) % CLASSES if which == "id" else -1
                np.testing.assert_array_equal(saved["label"], np.broadcast_to(expected, count))
    table = evaluate("train.npz", "test.npz", {"ucf": "ucf.npz", "hac": "hac.npz"}, "head.npz", "val.npz")
    for row in table[table.dataset != "average"].to_dict("records"):
        assert row["AUROC"] == pytest.approx(
            100 * metrics[row["postprocessor"]][row["dataset"]]["AUROC"], abs=1e-12
        )


def test_a_second_run_replaces(folder, capsys):
    assert run(capsys, *words(*FAST))[0] == 0
    (folder / "out" / "mine.txt").write_text("mine")
    (folder / "out" / "scores" / "ash" / "mine.npz").write_bytes(b"mine")
    first = tree(folder / "out")
    assert run(capsys, *words(*FAST))[0] == 0
    second = tree(folder / "out")
    assert second.keys() == first.keys()
    assert second["ood.csv"] == first["ood.csv"]
    assert second["metrics.json"] == first["metrics.json"]
    assert run(capsys, *words("--postprocessors", "ebo", ood=["hac=hac.npz"]))[0] == 0
    assert set(tree(folder / "out")) == {
        "mine.txt",
        "metrics.json",
        "ood.csv",
        "records/ebo@hac.record.json",
        "scores/ash/mine.npz",
        "scores/ebo/hac.npz",
        "scores/ebo/id.npz",
    }
    assert not (folder / "out" / "scores" / "msp").exists()


def test_a_forged_list_of_files_deletes_nothing_else(folder, capsys):
    (folder / "out").mkdir()
    (folder / "keep.npz").write_bytes(b"keep")
    (folder / "keep@x.record.json").write_bytes(b"keep")
    listed = ["../keep.npz", "scores/../../keep.npz", "scores/../keep.npz", "/etc/hostname"]
    listed += ["records/../keep@x.record.json", "records/../../keep@x.record.json", "keep@x.record.json", 3]
    for names in (listed[:7], listed, {"a": 1}, None):
        (folder / "out" / "metrics.json").write_text(json.dumps({"_meta": {"files": names}}))
        assert run(capsys, *words(*FAST))[0] == 0
        assert (folder / "keep.npz").read_bytes() == (folder / "keep@x.record.json").read_bytes() == b"keep"


def test_ood_may_be_repeated_and_parameters_set(folder, capsys):
    code, _, err = run(
        capsys,
        *words("--ood", "hac=hac.npz", ood=["ucf=ucf.npz"]),
        *("--train", "train.npz", "--val", "val.npz", "--postprocessors", "knn,react,gen"),
        *("--preset", "multiood", "--slices", "video:200,flow:70", "--fit-on", "val"),
        *("--set", "knn.K=7", "gen.gamma=0.5", "--set", "react.percentile=92.5"),
    )
    assert code == 0, err
    meta = json.loads((folder / "out" / "metrics.json").read_text())["_meta"]
    assert meta["parameters"] == {
        "knn": {"K": 7},
        "react": {"percentile": 92.5, "per_modality": True},
        "gen": {"gamma": 0.5, "M": None},
    }
    assert meta["fit_on"] == "val"
    assert meta["slices"] == {"video": [0, 200], "flow": [200, 270]}
    assert list(meta["n_ood"]) == ["ucf", "hac"]


def test_missing_sets_name_the_remedy_and_it_works(folder, capsys):
    code, _, err = run(capsys, *words())
    assert code == 2
    assert "--postprocessors msp,ebo,mls,gen,ash" in err
    assert run(capsys, *words("--postprocessors", "msp,ebo,mls,gen,ash"))[0] == 0


def huge(path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12, DIM)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", buffer.getvalue())


BAD = {
    "nan": lambda p: np.savez(
        p, features=np.where(np.arange(2 * DIM).reshape(2, DIM) == DIM + 5, np.nan, 1.0)
    ),
    "empty": lambda p: np.savez(p, features=np.ones((0, DIM))),
    "objects": lambda p: np.savez(p, features=np.array([[{}] * DIM], dtype=object)),
    "huge": huge,
    "wide": lambda p: np.savez(p, features=np.ones((2, DIM + 1))),
    "integers": lambda p: np.savez(p, features=np.ones((2, DIM), int)),
    "no_features": lambda p: np.savez(p, feature=np.ones((2, DIM))),
    "text": lambda p: p.write_text("features"),
}
MESSAGES = {
    "nan": "hold nan at row 1, column 5",
    "empty": "is empty",
    "objects": "holds Python objects",
    "huge": "claims float32 [1000000000000, 270]",
    "wide": "features of 271 columns",
    "integers": "got int64",
    "no_features": "no array 'features'; it holds feature",
    "text": "not an .npz file",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_one_line(folder, capsys, kind):
    BAD[kind](folder / "bad.npz")
    code, out, err = run(capsys, *words(*FAST, ood=["ucf=ucf.npz", "bad=bad.npz"]))
    assert code == 2
    assert MESSAGES[kind] in err
    assert "bad.npz" in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (words(*FAST, ood=["id=ucf.npz"]), "can't be called 'id'"),
        (words(*FAST, ood=["nearood=ucf.npz"]), "can't be called 'nearood'"),
        (words(*FAST, ood=["a=ucf.npz", "a=hac.npz"]), "two OOD sets are called 'a' and 'a'"),
        (words(*FAST, "--ood", "ucf=hac.npz"), "two OOD sets are called 'ucf' and 'ucf'"),
        (words(*FAST, ood=["ucf.npz"]), "--ood is written NAME=FILE"),
        (words(*FAST, ood=["a="]), "--ood is written NAME=FILE"),
        (words(*FAST, ood=["a=none.npz"]), "none.npz: there is no such file"),
        (words(*FAST, ood=["a=."]), "is not an embedding store"),
        (words(*FAST, test="hac.npz"), "label 77 in row 0 is none of the 3 classes"),
        (words(*FAST, test="ucf.npz"), "has no labels"),
        (words(*FAST, "--head", "narrow.npz"), "weight has 7 columns"),
        (words(*FAST, "--head", "test.npz"), "no array 'weight'; it holds features, labels"),
        (words(*FAST, "--head", "."), "is a folder"),
        (words(*FAST, "--set", "ash.percentil=3"), "Did you mean 'percentile'"),
        (words(*FAST, "--set", "ash.percentile=many"), "ash.percentile must be a number"),
        (words(*FAST, "--set", "ash.percentile=101"), "at most 100"),
        (words(*FAST, "--set", "knn.K=3"), "'knn', which is not run"),
        (words(*FAST, "--set", "K=3"), "POSTPROCESSOR.PARAMETER=VALUE"),
        (words(*FAST, "--slices", "video:100,flow:100"), "cover 200 columns"),
        (words(*FAST, "--slices", "video=270"), "modality:width"),
        (words(*FAST, "--slices", "a:200,a:70"), "twice"),
        (words(*FAST, "--preset", "paper"), "no preset called 'paper'"),
        (words(*FAST, "--preset", "multiood"), "--slices, e.g. video:2304,flow:2048"),
        (words("--postprocessors", "msp,viim"), "Did you mean 'vim'"),
        (
            words("--postprocessors", "knn", "--train", "train.npz", "--set", "knn.K=301"),
            "K=301 exceeds the 300",
        ),
        (words(*FAST, out="test.npz"), "test.npz is a file"),
    ],
)
def test_refusals(folder, capsys, arguments, message):
    np.savez(folder / "narrow.npz", weight=np.ones((CLASSES, 7)), bias=np.ones(CLASSES))
    before = tree(folder)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert tree(folder) == before


def test_arguments_that_argparse_refuses(folder, capsys):
    for arguments in (["score"], words("--fit-on", "test"), words("--unknown", "1")):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main(["score", "--help"])
    assert stopped.value.code == 0
    assert "docs/embeddings.md" in capsys.readouterr().out


def test_one_sample_and_constant_scores_warn(folder, capsys):
    np.savez(folder / "one.npz", features=np.ones((1, DIM), "f4"))
    np.savez(folder / "head.npz", weight=np.zeros((CLASSES, DIM)), bias=np.zeros(CLASSES))
    code, _, err = run(capsys, *words("--postprocessors", "msp", ood=["one=one.npz"]))
    assert code == 0
    assert "warning: the OOD set has a single sample" in err
    assert "warning: all scores are equal" in err
    assert json.loads((folder / "out" / "metrics.json").read_text())["msp"]["one"]["AUROC"] == 0.5


def test_a_store_and_the_reason_why_its_import_made_no_head(folder, capsys):
    from openood_multimodal.embeddings.store import EmbeddingStore

    with np.load(folder / "test.npz") as saved, np.load(folder / "head.npz") as head:
        logits = saved["features"] @ head["weight"].T + head["bias"]
        store = EmbeddingStore.create(
            folder / "test", 50, {"v": (0, DIM)}, CLASSES, {}, [str(i) for i in range(50)], False
        )
        store.write(np.arange(50), saved["features"], logits, None, saved["labels"])
        assert run(capsys, *words(*FAST, test="test"))[0] == 2  # not finished
        store.finish()
    assert run(capsys, *words(*FAST, test="test"))[0] == 0
    (folder / "import.json").write_text(json.dumps({"head": {"missing": "too few rows"}}))
    code, _, err = run(
        capsys,
        "score",
        "--test",
        "test",
        "--ood",
        "x=test",
        "--out",
        "out",
        "--postprocessors",
        "msp,vim,ash",
    )
    assert code == 2
    assert "ash need the head: give --head (the import made none: too few rows)" in err


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("writer", ["write_scores", "write_results_csv"])
def test_a_full_disk_leaves_what_was_there(folder, capsys, monkeypatch, old, writer):
    if old:
        assert run(capsys, *words("--postprocessors", "ebo"))[0] == 0
    before = tree(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "out")

    monkeypatch.setattr(score_files, writer, full)
    code, _, err = run(capsys, *words(*FAST))
    assert code == 1
    assert "No space left on device" in err
    assert tree(folder) == before
    assert (folder / "out").exists() == old


def test_a_failing_sync_leaves_what_was_there(folder, capsys, monkeypatch):
    assert run(capsys, *words("--postprocessors", "ebo"))[0] == 0
    before = tree(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    assert run(capsys, *words(*FAST))[0] == 1
    assert tree(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="file-size limits are POSIX's")
def test_a_real_write_error_in_a_process_of_its_own(folder):
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600));"
        "from openood_multimodal.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    before = tree(folder)
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, *words(*FAST)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert tree(folder) == before
    assert not (folder / "out").exists()


def test_no_torch_for_npz_files(folder):
    program = (
        "import sys; from openood_multimodal.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or (9 if 'torch' in sys.modules else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words(*FAST)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
