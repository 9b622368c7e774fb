"""What can be wrong with a multimodal config inside OpenOOD, checked before anything runs.

OpenOOD's Config answers None for a missing key on main, so that its pipelines stumble over it late: after
training, or after the near-OOD sets were scored.  Image configs are not looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..config import Config
from ..datasets.loaders import build_loaders, default_workers
from ..errors import UserError
from ..making.frame_card import described, frames_of
from ..naming import did_you_mean
from ..networks.build import bare_network
from ..pipelines.card import card_path, check_auxiliary, check_same_data
from ..pipelines.checks import check_trained
from ..registry import DATASETS, EVALUATORS, NETWORKS, PIPELINES, PREPROCESSORS, TRAINERS
from ..scoring.conditions import CLEAN
from ..vocabulary import EVALUATOR_GROUPS, ID_SETS, TEST_GROUPS
from .names import at
from .several_inputs import BELOW_WIDTH
from .surroundings import undisturbed
from .trained import trained_on

LAUNCH_KEYS = ("exp_name", "output_dir", "num_gpus", "num_machines", "machine_rank", "pipeline.name")
"""Keys that OpenOOD's main.py reads itself."""
_DATA_KEYS = tuple(
    f"dataset.{key}"
    for key in ("name", "num_classes", "num_workers", "num_gpus", "num_machines", "split_names")
)
_OOD_KEYS = tuple(
    f"ood_dataset.{key}"
    for key in ("name", "num_classes", "num_workers", "dataset_class", "batch_size", "split_names")
)
_COMMON = (
    *("preprocessor.name", "network.name", "network.num_classes", "evaluator.name", "save_output"),
    *_DATA_KEYS,
)
PIPELINE_KEYS: Mapping[str, tuple[str, ...]] = {
    "train": (*_COMMON, "seed", "trainer.name", "optimizer.num_epochs", "recorder.name"),
    "test_ood": (*_COMMON, "evaluator.ood_scheme", "postprocessor.name", "recorder", *_OOD_KEYS),
    "test_acc": (*_COMMON, "postprocessor.name"),
}
"""Pipeline of OpenOOD's → keys that it needs."""
_STRICT: Mapping[str, tuple[str, ...]] = {
    "train": ("merge_option", "network.pretrained", "network.num_gpus", "recorder.save_all_models"),
    "test_ood": ("merge_option", "network.pretrained", "network.num_gpus", "ood_dataset.shuffle"),
}
"""Keys that may be missing on main, and may not at v1.5."""
_REMEDIES = {
    "preprocessor.name": "write preprocessor: {name: multimodal_base}, in a file of yours after OpenOOD's",
    "seed": "write seed: 0",
    "recorder": "write recorder: {save_scores: True, save_csv: True}",
    "recorder.name": "write recorder: {name: base}",
    "evaluator.ood_scheme": "write evaluator: {ood_scheme: ood}",
    "postprocessor.name": "add one of OpenOOD's configs/postprocessors/*.yml after --config",
    "ood_dataset.name": "add the benchmark's second file, <dataset>_ood.yml, after --config",
    "merge_option": "write merge_option: merge",
}


def is_multimodal(config: Mapping[str, Any]) -> bool:
    """Whether a config names a dataset, network, trainer, evaluator, pipeline or preprocessor of ours."""
    named = (
        (DATASETS, dataset_classes(config)),
        (NETWORKS, [at(config, "network.name"), at(config, "network.backbone.name")]),
        (TRAINERS, [at(config, "trainer.name")]),
        (EVALUATORS, [at(config, "evaluator.name")]),
        (PREPROCESSORS, [at(config, "preprocessor.name")]),
    )
    if any(isinstance(name, str) and name in registry for registry, names in named for name in names):
        return True
    if at(config, "dataset.frames") is not None:  # images of our clips
        return True
    pipeline = at(config, "pipeline.name")
    return isinstance(pipeline, str) and pipeline.startswith("multimodal_") and pipeline in PIPELINES


