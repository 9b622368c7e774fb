"""OpenOOD's postprocessors as ours and back, on small stand-ins for OpenOOD's classes."""

import random
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.config import Config
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.datasets.loaders import EmbeddingLoader
from openood_multimodal.errors import UserError
from openood_multimodal.networks import EmbeddingHead, MLPFusionNet
from openood_multimodal.pipelines.checks import choose_scores
from openood_multimodal.plugin import adapters, recipes
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.plugin.batches import ConvertedLoader, GradientBatch
from openood_multimodal.plugin.native import openood_postprocessors
from openood_multimodal.plugin.recipes import RECIPES, UNSUITABLE, recipe_of
from openood_multimodal.plugin.surroundings import OnCpu, seeded, silent
from openood_multimodal.plugin.wrappers import WRAPPERS, wrap, wrapped_networks
from openood_multimodal.postprocessors import KNN, MSP
from openood_multimodal.postprocessors.run import Choice, build, engine_of, resolve
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.testing.postprocessors import check_postprocessor

NUM_CLASSES: dict[str, int] = {"cifar10": 10}
DEVIATIONS: dict[str, Any] = {}


class Attributes(dict):
    """As OpenOOD's Config: what is missing is None."""

    def __getattr__(self, name: str) -> Any:
        value = self.get(name)
        return Attributes(value) if isinstance(value, dict) else value


class StandIn:
    """The shape of OpenOOD's BasePostprocessor."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.args = config.postprocessor.postprocessor_args
        self.classes = NUM_CLASSES[config.dataset.name]
        self.input_std = DEVIATIONS[config.dataset.name][1]
        self.seen: list[str] = []

    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        self.seen = sorted(id_loader_dict)

    @torch.no_grad()
    def postprocess(self, net: Any, data: Any) -> Any:
        conf, pred = torch.softmax(net(data), dim=1).max(dim=1)
        return pred, conf

    def inference(self, net: Any, data_loader: Any, progress: bool = True) -> Any:
        print("chatter")
        preds, confs, labels = [], [], []
        for batch in data_loader:
            pred, conf = self.postprocess(net, batch["data"].cuda())
            preds.append(pred)
            confs.append(conf)
            labels.append(batch["label"].cuda())
        return (torch.cat(each).numpy() for each in (preds, confs, labels))


class Swept(StandIn):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperature = self.args["temperature"]
        self.args_dict = config.postprocessor.postprocessor_sweep

    def set_hyperparam(self, values: list[Any]) -> None:
        self.temperature = values[0]

    def get_hyperparam(self) -> Any:
        return self.temperature


class Writes(StandIn):
    """As ASH: writes into what it is given."""

    @torch.no_grad()
    def postprocess(self, net: Any, data: Any) -> Any:
        logits, feature = net(data, return_feature=True)
        feature.zero_()
        data.zero_()
        return logits.argmax(1), logits.logsumexp(1)


class NotANumber(StandIn):
    def postprocess(self, net: Any, data: Any) -> Any:
        pred, conf = super().postprocess(net, data)
        conf[0] = float("nan")
        return pred, conf


class Literal(StandIn):
    """As temperature scaling: spells the device out."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperature = nn.Parameter(torch.ones(1, device="cuda") * 2)


class Perturbs(StandIn):
    """ODIN's steps, as OpenOOD writes them."""

    def postprocess(self, net: Any, data: Any) -> Any:
        data.requires_grad = True
        output = net(data) / 2.0
        nn.CrossEntropyLoss()(output, output.detach().argmax(axis=1)).backward()
        gradient = (torch.ge(data.grad.detach(), 0).float() - 0.5) * 2
        for channel in range(3):
            gradient[:, channel] = (gradient[:, channel]) / self.input_std[channel]
        moved = torch.add(data.detach(), gradient, alpha=-0.1)
        conf, pred = (net(moved) / 2.0).softmax(dim=1).max(dim=1)
        return pred, conf.detach()


class Draws(StandIn):
    def postprocess(self, net: Any, data: Any) -> Any:
        noise = torch.rand(len(data)) + random.random() + float(np.random.rand())  # noqa: NPY002
        return net(data).argmax(1), noise


FeatureExtractor = object  # what tells a GRAM that runs from v1.5's


class Column(StandIn):
    """As GRAM: [B, 1]."""

    def postprocess(self, net: Any, data: Any) -> Any:
        pred, conf = super().postprocess(net, data)
        return pred, conf[:, None]


