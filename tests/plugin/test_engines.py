"""Ours as OpenOOD's postprocessors and networks, and choosing an engine, on small stand-ins for OpenOOD's classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stand_ins import Attributes, Sets, Shapes, StandIn, small_batch, small_net
from torch import nn

from openood_multimodal.config import Config
from openood_multimodal.datasets.loaders import EmbeddingLoader
from openood_multimodal.errors import UserError
from openood_multimodal.networks import EmbeddingHead, MLPFusionNet
from openood_multimodal.pipelines.checks import choose_scores
from openood_multimodal.plugin import recipes
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.plugin.native import openood_postprocessors
from openood_multimodal.plugin.recipes import RECIPES, UNSUITABLE, recipe_of
from openood_multimodal.plugin.wrappers import WRAPPERS, wrap, wrapped_networks
from openood_multimodal.postprocessors import KNN
from openood_multimodal.postprocessors.run import Choice, build, engine_of, resolve

pytestmark = pytest.mark.usefixtures("openood")


# --- networks


def test_a_wrapped_network_by_name() -> None:
    config = {"name": "ash_net", "num_classes": 3, "backbone": {"name": "mlp_fusion"}}
    built = []

    def build_backbone(section: Any) -> nn.Module:
        built.append(section)
        return small_net()

    net = wrapped_networks(build_backbone)["ash_net"](config)
    assert type(net) is Shapes
    assert built == [{"name": "mlp_fusion"}]
    torch.testing.assert_close(net(small_batch()), small_net()(small_batch()))
    assert wrap(net, "ash") is net
    with pytest.raises(UserError, match=r"under network\.backbone"):
        wrapped_networks(build_backbone)["ash_net"]({"name": "ash_net"})


def test_a_wrapped_network_with_the_plain_networks_checkpoint(tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "best.ckpt")
    torch.manual_seed(9)
    other = MLPFusionNet(3, ["audio", "video"], {"audio": 2, "video": 5}, 6, 4)
    config = {"name": "ash_net", "pretrained": True, "checkpoint": str(tmp_path / "best.ckpt")}
    net = wrapped_networks(lambda _: other)["ash_net"]({**config, "backbone": {"name": "mlp_fusion"}})
    torch.testing.assert_close(net(small_batch()), small_net()(small_batch()))


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
