"""Which names of ours OpenOOD may see: never one that it has itself; and which of all names can run.

``taken``, everywhere here: seam → the names that OpenOOD has itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UserError
from ..naming import did_you_mean
from ..registry import EVALUATORS, NETWORKS, PIPELINES, PREPROCESSORS, TRAINERS, Registry
from . import training
from .host import openood_module
from .native import openood_postprocessors
from .recipes import OPENOOD_POSTPROCESSORS, RECIPES, UNSUITABLE, missing_in
from .version import OpenOODVersion
from .wrappers import wrapped_networks

Taken = Mapping[str, frozenset[str]]

KINDS: Mapping[str, Registry] = {
    "get_preprocessor": PREPROCESSORS,
    "get_network": NETWORKS,
    "get_trainer": TRAINERS,
    "get_evaluator": EVALUATORS,
    "get_pipeline": PIPELINES,
}
"""Seam → registry whose components it may return."""


def check_collisions(taken: Taken) -> None:
    """Refuse a component all of whose names OpenOOD has; an alias that it has is just not used there.

    Raises:
        UserError: naming the component's name.
    """
    for seam, registry in KINDS.items():
        for name in registry.names():
            if name in taken[seam] and registry.name_of(registry.get(name)) in taken[seam]:
                raise UserError(
                    f"the {registry.kind} '{name}' can't be used inside OpenOOD, which has one of that name; "
                    f"register yours as 'multimodal_{name}', for instance."
                )


def usable(seam: str, name: object, taken: Taken) -> bool:
    """Whether ``name`` is one of ours that OpenOOD doesn't have."""
    return isinstance(name, str) and name not in taken[seam] and name in KINDS[seam]


def at(config: Any, key: str) -> Any:
    """Return ``config[a][b]`` for the key ``a.b``; None where anything on the way is missing; for any kind of dict."""
    for part in key.split("."):
        if not isinstance(config, dict) or not dict.__contains__(config, part):
            return None
        config = dict.__getitem__(config, part)
    return config


def network_wrappers(taken: Taken) -> Mapping[str, Callable[[Any], Any]]:
    """Return ``network.name`` → function of the network config, of OpenOOD's wrappers that it can't name itself."""
    return {name: make for name, make in wrapped_networks().items() if name not in taken["get_network"]}


def check_names(config: Any, taken: Taken, host: OpenOODVersion) -> None:
    """Refuse a component that neither OpenOOD nor this package has, before anything is loaded.

    Raises:
        UserError: naming the section.
    """
    theirs = openood_module("postprocessors")
    named = (name for name, recipe in RECIPES.items() if hasattr(theirs, recipe.class_name))
    more = {
        "get_network": network_wrappers(taken),
        "get_postprocessor": [*openood_postprocessors(), *OPENOOD_POSTPROCESSORS.names(), *named],
    }
    for section in ("preprocessor", "network", "trainer", "evaluator", "postprocessor"):
        key, name = f"get_{section}", at(config, f"{section}.name")
        ours = KINDS[key].names() if key in KINDS else ()
        known = {*taken[key], *ours, *more.get(key, ())}
        if name is not None and name not in known:
            raise UserError(
                f"{section}.name is '{name}', which neither this OpenOOD ({host}) nor this package "
                f"has.{did_you_mean(name, known)}"
            )


def check_suitable(config: Any, taken: Taken) -> None:
    """Refuse, before anything is loaded, a training or a postprocessor of OpenOOD's that our networks can't serve.

    Raises:
        UserError: with the reason and what can be used instead.
    """
    name, network = str(at(config, "postprocessor.name")), at(config, "network.name")
    if not usable("get_network", network, taken):
        return  # one of OpenOOD's networks, perhaps just the one that it asks for
    pipeline = str(at(config, "pipeline.name"))
    training.check_suitable(
        network, pipeline, *(str(at(config, f"{s}.name")) for s in ("trainer", "evaluator"))
    )
    if pipeline.startswith(training.TRAINING):
        return
    recipe = RECIPES.get(name)
    kind = getattr(openood_module("postprocessors"), recipe.class_name, None) if recipe else None
    missing = missing_in(name, kind) if kind else ""
    reason = UNSUITABLE.get(name) or missing or getattr(recipe, "no_network", "")
    if reason:
        remedy = " Use OpenOOD's main." if missing else ""
        if recipe and not missing:
            remedy = " Run it on stored embeddings: openood-mm run, engine: openood."
        raise UserError(f"OpenOOD's '{name}' can't run on the network '{network}': {reason}.{remedy}")
