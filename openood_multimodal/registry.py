"""One small registry a kind of component: a name → a class or function.

Three ways in, in this order of precedence:

* the decorator, ``@NETWORKS.register("my_net")``;
* this package's own components, registered when their room is first imported;
* entry points of installed packages, in the group ``openood_multimodal.<kind>s``.

Nothing is imported before a name is asked for, and this module knows no concrete class.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from .errors import UserError
from .naming import did_you_mean

T = TypeVar("T")


class Registry:
    """Names of one kind of component.

    Args:
        kind: singular, as it stands in messages, e.g. ``"network"``.
        room: module that registers this package's own components when it is imported.
        group: entry-point group for components of other packages.
        required: attributes that a component of this kind must have; checked when it is registered.
    """

    def __init__(self, kind: str, room: str, group: str, required: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.room = room
        self.group = group
        self.required = required
        self._entries: dict[str, Any] = {}
        self._room_imported = False

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Return a decorator that registers a class or function under ``name`` (and ``aliases``).

        Raises:
            UserError: when the name is taken by something else, or the component lacks an attribute that
                its kind requires.
        """

        def decorate(component: T) -> T:
            for each in (name, *aliases):
                self._add(each, component)
            return component

        return decorate

    def _add(self, name: str, component: Any) -> None:
        missing = [a for a in self.required if not hasattr(component, a)]
        if missing:
            raise UserError(
                f"{_describe(component)} can't be registered as {self.kind} '{name}': "
                f"it has no {', '.join(missing)}. A {self.kind} must have {', '.join(self.required)}."
            )
        present = self._entries.get(name)
        if present is not None and _describe(present) != _describe(component):
            raise UserError(
                f"the {self.kind} name '{name}' is taken by {_describe(present)}; "
                f"register {_describe(component)} under another name."
            )
        self._entries[name] = component

    def _import_room(self) -> None:
        if not self._room_imported:
            self._room_imported = True  # before the import: the room's own modules may look names up
            importlib.import_module(self.room)

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {e.name: e for e in entry_points(group=self.group)}

    def get(self, name: str) -> Any:
        """Return the component called ``name``.

        Raises:
            UserError: when there is none; the message names the nearest one.
        """
        self._import_room()
        if name not in self._entries:
            entry = self._entry_points().get(name)
            if entry is None:
                raise UserError(f"there is no {self.kind} called '{name}'.{did_you_mean(name, self.names())}")
            try:
                component = entry.load()
            except (ImportError, AttributeError) as error:
                raise UserError(
                    f"the {self.kind} '{name}' of the installed package "
                    f"{entry.dist.name if entry.dist else '(unknown)'} can't be loaded from '{entry.value}': {error}"
                ) from error
            self._add(name, component)
        return self._entries[name]

    def names(self) -> list[str]:
        """Return all known names, sorted; entry points are listed without being imported."""
        self._import_room()
        return sorted({*self._entries, *self._entry_points()})

    def name_of(self, component: Any) -> str | None:
        """Return the first name under which ``component`` is registered, or None."""
        self._import_room()
        return next((n for n, c in self._entries.items() if c is component), None)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self.names())})"


def _describe(component: Any) -> str:
    return f"{getattr(component, '__module__', '?')}.{getattr(component, '__qualname__', component)}"


def _registry(kind: str, plural: str, required: tuple[str, ...] = ()) -> Registry:
    return Registry(kind, f"openood_multimodal.{plural}", f"openood_multimodal.{plural}", required)


DATASETS = _registry("dataset", "datasets", ("__getitem__", "__len__"))
PREPROCESSORS = _registry("preprocessor", "preprocessors")
NETWORKS = _registry("network", "networks")
DISCREPANCIES = Registry("discrepancy", "openood_multimodal.losses", "openood_multimodal.discrepancies")
SYNTHESES = Registry("synthesis", "openood_multimodal.synthesis", "openood_multimodal.syntheses")
TRAINERS = _registry("trainer", "trainers", ("train_epoch",))
POSTPROCESSORS = _registry(
    "postprocessor", "postprocessors", ("name", "from_preset", "fit", "score", "inference", "parameters")
)
EVALUATORS = _registry("evaluator", "evaluators", ("eval_acc", "eval_ood", "report"))
PIPELINES = _registry("pipeline", "pipelines", ("run",))

ALL = {
    "datasets": DATASETS,
    "preprocessors": PREPROCESSORS,
    "networks": NETWORKS,
    "discrepancies": DISCREPANCIES,
    "syntheses": SYNTHESES,
    "trainers": TRAINERS,
    "postprocessors": POSTPROCESSORS,
    "evaluators": EVALUATORS,
    "pipelines": PIPELINES,
}
