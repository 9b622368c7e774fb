"""A stand-in for OpenOOD in this process, cleaned away after each test; and image and table configs for it."""

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_ins
import yaml

STANDIN = Path(__file__).resolve().parents[1] / "standin_openood"


def forget_openood() -> None:
    """Make this process as if OpenOOD had never been imported."""
    from openood_multimodal.plugin import placeholders, unregister

    unregister()
    for name in [n for n in sys.modules if n.partition(".")[0] in ("openood", "imgaug")]:
        del sys.modules[name]
    placeholders._states.clear()


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in's folder; it is found by ``OPENOOD_ROOT``, and not imported yet."""
    forget_openood()
    monkeypatch.setenv("OPENOOD_ROOT", str(STANDIN))
    path, finders = list(sys.path), list(sys.meta_path)
    yield STANDIN
    forget_openood()
    assert sys.meta_path == finders
    sys.path[:] = path


@pytest.fixture
def image_config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes a config of the stand-in's image classes, with a few generated images."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for name, shift in (("train", 0), ("val", 0), ("test", 0), ("near", 1), ("far", 3)):
        lines = []
        for i in range(12):
            image = rng.normal(shift + i % 2, 1, (3, 8, 8)).astype(np.float32)
            np.save(folder / f"{name}{i}.npy", image)
            lines.append(f"{name}{i}.npy {i % 2}\n")
        (folder / f"{name}.txt").write_text("".join(lines))

    def make(**sections: Any) -> dict[str, Any]:
        def part(name: str, **more: Any) -> dict[str, Any]:
            return {"imglist_pth": str(folder / f"{name}.txt"), "data_dir": str(folder), **more}

        split = {"dataset_class": "ImglistDataset", "batch_size": 6, "shuffle": False}
        config: dict[str, Any] = {
            "exp_name": "images",
            "output_dir": str(tmp_path / "out"),
            "num_gpus": 1,
            "num_machines": 1,
            "machine_rank": 0,
            "seed": 0,
            "save_output": True,
            "merge_option": "merge",
            "dataset": {
                "name": "gray",
                "num_classes": 2,
                "image_size": 6,
                "num_workers": 0,
                "num_gpus": 1,
                "num_machines": 1,
                "split_names": ["train", "val", "test"],
                **{name: part(name, **split) for name in ("train", "val", "test")},
            },
            "ood_dataset": {
                "name": "gray",
                "num_classes": 2,
                "num_workers": 0,
                "dataset_class": "ImglistDataset",
                "batch_size": 6,
                "shuffle": False,
                "split_names": ["nearood", "farood"],
                "nearood": {"datasets": ["near"], "near": part("near")},
                "farood": {"datasets": ["far"], "far": part("far")},
            },
            "preprocessor": {"name": "base"},
            "network": {"name": "small", "num_classes": 2, "pretrained": False, "num_gpus": 1},
            "pipeline": {"name": "train"},
            "trainer": {"name": "base"},
            "evaluator": {"name": "base", "ood_scheme": "ood"},
            "optimizer": {"num_epochs": 2, "lr": 0.1},
            "recorder": {"name": "base", "save_csv": True, "save_scores": True},
            "postprocessor": {"name": "msp"},
        }
        return {**config, **sections}

    return make


TABLES = ("datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml")
SETTINGS = (
    *("--network.hidden_dim", "8", "--network.embedding_dim", "6", "--optimizer.num_epochs", "2"),
    *("--optimizer.lr", "0.01", "--recorder.tensorboard", "false"),
)


@pytest.fixture
def table_config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes a resolved multimodal config: ``make("train", "--key", "value")`` or ``make("test", ...)``."""
    from openood_multimodal.config import load_config

    def make(which: str, *words: str, folder: str = "run", **sections: Any) -> dict[str, Any]:
        out = ("--output_dir", str(tmp_path), "--exp_name", folder)
        if which == "train":
            config = load_config(
                [*TABLES, "pipelines/train/a2d.yml"], [*SETTINGS, *out, "--pipeline.name", "train", *words]
            )
        else:
            checkpoint = ("--network.checkpoint", str(tmp_path / "run" / "best.ckpt"))
            ood = "datasets/synthetic/synthetic_far_ood.yml"
            config = load_config(
                [TABLES[0], ood, TABLES[1], "pipelines/test/near_ood.yml"],
                [*SETTINGS[:4], *out, *checkpoint, "--pipeline.name", "test_ood", *words],
            )
        return {**config.to_dict(), **sections}

    return make


@pytest.fixture
def run_openood() -> Callable[[dict[str, Any]], Any]:
    """Does what OpenOOD's main.py does with a config, in this process."""

    def run(config: dict[str, Any]) -> Any:
        from importlib import import_module

        return (
            import_module("openood.pipelines")
            .get_pipeline(import_module("openood.utils").Config(config))
            .run()
        )

    return run


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    """Write a config file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def openood(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of postprocessor configs of an OpenOOD that consists of stand-ins for its classes."""
    from openood_multimodal.plugin import adapters, recipes

    root = tmp_path_factory.mktemp("checkout")
    folder = root / "configs" / "postprocessors"
    folder.mkdir(parents=True)
    for name in stand_ins.STAND_INS:
        section = {f"postprocessor_{key}": each for key, each in stand_ins.PARAMETERS.get(name, {}).items()}
        file = folder / (recipes.RECIPES[name].config_file or f"{name}.yml")
        file.write_text(yaml.safe_dump({"postprocessor": {"name": name, **section}}))
    classes = {recipes.RECIPES[name].class_name: kind for name, kind in stand_ins.STAND_INS.items()}
    modules = {
        "openood.postprocessors": types.SimpleNamespace(**classes),
        "openood.postprocessors.info": types.SimpleNamespace(num_classes_dict=stand_ins.NUM_CLASSES),
        "openood.preprocessors.transform": types.SimpleNamespace(normalization_dict=stand_ins.DEVIATIONS),
        "openood.utils.config": types.SimpleNamespace(Config=stand_ins.Attributes),
        "openood.networks.ash_net": types.SimpleNamespace(ASHNet=stand_ins.Shapes),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(adapters, "describe_openood", lambda: "stand-in")
    monkeypatch.setattr("openood_multimodal.plugin.host.describe_openood", lambda: "stand-in")
    monkeypatch.setattr(recipes, "find_openood", lambda: root)
    return folder


@pytest.fixture
def sets() -> stand_ins.Sets:
    """Embeddings and a head."""
    return stand_ins.Sets()
