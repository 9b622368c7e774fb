"""Checks of networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..datasets.batch import ModalityBatch
from ._rules import rule, same


def check_network(net: Any, data: ModalityBatch) -> None:
    """Hold a network to OpenOOD's protocol and to `MultimodalOutput`.

    Args:
        net: an instance.
        data: a batch that it takes.
    """
    net.eval()
    before = copy.deepcopy(dict(data))
    size, classes, width = len(data), net.num_classes, net.feature_size
    with torch.no_grad():
        logits = net(data)
        output = net.forward_modalities(data)
        with_feature = net(data, return_feature=True)
        with_list = net(data, return_feature_list=True)
    rule(
        logits.shape == (size, classes),
        f"net(data) is [B, C] = [{size}, {classes}], got {tuple(logits.shape)}",
    )
    same(logits, output.logits, "net(data) and forward_modalities(data).logits differ")
    same(logits, with_feature[0], "net(data, return_feature=True)[0] differs from net(data)")
    rule(with_feature[1].shape == (size, width), "net(data, return_feature=True)[1] is [B, feature_size]")
    same(with_feature[1], output.features, "return_feature and forward_modalities(data).features differ")
    rule(isinstance(with_list[1], list), "net(data, return_feature_list=True)[1] is a list")
    rule(tuple(output.embeddings) == tuple(net.modalities), "embeddings come in the order of net.modalities")
    rule(
        tuple(output.modality_logits) == tuple(net.modalities),
        "modality_logits come in the order of net.modalities",
    )
    same(
        torch.cat(list(output.embeddings.values()), 1),
        output.features,
        "the embeddings, concatenated, are features",
    )
    for name, each in output.modality_logits.items():
        rule(each.shape == (size, classes), f"modality_logits['{name}'] is [B, C]")
    for name, (start, stop) in net.slices.items():
        same(
            output.features[:, start:stop],
            output.embeddings[name],
            f"net.slices['{name}'] cuts out its embedding",
        )

    weight, bias = net.get_fc()
    rule(
        isinstance(weight, np.ndarray) and weight.shape == (classes, width), "get_fc()[0] is an array [C, D]"
    )
    rule(isinstance(bias, np.ndarray) and bias.shape == (classes,), "get_fc()[1] is an array [C]")
    same(net.get_fc_layer()(output.features), logits, "get_fc_layer() maps features to logits")
    rule(hasattr(net, "fc") and hasattr(net, "backbone"), "net.fc and net.backbone exist")
    with torch.no_grad():
        rule(
            torch.allclose(net.forward_threshold(data, float("inf")), logits, atol=1e-5),
            "forward_threshold(data, inf) is net(data)",
        )
        same(net(data), logits, "net(data) differs when it is asked again in eval mode")
    same(dict(data), before, "a network must not change its input")
    _check_gradients(net, data, classes)


def _check_gradients(net: Any, data: ModalityBatch, classes: int) -> None:
    clone = copy.deepcopy(net)
    clone.train()
    labels = torch.arange(len(data)) % classes
    output = clone.forward_modalities(data)
    F.cross_entropy(output.logits, labels).backward()
    rule(
        any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in clone.parameters()),
        "the fused cross-entropy reaches no parameter",
    )
    rule(
        all(h.requires_grad for h in clone.forward_modalities(data).modality_logits.values()),
        "every modality head can be trained",
    )
