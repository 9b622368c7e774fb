"""Scores on a Dask cluster: the figures of one process, from files that workers map; what is refused."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick_scores import QUICK

from openood_multimodal import evaluate, shards
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.linalg import statistics
from openood_multimodal.postprocessors import nl_invariants, shared, training
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.postprocessors.plan import fit_all, score_all
from openood_multimodal.postprocessors.rows import nothing_around
from openood_multimodal.postprocessors.run import DEFAULT_SCORES, choose, run
from openood_multimodal.postprocessors.spec import build_score
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.shards import Shards

distributed = pytest.importorskip("distributed", reason="Dask is an extra: pip install distributed")

DIM, CLASSES = 24, 3
SLICES = {"video": (0, 16), "flow": (16, DIM)}
ROWS = {"train": 900, "val": 120, "test": 500, "ood": 300}
PARAMETERS: dict = {
    **QUICK,
    "knn": {"K": 5},
    "dte_c": {"steps": 1, "batch_size": 900},
    "nac": {"valid_num": 100},
}
NAMES = (*DEFAULT_SCORES, "per_modality(knn)")


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """Memory-mapped sets and a head: name → `Embeddings`, and ``"head"``."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, DIM))
    weight, bias = centres.astype("f4"), np.zeros(CLASSES, dtype="f4")
    own = {name: LinearHead(weight[:, slice(*columns)], bias) for name, columns in SLICES.items()}
    found = {"head": LinearHead(weight, bias, own)}
    for name, rows in ROWS.items():
        labels = np.arange(rows) % CLASSES
        spread = 2.0 if name == "ood" else 1.0
        features = np.maximum(centres[labels] + spread * rng.standard_normal((rows, DIM)) + 0.5, 0)
        np.save(folder / f"{name}.npy", features.astype("f2" if name == "test" else "f4"))
        mapped = np.load(folder / f"{name}.npy", mmap_mode="r")
        found[name] = Embeddings(mapped, labels, slices=SLICES)
    return found


@pytest.fixture(scope="module")
def cluster():
    """A cluster in this process, with one worker; `scale` gives it more."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as made:
        yield made


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "FEWEST_ROWS", 16)


def confidences(problem, client=None, names=NAMES, chunk_rows=16):
    options = ScoringOptions(chunk_rows=chunk_rows, shards=client and Shards(client))
    sets = {name: problem[name] for name in ("test", "ood")}
    chosen = choose(",".join(names), parameters={k: v for k, v in PARAMETERS.items() if k in names})
    found = run(chosen, problem["train"], problem["val"], problem["head"], sets, options)
    return {each.name: of_sets for each, of_sets in zip(chosen, found, strict=True)}


@pytest.fixture(scope="module")
def expected(problem):
    """What one process computes."""
    return confidences(problem)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_figures_of_one_process(problem, cluster, client, expected, workers):
    """Scores that are fitted, nearest neighbours to the same bits, modalities as views of a file's columns."""
    cluster.scale(workers)
    client.wait_for_workers(workers)
    found = confidences(problem, client)
    for name, sets in expected.items():
        for dataset, (pred, conf) in sets.items():
            np.testing.assert_array_equal(found[name][dataset].pred, pred)
            exact = name == "knn"
            np.testing.assert_allclose(
                found[name][dataset].conf, conf, rtol=0 if exact else 1e-9, atol=0 if exact else 1e-12
            )


class Watched:
    """Features that know which of their rows this process has read."""

    ndim = 2

    def __init__(self, features):
        self._features, self.read = features, np.zeros(len(features), dtype=bool)
        self.shape, self.size, self.dtype = features.shape, features.size, features.dtype

    def __len__(self):
        return len(self._features)

    def __getitem__(self, which):
        self.read[which[0] if isinstance(which, tuple) else which] = True
        return self._features[which]


