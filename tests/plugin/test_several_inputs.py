"""What is put right around OpenOOD's postprocessors when they meet several modalities."""

import random
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


NET = torch.nn.Linear(2, 2)


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
    assert postprocessor.inference(NET, [])[1].tolist() == [0, 1, 2]


def test_more_neighbours_than_rows_are_refused():
    postprocessor = _Odin()
    postprocessor.K = 7
    accept_several_inputs(postprocessor, "knn")
    postprocessor.setup(NET, {}, {})
    postprocessor.K = 8
    with pytest.raises(UserError, match=r"'knn' looks for K=8 neighbours among 7 embeddings.*K to 7 or less"):
        postprocessor.setup(NET, {}, {})


class _Mds(_Odin):
    """As OpenOOD's mds and temperature scaling: ``setup`` takes the network as it is."""

    def setup(self, net, id_loaders, ood_loaders):
        with torch.no_grad():
            self.seen = torch.cat(
                [net(batch["data"], return_feature=True)[1] for batch in id_loaders["train"]]
            )

    def inference(self, net, loader, progress=True):
        with torch.no_grad():
            conf = torch.cat([net(batch["data"]).amax(1) + torch.rand(2) for batch in loader])
        return np.zeros(len(conf)), conf.numpy() + random.random(), np.zeros(len(conf))


class _Net(torch.nn.Module):
    """Batch normalisation and dropout on the way to the embedding."""

    def __init__(self, dim=4):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.BatchNorm1d(dim), torch.nn.Dropout(0.5))
        self.fc = torch.nn.Linear(dim, 2)
        self.feature_size = dim

    def forward(self, data, return_feature=False):
        features = self.layers(data)
        return (self.fc(features), features) if return_feature else self.fc(features)

    def get_fc(self):
        return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()


def _batches(rows, dim=4):
    data = 3 + 2 * torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))
    return [{"data": part, "label": torch.tensor([0, 1])} for part in data.split(2)]


def test_the_network_is_in_evaluation_mode_before_it_is_asked():
    net, postprocessor = _Net().train(), _Mds()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    accept_several_inputs(postprocessor, "mds")
    postprocessor.setup(net, {"train": _batches(8)}, {})
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        expected = net.eval().layers(torch.cat([batch["data"] for batch in _batches(8)]))
    assert torch.equal(postprocessor.seen, expected)
    net.train()
    postprocessor.inference(net, _batches(4))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_draws_depend_on_the_seed_alone():
    """Not on what was drawn before, nor on whether a loader draws (a DataLoader does, a list doesn't)."""

    def confidences(seed, loader):
        postprocessor = _Mds()
        accept_several_inputs(postprocessor, "cfood", seed)
        return postprocessor.inference(_Net(), loader)[1].tolist()

    torch.manual_seed(5)
    net = torch.random.get_rng_state()
    drawing = torch.utils.data.DataLoader(
        [row for batch in _batches(6) for row in _rows(batch)], batch_size=2
    )
    results = []
    for loader in (_batches(6), _batches(6), drawing):
        torch.random.set_rng_state(net)  # the same weights
        results.append(confidences(3, loader))
        torch.rand(7)
    assert results[0] == results[1] == results[2]
    torch.random.set_rng_state(net)
    assert confidences(4, _batches(6)) != results[0]


def _rows(batch):
    return [{"data": data, "label": label} for data, label in zip(batch["data"], batch["label"], strict=True)]


def test_a_covariance_without_full_rank_is_noted():
    for rows, noted in ((40, False), (6, True)):
        postprocessor = _Mds()
        accept_several_inputs(postprocessor, "mds")
        postprocessor.setup(_Net(8), {"train": _batches(rows, 8)}, {})
        assert bool(postprocessor.notes) == noted
    assert "the covariance of 6 rows has rank 4 of 8" in postprocessor.notes[0]


def test_a_subspace_beyond_the_rank_is_noted():
    for dim, noted in ((2, False), (7, True)):
        postprocessor = _Mds()
        postprocessor.dim = dim
        accept_several_inputs(postprocessor, "vim")
        postprocessor.setup(_Net(8), {"train": _batches(6, 8)}, {})
        assert bool(postprocessor.notes) == noted
    assert "span only" in postprocessor.notes[0]


class _Knn(_Odin):
    def __init__(self):
        self.K = 5
        self.args_dict = {"K_list": [2, 7, 50, 500]}

    def set_hyperparam(self, values):
        self.K = values[0]


def test_a_search_leaves_out_more_neighbours_than_there_are_rows():
    postprocessor = _Knn()
    accept_several_inputs(postprocessor, "knn", search=True)
    postprocessor.setup(NET, {}, {})
    assert postprocessor.args_dict == {"K_list": [2, 7]}
    assert postprocessor.notes == ["knn: K = 50, 500 of the sweep not tried; at most 7 is possible here"]
    with pytest.raises(UserError, match="K=8 neighbours among 7"):
        postprocessor.set_hyperparam([8])
    without = _Knn()
    accept_several_inputs(without, "knn")
    without.setup(NET, {}, {})
    assert (without.args_dict, without.notes) == ({"K_list": [2, 7, 50, 500]}, [])


def test_a_react_without_a_threshold_gets_one_at_setup():
    class React(_Odin):
        percentile = 80

        def set_hyperparam(self, values):
            self.threshold = values[0] / 100

    postprocessor = React()
    accept_several_inputs(postprocessor, "react")
    postprocessor.setup(NET, {}, {})
    assert postprocessor.threshold == 0.8


def test_nan_is_refused():
    class Nan(_Odin):
        def inference(self, net, loader):
            return np.zeros(2), np.array([1.0, np.nan]), np.zeros(2)

    postprocessor = Nan()
    accept_several_inputs(postprocessor, "ebo")
    with pytest.raises(UserError, match="'ebo' gave NaN for 1 of 2 samples, the first in row 1"):
        postprocessor.inference(NET, [])


@pytest.mark.parametrize("mean", [0.0, float("nan")])
def test_gram_is_refused_where_a_layer_has_no_deviation_to_divide_by(mean):
    class Gram(_Odin):
        def setup(self, *_):
            self.normalize_factors = torch.tensor([[1.0, mean, 2.0]])

    postprocessor = Gram()
    accept_several_inputs(postprocessor, "gram")
    with pytest.raises(
        UserError, match=r"'gram' divides .* not above 0 in 1 of 3 layers\. It needs more training rows"
    ):
        postprocessor.setup(NET, {}, {})
