"""Registries: names, mistakes, entry points of other packages, threads."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest
from installing import install

import openood_multimodal
from openood_multimodal import registry as registry_module
from openood_multimodal.built_in import BUILT_IN
from openood_multimodal.errors import UserError
from openood_multimodal.registry import ALL, POSTPROCESSORS, PROTOCOLS, Registry, refresh_entry_points


@pytest.fixture
def registry():
    return Registry("widget", "openood_multimodal.widgets", required=("turn",))


class Widget:
    turn = 1


class Other:
    turn = 2


@pytest.fixture
def put(tmp_path, put_on_path):
    """Return a function that installs a package with entry points of widgets."""

    def put(package, source, points, kind="widgets"):
        module = "their_" + package.replace("-", "_")
        values = {name: f"{module}:{attribute}" for name, attribute in points.items()}
        folder = install(tmp_path / package, package, {module: source}, {kind: values})
        put_on_path(folder)
        return module

    return put


def test_names_and_aliases(registry):
    assert registry.register("one", "uno")(Widget) is Widget
    assert registry.get("one") is registry["uno"] is Widget
    assert registry.names() == list(registry) == ["one", "uno"]
    assert len(registry) == 2
    assert "one" in registry
    assert "two" not in registry
    assert None not in registry
    assert registry.name_of(Widget) == "one"
    assert registry.name_of(Other) is None
    assert repr(registry) == "Registry('widget': one, uno)"


def test_mistakes(registry):
    with pytest.raises(UserError, match=r"^there is no widget called 'one'. There are none"):
        registry.get("one")
    registry.register("first")(Widget)
    with pytest.raises(
        UserError, match=r"^model.part: there is no widget called 'frist'. Did you mean 'first'\?"
    ):
        registry.get("frist", "model.part")
    with pytest.raises(UserError, match=r"'zzz'. Known: first"):
        registry.get("zzz")
    with pytest.raises(UserError, match=r"expected the name of a widget, got \['first'\]"):
        registry.get(["first"])
    with pytest.raises(UserError, match="it has no turn"):
        registry.register("second")(object)
    with pytest.raises(UserError, match=r"'first' is taken by .*Widget"):
        registry.register("fresh", "first")(Other)
    assert registry.names() == ["first"], "no alias of a refused registration stays"


def test_a_reloaded_module_replaces_its_component(registry):
    registry.register("first")(Widget)
    again = type("Widget", (), {"turn": 5, "__module__": __name__, "__qualname__": "Widget"})
    registry.register("first")(again)
    assert registry.get("first") is again


def test_entry_points_are_listed_without_an_import_and_loaded_when_asked_for(registry, put):
    module = put("things", "class Thing:\n    turn = 3\n", {"thing": "Thing"})
    registry.register("own")(Widget)
    assert registry.names() == ["own", "thing"]
    assert "thing" in registry
    assert module not in sys.modules
    thing = registry.get("thing")
    assert thing.turn == 3
    assert registry.get("thing") is thing
    assert registry.name_of(thing) == "thing"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Thing:\n    pass\n", "it has no turn"),
        ("", "AttributeError"),
        (
            "import no_such_package_of_anybody\n",
            "ModuleNotFoundError: No module named 'no_such_package_of_anybody'",
        ),
        ("def broken(:\n", "SyntaxError"),
        ("raise OSError('libthing.so: cannot open')\n", "OSError: libthing.so: cannot open"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_whatever_a_package_raises_names_the_package(registry, put, source, reason):
    put("fine", "class Fine:\n    turn = 1\n", {"fine": "Fine"})
    put("broken-things", source, {"thing": "Thing"})
    for _ in range(2):  # a failed import isn't taken for done
        with pytest.raises(UserError) as error:
            registry.get("thing")
        assert str(error.value).startswith(
            "the widget 'thing' of the installed package broken-things can't be loaded from "
            "'their_broken_things:Thing': "
        )
        assert reason in str(error.value)
    assert registry.get("fine").turn == 1, "one broken package doesn't hide the others"


def test_an_interrupt_while_loading_goes_through(registry, put):
    put("slow", "raise KeyboardInterrupt\n", {"thing": "Thing"})
    with pytest.raises(KeyboardInterrupt):
        registry.get("thing")


def test_a_module_that_failed_to_import_is_tried_again(registry, put, tmp_path):
    module = put("late", "raise OSError('not yet')\n", {"thing": "Thing"})
    with pytest.raises(UserError, match="not yet"):
        registry.get("thing")
    (tmp_path / "late" / f"{module}.py").write_text(
        "class Thing:\n    turn = 44\n# mended, and of another length\n"
    )
    importlib.invalidate_caches()
    assert registry.get("thing").turn == 44


def test_a_built_in_module_that_failed_to_import_is_tried_again(monkeypatch):
    """A failed import mustn't leave "There are none."."""
    fragile = Registry("widget", "openood_multimodal.widgets", built_in={"msp": "postprocessors.absent:MSP"})
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"openood_multimodal\.postprocessors\.absent"):
            fragile.get("msp")
    assert fragile.names() == ["msp"]


def test_a_package_that_shadows_a_built_in_is_an_error_that_names_both(put):
    put("their-scores", "raise RuntimeError('not to be imported')\n", {"msp": "MSP"}, kind="postprocessors")
    with pytest.raises(UserError) as error:
        POSTPROCESSORS.get("msp")
    assert str(error.value) == (
        "the postprocessor name 'msp' is taken 2 times: by openood_multimodal.postprocessors.msp:MSP (built in) and "
        "by their_their_scores:MSP (of the installed package their-scores). Rename one of them, or uninstall its "
        "package."
    )
    assert POSTPROCESSORS.names().count("msp") == 1
    assert POSTPROCESSORS.get("ebo").name == "ebo", "the other names still work"


