"""One small registry for each kind of component: a name → a class, a function or an object.

A component comes from one of three places, and a name may come from one of them only:

* this package, which lists its own in `built_in`;
* the decorator, ``@NETWORKS.register("my_net")``;
* entry points of installed packages, in the group ``openood_multimodal.<kind>s``.

A component is imported when it is asked for.  Listing names imports nothing, and entry points are scanned once a
process.  This module knows no concrete component.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from threading import Lock
from typing import Any, TypeVar

from .built_in import BUILT_IN
from .errors import UserError
from .naming import did_you_mean

T = TypeVar("T")

PREFIX = "openood_multimodal."


class Registry:
    """Names of one kind of component.  All methods may be called from several threads.

    Args:
        kind: singular, as it stands in messages, e.g. ``"network"``.
        group: entry-point group for components of other packages.
        required: attributes that a component of this kind must have; checked when it is registered or loaded.
        built_in: this package's own, name → ``"module:attribute"`` below the package.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        required: tuple[str, ...] = (),
        built_in: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self.required = required
        self._built_in = {
            name: EntryPoint(name, PREFIX + value, group) for name, value in (built_in or {}).items()
        }
        self._entries: dict[str, Any] = {}
        self._loaded: dict[str, tuple[EntryPoint, Any]] = {}
        self._lock = Lock()  # for the dicts; never held while something is imported

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Return a decorator that registers a class, function or object under ``name`` (and ``aliases``).

        Registering a component of the same module and name again replaces it, so that modules can be reloaded.

        Raises:
            UserError: when the name is taken by something else, or the component lacks an attribute that
                its kind requires.
        """

        def decorate(component: T) -> T:
            self._check(name, component)
            with self._lock:
                for each in (name, *aliases):
                    self._check_free(each, component)
                for each in (name, *aliases):
                    self._entries[each] = component
                    self._loaded.pop(each, None)
            return component

        return decorate

    def get(self, name: str, where: str = "") -> Any:
        """Return the component called ``name``.

        Args:
            name: of the component.
            where: what asks for it, e.g. a config key; put before the message of an unknown name.

        Raises:
            UserError: when there is none (the message names the nearest one), when two packages have one of this
                name, or when another package's component can't be loaded.
        """
        if not isinstance(name, str):
            raise UserError(f"{where or self.kind}: expected the name of a {self.kind}, got {name!r}.")
        entry = self._entry(name)
        if entry is None:
            if name in self._entries:
                return self._entries[name]
            prefix = f"{where}: " if where else ""
            raise UserError(
                f"{prefix}there is no {self.kind} called '{name}'.{did_you_mean(name, self.names())}"
            )
        known = self._loaded.get(name)
        if known is not None and known[0] is entry:
            return known[1]
        component = self._load(entry)
        with self._lock:
            own = self._entries.get(name)
            if own is not None and _describe(own) != _describe(component):
                raise self._taken_twice(name, [_describe(own), _describe_entry(entry)])
            self._loaded[name] = (entry, component)
        return component

    def built_in(self, name: str) -> Any:
        """Return this package's own component called ``name``, whatever else is installed or registered, or None."""
        return self._built_in[name].load() if name in self._built_in else None

    def names(self) -> list[str]:
        """Return all known names, sorted.  Nothing is imported."""
        with self._lock:
            registered = list(self._entries)
        return sorted({*registered, *self._built_in, *_installed(self.group)})

    def name_of(self, component: Any) -> str | None:
        """Return the first name under which ``component`` is registered or was loaded, or None."""
        with self._lock:
            known = [*self._entries.items(), *((name, each) for name, (_, each) in self._loaded.items())]
        return next((name for name, each in known if each is component), None)

    def _entry(self, name: str) -> EntryPoint | None:
        """Return where ``name`` is to be imported from, or None; raise where that is more than one place."""
        found = [self._built_in[name]] if name in self._built_in else []
        found += _installed(self.group).get(name, [])
        if len(found) > 1:
            raise self._taken_twice(name, [_describe_entry(each) for each in found])
        return found[0] if found else None

    def _load(self, entry: EntryPoint) -> Any:
        if entry is self._built_in.get(entry.name):
            component = entry.load()
            self._check(entry.name, component)
            return component
        try:
            component = entry.load()
            self._check(entry.name, component)
        except (Exception, SystemExit) as error:  # a module of another package may raise anything
            reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            raise UserError(
                f"the {self.kind} '{entry.name}' of the installed package {_package(entry)} can't be loaded "
                f"from '{entry.value}': {reason}"
            ) from error
        return component

    def _check(self, name: str, component: Any) -> None:
        missing = [a for a in self.required if not hasattr(component, a)]
        if missing:
            raise UserError(
                f"{_describe(component)} can't be registered as {self.kind} '{name}': "
                f"it has no {', '.join(missing)}. A {self.kind} must have {', '.join(self.required)}."
            )

    def _check_free(self, name: str, component: Any) -> None:
        present = self._entries.get(name)
        taken = _describe(present) if present is not None else None
        if taken is None and name in self._built_in:
            taken = self._built_in[name].value.replace(":", ".")
        if taken is not None and taken != _describe(component):
            raise UserError(
                f"the {self.kind} name '{name}' is taken by {taken}; "
                f"register {_describe(component)} under another name."
            )

    def _taken_twice(self, name: str, owners: list[str]) -> UserError:
        return UserError(
            f"the {self.kind} name '{name}' is taken {len(owners)} times: by {' and by '.join(owners)}. "
            "Rename one of them, or uninstall its package."
        )

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self.names())})"


