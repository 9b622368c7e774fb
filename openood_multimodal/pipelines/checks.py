"""What the pipelines check of a config before they spend time on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config import COMMAND_LINE, Config, bind, bind_call
from ..datasets.auxiliary import auxiliary_section
from ..datasets.benchmarks import load_benchmark
from ..datasets.clips import ClipRequest
from ..errors import UserError
from ..networks.clips.fusion import bind_encoder
from ..postprocessors.base import Postprocessor
from ..postprocessors.run import NATIVE, Chosen, check_fit_on, choose
from ..postprocessors.spec import split_names
from ..registry import (
    DATASETS,
    DISCREPANCIES,
    EVALUATORS,
    NETWORKS,
    PIPELINES,
    PREPROCESSORS,
    SYNTHESES,
    TRAINERS,
)
from ..trainers.mixed import training_options
from ..trainers.optim import optimizer_params
from ..vocabulary import EVALUATOR_GROUPS, FILE_GROUPS, LOADER_GROUPS, OOD_VAL

LEAST = {"batch_size": 1, "num_workers": 0, "seed": 0, "state_interval": 0}
"""Key → the least value that it may have, wherever it stands in the sections that a pipeline reads."""


def check_config(config: Mapping[str, Any], sections: Sequence[str]) -> None:
    """Check that ``sections`` are there, and that sizes, the seed and intervals are whole numbers in range.

    Raises:
        UserError: naming the key.
    """
    for name in sections:
        if not isinstance(config.get(name), Mapping):
            raise UserError(
                f"{name} must be a section of 'key: value' lines, got {config.get(name)!r}; "
                "look for a file that is missing after --config, or that sets it to a single value."
            )
    recorder = config.get("recorder")
    if recorder is not None and not isinstance(recorder, Mapping):
        raise UserError(f"recorder must be a section of 'key: value' lines, got {recorder!r}.")
    for key in ("state_seconds", "min_state_seconds"):
        seconds = (recorder or {}).get(key, 0)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise UserError(f"recorder.{key} is {seconds!r}; it must be a number of seconds, at least 0.")
    _check_numbers({"seed": config.get("seed")}, "")
    for name in (*sections, "ood_dataset", "recorder"):
        _check_numbers(config.get(name) or {}, f"{name}.")


def _check_numbers(section: Mapping[str, Any], prefix: str) -> None:
    for key, value in section.items():
        if isinstance(value, Mapping):
            _check_numbers(value, f"{prefix}{key}.")
        elif key in LEAST and value is not None and not _at_least(value, LEAST[key]):
            raise UserError(f"{prefix}{key} is {value!r}; it must be a whole number, at least {LEAST[key]}.")


def _at_least(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_trained(network: Mapping[str, Any]) -> None:
    """Check that a test's ``network`` section asks for trained weights.

    Raises:
        UserError: when ``pretrained`` is off: figures of a random network would be filed under its checkpoint.
    """
    if not network.get("pretrained"):
        raise UserError(
            "network.pretrained is off, so a network of random weights would be tested; "
            "set network.pretrained: True and --network.checkpoint <run>/best.ckpt."
        )


def check_run(training: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> None:
    """Check all that the configs of a training and its tests name, without looking at data or weights.

    Args:
        training: the training's config.
        tests: each test's config.

    Raises:
        UserError: naming the key.
    """
    for config in (training, *tests):
        sections = ("dataset", "network", "evaluator", *(("ood_dataset",) if config is not training else ()))
        check_config(config, sections)
        name = (config.get("pipeline") or {}).get("name")
        if name:
            PIPELINES.get(name)
        EVALUATORS.get(config["evaluator"]["name"])
        _check_network(config["network"])
        if config["dataset"].get("benchmark"):
            benchmark = load_benchmark(str(config["dataset"]["benchmark"]))
            benchmark.partition(int(config["dataset"]["partition"]))
            benchmark.choose_modalities(config["dataset"].get("modalities"))
        if config.get("preprocessor"):
            for split in ("train", "test"):
                PREPROCESSORS.get(config["preprocessor"]["name"])(config, split)
        for _, data in data_sections(config):
            _check_data(data)
    _check_training(training)
    for test in tests:
        check_trained(test["network"])
        evaluator, unknown = test["evaluator"]["name"], test["ood_dataset"]
        check_sets(
            evaluator, EVALUATOR_GROUPS.get(evaluator, ()), dict.fromkeys(unknown["split_names"], 1), unknown
        )
        choose_scores(test)


def check_sets(
    evaluator: str, groups: Sequence[str], sets: Mapping[str, Any], section: Mapping[str, Any]
) -> None:
    """Refuse, before anything is computed, an evaluator whose OOD sets the benchmark lacks.

    Args:
        evaluator: its name.
        groups: of OOD sets that it evaluates.
        sets: group → its sets.
        section: ``ood_dataset``.

    Raises:
        UserError: naming the group.
    """
    for group in groups:
        if sets.get(group):
            continue
        there = [name for name in section["split_names"] if name != "val"]
        raise UserError(
            f"the evaluator '{evaluator}' needs {group} sets, and {section['name']} has "
            f"{' and '.join(there) or 'none'} only. Use pipelines/test/"
            f"{'near_ood' if group == 'farood' else 'far_ood'}.yml, or another benchmark."
        )


def data_sections(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (``train`` or ``nearood_<set>``, section) for every set of clips of a config."""
    for split in config["dataset"]["split_names"]:
        yield split, config["dataset"][split]
    ood = config.get("ood_dataset") or {}
    for group in ood.get("split_names") or ():
        part, kind = ood[group], {"dataset_class": ood["dataset_class"]}
        if group == LOADER_GROUPS[OOD_VAL]:
            yield FILE_GROUPS[OOD_VAL], {**kind, **part}
        else:
            for name in part["datasets"]:
                yield f"{group}_{name}", {**kind, **part[name]}