def test_two_packages_with_one_name_are_an_error_that_names_both(registry, put):
    put("first-things", "class Thing:\n    turn = 1\n", {"thing": "Thing"})
    put("second-things", "class Thing:\n    turn = 2\n", {"thing": "Thing"})
    with pytest.raises(
        UserError, match=r"installed package (first|second)-things.* and by .*(first|second)-things"
    ):
        registry.get("thing")


def test_a_decorator_and_an_entry_point_of_one_name(registry, put):
    """They may name one class, as in a package that does both, and not two."""
    put("things", "class Thing:\n    turn = 1\n", {"thing": "Thing", "other": "Thing"})
    registry.register("other")(Widget)
    with pytest.raises(UserError, match=r"'other' is taken 2 times: by .*Widget and by their_things:Thing"):
        registry.get("other")
    thing = registry.get("thing")
    registry.register("thing")(thing)
    assert registry.get("thing") is thing


def test_a_decorator_may_not_take_a_built_in_name():
    with pytest.raises(UserError, match=r"'msp' is taken by openood_multimodal\.postprocessors\.msp\.MSP"):
        POSTPROCESSORS.register("msp")(type("Theirs", (POSTPROCESSORS.get("ebo"),), {}))
    with pytest.raises(
        UserError, match=r"'multiood-code' is taken by openood_multimodal\.losses\.protocols\.CODE"
    ):
        PROTOCOLS.register("multiood-code")(dataclasses.replace(PROTOCOLS.get("multiood-code"), name="mine"))


def test_entry_points_are_scanned_once_until_refreshed(registry, put, monkeypatch, tmp_path):
    put("things", "class Thing:\n    turn = 1\n", {"thing": "Thing"})
    scans = []

    def counted():
        scans.append(1)
        return metadata.entry_points()

    monkeypatch.setattr(registry_module, "entry_points", counted)
    for _ in range(3):
        assert "thing" in registry
        assert registry.get("thing").turn == 1
        assert "msp" in ALL["postprocessors"]
    assert len(scans) == 1
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not each.startswith(str(tmp_path))])
    assert "thing" in registry
    refresh_entry_points()
    assert "thing" not in registry, "what an uninstalled package brought is gone"
    assert len(scans) == 2


def test_unreadable_metadata_names_the_package(registry, put, tmp_path):
    put("odd", "", {})
    (tmp_path / "odd" / "odd-1.0.dist-info" / "entry_points.txt").write_text(
        "[console_scripts]\nno equals sign\n"
    )
    refresh_entry_points()
    with pytest.raises(UserError, match="entry points of the installed package odd can't be read"):
        registry.names()


def test_threads(registry, put):
    """All get one object of a module that takes its time, while others register and list."""
    source = (
        "import time\n"
        "from openood_multimodal.registry import refresh_entry_points\n"
        "runs = []\n"
        "time.sleep(0.2)\n"
        "class Thing:\n    turn = 1\n"
        "runs.append(1)\n"
    )
    module = put("slow", source, {"thing": "Thing", "second": "Thing"})
    gate = threading.Barrier(8)

    def work(number):
        gate.wait(timeout=30)
        if number % 2:
            for each in range(200):
                registry.register(f"own{number}.{each}")(Widget)
                assert f"own{number}.{each}" in registry.names()
        return registry.get("thing" if number % 4 < 2 else "second")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8), timeout=60))
    assert len({id(each) for each in found}) == 1
    assert sys.modules[module].runs == [1]
    assert len(registry) == 4 * 200 + 2


def test_a_decorator_in_a_module_that_another_thread_loads_does_not_deadlock(put):
    """One thread loads the module through the registry, the other imports it: its decorator needs the registry."""
    source = (
        "import time\n"
        "from openood_multimodal.registry import TRAINERS\n"
        "time.sleep(0.2)\n"
        "@TRAINERS.register('their_trainer')\n"
        "class Thing:\n    def train_epoch(self):\n        pass\n"
    )
    module = put("deco", source, {"their_trainer": "Thing"}, kind="trainers")
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(importlib.import_module, module)
        loaded = pool.submit(ALL["trainers"].get, "their_trainer")
        assert loaded.result(timeout=30) is plain.result(timeout=30).Thing
    del ALL["trainers"]._entries["their_trainer"]


def test_the_list_of_built_ins_is_what_the_modules_register():
    """`built_in` and the decorators say the same, so that every component of the package is listed."""
    for each in pkgutil.walk_packages(openood_multimodal.__path__, "openood_multimodal."):
        if "__main__" not in each.name:
            importlib.import_module(each.name)
    for kind, registry in ALL.items():
        own = {n for n, c in registry._entries.items() if c.__module__.startswith("openood_multimodal.")}
        assert own <= set(BUILT_IN[kind]), f"built_in.py lacks a line for these {kind}"
        assert registry.group == f"openood_multimodal.{kind}"
        for name in BUILT_IN[kind]:
            assert registry.get(name) is registry._entries.get(name, registry.get(name))
            assert registry.name_of(registry.get(name))
    assert BUILT_IN.keys() == ALL.keys()


def test_listing_names_imports_no_torch():
    code = (
        "import sys\n"
        "from openood_multimodal.registry import ALL\n"
        "assert 'mlp_fusion' in ALL['networks'].names() and 'msp' in ALL['postprocessors']\n"
        "print(*(each.names() for each in ALL.values()))\n"
        "assert 'numpy' not in sys.modules\n"
        "from openood_multimodal.cli.main import main\n"
        "main(['list'])\n"
        "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
