"""Which scores a test config asks for, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..naming import did_you_mean
from ..registry import POSTPROCESSORS

ENGINES = ("native",)
FIT_SETS = ("train", "val")


@dataclass(frozen=True)
class TestOptions:
    """The keys of a test config that concern scores.

    Attributes:
        postprocessors: names, in order; or OpenOOD's single ``postprocessor`` section's.
        arguments: name → parameters that override the preset's.
        preset: ``openood`` or ``multiood``.
        engine: ``native``.
        fit_on: the split that fitted scores take for the training set.
    """

    __test__ = False  # not a pytest class

    postprocessors: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: str = "openood"
    engine: str = "native"
    fit_on: str = "train"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TestOptions:
        """Read the keys ``postprocessors`` (or ``postprocessor``), ``postprocessor_args``, ``preset``, ....

        Raises:
            UserError: without any score, or for a value that none of these keys admits.
        """
        single = config.get("postprocessor") or {}
        names = config.get("postprocessors") or ([single["name"]] if single.get("name") else [])
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise UserError(
                "the config names no score; set --postprocessors msp,ebo,mls (openood-mm list postprocessors)."
            )
        arguments = {
            name: dict(each or {}) for name, each in (config.get("postprocessor_args") or {}).items()
        }
        if single.get("name") and single.get("postprocessor_args"):
            arguments.setdefault(single["name"], dict(single["postprocessor_args"]))
        unused = [name for name in arguments if name not in names]
        if unused:
            raise UserError(
                f"postprocessor_args sets '{unused[0]}', which is not run.{did_you_mean(unused[0], names)}"
            )
        options = cls(
            tuple(names),
            arguments,
            config.get("preset") or "openood",
            config.get("engine") or "native",
            config.get("fit_on") or "train",
        )
        for key, value, known in (("engine", options.engine, ENGINES), ("fit_on", options.fit_on, FIT_SETS)):
            if value not in known:
                raise UserError(f"{key} is '{value}'.{did_you_mean(value, known)}")
        return options

    def build_postprocessors(self) -> list[Any]:
        """Return the scores, not fitted yet.

        Raises:
            UserError: for an unknown score, preset or parameter.
        """
        return [
            POSTPROCESSORS.get(name).from_preset(self.preset, **self.arguments.get(name, {}))
            for name in self.postprocessors
        ]
