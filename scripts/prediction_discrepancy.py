"""How far modalities disagree on ID and on OOD samples, by training (what MultiOOD's Figure 4 shows).

    python scripts/prediction_discrepancy.py mfeat/mfeat_5_5 --partitions 8
    python scripts/prediction_discrepancy.py htad/htad_4_3 --partitions 8

Mean L1 distance between the softmax predictions of the modality heads, averaged over pairs of modalities and over
partitions (seed 0).
"""

import argparse
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from openood_multimodal.config import load_config
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.networks import build_network
from openood_multimodal.pipelines.extract import extract_embeddings
from openood_multimodal.pipelines.train import TrainPipeline

TRAININGS = ("multimodal_multihead", "a2d", "a2d_npmix")


def disagreement(modality_logits):
    """Mean L1 distance of the predictions, over samples and pairs of modalities; logits are [N, M, C]."""
    p = torch.from_numpy(modality_logits).double().softmax(-1).numpy()
    pairs = combinations(range(p.shape[1]), 2)
    return float(np.mean([np.abs(p[:, i] - p[:, j]).sum(-1).mean() for i, j in pairs]))


def one(benchmark, training, partition, folder):
    """Train on one partition; return the disagreement on ID and on OOD."""
    files = [f"datasets/{benchmark}.yml", f"datasets/{benchmark}_ood.yml", "networks/mlp_fusion.yml"]
    overrides = [
        "--dataset.partition",
        str(partition),
        "--output_dir",
        folder,
        "--exp_name",
        f"{training}{partition}",
    ]
    overrides += ["--optimizer.num_epochs", "30", "--optimizer.lr", "0.001"]
    config = load_config([*files, f"pipelines/train/{training}.yml"], overrides)
    config["recorder"] = {"quiet": True, "state_interval": 0, "tensorboard": False}
    checkpoint = TrainPipeline(config).run().checkpoint
    net = build_network({**config["network"], "pretrained": True, "checkpoint": str(checkpoint)})
    known = build_loaders(config, training=False)["test"]
    unknown = next(iter(build_ood_loaders(config, ("nearood",))["nearood"].values()))
    return [disagreement(extract_embeddings(net, loader).modality_logits) for loader in (known, unknown)]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", help="config below datasets/, e.g. mfeat/mfeat_5_5")
    parser.add_argument("--partitions", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for training in TRAININGS:
            values = [
                one(options.benchmark, training, p, str(Path(folder))) for p in range(options.partitions)
            ]
            known, unknown = np.mean(values, axis=0)
            rows.append([training, known, unknown, unknown - known])
    headers = ["training", "L1, ID", "L1, OOD", "OOD - ID"]
    print(tabulate(rows, headers=headers, floatfmt=".2f"))


if __name__ == "__main__":
    main()
