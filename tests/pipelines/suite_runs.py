"""A small suite and one of its runs, for tests of both."""

from __future__ import annotations

from openood_multimodal.pipelines.suites import SuiteRun

SETTINGS = {
    "optimizer.num_epochs": "2",
    "optimizer.lr": "0.01",
    "network.hidden_dim": "8",
    "network.embedding_dim": "6",
}

JOB = SuiteRun("synthetic/synthetic_far", "a2d", 0, seed=0, postprocessors=("ebo",), overrides=SETTINGS)

SUITE = {
    "runs": [
        {
            "benchmark": "synthetic/synthetic_far",
            "trainings": ["multimodal_baseline", "a2d"],
            "modalities": [["a", "b"]],
        }
    ],
    "partitions": 2,
    "seeds": 1,
    "postprocessors": ["ebo"],
    "settings": SETTINGS,
}
