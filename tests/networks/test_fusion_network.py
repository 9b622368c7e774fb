"""The multimodal network: OpenOOD's protocol, and what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import (
    MLPEncoder,
    MLPFusionNet,
    MultimodalNetwork,
    build_network,
    load_checkpoint,
)

DIMS = {"a": 5, "b": 3, "c": 4}


def network(modalities=("a", "b"), classes=4, hidden=7, embedding=6):
    torch.manual_seed(0)
    return MLPFusionNet(classes, list(modalities), DIMS, hidden_dim=hidden, embedding_dim=embedding)


def batch(size=5, modalities=("a", "b")):
    generator = torch.Generator().manual_seed(1)
    return ModalityBatch((name, torch.randn(size, DIMS[name], generator=generator)) for name in modalities)


@pytest.mark.parametrize("modalities", [("a",), ("a", "b"), ("c", "a", "b")])
def test_a_literal_forward_pass(modalities):
    net, data = network(modalities), batch(modalities=modalities)
    output = net.forward_modalities(data)
    parts = []
    for name in modalities:
        first, _, second, _ = net.encoders[name].layers
        hidden = torch.clamp(data[name] @ first.weight.T + first.bias, min=0)
        parts.append(torch.clamp(hidden @ second.weight.T + second.bias, min=0))
        head = net.heads[name]
        torch.testing.assert_close(output.modality_logits[name], parts[-1] @ head.weight.T + head.bias)
        torch.testing.assert_close(output.embeddings[name], parts[-1])
    features = torch.cat(parts, 1)
    torch.testing.assert_close(output.features, features)
    torch.testing.assert_close(output.logits, features @ net.fc.weight.T + net.fc.bias)
    assert (output.features >= 0).all()
    assert tuple(output.embeddings) == tuple(output.modality_logits) == net.modalities == modalities


def test_protocol():
    net, data = network(), batch()
    logits = net(data)
    assert logits.shape == (5, 4)
    both = net(data, return_feature=True)
    assert torch.equal(both[0], logits)
    assert both[1].shape == (5, net.feature_size) == (5, 12)
    _, parts = net(data, return_feature_list=True)
    assert [p.shape for p in parts] == [(5, 6), (5, 6)]
    assert torch.equal(torch.cat(parts, 1), both[1])
    weight, bias = net.get_fc()
    features = both[1].detach().numpy()
    assert (weight.shape, bias.shape) == ((4, 12), (4,))
    np.testing.assert_allclose(features @ weight.T + bias, logits.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert net.get_fc_layer() is net.fc
    assert net.backbone is net
    assert net.slices == {"a": (0, 6), "b": (6, 12)}
    threshold = 0.1
    torch.testing.assert_close(
        net.forward_threshold(data, threshold), net.fc(torch.clamp(both[1], max=threshold))
    )
    assert not torch.equal(net.forward_threshold(data, threshold), logits)
    assert torch.equal(both[1], net(data, return_feature=True)[1])


def test_order_of_the_batch_does_not_matter_and_more_modalities_are_ignored():
    net, data = network(), batch(modalities=("b", "c", "a"))
    assert torch.equal(net(data), net(data.select(["a", "b"])))


def test_copies_and_pickles():
    net, data = network(), batch()
    clone = copy.deepcopy(net)
    assert torch.equal(clone(data), net(data))
    with torch.no_grad():
        clone.fc.weight.zero_()
    assert not torch.equal(clone(data), net(data))
    assert not any(
        "backbone" in name for name, _ in net.named_modules()
    )  # else its state would be there twice


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(("a", "z")), "names z, which network.input_dims does not have; it has a, b, c"),
        (lambda: network(("a", "a")), "twice"),
        (lambda: network(()), "at least one modality"),
        (lambda: network(classes=1), "at least 2 classes"),
        (lambda: network(hidden=0), "hidden_dim >= 1"),
        (lambda: network(embedding=-1), "embedding_dim >= 1"),
        (lambda: MultimodalNetwork({"a": nn.Linear(2, 2)}, 3), "no integer `embedding_dim`"),
        (lambda: network()(batch(modalities=("a",))), "lacks b"),
        (lambda: MLPEncoder(3)(torch.zeros(2, 4)), "takes 3 input features, got 4"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(UserError, match=message):
        make()


SECTION = {
    "name": "mlp_fusion",
    "num_classes": 4,
    "modalities": ["a", "b"],
    "input_dims": DIMS,
    "hidden_dim": 7,
    "embedding_dim": 6,
    "pretrained": False,
    "checkpoint": None,
    "num_gpus": 1,
}


def test_build_from_a_section(tmp_path):
    net = build_network(SECTION)
    assert isinstance(net, MLPFusionNet)
    assert net.feature_size == 12
    for prefix in ("", "module."):  # as DataParallel writes it
        path = tmp_path / f"{prefix}net.ckpt"
        torch.save({f"{prefix}{name}": value + 1 for name, value in net.state_dict().items()}, path)
        loaded = build_network({**SECTION, "pretrained": True, "checkpoint": str(path)})
        assert all(torch.equal(loaded.state_dict()[k], v + 1) for k, v in net.state_dict().items())
    with pytest.raises(UserError, match=r"network.hiden_dim is not a parameter.*'hidden_dim'"):
        build_network({**SECTION, "hiden_dim": 3})
    with pytest.raises(UserError, match="checkpoint is empty"):
        build_network({**SECTION, "pretrained": True})
    missing = {key: value for key, value in SECTION.items() if key != "modalities"}
    with pytest.raises(UserError, match=r"network\.modalities is not set"):
        build_network(missing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc.bias"), "it lacks fc.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "it has extra besides"),
        (
            lambda s: s.update({"fc.weight": torch.zeros(9, 12)}),
            r"fc.weight is \(9, 12\) there and \(4, 12\) here",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("encoders")], "and 5 more"),
    ],
)
def test_a_checkpoint_of_another_network_is_described_and_not_loaded(tmp_path, change, message):
    net = network()
    state = {k: v + 1 for k, v in net.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "x.ckpt")
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UserError, match=message):
        load_checkpoint(net, tmp_path / "x.ckpt")
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
