"""An unmodified OpenOOD: wherever it can be imported, or ``OPENOOD_ROOT`` names it (``make test-openood``)."""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from openood_multimodal.reporting.records import load_records

ROOT = os.environ.get("OPENOOD_ROOT")
pytestmark = pytest.mark.skipif(
    not ROOT and importlib.util.find_spec("openood") is None,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)

SMALL = ("--network.hidden_dim", "16", "--network.embedding_dim", "24")
DATA = ("configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml")
OOD = "configs/datasets/synthetic/synthetic_far_ood.yml"
SCORES = ("msp", "ebo", "mls", "knn", "mds", "ash", "odin", "gradnorm", "she", "klm", "dice")


@pytest.fixture(scope="module")
def root() -> Path:
    from openood_multimodal.plugin.host import find_openood

    return find_openood()


def _environment(**more: str) -> dict[str, str]:
    here = Path(__file__).resolve().parents[2]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), *sys.path]),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def _run(root: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "openood_multimodal.plugin", "main.py", *words],
        cwd=root,
        env=_environment(OPENOOD_ROOT=str(root)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout[-1000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory) -> Path:
    """Holds a run of OpenOOD's own ``train``."""
    out = tmp_path_factory.mktemp("openood")
    train = ("--config", *DATA, "configs/pipelines/train/a2d_npmix.yml", *SMALL, "--pipeline.name", "train")
    npmix = ("--trainer.start_epoch", "2", "--trainer.bank_size", "20")
    _run(root, *train, *npmix, "--optimizer.num_epochs", "3", "--output_dir", str(out), "--exp_name", "run")
    return out


def _test(
    root: Path, folder: Path, score: str, *more: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    return _run(
        root,
        *("--config", DATA[0], OOD, DATA[1], "configs/pipelines/test/near_ood.yml"),
        *(f"configs/postprocessors/{score}.yml", *SMALL, "--pipeline.name", "test_ood"),
        *("--network.checkpoint", str(folder / "run" / "best.ckpt")),
        *("--output_dir", str(folder), "--exp_name", score, *more),
        code=code,
    )


def test_it_trains_what_our_own_host_trains(folder):
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TrainPipeline

    words = (*SMALL, "--trainer.start_epoch", "2", "--trainer.bank_size", "20", "--optimizer.num_epochs", "3")
    more = ("--output_dir", str(folder), "--exp_name", "own", "--recorder.tensorboard", "false")
    TrainPipeline(load_config([*DATA, "pipelines/train/a2d_npmix.yml"], [*words, *more])).run()
    ours = torch.load(folder / "own" / "best.ckpt", weights_only=True)
    theirs = torch.load(folder / "run" / "best.ckpt", weights_only=True)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert (folder / "run" / "openood_host.json").is_file()


@pytest.mark.parametrize("score", SCORES)
def test_its_postprocessors_test(root, folder, score):
    _test(root, folder, score, "--postprocessor.APS_mode", "False")
    (file,) = (folder / score).rglob("ood.csv")
    rows = {row["dataset"]: row for row in csv.DictReader(file.open())}
    assert 0 <= float(rows["nearood"]["AUROC"]) <= 100


def test_a_native_score_inside_it_equals_its_own(root, folder):
    for name in ("msp", "mm_msp"):
        more = ("--postprocessor.name", name, "--exp_name", f"as_{name}", "--postprocessor.APS_mode", "False")
        _test(root, folder, "msp", *more)
    figures = [next((folder / f"as_{name}").rglob("ood.csv")).read_text() for name in ("msp", "mm_msp")]
    assert figures[0] == figures[1]


def test_scores_of_the_modalities_inside_it_equal_our_own_host_s(root, folder, tmp_path):
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TestPipeline

    asked = {
        "discrepancy": {"discrepancy": "hellinger"},
        "per_modality": {"scores": ["knn(K=5)"], "combine": "min", "normalize": "zscore"},
        "ensemble": {"scores": ["msp", "discrepancy"]},
    }
    written = ["discrepancy(discrepancy=hellinger)", "per_modality(knn(K=5),combine=min,normalize=zscore)",
               "ensemble(msp,discrepancy)"]  # fmt: skip
    data = [*DATA, OOD, "pipelines/test/near_ood.yml"]
    words = [
        *SMALL,
        "--network.checkpoint",
        str(folder / "run" / "best.ckpt"),
        "--output_dir",
        str(tmp_path / "own"),
    ]
    TestPipeline(load_config(data, [*words, "--postprocessors", ",".join(written)])).run()
    for (name, args), own in zip(asked.items(), written, strict=True):
        section = {
            "name": f"mm_{name}",
            "APS_mode": False,
            "postprocessor_args": args,
            "postprocessor_sweep": {},
        }
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"postprocessor": section}))
        _run(
            root,
            *(
                "--config",
                DATA[0],
                OOD,
                DATA[1],
                "configs/pipelines/test/near_ood.yml",
                str(tmp_path / f"{name}.yml"),
            ),
            *(
                *SMALL,
                "--pipeline.name",
                "test_ood",
                "--network.checkpoint",
                str(folder / "run" / "best.ckpt"),
            ),
            *("--output_dir", str(tmp_path / name), "--exp_name", "mm"),
        )
        (theirs,) = (tmp_path / name).rglob("ood.csv")
        (ours,) = (each for each in (tmp_path / "own").rglob("ood.csv") if each.parent.name == own)
        assert theirs.read_text() == ours.read_text(), name


