"""Which scores a test config asks for, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import COMMAND_LINE, Config
from ..engines import Choice, build, choose
from ..errors import UserError
from ..naming import did_you_mean
from ..postprocessors.spec import split_names
from ..vocabulary import ENGINES, FIT_SETS


@dataclass(frozen=True)
class TestOptions:
    """The keys of a test config that concern scores.

    Attributes:
        postprocessors: names, in order; or OpenOOD's single ``postprocessor`` section's.  A name may say
            its engine: ``openood/knn``.
        arguments: name → parameters that override the preset's.
        preset: ``openood`` or ``multiood``.
        engine: ``native`` or ``openood``, of the names that don't say theirs.
        fit_on: the split that fitted scores take for the training set.
        sweeps: name → OpenOOD's ``postprocessor_sweep``, the values that a parameter search tries.
    """

    __test__ = False  # not a pytest class

    postprocessors: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: str = "openood"
    engine: str = "native"
    fit_on: str = "train"
    sweeps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TestOptions:
        """Read the keys ``postprocessors`` (or ``postprocessor``), ``postprocessor_args``, ``preset``, ....

        Raises:
            UserError: without any score, or for a value that none of these keys admits.
        """
        single = config.get("postprocessor") or {}
        names = config.get("postprocessors") or []
        names = list(dict.fromkeys(split_names(names))) if names else []
        if single.get("name"):
            # the packaged test configs always have a list, so this section was asked for, unless the list was too
            asked = isinstance(config, Config) and config.source_of("postprocessors") == COMMAND_LINE
            if asked and single["name"] not in names:
                raise UserError(
                    f"--postprocessors asks for {', '.join(names)}, and the section postprocessor for "
                    f"{single['name']}; leave one of the two out."
                )
            names = names if asked else [single["name"]]
        if not names:
            raise UserError(
                "the config names no score; set --postprocessors msp,ebo,mls (openood-mm list postprocessors)."
            )
        arguments = {
            "".join(name.split()): dict(each or {})
            for name, each in (config.get("postprocessor_args") or {}).items()
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
            {single["name"]: dict(single["postprocessor_sweep"])}
            if single.get("name") and single.get("postprocessor_sweep")
            else {},
        )
        for key, value, known in (("engine", options.engine, ENGINES), ("fit_on", options.fit_on, FIT_SETS)):
            if value not in known:
                raise UserError(f"{key} is '{value}'.{did_you_mean(value, known)}")
        options._check_labels()
        return options

    def _check_labels(self) -> None:
        choices = self.choices()
        for choice in choices:
            if [each.label for each in choices].count(choice.label) > 1:
                raise UserError(f"the postprocessor '{choice.label}' is asked for twice; once is enough.")
        own = [choice for choice in choices if choice.engine == "openood"]
        if self.preset != "openood" and len(own) == len(choices):
            raise UserError(
                f"preset is '{self.preset}', and the engine openood has OpenOOD's parameters only; "
                "set preset: openood, or single parameters under postprocessor_args."
            )

    def choices(self) -> list[Choice]:
        """Return the scores in order: how they are called in results, their engine, their name there."""
        return [choose(name, self.engine) for name in self.postprocessors]

    def build_postprocessors(self, seed: int = 0) -> list[Any]:
        """Return the scores, not fitted yet; ``seed`` is that of scores which draw random numbers.

        Raises:
            UserError: for an unknown score, preset or parameter; when OpenOOD is asked for and can't be imported.
        """
        scores = []
        for choice, name in zip(self.choices(), self.postprocessors, strict=True):
            score = build(choice, self.preset, self.arguments.get(name, {}), seed)
            if name in self.sweeps:
                score.args_dict = {key: list(values) for key, values in self.sweeps[name].items()}
            scores.append(score)
        return scores
