"""OpenOOD's way of asking: setup, postprocess, inference through a network and loaders."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openood_multimodal.arrays import Embeddings
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import ASH, KNN, MSP, ReAct
from openood_multimodal.registry import POSTPROCESSORS

NAMES = ("ash", "ebo", "gen", "knn", "mds", "mls", "msp", "react", "vim")
SMALL: dict[str, dict[str, Any]] = {"vim": {"dim": 6}, "knn": {"K": 5}}


class Net(nn.Module):
    """Two-modality network whose embeddings are its inputs."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(head.dim, head.num_classes)
        self.fc.weight.data = torch.from_numpy(head.weight.copy())
        self.fc.bias.data = torch.from_numpy(head.bias.copy())
        self.calls = 0

    def forward(self, data: Any, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        self.calls += 1
        feature = torch.cat(list(data.values()), dim=1) if isinstance(data, ModalityBatch) else data
        return (self.fc(feature), feature) if return_feature else self.fc(feature)

    def forward_modalities(self, data: ModalityBatch) -> Any:
        return SimpleNamespace(embeddings=dict(data.items()))

    def get_fc(self) -> tuple[np.ndarray, np.ndarray]:
        return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()


def batches(embeddings: Embeddings, size: int = 16) -> list[dict[str, Any]]:
    out = []
    for start in range(0, len(embeddings), size):
        rows = torch.from_numpy(embeddings.features[start : start + size].copy())
        data = ModalityBatch((name, rows[:, a:b]) for name, (a, b) in embeddings.slices.items())
        out.append({"data": data, "label": torch.from_numpy(embeddings.labels[start : start + size].copy())})
    return out


class Stored(list[Any]):
    """A loader that carries its embeddings and must not be iterated."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings

    def __iter__(self) -> Any:
        raise AssertionError("iterated")


@pytest.mark.parametrize("preset", ["openood", "multiood"])
@pytest.mark.parametrize("name", NAMES)
def test_same_scores_through_loaders_stores_and_arrays(make_problem: Any, name: str, preset: str) -> None:
    problem = make_problem()
    net = Net(problem.head)

    def make() -> Any:
        return POSTPROCESSORS.get(name).from_preset(preset, **SMALL.get(name, {}))

    direct = make().fit(problem.train, problem.val, problem.head).score(problem.test)
    for loader in (batches, Stored):
        score = make()
        score.setup(net, {"train": loader(problem.train), "val": loader(problem.val)}, {})
        pred, conf, label = score.inference(net, loader(problem.test), progress=False)
        np.testing.assert_array_equal(pred, direct.pred)
        np.testing.assert_allclose(conf, direct.conf, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(label, problem.test.labels)


def test_setup_runs_once(make_problem: Any) -> None:
    problem = make_problem()
    net, score = Net(problem.head), KNN(K=5)
    assert not score.setup_flag
    loaders = {"train": batches(problem.train)}
    score.setup(net, loaders, {})
    assert score.setup_flag
    calls = net.calls
    score.setup(net, loaders, {})
    assert net.calls == calls
    assert not net.training


def test_only_what_is_needed_is_collected(make_problem: Any) -> None:
    problem = make_problem()
    net = Net(problem.head)
    MSP().setup(net, {}, {})
    ASH().setup(net, {}, {})
    assert net.calls == 0
    with pytest.raises(UserError, match="needs the split 'train' to fit on"):
        KNN().setup(net, {"trian": []}, {})


def test_fit_on_validation(make_problem: Any) -> None:
    problem = make_problem()
    score = KNN(K=5)
    score.fit_on = "val"
    score.setup(Net(problem.head), {"train": batches(problem.train), "val": batches(problem.val)}, {})
    direct = KNN(K=5).fit(problem.val, None, problem.head)
    np.testing.assert_allclose(score.score(problem.test).conf, direct.score(problem.test).conf, atol=1e-6)


def test_react_falls_back_to_train(make_problem: Any) -> None:
    problem = make_problem()
    score = ReAct()
    score.setup(Net(problem.head), {"train": batches(problem.train)}, {})
    assert "no validation" in score.notes[0]


def test_postprocess_gives_tensors_and_follows_a_changing_head(make_problem: Any) -> None:
    problem = make_problem()
    net, data = Net(problem.head), batches(problem.test)[0]["data"]
    for score in (MSP(), ASH()):
        pred, conf = score.postprocess(net, data)
        assert isinstance(pred, Tensor)
        assert pred.dtype == torch.int64
        assert conf.shape == (16,)
        with torch.no_grad():
            net.fc.weight.mul_(2.0)
        assert not torch.allclose(score.postprocess(net, data)[1], conf)


def test_scores_that_need_setup_say_so(make_problem: Any) -> None:
    problem = make_problem()
    net = Net(problem.head)
    with pytest.raises(UserError, match="before setup"):
        KNN().inference(net, batches(problem.test), progress=False)
    with pytest.raises(UserError, match="before setup"):
        KNN().postprocess(net, batches(problem.test)[0]["data"])


def test_a_loader_without_batches_is_refused(make_problem: Any) -> None:
    net = Net(make_problem().head)
    with pytest.raises(UserError, match="no batches"):
        MSP().inference(net, [], progress=False)
    with pytest.raises(UserError, match="no batches"):
        KNN().setup(net, {"train": []}, {})


def test_a_network_without_parameters_or_head() -> None:
    class Bare(nn.Module):
        def forward(self, data: Tensor) -> Tensor:
            return data

    pred, conf = MSP().postprocess(Bare(), torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    assert pred.tolist() == [1, 0]
    assert conf.tolist() == [2.0, 3.0]
