"""Registering into the stand-in, and taking everything back."""

import importlib
import inspect
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import openood_multimodal
from openood_multimodal.errors import UserError
from openood_multimodal.plugin import is_registered, register, surroundings, unregister
from openood_multimodal.plugin.seams import SEAMS
from openood_multimodal.registry import PIPELINES, TRAINERS

FUNCTIONS = [seam for seam in SEAMS if seam.rebound]


def _value(seam):
    return getattr(importlib.import_module(seam.module), seam.attribute)


def _plainly_imported(standin):
    """Import the stand-in without registering, as somebody with all packages can."""
    from openood_multimodal.plugin.placeholders import placeholders

    sys.path.insert(0, str(standin))
    with placeholders():
        for seam in SEAMS:
            importlib.import_module(seam.module)


def test_importing_the_package_imports_neither_torch_nor_openood(environment):
    code = (
        "import sys; before = set(sys.modules)\n"
        "import openood_multimodal, openood_multimodal.plugin; openood_multimodal.register\n"
        "assert not {'torch', 'openood', 'numpy'} & (set(sys.modules) - before)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_register_is_silent_idempotent_and_reversible(standin, capsys):
    _plainly_imported(standin)
    before = {str(seam): (_value(seam), getattr(_value(seam), "__code__", None)) for seam in SEAMS}
    modules = {name: dict(vars(sys.modules[name])) for name in sys.modules if name.startswith("openood.")}
    counts = dict(_value(next(seam for seam in SEAMS if seam.kind is dict)))
    capsys.readouterr()

    openood_multimodal.register()
    codes = [_value(seam).__code__ for seam in FUNCTIONS]
    register()
    assert is_registered()
    assert [_value(seam).__code__ for seam in FUNCTIONS] == codes
    assert all(_value(seam) is before[str(seam)][0] for seam in FUNCTIONS)  # the function objects stay
    assert all(_value(seam).__code__ is not before[str(seam)][1] for seam in FUNCTIONS)
    openood_multimodal.unregister()
    unregister()

    assert not is_registered()
    assert capsys.readouterr() == ("", "")
    for seam in SEAMS:
        value, code = before[str(seam)]
        assert _value(seam) is value
        assert getattr(value, "__code__", None) is code
        assert not getattr(value, "__dict__", {}).keys() & {
            "__signature__",
            "__openood_multimodal_original__",
        }
    assert counts == _value(next(seam for seam in SEAMS if seam.kind is dict))
    for name, content in modules.items():
        assert vars(sys.modules[name]).keys() == content.keys(), name


@pytest.mark.parametrize("order", ["before", "after"])
def test_copies_and_partials_see_it_whatever_was_imported_first(standin, order, table_config):
    if order == "before":
        register()
    else:
        _plainly_imported(standin)
    from openood.networks import get_network as package_copy
    from openood.networks.utils import get_network
    from openood.pipelines.runs import get_network as pipeline_copy

    held = {"here": get_network, "part": partial(get_network)}
    register()
    network = table_config("train")["network"]
    for function in (package_copy, get_network, pipeline_copy, held["here"], held["part"]):
        assert function({**network, "num_gpus": 0}).modalities == tuple(network["modalities"])
    assert pickle.loads(pickle.dumps(get_network)) is get_network
    assert list(inspect.signature(get_network).parameters) == ["network_config"]
    unregister()
    with pytest.raises(AttributeError, match="num_classes"):
        get_network(network)


def test_a_reloaded_module_is_rebound_by_registering_again(standin, table_config):
    register()
    import openood.networks.utils as utils

    old = utils.get_network
    importlib.reload(utils)
    network = {**table_config("train")["network"], "num_gpus": 0}
    assert utils.get_network is not old
    register()
    assert utils.get_network(network).modalities
    assert old(network).modalities
    unregister()
    for function in (utils.get_network, old):
        assert function.__code__.co_filename == utils.__file__


def test_a_registration_survives_that_the_plugin_is_imported_anew(standin, table_config):
    register()
    import openood.networks.utils as utils

    kept = {
        name: module for name, module in sys.modules.items() if name.startswith("openood_multimodal.plugin")
    }
    finders = list(sys.meta_path)
    try:
        for name in kept:
            del sys.modules[name]
        anew = importlib.import_module("openood_multimodal.plugin")
        anew.register()
        assert utils.get_network({**table_config("train")["network"], "num_gpus": 0}).modalities
        anew.unregister()
        assert utils.get_network.__code__.co_filename == utils.__file__
    finally:
        sys.meta_path[:] = finders
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


def test_components_registered_later_are_found(standin, table_config, run_openood):
    register()

    @TRAINERS.register("later_one")
    class Later(TRAINERS.get("multimodal_baseline")):
        used = False

        def train_epoch(self, epoch_idx):
            type(self).used = True
            return super().train_epoch(epoch_idx)

    try:
        run_openood(table_config("train", trainer={"name": "later_one"}))
        assert Later.used
    finally:
        del TRAINERS._entries["later_one"]


def test_an_alias_that_openood_has_is_not_injected(standin):
    register()
    import openood.pipelines.utils as utils
    from openood.utils import Config

    assert "train" in PIPELINES
    assert (
        type(utils.get_pipeline(Config({"pipeline": {"name": "train"}}))).__module__
        == "openood.pipelines.runs"
    )


def test_a_component_under_openoods_name_is_refused(standin):
    TRAINERS.register("logitnorm")(type("Mine", (TRAINERS.get("a2d"),), {}))
    try:
        with pytest.raises(
            UserError, match=r"'logitnorm' can't be used inside OpenOOD.*multimodal_logitnorm"
        ):
            register()
        assert not is_registered()
        assert not surroundings.is_on()
        import openood.trainers.utils as utils

        assert utils.get_trainer.__code__.co_filename == utils.__file__
    finally:
        del TRAINERS._entries["logitnorm"]


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        ("trainers/utils.py", "val_loader, config):", "val_loader, config, more=1):", r"get_trainer takes \(.*more"),
        ("evaluators/utils.py", "def get_evaluator(", "def make_evaluator(", "get_evaluator does not exist"),
        ("datasets/utils.py", "eval(section.dataset_class)", "section.dataset_class", "get_ood_dataloader.*eval"),
        ("postprocessors/info.py", '{"gray": 2}', "[]", "num_classes_dict is a list, not a dict"),
    ],
)  # fmt: skip
def test_a_seam_that_moved_is_one_error_that_names_it(
    standin, tmp_path, monkeypatch, path, old, new, message
):
    import shutil

    copied = shutil.copytree(standin, tmp_path / "OpenOOD", ignore=shutil.ignore_patterns("__pycache__"))
    file = copied / "openood" / path
    file.write_text(file.read_text().replace(old, new))
    for package in copied.glob("openood/*/__init__.py"):
        package.write_text(
            package.read_text().replace("get_evaluator", "make_evaluator") if "make" in new else ""
        )
    if "make" in new:
        runs = copied / "openood/pipelines/runs.py"
        runs.write_text(runs.read_text().replace("get_evaluator", "make_evaluator"))
    else:
        for name, package in (("datasets", "get_dataloader, get_ood_dataloader"), ("evaluators", "get_evaluator"),
                              ("networks", "get_network"), ("postprocessors", "get_postprocessor"),
                              ("trainers", "get_trainer"), ("pipelines", "get_pipeline")):  # fmt: skip
            (copied / "openood" / name / "__init__.py").write_text(f"from .utils import {package}\n")
        utils = copied / "openood/utils/__init__.py"
        utils.write_text((standin / "openood/utils/__init__.py").read_text())
    monkeypatch.setenv("OPENOOD_ROOT", str(copied))
    with pytest.raises(UserError, match=message) as raised:
        register()
    assert "this OpenOOD (unknown version)" in str(raised.value)
    assert not is_registered()


