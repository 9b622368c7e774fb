"""The head on stored embeddings answers as the network does, and never changes its input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.networks import EmbeddingHead, MLPFusionNet


@pytest.fixture
def head():
    random = np.random.default_rng(0)
    return EmbeddingHead(random.normal(size=(3, 8)), random.normal(size=3))


def test_it_answers_as_the_network(tmp_path):
    net = MLPFusionNet(3, ["a", "b"], {"a": 5, "b": 2}, hidden_dim=4, embedding_dim=4)
    data = {"a": torch.randn(6, 5), "b": torch.randn(6, 2)}
    logits, features = (each.detach() for each in net(data, return_feature=True))
    head = EmbeddingHead(*net.get_fc())
    assert torch.equal(head(features), logits)
    assert torch.equal(head(features, return_feature=True)[1], features)
    (only,) = head(features, return_feature_list=True)[1]
    assert torch.equal(only, features)
    assert torch.equal(head.forward_threshold(features, 0.1), net.forward_threshold(data, 0.1))
    for a, b in zip(head.get_fc(), net.get_fc(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (head.feature_size, head.num_classes, head.backbone) == (8, 3, head)
    assert head.get_fc_layer() is head.fc


def test_its_input_never_changes(head):
    """OpenOOD's ASH writes into the features that it is given."""
    data = torch.rand(5, 8)
    before = data.clone()
    head(data, return_feature=True)[1].zero_()
    head(data, return_feature_list=True)[1][0].zero_()
    head.forward_threshold(data, 0.2)
    assert torch.equal(data, before)


def test_its_weights_are_copies():
    weight, bias = np.ones((3, 8), np.float32), np.zeros(3, np.float32)
    head = EmbeddingHead(weight, bias)
    weight[:] = 7
    assert (head.get_fc()[0] == 1).all()
    assert EmbeddingHead(torch.ones(3, 8), torch.zeros(3)).fc.weight.sum() == 24


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(UserError, match=r"weight \[C, D\]"):
        EmbeddingHead(np.ones((3, 8)), np.ones(4))