def dataset_classes(config: Mapping[str, Any]) -> list[str]:
    """Return the names of all dataset classes in a config."""
    sections = [at(config, "ood_dataset")]
    dataset = at(config, "dataset")
    sections += list(dataset.values()) if isinstance(dataset, Mapping) else []
    found = (part.get("dataset_class") for part in sections if isinstance(part, Mapping))
    return [name for name in found if isinstance(name, str)]


def check(config: Mapping[str, Any], strict: bool = False, own_pipelines: Iterable[str] = ()) -> None:
    """Check a multimodal config for what OpenOOD would stumble over late.

    Args:
        config: OpenOOD's, resolved.
        strict: whether a missing key is an error in OpenOOD's Config, as at v1.5.
        own_pipelines: OpenOOD's pipelines, for the message about a name that is neither its nor ours.

    Raises:
        UserError: naming the key and the remedy.
    """
    config = Config(config) if not isinstance(config, Config) else config
    _check_sections(config)
    pipeline = str(config.get("pipeline.name"))
    known = [*own_pipelines, *(name for name in PIPELINES if name.startswith("multimodal_"))]
    if own_pipelines and pipeline not in (*own_pipelines, *PIPELINES):
        raise UserError(f"pipeline.name is '{pipeline}'.{did_you_mean(pipeline, known)}")
    processes = int(config.get("num_gpus") or 0) * int(config.get("num_machines") or 1)
    if pipeline not in own_pipelines and pipeline in PIPELINES:
        if processes > 1:
            raise UserError(
                f"the pipeline {pipeline} runs in one process, and num_gpus x num_machines is {processes}; "
                "set --num_gpus 1, or use OpenOOD's own --pipeline.name train."
            )
        return  # it checks its own config
    _require(config, PIPELINE_KEYS.get(pipeline, _COMMON), pipeline)
    _check_preprocessor(config)
    if strict:
        _require(config, _STRICT.get(pipeline, ()), pipeline)
        if pipeline == "test_ood" and config["evaluator.name"] in ("ood", "fsood"):
            _require(
                config, ("postprocessor.APS_mode", "recorder.save_csv", "recorder.save_scores"), pipeline
            )
    _check_splits(config, pipeline, strict)
    _check_output(config)
    if pipeline == "train" and not config["save_output"]:
        raise UserError(
            "save_output is False, and OpenOOD's train writes checkpoints; set save_output: True."
        )
    if pipeline == "test_ood":
        _check_test(config)


def fill(config: Any) -> None:
    """Set the number of workers where a multimodal config leaves it open: OpenOOD's loaders want one."""
    sections = [
        each for each in (config.get("dataset"), config.get("ood_dataset")) if isinstance(each, Mapping)
    ]
    lacking = [each for each in sections if isinstance(each, dict) and each.get("num_workers", 0) is None]
    if lacking:
        workers = default_workers(config)
        for section in lacking:
            section["num_workers"] = workers


def _check_sections(config: Config) -> None:
    for name in ("preprocessor", "network", "pipeline", "trainer", "evaluator", "optimizer", "dataset"):
        value = config.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise UserError(
                f"{name} is {value!r}, and OpenOOD reads {name}.name; some file sets it to a single value. "
                f"Put a file that has {name}: {{name: ...}} after it."
            )


_PREPROCESSORS = {
    "MultimodalTabularDataset": "multimodal_base",
    "MultimodalClipDataset": "multimodal_clip",
}


def _check_preprocessor(config: Config) -> None:
    """Refuse a preprocessor of OpenOOD's, for images, on tables and clips: its pipelines' configs may bring one."""
    name = config["preprocessor.name"]
    for kind in dataset_classes(config):
        if kind in _PREPROCESSORS and name not in PREPROCESSORS:
            raise UserError(
                f"preprocessor.name is '{name}', which is for images, and the dataset_class is {kind}: put the "
                f"dataset's file after OpenOOD's in --config, or add --preprocessor.name {_PREPROCESSORS[kind]}."
            )


