"""Which names of ours OpenOOD may see: never one that it has itself."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UserError
from ..registry import EVALUATORS, NETWORKS, PIPELINES, PREPROCESSORS, TRAINERS, Registry

KINDS: Mapping[str, Registry] = {
    "get_preprocessor": PREPROCESSORS,
    "get_network": NETWORKS,
    "get_trainer": TRAINERS,
    "get_evaluator": EVALUATORS,
    "get_pipeline": PIPELINES,
}
"""Seam → registry whose components it may return."""


def check_collisions(taken: Mapping[str, frozenset[str]]) -> None:
    """Refuse a component all of whose names OpenOOD has; an alias that it has is just not used there.

    Args:
        taken: seam → OpenOOD's own names.

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


def usable(seam: str, name: object, taken: Mapping[str, frozenset[str]]) -> bool:
    """Whether ``name`` is one of ours that OpenOOD doesn't have."""
    return isinstance(name, str) and name not in taken[seam] and name in KINDS[seam]