def test_cpu_mode_lasts_from_register_to_unregister(standin):
    own = torch.Tensor.cuda, torch.nn.Module.cuda
    register()
    x, net = torch.ones(2), torch.nn.Linear(1, 1)
    if not torch.cuda.is_available():
        assert x.cuda(non_blocking=True) is x
        assert net.cuda(0) is net
    register(cpu=False)
    assert (torch.Tensor.cuda, torch.nn.Module.cuda) == own
    register()
    unregister()
    assert (torch.Tensor.cuda, torch.nn.Module.cuda) == own
    assert "cuda" not in vars(torch.Tensor)


def test_cpu_mode_stays_away_where_there_is_a_gpu(standin, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    own = torch.Tensor.cuda
    register()
    assert torch.Tensor.cuda is own


def test_openood_not_found(standin, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENOOD_ROOT")
    with pytest.raises(UserError, match=r"OpenOOD was not found: OPENOOD_ROOT is not set.*git clone"):
        register()
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere \(the variable OPENOOD_ROOT\) does not exist"):
        register()
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=r"is not a checkout of OpenOOD: it has no openood/datasets/utils.py"):
        register()
    assert str(tmp_path) not in sys.path


def test_a_named_root_wins_over_the_variable(standin, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path))
    register(root=standin)
    import openood

    assert Path(openood.__file__).is_relative_to(standin)


def test_another_root_than_the_imported_one_is_refused(standin, tmp_path):
    register()
    register(root=standin)
    with pytest.raises(
        UserError, match=r"imported already, from .*standin_openood, and .* was given as root"
    ):
        register(root=tmp_path)
    assert is_registered()
