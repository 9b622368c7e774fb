"""OpenOOD's postprocessors as ours, on small stand-ins for OpenOOD's classes."""

import random
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import (
    DEVIATIONS,
    NUM_CLASSES,
    Sets,
    small_batch,
    small_net,
)
from torch import nn

from openood_multimodal.arrays import Embeddings
from openood_multimodal.datasets.loaders import EmbeddingLoader
from openood_multimodal.errors import UserError
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.plugin.batches import ConvertedLoader, GradientBatch
from openood_multimodal.plugin.recipes import RECIPES
from openood_multimodal.plugin.surroundings import OnCpu, seeded, silent
from openood_multimodal.postprocessors import MSP
from openood_multimodal.postprocessors.run import engine_of
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.testing.postprocessors import check_postprocessor

pytestmark = pytest.mark.usefixtures("openood")


# --- an OpenOOD postprocessor as one of ours


def test_it_is_held_to_the_contract_of_a_postprocessor() -> None:
    check_postprocessor(OpenOODPostprocessor("msp"))


def test_scores_are_those_of_the_class(sets: Sets, capsys: pytest.CaptureFixture[str]) -> None:
    scores = sets.fitted("msp", batch_size=7).score(sets.test)
    native = MSP().fit(head=sets.head).score(sets.test)
    np.testing.assert_array_equal(scores.pred, native.pred)
    order = np.argsort(scores.conf), np.argsort(native.conf)
    np.testing.assert_array_equal(*order)
    assert capsys.readouterr() == ("", "")


def test_stored_embeddings_are_never_changed(sets: Sets) -> None:
    score, before = sets.fitted("mls"), sets.test.features.copy()
    first, second = score.score(sets.test), score.score(sets.test)
    np.testing.assert_array_equal(sets.test.features, before)
    np.testing.assert_array_equal(first.conf, second.conf)
    assert first.conf.std() > 0


def test_what_a_record_wants_to_know(sets: Sets) -> None:
    score = sets.fitted("ebo", {"temperature": 3})
    assert score.parameters == {"temperature": 3}
    assert score.inner.temperature == 3
    assert engine_of(score) == {"name": "openood", "version": "stand-in"}
    assert score.info is POSTPROCESSORS.get("ebo").info
    assert score.name == "ebo"
    assert score.preset == "openood"


def test_class_counts_and_deviations_are_lent_for_a_moment(sets: Sets) -> None:
    score = sets.fitted("msp")
    assert score.inner.classes == 3
    assert score.inner.input_std == [1.0, 1.0, 1.0]
    assert NUM_CLASSES == {"cifar10": 10}
    assert DEVIATIONS == {}


def test_splits_that_it_reads(sets: Sets) -> None:
    assert OpenOODPostprocessor("msp").needs == frozenset()
    assert OpenOODPostprocessor("residual").needs == {"val"}  # its "test" is read and not used
    score = OpenOODPostprocessor("temperature_scaling").fit(sets.train, None, sets.head)
    assert "set up on the training set" in score.notes[-1]
    with pytest.raises(UserError, match="needs train embeddings"):
        OpenOODPostprocessor("knn").fit(None, sets.val, sets.head)
    with pytest.raises(UserError, match="needs the head"):
        OpenOODPostprocessor("msp").fit(sets.train, sets.val)


def test_a_refit_starts_anew(sets: Sets) -> None:
    score = sets.fitted("msp")
    first = score.inner
    score.fit(sets.train, sets.val, sets.head)
    assert score.inner is not first


@pytest.mark.parametrize("name", ["vim", "residual"])
@pytest.mark.parametrize("dim", [12, 13, 256, 0])
def test_too_large_a_dim_is_an_error_before_anything_runs(sets: Sets, name: str, dim: int) -> None:
    with pytest.raises(UserError, match=rf"dim={dim} must be .*12 columns"):
        sets.fitted(name, {"dim": dim})
    with pytest.raises(AssertionError, match="it ran"):
        sets.fitted(name, {"dim": 11})


def test_nan_is_an_error(sets: Sets) -> None:
    score = sets.fitted("gen", batch_size=10)
    with pytest.raises(UserError, match="NaN for 3 of 30 samples, the first in row 0"):
        score.score(sets.test)