def test_its_evaluator_and_its_search(root, folder):
    done = _test(root, folder, "ebo", "--evaluator.name", "ood", "--exp_name", "search")
    assert "Final hyperparam" in done.stdout
    rows = list(csv.DictReader((folder / "search" / "ebo" / "ood.csv").open()))
    assert [row["dataset"] for row in rows] == [
        *("synthetic_near", "nearood", "synthetic_shift", "synthetic_noise", "farood")
    ]


@pytest.fixture(scope="module")
def carded(folder) -> tuple[str, str]:
    """Words that name a checkpoint with a card."""
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TrainPipeline

    words = ("--optimizer.num_epochs", "2", "--output_dir", str(folder), "--exp_name", "carded")
    quiet = ("--recorder.tensorboard", "false")
    TrainPipeline(load_config([*DATA, "pipelines/train/a2d.yml"], [*SMALL, *words, *quiet])).run()
    return "--network.checkpoint", str(folder / "carded" / "best.ckpt")


def _own_host(folder, score, *more):
    """Test in our own host."""
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TestPipeline

    files = [DATA[0], OOD, DATA[1], "configs/pipelines/test/near_ood.yml"]
    words = (
        *SMALL,
        "--output_dir",
        str(folder),
        "--exp_name",
        f"own_{score}",
        "--postprocessors",
        score,
        *more,
    )
    return TestPipeline(load_config([file.removeprefix("configs/") for file in files], words)).run()


@pytest.mark.parametrize(("name", "engine"), [("knn", "openood"), ("mm_knn", "native")])
def test_its_records_are_those_of_our_own_host_s_row(root, folder, carded, name, engine):
    from openood_multimodal.reporting.aggregate import method_of

    once = ("--postprocessor.name", name, "--exp_name", f"record_{name}", "--postprocessor.APS_mode", "False")
    done = _test(root, folder, "knn", *once, *carded, "--dataset.train.shuffle", "False")
    (there,) = load_records(folder / f"record_{name}")
    (here,) = _own_host(folder, "knn", *carded, "--engine", engine)
    assert method_of(there) == method_of(here)
    assert (there.metrics, there.unseen_recordings) == (here.metrics, here.unseen_recordings)
    for key in ("manifest", "training", "checkpoint", "scores"):
        assert there.digests[key] == here.digests[key]
    assert (there.track, there.parameters_from, there.seed) == ("demo", "preset", 0)
    assert any(note.startswith("run inside OpenOOD") for note in there.notes)
    # the table is on the terminal, and where it is
    values = "".join(f"{100 * there.metrics[key]['value']:8.2f}" for key in ("FPR@95", "AUROC", "ACC"))
    assert f"knn     synthetic_near    {values}" in done.stdout
    out = folder / f"record_{name}" / name
    assert f"Written: {out / 'ood.csv'}, {out / 'records'}" in done.stdout
    (csv_file,) = (folder / f"record_{name}").rglob("ood.csv")
    assert csv_file == out / "ood.csv"


def test_its_own_evaluator_and_search_leave_records_too(root, folder, carded):
    _test(root, folder, "react", *carded, "--evaluator.name", "ood", "--exp_name", "searched")
    records = {each.ood_set: each for each in load_records(folder / "searched")}
    rows = {row["dataset"]: row for row in csv.DictReader((folder / "searched" / "react" / "ood.csv").open())}
    assert set(records) == {"synthetic_near", "synthetic_shift", "synthetic_noise"}
    for name, record in records.items():
        assert record.setting == ("near" if name == "synthetic_near" else "far")
        assert record.parameters_from == "searched"
        for metric in ("AUROC", "AUPR_IN", "AUPR_OUT", "ACC"):
            assert f"{100 * record.metrics[metric]['value']:.2f}" == rows[name][metric]
        assert rows[name]["FPR@95"] in [
            f"{100 * record.metrics[key]['value']:.2f}" for key in ("FPR@95", "FPR@95_ID_TPR")
        ]
    chosen = next(note for note in records["synthetic_near"].notes if note.startswith("parameters chosen"))
    assert chosen.endswith(f" = {records['synthetic_near'].parameters['percentile']}")


@pytest.mark.usefixtures("carded")
def test_a_checkpoint_without_a_card_is_on_track_own(root, folder, tmp_path):
    shutil.copy(folder / "carded" / "best.ckpt", tmp_path / "bare.ckpt")
    bare = ("--network.checkpoint", str(tmp_path / "bare.ckpt"), "--output_dir", str(tmp_path))
    done = _test(root, folder, "msp", *bare, "--exp_name", "x", "--postprocessor.APS_mode", "False")
    (record,) = load_records(tmp_path / "x")
    assert (record.track, record.training, record.digests["training"]) == ("own", None, None)
    assert "track own: the checkpoint has no card" in done.stdout


