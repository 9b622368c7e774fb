"""What a run's record holds but for its metrics and its run."""

from openood_multimodal.reporting.schema import DIGEST_NAMES

RECORD = {
    "benchmark": "bench",
    "partition": "0",
    "track": "demo",
    "setting": "near",
    "id_set": "bench",
    "ood_set": "unseen",
    "modalities": ["a", "b"],
    "networks": "mlp_fusion",
    "training": "a2d",
    "protocol": "multiood-code",
    "synthesis": None,
    "discrepancy": "hellinger",
    "postprocessor": "msp",
    "parameters": {},
    "preset": "openood",
    "fit_on": "train",
    "engine": {"name": "native", "version": "0.1.0"},
    "seed": 0,
    "best_epoch": 3,
    "n_id": 100,
    "n_ood": 200,
    "digests": dict.fromkeys(DIGEST_NAMES),
}