def documented():
    """Return the score → which row of the page's table it is in."""
    text = Path(__file__).parents[2].joinpath("docs", "several-gpus.md").read_text(encoding="utf-8")
    table = text.split("| fit | scores |")[1].split("\n\n")[0].splitlines()[2:]
    return {
        name: line.split("|")[1].strip()
        for line in table
        for name in re.findall(r"`(\w+)`", line.split("|")[2])
    }


def test_what_workers_do_in_a_fit(problem, client, monkeypatch):
    """Every score has the confidences of one process; the page's table says what is left to this one."""
    for module, name, few in (
        (training, "PILOT_ROWS", 8),
        (statistics, "SAMPLE", 1),
        (nl_invariants, "SAMPLE", 8),
    ):
        monkeypatch.setattr(module, name, few)
    mapped, blocks = [], shared.blocks_of_shards
    monkeypatch.setattr(shared, "blocks_of_shards", lambda *given: mapped.append(given) or blocks(*given))
    # a combination is fitted as its scores are
    names = [name for name in POSTPROCESSORS.names() if not hasattr(POSTPROCESSORS.get(name), "example")]
    sets = {key: replace(problem[key], features=Watched(problem[key].features)) for key in ("train", "val")}
    found, confs = {}, []

    @contextmanager
    def watching(score):
        mapped.clear()
        for each in sets.values():
            each.features.read[:] = False
        yield
        read = any(each.features.read.all() for each in sets.values())
        found[score.name] = "here" if read else "mapped" if mapped else "workers"

    for each, around, workers in (
        ({key: problem[key] for key in sets}, nothing_around, None),
        (sets, watching, Shards(client)),
    ):
        scores = [build_score(name, "openood", PARAMETERS.get(name)) for name in names]
        options = ScoringOptions(chunk_rows=150, shards=workers)
        fit_all(scores, each["train"], each["val"], problem["head"], options, around)
        confs.append([of.conf for of in score_all(scores, {"test": problem["test"]}, options)["test"]])
    for name, want, conf in zip(names, *confs, strict=True):
        exact = name in ("knn", "dte_np", "lof", "react", "vra")
        np.testing.assert_allclose(conf, want, 0 if exact else 1e-9, 0 if exact else 1e-12, err_msg=name)
    assert found == documented()


def in_memory(embeddings):
    return Embeddings(np.array(embeddings.features), embeddings.labels, slices=embeddings.slices)


def test_files_are_mapped_and_large_arrays_refused(problem, client, monkeypatch):
    """What is memory-mapped isn't sent; what isn't is sent where it is small, and else refused with a remedy."""
    few = ("msp", "knn", "ensemble(knn,dte_np)", "per_modality(knn)")  # parts whose norms aren't sent, either
    want = confidences(problem, names=few)
    assert shards._part_of_file(problem["test"].features[:, 3:9].T) is not None
    for sets, limit in (
        (problem, 8 * ROWS["train"] - 1),
        (problem | {"test": in_memory(problem["test"])}, 30_000),
    ):
        monkeypatch.setattr(shards, "SENT_BYTES", limit)
        found = confidences(sets, client, few)
        np.testing.assert_array_equal(found["knn"]["test"].conf, want["knn"]["test"].conf)
    monkeypatch.setattr(shards, "SENT_BYTES", 20_000)
    with pytest.raises(
        UserError, match=r"a set to be scored: .* save the arrays in a folder that all workers share"
    ):
        confidences(problem | {"test": in_memory(problem["test"])}, client, few)
    with pytest.raises(
        UserError,
        match=r"relation: what was learned from the training rows: .* fit to fewer .*postprocessors=\"msp\"",
    ):
        confidences(problem, client, ("msp", "relation"))
    private = np.load(problem["test"].features.filename, mmap_mode="c")
    assert shards._part_of_file(private) is None  # what is written to it isn't in the file


