"""What is put right around OpenOOD's postprocessors when they meet several modalities."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openood_multimodal.datasets import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.plugin.several_inputs import accept_several_inputs


class _Odin:
    input_std = (0.5, 0.5, 0.5)

    def setup(self, *_):
        self.index = SimpleNamespace(ntotal=7)

    def postprocess(self, net, data):
        data.requires_grad = True
        net(data).sum().backward()
        return data.grad

    def inference(self, net, loader):
        return np.zeros(3), np.arange(3.0)[:, None], np.zeros(3)


def test_every_modality_is_perturbed_and_none_is_taken_for_an_image():
    odin = _Odin()
    accept_several_inputs(odin, "odin")
    data = ModalityBatch({"a": torch.ones(2, 5), "b": torch.ones(2, 2)})
    gradient = odin.postprocess(lambda batch: 2 * batch["a"].sum(1) - batch["b"].sum(1), data)
    assert gradient["a"].eq(2).all()
    assert gradient["b"].eq(-1).all()
    assert not any(tensor.requires_grad for tensor in data.values())
    assert list(odin.input_std) == [1, 1, 1]


def test_a_column_of_confidences_becomes_flat():
    postprocessor = _Odin()
    accept_several_inputs(postprocessor, "gram")
    assert postprocessor.inference(None, None)[1].tolist() == [0, 1, 2]


def test_more_neighbours_than_rows_are_refused():
    postprocessor = _Odin()
    postprocessor.K = 7
    accept_several_inputs(postprocessor, "knn")
    postprocessor.setup(None, {}, {})
    postprocessor.K = 8
    with pytest.raises(UserError, match=r"'knn' looks for K=8 neighbours among 7 embeddings.*K 7 or less"):
        postprocessor.setup(None, {}, {})