def _require(config: Config, keys: Iterable[str], pipeline: str) -> None:
    for key in keys:
        if config.get(key) is None and not (key.endswith(".num_workers") and key in config):  # see `fill`
            raise UserError(
                f"{key} is not set, and OpenOOD's pipeline '{pipeline}' reads it; "
                f"{_REMEDIES.get(key, 'set it in a file after --config')}."
            )


def _check_splits(config: Config, pipeline: str, strict: bool) -> None:
    needed = {"train": ID_SETS, "test_ood": ("test",), "test_acc": ("test",)}.get(pipeline, ())
    splits = list(config["dataset.split_names"])
    for split in needed:
        if split not in splits:
            raise UserError(
                f"dataset.split_names is {splits}; OpenOOD's pipeline '{pipeline}' needs '{split}'."
            )
    more = ("imglist_pth", "data_dir", "shuffle") if strict else ("imglist_pth",)
    for split in splits:
        _require(
            config, [f"dataset.{split}.{key}" for key in ("dataset_class", "batch_size", *more)], pipeline
        )


def _check_output(config: Config) -> None:
    if not config["save_output"] or not os.path.isdir(str(config["output_dir"])):
        return
    option = config.get("merge_option")
    where = f"{config['output_dir']} exists already, and merge_option is {option!r}"
    if option == "default" and not (sys.stdin and sys.stdin.isatty()):
        raise UserError(
            f"{where}: OpenOOD would ask on a terminal, and there is none. Set --merge_option merge."
        )
    if option == "pass":
        raise UserError(f"{where}, which makes OpenOOD fail. Set --merge_option merge.")


def _check_test(config: Config) -> None:
    splits = list(config["ood_dataset.split_names"])
    for split in splits:
        names = ["ood_dataset.val"] if split == "val" else [f"ood_dataset.{split}.datasets"]
        _require(config, names, "test_ood")
        for name in () if split == "val" else config[names[0]]:
            _require(config, [f"ood_dataset.{split}.{name}"], "test_ood")
    evaluator = config["evaluator.name"]
    if evaluator in ("ood", "fsood", "osr"):
        missing = [group for group in TEST_GROUPS if not _sets(config, group)]
        if missing:
            ours = "far_ood" if missing == ["nearood"] else "near_ood"
            raise UserError(
                f"OpenOOD's evaluator '{evaluator}' needs nearood and farood, and ood_dataset has no "
                f"{' and no '.join(missing)}; set --evaluator.name {ours}."
            )
    elif evaluator in EVALUATOR_GROUPS:
        group = evaluator.replace("_", "")
        if not _sets(config, group):
            raise UserError(
                f"the evaluator '{evaluator}' needs ood_dataset.{group}, and the benchmark has "
                f"{', '.join(splits)} only."
            )
    condition = config.get("condition.name")
    if condition not in (None, "", CLEAN):
        raise UserError(
            f"condition.name is '{condition}', and OpenOOD's test_ood tests samples as they are; set --pipeline.name "
            "multimodal_test."
        )
    if config["evaluator.ood_scheme"] == "fsood" and not _sets(config, "csid"):
        raise UserError("evaluator.ood_scheme is fsood, and ood_dataset has no csid sets; set it to ood.")
    _check_search(config, splits)
    name = config["network.name"]
    if name in NETWORKS:
        check_trained(config["network"])
    if name in NETWORKS or config.get("dataset.frames"):
        _check_clips(config)
    _check_dim(config)