_scan_lock = Lock()
_scanned: EntryPoints | None = None
_by_group: dict[str, dict[str, list[EntryPoint]]] = {}


def refresh_entry_points() -> None:
    """Forget which packages are installed; the next look-up scans them again (after an install, and in tests)."""
    global _scanned
    with _scan_lock:
        _scanned = None
        _by_group.clear()


def _installed(group: str) -> Mapping[str, list[EntryPoint]]:
    """Return the installed packages' entry points of a group: name → one, or those that share it."""
    global _scanned
    with _scan_lock:
        if _scanned is None:
            _scanned = _scan()
        if group not in _by_group:
            found: dict[str, list[EntryPoint]] = {}
            for each in _scanned.select(group=group):
                found.setdefault(each.name, []).append(each)
            _by_group[group] = found
        return _by_group[group]


def _scan() -> Any:  # EntryPoints; SelectableGroups, with the same `select`, before Python 3.12
    try:
        return entry_points()
    except Exception as error:  # importlib.metadata raises whatever it stumbles on
        raise UserError(_unreadable_metadata()) from error


def _unreadable_metadata() -> str:
    for distribution in distributions():
        try:
            list(distribution.entry_points)
        except Exception as error:
            return (
                f"the entry points of the installed package {distribution.name} can't be read: "
                f"{type(error).__name__}: {error}. Reinstall or remove it."
            )
    return "the entry points of installed packages can't be read."


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "(unknown)"


def _describe_entry(entry: EntryPoint) -> str:
    own = entry.dist is None and entry.value.startswith(PREFIX)
    origin = "built in" if own else f"of the installed package {_package(entry)}"
    return f"{entry.value} ({origin})"


def _describe(component: Any) -> str:
    name = getattr(component, "__qualname__", None) or repr(component)
    return f"{getattr(component, '__module__', '?')}.{name}"


def _registry(kind: str, plural: str, required: tuple[str, ...] = ()) -> Registry:
    return Registry(kind, PREFIX + plural, required, BUILT_IN[plural])


DATASETS = _registry("dataset", "datasets", ("__getitem__", "__len__"))
PREPROCESSORS = _registry("preprocessor", "preprocessors")
READERS = _registry("reader", "readers", ("Params", "shape", "read", "open"))
NETWORKS = _registry("network", "networks")
ENCODERS = _registry("encoder", "encoders", ("modality", "Params"))
PROTOCOLS = _registry("loss protocol", "protocols", ("without_true_class", "discrepancies", "entropy"))
DISCREPANCIES = _registry("discrepancy", "discrepancies")
SYNTHESES = _registry("synthesis", "syntheses")
TRAINERS = _registry("trainer", "trainers", ("train_epoch",))
POSTPROCESSORS = _registry(
    "postprocessor", "postprocessors", ("name", "from_preset", "fit", "score", "inference", "parameters")
)
ENGINES = _registry("engine", "engines", ("build", "hint", "has_presets"))
EVALUATORS = _registry("evaluator", "evaluators", ("eval_acc", "eval_ood", "report"))
PIPELINES = _registry("pipeline", "pipelines", ("run",))
CONDITIONS = _registry("condition", "conditions", ("severities", "removes"))
CLIP_PROTOCOLS = _registry("clip protocol", "clip_protocols", ("windows", "stream"))
FLOW_METHODS = _registry("optical flow method", "flow_methods", ("__call__",))
LAYOUTS = _registry("layout", "layouts", ("files", "read"))
CLIP_LAYOUTS = _registry("layout of clips", "clip_layouts", ("name", "cells", "recording"))

ALL: Mapping[str, Registry] = {
    each.group.removeprefix(PREFIX): each
    for each in (
        DATASETS,
        READERS,
        CONDITIONS,
        PREPROCESSORS,
        NETWORKS,
        ENCODERS,
        PROTOCOLS,
        DISCREPANCIES,
        SYNTHESES,
        TRAINERS,
        POSTPROCESSORS,
        ENGINES,
        EVALUATORS,
        PIPELINES,
        CLIP_PROTOCOLS,
        FLOW_METHODS,
        LAYOUTS,
        CLIP_LAYOUTS,
    )
}
"""Kind, as in the entry-point group's name and in ``openood-mm list``, → its registry."""
