"""A tiny network of clips on a few generated ones: a training takes a second."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from submissions import sign

from openood_multimodal.moving_shapes import generate
from openood_multimodal.pipelines.submission import submit

CLIP_SETTINGS = (
    *("--dataset.num_classes", "4", "--dataset.modalities", "video", "flow", "--num_gpus", "0"),
    *("--num_workers", "0"),  # what reads clips is counted in this process; tests of workers say so
    *("--network.encoders.video.base_channels", "8", "--network.encoders.flow.base_channels", "8"),
    *("--preprocessor.video.frames", "8", "--preprocessor.flow.frames", "4"),
    *("--preprocessor.video.short_side", "36", "--preprocessor.video.size", "32"),
    *("--preprocessor.flow.short_side", "36", "--preprocessor.flow.size", "32"),
)
SETS = "datasets/moving_shapes/moving_shapes"
NETWORK = "networks/clip_fusion_small.yml"


class TinyClips:
    """Words after ``openood-mm run`` for clips in ``data``, and what they load."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data = data
        self.folder = folder

    def train(self, training: str, *more: str) -> list[str]:
        npmix = ["--trainer.start_epoch", "2", "--trainer.bank_size", "3"] if "npmix" in training else []
        return [
            *("--config", f"{SETS}.yml", NETWORK, f"pipelines/train/{training}.yml", *CLIP_SETTINGS, *npmix),
            *("--dataset.train.batch_size", "4", "--optimizer.lr", "0.001", "--optimizer.num_epochs", "2"),
            *("--recorder.tensorboard", "false", "--data_root", str(self.data)),
            *("--output_dir", str(self.folder), "--exp_name", "run", *more),
        ]

    def test(self, checkpoint: Path, *more: str, evaluator: str = "near_ood") -> list[str]:
        return [
            *("--config", f"{SETS}.yml", f"{SETS}_ood.yml", NETWORK, f"pipelines/test/{evaluator}.yml"),
            *(*CLIP_SETTINGS, "--network.checkpoint", str(checkpoint), "--data_root", str(self.data)),
            *("--output_dir", str(self.folder), "--exp_name", "test", *more),
        ]

    def config(self, words: list[str]) -> Any:
        """What ``openood-mm run`` would load."""
        from openood_multimodal.config import load_config

        first = next(i for i, word in enumerate(words) if i > 0 and word.startswith("--"))
        return load_config(words[1:first], words[first:])


@pytest.fixture(scope="session")
def clip_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of generated clips; copy it before changing it."""
    return generate(tmp_path_factory.mktemp("clips") / "shapes", size="tiny", height=32, width=40).root


@pytest.fixture
def clips(clip_data: Path, tmp_path: Path) -> TinyClips:
    return TinyClips(clip_data, tmp_path)


@pytest.fixture(scope="session")
def trained_on_clips(clip_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a finished A2D+NP-Mix training on the generated clips."""
    from openood_multimodal.pipelines import TrainPipeline

    tiny = TinyClips(clip_data, tmp_path_factory.mktemp("trained_on_clips"))
    return TrainPipeline(tiny.config(tiny.train("a2d_npmix"))).run().checkpoint


@pytest.fixture(scope="module")
def whole(tested, tmp_path_factory):
    """A submission with embeddings; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "submission"
    submit(tested, folder, embeddings=True)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A submission without embeddings, of one score; free to be changed."""
    without = shutil.ignore_patterns("embeddings", "msp*")
    shutil.copytree(whole, tmp_path / "submission", ignore=without)
    sign(tmp_path / "submission")
    return tmp_path / "submission"
