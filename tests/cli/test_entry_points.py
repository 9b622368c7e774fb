"""Components of another installed package: listed, held to the contracts, trained and tested with."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from openood_multimodal.registry import DISCREPANCIES, NETWORKS, POSTPROCESSORS, TRAINERS

MODULE = """
    from dataclasses import dataclass
    from typing import ClassVar

    from torch import nn
    from openood_multimodal.arrays import Scores
    from openood_multimodal.networks import MultimodalNetwork
    from openood_multimodal.postprocessors import Postprocessor, ScoreInfo
    from openood_multimodal.trainers import A2DTrainer, MultimodalTrainer
    from torch.nn.functional import cross_entropy


    class LinearEncoder(nn.Linear):
        def __init__(self, input_dim, width):
            super().__init__(input_dim, width)
            self.embedding_dim = width


    class TheirNet(MultimodalNetwork):
        '''A linear encoder a modality.'''

        def __init__(self, num_classes: int, modalities: list[str], input_dims: dict[str, int], width: int = 5):
            super().__init__({m: LinearEncoder(input_dims[m], width) for m in modalities}, num_classes)


    def total_variation(p, q):
        '''Half the L1 distance, mean over the batch.'''
        return (p - q).abs().sum(dim=-1).mean(-1) / 2


    class TheirTrainer(A2DTrainer):
        '''A2D with a total-variation discrepancy, and smoothed labels.'''

        @dataclass(frozen=True)
        class Params(A2DTrainer.Params):
            discrepancy: str = "total_variation"
            smoothing: float = 0.1

        def cross_entropy(self, logits, labels):
            return cross_entropy(logits, labels, label_smoothing=self.params.smoothing)


    class TheirScore(Postprocessor):
        '''The margin between the two largest logits.'''

        name = "margin"
        info = ScoreInfo("Margin", "They", "nowhere", 2024, "https://example.org")
        reads_features: ClassVar[bool] = False

        def score_rows(self, rows):
            logits = rows.logits
            two = -(-logits).copy()
            two.sort(axis=1)
            return Scores(logits.argmax(1), (two[:, -1] - two[:, -2]).astype(float))
"""
ENTRY_POINTS = """
    [openood_multimodal.networks]
    their_net = their_package.parts:TheirNet
    [openood_multimodal.discrepancies]
    total_variation = their_package.parts:total_variation
    [openood_multimodal.trainers]
    their_trainer = their_package.parts:TheirTrainer
    [openood_multimodal.postprocessors]
    margin = their_package.parts:TheirScore
"""


@pytest.fixture
def their_package(tmp_path):
    """A folder as pip leaves it: an importable package, and its metadata with entry points."""
    site = tmp_path / "site"
    package, metadata = site / "their_package", site / "their_package-1.2.dist-info"
    for folder in (package, metadata):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(textwrap.dedent(MODULE))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    return site


PASSED_THROUGH_THE_KIT = """
import sys, torch
from openood_multimodal.cli import main
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.networks import build_network
from openood_multimodal.registry import POSTPROCESSORS, TRAINERS
from openood_multimodal.testing import check_discrepancy, check_network, check_postprocessor, check_trainer

assert main(["list", "trainers"]) == 0
dims = {"a": 4, "b": 3}
net = build_network({"name": "their_net", "num_classes": 3, "modalities": ["a", "b"], "input_dims": dims, "width": 7})
check_network(net, ModalityBatch((m, torch.randn(5, d)) for m, d in dims.items()))
check_discrepancy("total_variation")
check_trainer(TRAINERS.get("their_trainer"))
check_postprocessor(POSTPROCESSORS.get("margin").from_preset("openood"))
words = sys.argv[1:]
while words:
    stop = words.index("--then")
    code = main(words[:stop])
    print("code", code)
    words = words[stop + 1 :]
"""


def test_a_package_of_someone_elses(tiny, their_package, environment):
    own = tiny.folder / "own.yml"
    own.write_text("trainer: {name: their_trainer, smoothing: 0.2}\n")
    net = tiny.folder / "net.yml"
    net.write_text(
        "network: {name: their_net, num_classes: '@{dataset.num_classes}', modalities: '@{dataset.modalities}', "
        "input_dims: '@{dataset.input_dims}', width: 6, pretrained: False, checkpoint: ''}\n"
    )

    def on_their_network(words):
        words = [str(net) if word == "networks/mlp_fusion.yml" else word for word in words]
        first = words.index("--network.hidden_dim")
        return words[:first] + words[first + 4 :]

    train = on_their_network(tiny.train("multimodal_baseline", files=(str(own),)))
    test = on_their_network(tiny.test("--postprocessors", "margin,msp"))
    done = subprocess.run(
        [sys.executable, "-c", PASSED_THROUGH_THE_KIT, *train, "--then", *test, "--then"],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(their_package), environment["PYTHONPATH"]])},
        capture_output=True,
        text=True,
        cwd=tiny.folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 0"] * 2, (
        done.stderr
    )
    listed = next(line for line in done.stdout.splitlines() if line.startswith("their_trainer"))
    assert "A2D with a total-variation discrepancy" in listed

    from openood_multimodal.reporting.records import load_records

    records = {record.postprocessor: record for record in load_records(tiny.folder / "test" / "records")}
    assert set(records) == {"margin", "msp"}
    margin = records["margin"]
    assert (margin.training, margin.networks, margin.modalities) == ("their_trainer", "their_net", ["a", "b"])
    assert (tiny.folder / "test" / "margin" / "ood.csv").is_file()


def test_listing_imports_nothing(their_package, put_on_path):
    put_on_path(their_package)
    assert "their_net" in NETWORKS.names()
    assert "total_variation" in DISCREPANCIES
    assert "their_trainer" in TRAINERS
    assert "margin" in POSTPROCESSORS
    assert "their_package" not in sys.modules
