"""The section ``condition`` of test and extraction configs: what is done to the test samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from ..arrays import Embeddings, LinearHead
from ..config import bind
from ..errors import UserError
from ..evaluators.outputs import ID_NAME
from ..scoring.conditions import CLEAN, Columns, Condition, Timeline, apply_condition, parse_condition
from ..vocabulary import CSID, LEVELS, TEST_GROUPS


@dataclass(frozen=True)
class ConditionSection:
    """The keys of ``condition``.

    Attributes:
        name: e.g. ``missing:video``; see `scoring.conditions.parse_condition`.  None or ``clean``: nothing is done.
        level: ``"embedding"`` or ``"input"``.
        applied_to: ``"both"``, ``"id"`` or ``"ood"`` test sets.
        seed: of what is drawn.
    """

    name: str | None = None
    level: Literal["embedding", "input"] = "embedding"
    applied_to: Literal["both", "id", "ood"] = "both"
    seed: int = 0


@dataclass(frozen=True)
class TestCondition:
    """A condition, checked, and the sets that it is applied to.

    Attributes:
        condition: what is done.
        applied_to: ``"both"``, ``"id"`` or ``"ood"`` test sets.
        seed: of what is drawn.
        csid: the one covariate-shifted ID set that it makes, from clean samples; None: it is of the test sets.
    """

    __test__ = False  # not a pytest class

    condition: Condition
    applied_to: str
    seed: int
    csid: str | None = None

    @property
    def at_input(self) -> bool:
        """Whether clips are changed, not embeddings."""
        return self.condition.level != LEVELS[0]

    def as_record(self) -> dict[str, Any]:
        """Return a record's field."""
        return self.condition.as_record(self.applied_to, self.seed)

    def note(self) -> str:
        """Return what a record says of a covariate-shifted ID set."""
        return f"{self.csid}: samples under {self.condition} ({self.condition.level}, seed {self.seed})"

    def chosen(self, sets: Mapping[str, Any], ood_sets: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield (name, set) of those that it changes: the ID test set is called ``id``."""
        if self.csid is not None:
            yield self.csid, ood_sets[CSID][self.csid]
            return
        if self.applied_to != "ood" and "test" in sets:
            yield ID_NAME, sets["test"]
        if self.applied_to != "id":
            for group in TEST_GROUPS:
                yield from ood_sets.get(group, {}).items()

    def degrade(self, loaders: Mapping[str, Any], ood_loaders: Mapping[str, Any]) -> None:
        """Have the loaders' clips read under the condition, where it is one of the input."""
        if self.at_input:
            each = self.condition
            for _, loader in self.chosen(loaders, ood_loaders):
                loader.dataset.degrade(each.kind, each.value or None, each.modalities, self.seed)

    def apply(
        self,
        sets: dict[str, Embeddings],
        ood_sets: Mapping[str, Any],
        loaders: Mapping[str, Any],
        ood_loaders: Mapping[str, Any],
        head: LinearHead,
    ) -> tuple[dict[str, Embeddings], dict[str, Any]]:
        """Return ID and OOD sets with changed test embeddings, where it is one of embeddings."""
        if self.at_input:
            return sets, dict(ood_sets)
        columns = Columns.of(sets["train"].features)
        found = {}
        of_name = dict(self.chosen(loaders, ood_loaders))
        for name, each in self.chosen(sets, ood_sets):
            timeline = None
            if self.condition.kind == "shift":
                timeline = Timeline.of(of_name[name].dataset.manifest, each, name)
            found[name] = apply_condition(self.condition, each, head, columns, self.seed, name, timeline)
        known = {**sets, "test": found.get(ID_NAME, sets["test"])}
        return known, {
            group: {name: found.get(name, each) for name, each in part.items()}
            if group in (*TEST_GROUPS, CSID)
            else part
            for group, part in ood_sets.items()
        }


def read_condition(config: Mapping[str, Any], modalities: Sequence[str]) -> TestCondition | None:
    """Return the condition that a config asks for, None for clean test sets.

    Args:
        config: with a section ``condition``, or without.
        modalities: of the test set.

    Raises:
        UserError: for an unknown key, condition or modality, a severity outside its range, all modalities missing.
    """
    given = config.get("condition") or {}
    section = bind(
        {"name": given} if isinstance(given, str) else given, ConditionSection, "condition", ignore=()
    )
    if section.name in (None, "", CLEAN):
        return None
    if section.seed < 0:
        raise UserError(f"condition.seed is {section.seed}; it must be at least 0.")
    parsed = parse_condition(str(section.name), modalities, section.level)
    assert parsed is not None
    return TestCondition(parsed, section.applied_to, section.seed)


def read_conditions(
    config: Mapping[str, Any], modalities: Sequence[str], ood_sets: Mapping[str, Any]
) -> list[TestCondition]:
    """Return the conditions of a config: of the test sets, and of each covariate-shifted ID set that has one.

    Args:
        config: its ``condition``, and ``condition`` in ``ood_dataset.csid.<set>``.
        modalities: of the test set.
        ood_sets: group → its sets.

    Raises:
        UserError: as `read_condition`; for a set's condition that names other sets.
    """
    found = [read_condition(config, modalities)]
    for name in ood_sets.get(CSID, ()):
        where = f"ood_dataset.{CSID}.{name}"
        try:
            condition = read_condition(config["ood_dataset"][CSID][name], modalities)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if condition is not None and condition.applied_to != "both":
            raise UserError(f"{where}: its condition is of this set alone; leave condition.applied_to out.")
        found.append(condition and replace(condition, csid=name))
    return [each for each in found if each is not None]


def store_name(name: str, dataset: Any) -> str:
    """Return the folder of a set's store: its name, and the condition under which its clips are read."""
    if not getattr(dataset, "condition", None):
        return name
    said = json.loads(dataset.condition)
    parts = [said["kind"], "+".join(said["modalities"]), *filter(None, [said["severity"]]), str(said["seed"])]
    return f"{name}@{quote('~'.join(parts), safe='+~')}"