class Neighbours(StandIn):
    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        rows = sum(len(batch["label"]) for batch in id_loader_dict["train"])
        self.index, self.K = types.SimpleNamespace(ntotal=rows), self.args["K"]


class NeverRuns(StandIn):
    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        raise AssertionError("it ran")


class Shapes(nn.Module):
    """The shape of OpenOOD's ASHNet."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Any, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        return self.backbone(x, return_feature, return_feature_list)


STAND_INS = {
    "msp": StandIn,
    "ebo": Swept,
    "mls": Writes,
    "gen": NotANumber,
    "temperature_scaling": Literal,
    "odin": Perturbs,
    "iodin": Perturbs,
    "cfood": Draws,
    "gram": Column,
    "knn": Neighbours,
    "vim": NeverRuns,
    "residual": NeverRuns,
    "ash": StandIn,
}


PARAMETERS: dict[str, dict[str, Any]] = {  # in the stand-in's YAML files, of those that take any
    "ebo": {"args": {"temperature": 1}, "sweep": {"temperature_list": [1]}},
    "gen": {"args": {"gamma": 0.1, "M": 100}},
    "odin": {"args": {"temperature": 1000, "noise": 0.0014}},
    "iodin": {"args": {"temperature": 1000, "noise": 0.0014}},
    "cfood": {"args": {"alpha": 0.1}},
    "knn": {"args": {"K": 50}, "sweep": {"K_list": [50, 100]}},
    "vim": {"args": {"dim": 256}, "sweep": {"dim_list": [256, 1000]}},
    "residual": {"args": {"dim": 512}},
    "ash": {"args": {"percentile": 90}, "sweep": {"percentile_list": [65, 90]}},
}


@pytest.fixture(autouse=True)
def openood(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "configs" / "postprocessors"
    folder.mkdir(parents=True)
    for name in STAND_INS:
        section = {f"postprocessor_{key}": each for key, each in PARAMETERS.get(name, {}).items()}
        file = folder / (RECIPES[name].config_file or f"{name}.yml")
        file.write_text(yaml.safe_dump({"postprocessor": {"name": name, **section}}))
    classes = {RECIPES[name].class_name: kind for name, kind in STAND_INS.items()}
    modules = {
        "openood.postprocessors": types.SimpleNamespace(**classes),
        "openood.postprocessors.info": types.SimpleNamespace(num_classes_dict=NUM_CLASSES),
        "openood.preprocessors.transform": types.SimpleNamespace(normalization_dict=DEVIATIONS),
        "openood.utils.config": types.SimpleNamespace(Config=Attributes),
        "openood.networks.ash_net": types.SimpleNamespace(ASHNet=Shapes),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(adapters, "describe_openood", lambda: "stand-in")
    monkeypatch.setattr("openood_multimodal.plugin.host.describe_openood", lambda: "stand-in")
    monkeypatch.setattr(recipes, "find_openood", lambda: root)
    return folder


class Sets:
    def __init__(self, dim: int = 12, classes: int = 3) -> None:
        rng = np.random.default_rng(0)
        self.head = LinearHead(
            rng.normal(size=(classes, dim)).astype(np.float32), rng.normal(size=classes).astype(np.float32)
        )

        def make(rows: int) -> Embeddings:
            features = np.abs(rng.normal(size=(rows, dim))).astype(np.float32)
            features.setflags(write=False)
            return Embeddings(features, np.arange(rows, dtype=np.int64) % classes)

        self.train, self.val, self.test = make(60), make(40), make(30)

    def fitted(self, name: str, args: Any = None, **more: Any) -> OpenOODPostprocessor:
        return OpenOODPostprocessor(name, args, **more).fit(self.train, self.val, self.head)


@pytest.fixture
def sets() -> Sets:
    return Sets()


def _net() -> MLPFusionNet:
    torch.manual_seed(0)
    return MLPFusionNet(3, ["audio", "video"], {"audio": 2, "video": 5}, 6, 4).eval()


def _batch(rows: int = 8) -> ModalityBatch:
    generator = torch.Generator().manual_seed(1)
    widths = {"audio": 2, "video": 5}
    return ModalityBatch((name, torch.randn(rows, w, generator=generator)) for name, w in widths.items())


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
    net, data = Linear(), _batch()
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
    batch = GradientBatch.of(_batch())
    before = {name: tensor.clone() for name, tensor in batch.items()}
    batch[:, 2] = batch[:, 2] / 2.0
    assert torch.equal(batch["audio"], before["audio"])  # it has two columns
    assert torch.equal(batch["video"][:, 2], before["video"][:, 2] / 2)
    assert torch.equal(batch["video"][:, 3:], before["video"][:, 3:])


def test_what_wants_an_image_refuses_a_network() -> None:
    with pytest.raises(UserError, match="perturbs the pixels of one image"):
        OpenOODPostprocessor("iodin").setup(_net(), {})
    assert [name for name, recipe in RECIPES.items() if recipe.wants_network] == ["odin", "gram"]


def test_setup_reads_the_split_to_fit_on() -> None:
    loader = [{"data": _batch(), "label": torch.arange(8) % 3}]
    score = OpenOODPostprocessor("knn", {"K": 9})
    score.fit_on = "val"
    score.setup(_net(), {"train": loader, "val": loader * 2})
    score = OpenOODPostprocessor("knn", {"K": 9})
    with pytest.raises(UserError, match="K=9 neighbours among 8 embeddings"):
        score.setup(_net(), {"train": loader, "val": loader * 2})
    with pytest.raises(UserError, match="needs the split 'train'"):
        OpenOODPostprocessor("knn").setup(_net(), {"test": loader})


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


# --- networks


def test_a_wrapped_network_by_name() -> None:
    config = {"name": "ash_net", "num_classes": 3, "backbone": {"name": "mlp_fusion"}}
    built = []

    def build_backbone(section: Any) -> nn.Module:
        built.append(section)
        return _net()

    net = wrapped_networks(build_backbone)["ash_net"](config)
    assert type(net) is Shapes
    assert built == [{"name": "mlp_fusion"}]
    torch.testing.assert_close(net(_batch()), _net()(_batch()))
    assert wrap(net, "ash") is net
    with pytest.raises(UserError, match=r"under network\.backbone"):
        wrapped_networks(build_backbone)["ash_net"]({"name": "ash_net"})


def test_a_wrapped_network_with_the_plain_networks_checkpoint(tmp_path: Path) -> None:
    torch.save(_net().state_dict(), tmp_path / "best.ckpt")
    torch.manual_seed(9)
    other = MLPFusionNet(3, ["audio", "video"], {"audio": 2, "video": 5}, 6, 4)
    config = {"name": "ash_net", "pretrained": True, "checkpoint": str(tmp_path / "best.ckpt")}
    net = wrapped_networks(lambda _: other)["ash_net"]({**config, "backbone": {"name": "mlp_fusion"}})
    torch.testing.assert_close(net(_batch()), _net()(_batch()))


# --- ours as OpenOOD's


def test_every_native_score_has_a_name_that_openood_does_not_have() -> None:
    ours = openood_postprocessors()
    assert {"mm_msp", "mm_knn", "mm_vim"} <= set(ours)
    assert not {*RECIPES, *UNSUITABLE} & set(ours)


def test_a_native_score_as_openood_constructs_it(sets: Sets) -> None:
    section = {"postprocessor_args": {"K": 4}, "postprocessor_sweep": {"K_list": [2, 4]}, "APS_mode": True}
    score = openood_postprocessors()["mm_knn"](Attributes(postprocessor=section))
    net = EmbeddingHead(sets.head.weight, sets.head.bias)
    score.setup(net, {"train": EmbeddingLoader(sets.train)}, {})
    native = KNN(K=4).fit(sets.train, head=sets.head).score(sets.test)
    np.testing.assert_array_equal(score.inference(net, EmbeddingLoader(sets.test))[1], native.conf)
    pred, conf = score.postprocess(net, torch.from_numpy(sets.test.features.copy()))
    assert (len(pred), len(conf), score.setup_flag, score.APS_mode) == (30, 30, True, True)
    assert score.args_dict == {"K_list": [2, 4]}
    score.set_hyperparam([2])
    assert score.get_hyperparam() == 2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"postprocessor_args": {"k": 4}}, "knn.k is not a parameter"),
        ({"preset": "multiod"}, "Did you mean 'multiood'"),
        ({"fit_on": "test"}, "postprocessor.fit_on is 'test'"),
    ],
)
def test_a_wrong_openood_config_of_a_native_score(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        openood_postprocessors()["mm_knn"](Attributes(postprocessor=section))
    assert openood_postprocessors()["mm_knn"](Attributes()).score.params.K == 50  # nothing set


def test_it_derives_from_openoods_base_where_that_is_imported() -> None:
    kind = openood_postprocessors()["mm_msp"]
    assert issubclass(kind, StandIn)  # msp's class is BasePostprocessor


# --- choosing an engine


def test_engines_and_labels() -> None:
    assert resolve("knn") == Choice("knn", "native", "knn")
    assert resolve("knn", "openood") == Choice("knn", "openood", "knn")
    assert resolve("openood/knn") == Choice("openood-knn", "openood", "knn")
    assert resolve("native/knn", "openood") == Choice("native-knn", "native", "knn")
    assert resolve("native/knn") == Choice("knn", "native", "knn")
    with pytest.raises(UserError, match="Did you mean 'openood'"):
        resolve("openod/knn")
    assert build(resolve("openood/msp")).name == "openood-msp"
    score = build(resolve("native/knn", "openood"), "multiood")
    assert (score.name, score.params.K, engine_of(score)["name"]) == ("native-knn", 10, "native")
    assert KNN().name == "knn"


def test_options_of_a_test_config() -> None:
    chosen = choose_scores(
        {"postprocessors": ["msp", "openood/ebo"], "postprocessor_args": {"openood/ebo": {"temperature": 2}}}
    )
    assert [each.score.name for each in chosen] == [each.name for each in chosen] == ["msp", "openood-ebo"]
    assert chosen[1].score.parameters == {"temperature": 2}
    assert [each.given for each in chosen] == [False, True]
    with pytest.raises(UserError, match="'msp' is asked for twice"):
        choose_scores({"postprocessors": ["msp", "native/msp"]})
    with pytest.raises(UserError, match="OpenOOD's parameters only"):
        choose_scores({"postprocessors": ["msp"], "engine": "openood", "preset": "multiood"})
    with pytest.raises(UserError, match=r"there is no engine 'opnood'\. Did you mean 'openood'"):
        choose_scores({"postprocessors": ["msp"], "engine": "opnood"})


@pytest.fixture
def tested(tiny: Any, trained: Path) -> Any:
    def run(*more: str) -> Any:
        from openood_multimodal.pipelines import TestPipeline

        words = tiny.test(*more, checkpoint=trained / "best.ckpt", evaluator="far_ood")
        config: Config = tiny.config(words)
        return {(r.postprocessor, r.ood_set): r for r in TestPipeline(config).run()}

    return run


def test_both_engines_in_one_table(tested: Any, tiny: Any) -> None:
    records = tested("--postprocessors", "msp,openood/msp,openood/odin")
    sets = {name for _, name in records}
    for name in sets:
        ours, theirs = records["msp", name], records["openood-msp", name]
        assert ours.engine["name"] == "native"
        assert theirs.engine == {"name": "openood", "version": "stand-in"}
        assert theirs.metrics["AUROC"]["value"] == pytest.approx(ours.metrics["AUROC"]["value"], abs=1e-4)
        assert any("every input of the network" in note for note in records["openood-odin", name].notes)
    assert (tiny.folder / "test" / "scores" / "openood-msp" / "id.npz").is_file()


def test_one_engine_for_all(tested: Any) -> None:
    records = tested("--postprocessors", "msp", "--engine", "openood")
    assert {r.engine["name"] for r in records.values()} == {"openood"}
    assert {name for name, _ in records} == {"msp"}


def test_every_recipe_says_how_it_is_run() -> None:
    for name, recipe in RECIPES.items():
        assert recipe_of(name) is recipe
        assert set(recipe.reads) <= {"train", "val", "test"}
        assert recipe.shape in ("plain", "image", "relu")
        assert recipe.wrapper is None or recipe.wrapper in WRAPPERS


def test_parameters_are_those_of_the_checkout(openood: Path) -> None:
    content = {"name": "knn", "postprocessor_args": {"K": 7}, "postprocessor_sweep": {"K_list": [7, 8]}}
    (openood / "knn.yml").write_text(yaml.safe_dump({"postprocessor": content}))
    assert OpenOODPostprocessor("knn").parameters == {"K": 7}
    assert recipes.openood_defaults("knn") == ({"K": 7}, {"K_list": [7, 8]})
    assert recipes.openood_defaults("temperature_scaling") == ({}, {})  # temp_scaling.yml names none


def test_an_openood_without_its_configs_is_refused_with_the_remedy(openood: Path) -> None:
    (openood / "knn.yml").unlink()
    with pytest.raises(
        UserError, match=r"'knn' are in its configs/postprocessors/, .*name a checkout.*OPENOOD_ROOT"
    ):
        OpenOODPostprocessor("knn")