def _check_data(section: Mapping[str, Any]) -> None:
    DATASETS.get(section["dataset_class"])
    if section["dataset_class"] == "MultimodalClipDataset":
        bind(section["imglist_pth"], ClipRequest, where="imglist_pth", ignore=())


def _check_training(config: Mapping[str, Any]) -> None:
    check_config(config, ("trainer", "optimizer"))
    section = config["trainer"]
    trainer = TRAINERS.get(section["name"])
    if not hasattr(trainer, "Params"):  # not ours: what it takes is not declared
        return
    optimizer_params(config["optimizer"])
    training_options(config)
    params: Any = bind(section, trainer.Params, where="trainer", ignore=("name",))
    if getattr(trainer, "needs_auxiliary", False):
        auxiliary_section(config)
    if getattr(params, "discrepancy", None):
        DISCREPANCIES.get(params.discrepancy)
    if getattr(params, "synthesis", None):
        bind_call(params.synthesis_args, SYNTHESES.get(params.synthesis), where="trainer.synthesis_args")


def _check_network(section: Mapping[str, Any]) -> None:
    """Check the network's section; encoders of clips are checked without being built."""
    NETWORKS.get(section["name"])
    if section["name"] != "clip_fusion":
        return
    for modality in section["modalities"]:
        where = f"network.encoders.{modality}"
        if modality not in section["encoders"]:
            raise UserError(f"{where} is not set, and the row uses {modality}.")
        encoder, component, _ = bind_encoder(section["encoders"][modality], where)
        if component.modality != modality:
            raise UserError(f"{where}.name: {encoder.name} is an encoder of {component.modality}.")


def choose_scores(config: Mapping[str, Any]) -> list[Chosen]:
    """Return the scores that a test config asks for, not fitted yet.

    It reads ``postprocessors``, ``postprocessor_args``, ``engine``, ``preset``, ``fit_on`` and ``seed``; or OpenOOD's
    single section ``postprocessor``, with its ``postprocessor_args`` and ``postprocessor_sweep``.

    Raises:
        UserError: without any score, or for a value that none of these keys admits; see `postprocessors.run.choose`.
    """
    single = config.get("postprocessor") or {}
    names = config.get("postprocessors") or []
    names = list(dict.fromkeys(split_names(names))) if names else []
    arguments = dict(config.get("postprocessor_args") or {})
    sweeps = {}
    if single.get("name"):
        # the packaged test configs always have a list, so this section was asked for, unless the list was too
        asked = isinstance(config, Config) and config.source_of("postprocessors") == COMMAND_LINE
        if asked and single["name"] not in names:
            raise UserError(
                f"--postprocessors asks for {', '.join(names)}, and the section postprocessor for "
                f"{single['name']}; leave one of the two out."
            )
        names = names if asked else [single["name"]]
        if single.get("postprocessor_args"):
            arguments.setdefault(single["name"], single["postprocessor_args"])
        if single.get("postprocessor_sweep"):
            sweeps[single["name"]] = single["postprocessor_sweep"]
    check_fit_on(config.get("fit_on") or "train")
    return choose(
        names,
        config.get("engine") or NATIVE,
        config.get("preset") or "openood",
        arguments,
        sweeps=sweeps,
        seed=int(config.get("seed") or 0),
    )


def check_search(config: Mapping[str, Any], scores: Sequence[Chosen]) -> bool:
    """Return whether the key ``search`` asks for a search for parameters.

    Raises:
        UserError: for another value than ``validation``, a search on the rows that scores are fitted to, or scores that
            it doesn't cover.
    """
    search = config.get("search")
    if not search:
        return False
    if search != "validation":
        raise UserError(f"search is '{search}'; in a test config it is validation, or null.")
    if (config.get("fit_on") or "train") == "val":
        raise UserError(
            "search goes with fit_on: train: on val, parameters would be chosen on the rows fitted to."
        )
    if (config.get("postprocessor") or {}).get("APS_mode"):
        raise UserError("search and postprocessor.APS_mode are both on; leave one of the two out.")
    other = [each.asked for each in scores if not isinstance(each.score, Postprocessor)]
    if other:
        raise UserError(
            f"search covers native scores; for {', '.join(other)} use OpenOOD's search: a section postprocessor with "
            "its name and APS_mode: True."
        )
    if not any(each.score.args_dict for each in scores):
        raise UserError(f"search is on, and none of {', '.join(each.name for each in scores)} has a sweep.")
    return True
