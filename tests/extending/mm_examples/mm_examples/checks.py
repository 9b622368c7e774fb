"""All components of this package, held to the contracts: python -m mm_examples.checks."""

import torch

from openood_multimodal.datasets import ModalityBatch
from openood_multimodal.networks import build_network
from openood_multimodal.registry import (
    ENCODERS,
    EVALUATORS,
    POSTPROCESSORS,
    PREPROCESSORS,
    SYNTHESES,
    TRAINERS,
)
from openood_multimodal.testing import (
    check_discrepancy,
    check_evaluator,
    check_network,
    check_odd_inputs,
    check_postprocessor,
    check_preprocessor,
    check_synthesis,
    check_trainer,
)

if __name__ == "__main__":
    dims = {"audio": 4, "imu": 3}
    data = ModalityBatch((name, torch.randn(6, dim)) for name, dim in dims.items())
    network = {"name": "linear_fusion", "num_classes": 3, "modalities": list(dims), "input_dims": dims}
    check_network(build_network(network), data)

    encoder = ENCODERS.get("imu_conv")
    assert encoder(encoder.Params(width=8))(torch.randn(2, 3, 50)).shape == (2, 8)

    check_preprocessor(
        PREPROCESSORS.get("modality_dropout")({"preprocessor": {"probability": 0.5}}, "train"), data
    )
    check_discrepancy("total_variation")
    check_synthesis(SYNTHESES.get("noisy_prototypes")())
    check_trainer(TRAINERS.get("entropy_regularised"))
    check_trainer(
        TRAINERS.get("a2d_npmix"), {"synthesis": "noisy_prototypes", "discrepancy": "total_variation"}
    )
    for name in ("margin", "agreement"):
        check_postprocessor(POSTPROCESSORS.get(name).from_preset("openood"))
        check_odd_inputs(POSTPROCESSORS.get(name).from_preset("openood"))
    check_evaluator(EVALUATORS.get("near_and_far"), "near_and_far")
    print("all components keep their contracts")