def _check_clips(config: Config) -> None:
    """Refuse a checkpoint of ours on clips that it may have been trained on; say where nothing can be checked."""
    checkpoint = config.get("network.checkpoint")
    splits = config["dataset.split_names"]
    classes = {config[f"dataset.{split}.dataset_class"] for split in splits}
    frames = frames_of(config)
    if not isinstance(checkpoint, str) or not Path(checkpoint).is_file():
        return
    if frames is None and not classes <= set(DATASETS.names()):
        return
    try:
        card, why = trained_on(checkpoint), ""
    except UserError as error:
        if card_path(checkpoint).is_file():
            raise
        card, why = None, f" (of its config.yml: {error})"
    if card is None:
        print(
            f"Note: {checkpoint} has no card (training writes one), so nothing can check on which clips it was "
            f"trained{why}: give the partition, seed and modalities of its training.",
            flush=True,
        )
        return
    if frames is None:
        loaders: Mapping[str, Any] = build_loaders({"dataset": config["dataset"]}, training=False)
    else:
        sets = {name: described(None, config[f"dataset.{name}"], frames) for name in splits}
        loaders = {name: SimpleNamespace(dataset=each) for name, each in sets.items() if each is not None}
    check_same_data(card, loaders, checkpoint)
    if frames is None:
        check_auxiliary(card, config, checkpoint)


def _sets(config: Config, group: str) -> Any:
    return group in config["ood_dataset.split_names"] and config.get(f"ood_dataset.{group}.datasets")


def _check_search(config: Config, splits: list[str]) -> None:
    if not config.get("postprocessor.APS_mode"):
        return
    off = "or switch it off: --postprocessor.APS_mode False"
    if "val" not in splits:
        raise UserError(
            "postprocessor.APS_mode is on, and ood_dataset.split_names has no 'val': OpenOOD searches "
            f"parameters on a validation OOD set, which this benchmark lacks. Add one, {off}."
        )
    if "val" not in config["dataset.split_names"]:
        raise UserError(f"postprocessor.APS_mode is on, and dataset.split_names has no 'val'. Add it, {off}.")
    name = str(config["postprocessor.name"])
    if not name.startswith("mm_") and not config.get("postprocessor.postprocessor_sweep"):
        raise UserError(
            f"postprocessor.APS_mode is on, and {name} has no postprocessor_sweep to search. Add one, {off}."
        )


def _check_dim(config: Config) -> None:
    """Check ViM's and Residual's dimension against the embedding's width, of a network without memory."""
    name = str(config["postprocessor.name"])
    if name.removeprefix("mm_") not in BELOW_WIDTH:
        return
    section = config["network"]
    while "backbone" in section and section["name"] not in NETWORKS:
        section = section["backbone"]
    if section["name"] in NETWORKS:
        check_width(name, _dims(config), _width(section))


def _dims(config: Config) -> Iterator[tuple[str, Any]]:
    given = config.get("postprocessor.postprocessor_args.dim")
    if given is not None:
        yield "postprocessor_args.dim", given
    sweep = config.get("postprocessor.postprocessor_sweep.dim_list") or ()
    if config.get("postprocessor.APS_mode") and sweep:  # larger ones are left out of the search
        yield "postprocessor_sweep.dim_list", min(sweep)


def check_width(name: str, dims: Iterable[tuple[str, Any]], width: int | None) -> None:
    """Refuse a subspace as large as the space.

    Raises:
        UserError: naming the key.
    """
    for key, dim in dims:
        if width is not None and not (isinstance(dim, int) and 0 < dim < width):
            raise UserError(
                f"postprocessor.{key} is {dim}, and the network's embedding has {width} columns: {name} needs "
                f"a whole number from 1 to {width - 1}, or nothing is left to score "
                "(--postprocessor.postprocessor_args.dim)."
            )


def _width(section: Mapping[str, Any]) -> int | None:
    # really built: on the meta device, mmaction's backbones can't be; the checkpoint and other weights aren't read
    with undisturbed():
        net = bare_network({**section, "pretrained": False})
    width = getattr(net, "feature_size", None)
    return width if isinstance(width, int) else None