def test_more_neighbours_than_rows(sets: Sets) -> None:
    sets.fitted("knn", {"K": 60})
    with pytest.raises(UserError, match="K=61 neighbours among 60 embeddings"):
        sets.fitted("knn", {"K": 61})


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("ebo", {"temperatur": 1}, "no parameter 'temperatur'. Did you mean 'temperature'"),
        ("kn", None, "Did you mean 'knn'"),
        ("rankfeat", None, "asks for inner convolutional blocks"),
        ("patchcore", None, "is image anomaly detection"),
        ("she", None, "this OpenOOD .stand-in. has no openood.postprocessors.SHEPostprocessor"),
    ],
)
def test_what_can_not_be_run(name: str, args: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        OpenOODPostprocessor(name, args)


def test_wrong_widths_and_scoring_too_early(sets: Sets) -> None:
    with pytest.raises(UserError, match="before fit"):
        OpenOODPostprocessor("msp").score(sets.test)
    with pytest.raises(UserError, match="features have 5 columns, the head expects 12"):
        sets.fitted("msp").score(Embeddings(np.ones((2, 5), np.float32), np.zeros(2, np.int64)))


@pytest.mark.parametrize(
    ("label", "message"), [(7, "the label 7 in row 0"), (0, "classes 1, 2 of 3 have none")]
)
def test_labels_that_are_not_the_classes(sets: Sets, label: int, message: str) -> None:
    bad = Embeddings(sets.train.features, np.full(60, label))
    with pytest.raises(UserError, match=message):
        OpenOODPostprocessor("gram").fit(bad, sets.val, sets.head)


def test_random_scores_repeat_and_leave_the_streams_alone(sets: Sets) -> None:
    state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (sets.fitted("cfood", seed=seed).score(sets.test).conf for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state[2])  # noqa: NPY002


def test_a_column_of_confidences_is_flattened(sets: Sets) -> None:
    assert sets.fitted("gram").score(sets.test).conf.shape == (30,)


def test_the_parameter_search(sets: Sets) -> None:
    score = sets.fitted("ebo")
    assert score.args_dict == {"temperature_list": [1]}
    assert OpenOODPostprocessor("msp").args_dict == {}
    score.set_hyperparam([4])
    assert (score.get_hyperparam(), score.parameters) == (4, {"temperature": 4})
    with pytest.raises(UserError, match=r"sweeps 1 parameters \(temperature\), got 2"):
        score.set_hyperparam([1, 2])


# --- on a network with several inputs


def test_perturbing_several_inputs_is_perturbing_their_concatenation() -> None:
    """A linear network on two inputs, against the same steps on one tensor."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(7, 3)

        def forward(self, data: Any, return_feature: bool = False) -> Any:
            joined = torch.cat(list(data.values()), dim=1) if isinstance(data, dict) else data
            return self.fc(joined)

        def get_fc(self) -> Any:
            return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()

    torch.manual_seed(0)
    net, data = Linear(), small_batch()
    score = OpenOODPostprocessor("odin")
    score.setup(net, {"test": []})
    pred, conf = score.postprocess(net, data)
    joined = torch.cat(list(data.values()), dim=1)
    expected_pred, expected = score.postprocess(net, joined)
    assert torch.equal(pred, expected_pred)
    torch.testing.assert_close(conf, expected)
    assert not torch.allclose(conf, (net(joined) / 2).softmax(1).max(1).values)
    assert all(not tensor.requires_grad for tensor in (*data.values(), joined))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_columns_that_are_divided_by_image_deviations() -> None:
    batch = GradientBatch.of(small_batch())
    before = {name: tensor.clone() for name, tensor in batch.items()}
    batch[:, 2] = batch[:, 2] / 2.0
    assert torch.equal(batch["audio"], before["audio"])  # it has two columns
    assert torch.equal(batch["video"][:, 2], before["video"][:, 2] / 2)
    assert torch.equal(batch["video"][:, 3:], before["video"][:, 3:])


def test_what_wants_an_image_refuses_a_network() -> None:
    with pytest.raises(UserError, match="perturbs the pixels of one image"):
        OpenOODPostprocessor("iodin").setup(small_net(), {})
    assert [name for name, recipe in RECIPES.items() if recipe.wants_network] == ["odin", "gram"]


def test_setup_reads_the_split_to_fit_on() -> None:
    loader = [{"data": small_batch(), "label": torch.arange(8) % 3}]
    score = OpenOODPostprocessor("knn", {"K": 9})
    score.fit_on = "val"
    score.setup(small_net(), {"train": loader, "val": loader * 2})
    score = OpenOODPostprocessor("knn", {"K": 9})
    with pytest.raises(UserError, match="K=9 neighbours among 8 embeddings"):
        score.setup(small_net(), {"train": loader, "val": loader * 2})
    with pytest.raises(UserError, match="needs the split 'train'"):
        OpenOODPostprocessor("knn").setup(small_net(), {"test": loader})


# --- what surrounds a call


def test_cuda_means_the_cpu_inside_only() -> None:
    with OnCpu():
        assert torch.ones(2, device="cuda").device.type == "cpu"
        assert torch.ones(2).to("cuda:0").device.type == "cpu"
        assert nn.Linear(2, 2).cuda().weight.device.type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            torch.ones(2, device="cuda")


def test_warnings_come_through_the_silence(capsys: pytest.CaptureFixture[str]) -> None:
    @silent()
    def speak() -> None:
        print("chatter", file=sys.stderr)
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match="overflow"):
        speak()
    assert capsys.readouterr().err == ""


def test_streams_are_restored_after_an_error() -> None:
    state = random.getstate()
    with pytest.raises(KeyError), seeded(3):
        raise KeyError
    assert random.getstate() == state


def test_a_converted_loader_is_as_long_as_its_loader() -> None:
    loader = ConvertedLoader(EmbeddingLoader(Sets().test, 7), lambda data: data + 1)
    assert (len(loader), len(iter(loader)), loader.batch_size) == (5, 5, 7)
    first = next(iter(loader))
    np.testing.assert_array_equal(first["data"].numpy(), Sets().test.features[:7] + 1)
