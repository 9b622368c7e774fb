"""Our scores in the form of OpenOOD's postprocessors, under names that OpenOOD doesn't have: ``mm_<name>``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..postprocessors.base import Postprocessor
from ..postprocessors.run import check_fit_on
from ..postprocessors.spec import build_score
from ..postprocessors.sweeps import within_limits
from ..registry import POSTPROCESSORS

PREFIX = "mm_"


class NativePostprocessor:
    """A native score that OpenOOD's ``test_ood`` can construct and call.

    Args:
        config: OpenOOD's config: ``postprocessor.postprocessor_args`` are the score's parameters (``scores: [msp,
            knn]`` lists what a combination combines), ``postprocessor.postprocessor_sweep`` its sweep (None: the
            score's own), ``postprocessor.preset`` its preset (``openood`` without it), ``postprocessor.fit_on``
            the split to fit to.

    Raises:
        UserError: for an unknown parameter or preset.
    """

    native: ClassVar[type[Postprocessor]]

    def __init__(self, config: Any) -> None:
        section: Mapping[str, Any] = config.get("postprocessor") or {}
        args = dict(section.get("postprocessor_args") or {})
        self.config = config
        self.name = f"{PREFIX}{self.native.name}"
        self.score = build_score(self.native.name, section.get("preset") or "openood", args)
        self.score.fit_on = section.get("fit_on") or "train"
        check_fit_on(self.score.fit_on, "postprocessor.fit_on")
        sweep = section.get("postprocessor_sweep")
        if sweep:
            self.score.args_dict = {key: list(values) for key, values in sweep.items()}
        self.APS_mode = bool(section.get("APS_mode"))  # OpenOOD's spelling
        self.hyperparam_search_done = False

    @property
    def args_dict(self) -> dict[str, list[Any]]:
        """The sweep: parameter → values."""
        return self.score.args_dict

    @args_dict.setter
    def args_dict(self, sweep: Mapping[str, Sequence[Any]]) -> None:
        self.score.args_dict = {key: list(values) for key, values in sweep.items()}

    @property
    def notes(self) -> list[str]:
        """What a reader of the results has to know."""
        return self.score.notes

    @property
    def limits(self) -> dict[str, int]:
        """As `Postprocessor.limits`."""
        return self.score.limits

    @property
    def setup_flag(self) -> bool:
        """Whether `setup` has run."""
        return self.score.setup_flag

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.name, vars(self))  # the class is made when it is asked for

    def setup(self, net: Any, id_loader_dict: Mapping[str, Any], ood_loader_dict: Any = None) -> None:
        """As `Postprocessor.setup`."""
        self.score.setup(net, id_loader_dict, ood_loader_dict)
        if self.APS_mode:  # OpenOOD's evaluator tries all of it
            self.args_dict, dropped = within_limits(self.name, self.args_dict, self.limits)
            self.score.notes += dropped
        for note in self.notes:
            print(f"Note: {note.rstrip('.')}.", flush=True)

    def postprocess(self, net: Any, data: Any) -> Any:
        """As `Postprocessor.postprocess`."""
        return self.score.postprocess(net, data)

    def inference(self, net: Any, data_loader: Any, progress: bool = True) -> Any:
        """As `Postprocessor.inference`."""
        return self.score.inference(net, data_loader, progress)

    def set_hyperparam(self, hyperparam: list[Any]) -> None:
        """As `Postprocessor.set_hyperparam`."""
        self.score.set_hyperparam(hyperparam)

    def get_hyperparam(self) -> Any:
        """As `Postprocessor.get_hyperparam`."""
        return self.score.get_hyperparam()


def openood_postprocessors() -> dict[str, type[NativePostprocessor]]:
    """Return ``mm_<name>`` → class, for every registered score.

    Where OpenOOD is imported, the classes derive from its ``BasePostprocessor``, which its ``evaluation_api``
    checks for.
    """
    package = sys.modules.get("openood.postprocessors")
    base = getattr(package, "BasePostprocessor", object)
    found: dict[str, type[NativePostprocessor]] = {}
    for name in POSTPROCESSORS.names():
        native = POSTPROCESSORS.get(name)
        if isinstance(native, type) and issubclass(native, Postprocessor):
            found[f"{PREFIX}{name}"] = type(
                f"{PREFIX}{name}",
                (NativePostprocessor, base),
                {"native": native, "__module__": __name__, "__doc__": native.__doc__},
            )
    return found


def _restore(name: str, state: Mapping[str, Any]) -> NativePostprocessor:
    kind = openood_postprocessors()[name]
    postprocessor = kind.__new__(kind)
    vars(postprocessor).update(state)
    return postprocessor
