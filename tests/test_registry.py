"""Registries: names, mistakes, entry points of other packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.registry import ALL, DATASETS, TRAINERS, Registry


@pytest.fixture
def registry(monkeypatch):
    made = Registry("widget", "json", "openood_multimodal.widgets", required=("turn",))
    monkeypatch.setattr(made, "_entry_points", dict)
    return made


class Widget:
    turn = 1


class Other:
    turn = 2


def test_names_and_aliases(registry):
    assert registry.register("one", "uno")(Widget) is Widget
    assert registry.get("one") is registry.get("uno") is Widget
    assert registry.names() == list(registry) == ["one", "uno"]
    assert "one" in registry
    assert "two" not in registry
    assert registry.name_of(Widget) == "one"
    assert registry.name_of(Other) is None
    assert repr(registry) == "Registry('widget': one, uno)"


def test_mistakes(registry):
    with pytest.raises(UserError, match=r"no widget called 'one'. There are none"):
        registry.get("one")
    registry.register("first")(Widget)
    with pytest.raises(UserError, match=r"no widget called 'frist'. Did you mean 'first'\?"):
        registry.get("frist")
    with pytest.raises(UserError, match=r"'zzz'. Known: first"):
        registry.get("zzz")
    with pytest.raises(UserError, match="it has no turn"):
        registry.register("second")(object)
    with pytest.raises(UserError, match=r"'first' is taken by .*Widget"):
        registry.register("first")(Other)
    registry.register("first")(Widget)  # a module that is imported again
    assert registry.names() == ["first"]


def points(monkeypatch, registry, **values):
    found = {name: EntryPoint(name, value, registry.group) for name, value in values.items()}
    monkeypatch.setattr(registry, "_entry_points", lambda: found)


def test_entry_points(registry, monkeypatch, tmp_path):
    (tmp_path / "their_widgets.py").write_text("class Thing:\n    turn = 3\n\nclass Bad:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    points(
        monkeypatch,
        registry,
        thing="their_widgets:Thing",
        bad="their_widgets:Bad",
        missing="their_widgets:Gone",
        absent="no_such_package_of_anybody:Thing",
        own="their_widgets:Thing",
    )
    registry.register("own")(Widget)
    assert registry.names() == ["absent", "bad", "missing", "own", "thing"]
    assert "their_widgets" not in sys.modules, "names are listed without importing anything"
    assert registry.get("thing").turn == 3
    assert registry.get("own") is Widget, "what is registered here goes first"
    with pytest.raises(UserError, match="it has no turn"):
        registry.get("bad")
    for name in ("missing", "absent"):
        with pytest.raises(UserError, match=f"'{name}' of the installed package .* can't be loaded"):
            registry.get(name)


def test_rooms_are_imported_when_a_name_is_asked_for():
    assert {"near_ood", "far_ood"} <= set(ALL["evaluators"])
    assert {"multimodal_baseline", "multimodal_multihead", "multimodal_logitnorm"} <= set(TRAINERS)
    assert {"a2d", "a2d_npmix", "a2d_logitnorm", "a2d_npmix_logitnorm"} <= set(TRAINERS)
    assert "MultimodalTabularDataset" in DATASETS
    assert {"train", "test_ood", "multimodal_train"} <= set(ALL["pipelines"])
    for kind, registry in ALL.items():
        assert registry.group == f"openood_multimodal.{kind}"
        for name in registry:
            assert registry.name_of(registry.get(name))
