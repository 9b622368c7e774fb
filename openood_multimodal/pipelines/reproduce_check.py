"""Everything that a row's configs name, checked before a training that takes days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..config import bind
from ..datasets.clips import ClipRequest
from ..errors import UserError
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
from ..vocabulary import FILE_GROUPS, LOADER_GROUPS, OOD_VAL
from .checks import check_config, check_trained
from .options import TestOptions
from .reproduce import ReproduceJob


def check_job(job: ReproduceJob) -> None:
    """Check a job's configs without looking at data or weights: names, parameters, types.

    Raises:
        UserError: naming the key.
    """
    training, test = job.configs()
    check_config(training, ("dataset", "network", "trainer", "optimizer", "evaluator", "preprocessor"))
    check_config(test, ("dataset", "ood_dataset", "network", "evaluator", "preprocessor"))
    for config in (training, test):
        PIPELINES.get(config["pipeline"]["name"])
        EVALUATORS.get(config["evaluator"]["name"])
        _check_network(config["network"])
        for split in ("train", "test"):
            PREPROCESSORS.get(config["preprocessor"]["name"])(config, split)
        for _, data in data_sections(config):
            _check_data(data)
    _check_trainer(training["trainer"])
    optimizer_params(training["optimizer"])
    training_options(training)
    check_trained(test["network"])
    TestOptions.from_config(test).build_postprocessors()


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


def _check_trainer(section: Mapping[str, Any]) -> None:
    params: Any = bind(section, TRAINERS.get(section["name"]).Params, where="trainer", ignore=("name",))
    if getattr(params, "discrepancy", None):
        DISCREPANCIES.get(params.discrepancy)
    if getattr(params, "synthesis", None):
        SYNTHESES.get(params.synthesis)


def _check_network(section: Mapping[str, Any]) -> None:
    """Check the network's section; encoders of clips are checked without being built."""
    NETWORKS.get(section["name"])
    if section["name"] != "clip_fusion":
        return
    from ..networks.clips.fusion import bind_encoder

    for modality in section["modalities"]:
        where = f"network.encoders.{modality}"
        if modality not in section["encoders"]:
            raise UserError(f"{where} is not set, and the row uses {modality}.")
        encoder, component, _ = bind_encoder(section["encoders"][modality], where)
        if component.modality != modality:
            raise UserError(f"{where}.name: {encoder.name} is an encoder of {component.modality}.")