def test_a_subspace_as_large_as_the_space_is_refused_before_anything_runs(root, folder):
    for score, dim in (("vim", 256), ("residual", 512)):
        done = _test(root, folder, score, code=2)
        assert f"dim is {dim}, and the network's embedding has 48 columns" in done.stderr
        assert not (folder / score).exists()


def test_every_seam_is_as_expected_and_goes_back(root):
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from openood_multimodal.plugin import register, unregister\n"
        "from openood_multimodal.plugin.placeholders import placeholders\n"
        "from openood_multimodal.plugin.seams import SEAMS\n"
        "with placeholders():\n"
        "    held = {s: getattr(importlib.import_module(s.module), s.attribute) for s in SEAMS}\n"
        "codes = {s: getattr(f, '__code__', None) for s, f in held.items()}\n"
        "register(); register()\n"
        "assert all(held[s].__code__ is not codes[s] for s in SEAMS if s.rebound)\n"
        "import openood.evaluation_api\n"
        "unregister()\n"
        "for s in SEAMS:\n"
        "    assert getattr(sys.modules[s.module], s.attribute) is held[s]\n"
        "    assert getattr(held[s], '__code__', None) is codes[s], s\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], env=_environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


IMAGES = """
import sys, os, yaml, numpy as np, torch
from pathlib import Path
from PIL import Image
root, out = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(root)); os.chdir(root)
from openood_multimodal.plugin import register, surroundings, unregister
from openood_multimodal.plugin.placeholders import placeholders
rng = np.random.default_rng(0)
for name, shift in (("train", 0), ("val", 0), ("test", 0), ("near", 40), ("far", 90)):
    lines = []
    for i in range(60 if name == "train" else 8):
        pixels = np.clip(rng.normal(90 + shift + 30 * (i % 2), 40, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(out / f"{name}{i}.png")
        lines.append(f"{name}{i}.png {i % 2}\\n")
    (out / f"{name}.txt").write_text("".join(lines))
part = lambda n: {"imglist_pth": str(out / f"{n}.txt"), "data_dir": str(out)}
split = {"dataset_class": "ImglistDataset", "batch_size": 8, "shuffle": False}
data = {"name": "cifar10", "num_classes": 2, "pre_size": 32, "image_size": 32, "interpolation": "bilinear",
    "normalization_type": "cifar10", "num_workers": 0, "num_gpus": 1, "num_machines": 1,
    "split_names": ["train", "val", "test"], **{n: {**part(n), **split} for n in ("train", "val", "test")}}
ood = {"name": "cifar10_ood", "num_classes": 2, "num_workers": 0, "num_gpus": 1, "num_machines": 1,
    "dataset_class": "ImglistDataset", "batch_size": 8, "shuffle": False, "split_names": ["nearood", "farood"],
    "nearood": {"datasets": ["near"], "near": part("near")}, "farood": {"datasets": ["far"], "far": part("far")}}
with placeholders():
    import openood.pipelines
from openood.networks import ResNet18_32x32
from openood.utils import Config
torch.manual_seed(0)
torch.save(ResNet18_32x32(num_classes=2).state_dict(), out / "net.ckpt")
def run(when):
    torch.manual_seed(1)
    for score, args in (("msp", {}), ("knn", {"K": 5})):
        config = Config({"exp_name": when, "output_dir": str(out / f"{when}_{score}"), "save_output": False,
            "merge_option": "merge", "num_gpus": 1, "num_machines": 1, "seed": 0, "dataset": data, "ood_dataset": ood,
            "preprocessor": {"name": "base"}, "pipeline": {"name": "test_ood"},
            "network": {"name": "resnet18_32x32", "num_classes": 2, "num_gpus": 1, "pretrained": True,
                        "checkpoint": str(out / "net.ckpt")},
            "evaluator": {"name": "ood", "ood_scheme": "ood"}, "recorder": {"save_csv": True, "save_scores": False},
            "postprocessor": {"name": score, "APS_mode": False, "postprocessor_args": args}})
        config["postprocessor"]["postprocessor_sweep"] = Config({"K_list": [5]})
        os.makedirs(config["output_dir"], exist_ok=True)
        openood.pipelines.get_pipeline(config).run()
surroundings.switch_on(); run("before")
register(); run("during")
unregister(); surroundings.switch_on(); run("after")
"""


def test_image_runs_are_the_same_before_during_and_after(root, tmp_path):
    try:
        import torchvision.transforms  # noqa: F401
    except Exception as error:  # a torchvision that doesn't fit torch raises RuntimeError
        pytest.skip(f"image transforms need torchvision: {error}")
    done = subprocess.run(
        [sys.executable, "-c", IMAGES, str(root), str(tmp_path)],
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for score in ("msp", "knn"):
        figures = {
            (tmp_path / f"{when}_{score}" / "ood.csv").read_bytes() for when in ("before", "during", "after")
        }
        assert len(figures) == 1