def test_another_file_on_a_worker(problem, client, tmp_path, monkeypatch):
    """A folder that isn't shared: the file is missing there, or is another one."""
    np.save(tmp_path / "here.npy", problem["test"].features)
    mapped = problem | {
        "test": Embeddings(np.load(tmp_path / "here.npy", mmap_mode="r"), problem["test"].labels)
    }
    packed = shards._packed
    for change, message in (
        (
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            r"here\.npy on .* is another file than on the host",
        ),
        (
            Path.unlink,
            r"can't read .*here\.npy \(No such file or directory\); embeddings must be in a folder that all",
        ),
    ):

        def meanwhile(*given, change=change):
            data = packed(*given)
            if given[1] == "a set to be scored":
                change(tmp_path / "here.npy")
            return data

        monkeypatch.setattr(shards, "_packed", meanwhile)
        with pytest.raises(UserError, match=message):
            confidences(mapped, client, ("msp",))


def test_errors_and_warnings_are_the_score_s(problem, client):
    """What a score says on a worker has its name, and the way on without it; no client at all."""
    with pytest.raises(UserError, match=r"ash: percentile=99\.9 keeps 0 of .*postprocessors=\"msp\""):
        evaluate(
            None,
            problem["test"],
            {"ood": problem["ood"]},
            problem["head"],
            postprocessors="msp,ash",
            parameters={"ash": {"percentile": 99.9}},
            client=client,
        )
    spoilt = in_memory(problem["train"])
    spoilt.features[700, 3] = np.nan
    with pytest.raises(UserError, match=r"mds: features hold nan at row 700, column 3"):
        confidences(problem | {"train": spoilt}, client, ("mds",))
    with pytest.raises(UserError, match=r"client must be a dask\.distributed\.Client, got str"):
        Shards("tcp://127.0.0.1:8786")
    with pytest.raises(UserError, match="the workers of a cluster compute on their CPUs; give cpu"):
        ScoringOptions(device="cuda", shards=Shards(client))


def test_a_worker_killed_in_mid_run(problem, expected, monkeypatch):
    """Its shards, and what it was sent, go to another worker."""
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    ):  # Dask sets them when it starts workers
        monkeypatch.setenv(name, "1")
    whole = Shards._finished
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made,
        distributed.Client(made.scheduler_address, set_as_default=False) as client,
    ):
        killed = []

        def finished(self, *given):
            for count, answer in enumerate(whole(self, *given)):
                if count == 1 and not killed:
                    killed.append(made.workers[0].pid)
                    os.kill(killed[0], signal.SIGKILL)
                yield answer

        monkeypatch.setattr(Shards, "_finished", finished)
        found = confidences(problem, client)
    assert killed
    for name, sets in expected.items():
        np.testing.assert_allclose(found[name]["test"].conf, sets["test"].conf, rtol=1e-9, atol=1e-12)


def test_command_line(problem, client, tmp_path, cli, monkeypatch):
    """The same files as without --scheduler; nobody listens."""
    for name, each in problem.items():
        arrays = each.arrays() if name == "head" else {"features": each.features, "labels": each.labels}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    words = [
        "score",
        "--train",
        "train.npz",
        "--test",
        "test.npz",
        "--ood",
        "other=ood.npz",
        "--head",
        "head.npz",
    ]
    words += ["--postprocessors", "msp,mds,knn", "--set", "knn.K=5"]
    here = cli([*words, "--out", "here"])
    there = cli([*words, "--out", "there", "--scheduler", client.scheduler.address])
    assert (here.code, there.code, there.err) == (0, 0, ""), (here.err, there.err)
    assert here.out.replace("here/", "there/") == there.out
    monkeypatch.setattr("openood_multimodal.cluster.PATIENCE_S", 0.3)
    nobody = cli([*words, "--out", "nobody", "--scheduler", "tcp://127.0.0.1:9"])
    assert nobody.code == 2
    assert "there is no Dask scheduler at tcp://127.0.0.1:9" in nobody.err
