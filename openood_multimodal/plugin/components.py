"""What a registered OpenOOD does at each rebound seam: ours where a name is ours, else what it always did.

A method of `Components` is the handler of the seam of the same name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import UserError
from ..files.folders import writing_together
from ..networks import build_network
from ..registry import DATASETS, EVALUATORS, PIPELINES, PREPROCESSORS
from ..reporting.records import ResultRecord
from ..trainers.build import build_trainer
from . import preflight, training
from .evaluation import EvaluationAPI
from .host import openood_module
from .launching import launch
from .names import at, check_names, check_suitable, network_wrappers, usable
from .native import openood_postprocessors
from .recipes import OPENOOD_POSTPROCESSORS, RECIPES, find_recipe, openood_defaults
from .recording import HostRecorder, file_by_postprocessor
from .seams import Found
from .several_inputs import accept_several_inputs
from .surroundings import cuda_means_cpu, seeded, spare_cuda
from .trained import TrainingRun
from .version import FPR_MEANINGS, OpenOODVersion, write_host
from .wrappers import INJECTED

Original = Callable[..., Any]


class Components:
    """Handlers of OpenOOD's seams.

    Args:
        found: the seams.
        host: the OpenOOD at hand.
        register: called in processes that OpenOOD spawns, before anything else there.
    """

    def __init__(
        self, found: Mapping[str, Found], host: OpenOODVersion, register: Callable[[], None]
    ) -> None:
        self.found = found
        self.host = host
        self.register = register
        self.taken = {key: each.names for key, each in found.items() if each.seam.picks}
        self.injected: list[str] = []
        self.added_counts: list[str] = []
        self.training: TrainingRun | None = None
        self.recorder: HostRecorder | None = None
        self.strict = _misses_loudly()
        self.evaluation = EvaluationAPI(self)

    @property
    def _note(self) -> str:
        return f"run inside OpenOOD {self.host}"

    # --- data ------------------------------------------------------------------------------------------------

    def get_dataloader(self, original: Original, config: Any) -> Any:
        """OpenOOD's, with the dataset classes that the config names within its reach.

        Tests read in the manifest's order, as in our own host: some postprocessors' results depend on it.
        """
        self._provide_datasets(config)
        if self.training is not None and _trains(config):
            self.training.loaders = original(config)
            return self.training.loaders
        if not preflight.is_multimodal(config) or _trains(config) is not False:
            return original(config)
        dataset = config["dataset"]
        shuffled = [name for name in dataset["split_names"] if dict.get(dataset[name], "shuffle")]
        for name in shuffled:
            dataset[name]["shuffle"] = False
        try:
            return original(config)
        finally:
            for name in shuffled:
                dataset[name]["shuffle"] = True

    def get_ood_dataloader(self, original: Original, config: Any) -> Any:
        """OpenOOD's, with the dataset classes that the config names within its reach."""
        self._provide_datasets(config)
        return original(config)

    def _provide_datasets(self, config: Any) -> None:
        preflight.fill(config)
        reach = vars(self.found["get_dataloader"].module)
        for name in preflight.dataset_classes(config):
            if name not in reach and name in DATASETS:
                reach[name] = DATASETS.get(name)
                self.injected.append(name)

    def test_preprocessor(self, openood_class: type, config: Any) -> Any:
        """OpenOOD's image transforms; nothing where the config's preprocessor is ours."""
        return None if self._preprocessor_name(config) else openood_class(config)

    def get_preprocessor(self, original: Original, config: Any, split: Any) -> Any:
        """Our preprocessor, or OpenOOD's; ours augment in training pipelines only, as in our own host."""
        name = self._preprocessor_name(config)
        if name is None:
            return original(config, split)
        return PREPROCESSORS.get(name)(config, split if _trains(config) else "test")

    def _preprocessor_name(self, config: Any) -> str | None:
        name = at(config, "preprocessor.name")
        return name if usable("get_preprocessor", name, self.taken) else None

    # --- network and training --------------------------------------------------------------------------------

    def get_network(self, original: Original, network_config: Any) -> Any:
        """Our network, one of OpenOOD's wrappers around ours, or OpenOOD's."""
        name = network_config.get("name") if isinstance(network_config, dict) else None
        wrapped = network_wrappers(self.taken)
        if isinstance(name, str) and name in wrapped:
            net = wrapped[name](network_config)
        elif usable("get_network", name, self.taken):
            net = build_network(network_config)
        else:
            return original(network_config)
        return net.cuda() if (network_config.get("num_gpus") or 0) > 0 else net

    def get_trainer(
        self, original: Original, net: Any, train_loader: Any, val_loader: Any, config: Any
    ) -> Any:
        """Our trainer (before OpenOOD looks at the loader's type), or OpenOOD's."""
        name = at(config, "trainer.name")
        if not usable("get_trainer", name, self.taken):
            trainer = original(net, train_loader, val_loader, config)
            _tell_epochs(trainer, train_loader)
            if usable("get_network", at(config, "network.name"), self.taken):
                training.make_ready(trainer, str(name), net, int(config["dataset"]["num_classes"]))
        else:
            trainer = build_trainer(net, train_loader, config)
            training.keep_in_step(net, trainer.optimizer)
        if self.training is not None:
            self.training.trainer = trainer
        return trainer

    # --- evaluation ------------------------------------------------------------------------------------------

    def get_evaluator(self, original: Original, config: Any) -> Any:
        """Our evaluator, or OpenOOD's."""
        name = at(config, "evaluator.name")
        ours = usable("get_evaluator", name, self.taken)
        evaluator = EVALUATORS.get(name)(config) if ours else original(config)
        postprocessor = at(config, "postprocessor.name")
        if not ours and postprocessor and preflight.is_multimodal(config) and hasattr(evaluator, "_save_csv"):
            file_by_postprocessor(evaluator, str(postprocessor), str(at(config, "dataset.name")))
        if self.recorder is not None:
            self.recorder.watch(evaluator)
        return evaluator

    def get_postprocessor(self, original: Original, config: Any) -> Any:
        """Our score as ``mm_<name>``, or OpenOOD's postprocessor, fit for several inputs where they are ours."""
        name = at(config, "postprocessor.name")
        if isinstance(name, str) and name not in self.taken["get_postprocessor"]:
            ours = openood_postprocessors().get(name)
            if ours is not None:
                return ours(config)
        if not preflight.is_multimodal(config):
            own = name not in self.taken["get_postprocessor"] and name in OPENOOD_POSTPROCESSORS
            return self._openood_postprocessor(original, config, str(name)) if own else original(config)
        self.count_classes(config)
        seed = int(config.get("seed") or 0)
        with cuda_means_cpu(), seeded(seed):
            found = self._openood_postprocessor(original, config, str(name))
        spare_cuda(found, ("setup", "inference", "postprocess"))
        search = bool(at(config, "postprocessor.APS_mode"))
        accept_several_inputs(found, str(name), seed, search)
        if search and not getattr(found, "args_dict", None):
            raise UserError(
                f"postprocessor.APS_mode is on, and OpenOOD's '{name}' has nothing to search; "
                "switch it off: --postprocessor.APS_mode False"
            )
        return found

    def _openood_postprocessor(self, original: Original, config: Any, name: str) -> Any:
        """Return OpenOOD's postprocessor, also one of those that its ``test_ood`` has no name for."""
        recipe = find_recipe(name) if name not in self.taken["get_postprocessor"] else None
        if recipe is not None and recipe.kind is not None:
            section, keys = config["postprocessor"], ("postprocessor_args", "postprocessor_sweep")
            for key, values in zip(keys, openood_defaults(name), strict=True):
                if values:
                    section[key] = type(section)({**values, **(dict.get(section, key) or {})})
            return recipe.kind(config)
        kind = getattr(openood_module("postprocessors"), recipe.class_name, None) if recipe else None
        if kind is not None:
            return kind(config)
        return original(config)

    def count_classes(self, config: Any) -> None:
        """Enter the dataset into OpenOOD's table of class counts."""
        counts = self.found["num_classes_dict"].value
        name, count = at(config, "dataset.name"), at(config, "dataset.num_classes")
        if isinstance(name, str) and isinstance(count, int):
            if name not in counts:
                self.added_counts.append(name)
            if name in self.added_counts:
                counts[name] = count

    # --- the run ---------------------------------------------------------------------------------------------

    def get_pipeline(self, original: Original, config: Any) -> Any:
        """Our pipeline or OpenOOD's, after a look at the config; which OpenOOD it is goes with the results."""
        self.training = self.recorder = None
        if not preflight.is_multimodal(config):
            return original(config)
        own = self.taken["get_pipeline"]
        name = at(config, "pipeline.name")
        ours = usable("get_pipeline", name, self.taken)
        if not ours:
            check_suitable(config, self.taken)
        preflight.check(config, strict=self.strict, own_pipelines=sorted(own))
        preflight.fill(config)
        if not ours:
            check_names(config, self.taken, self.host)
        print(f"openood-multimodal inside OpenOOD {self.host} ({self.host.root}).", end=" ")
        print(f"FPR@95 of OpenOOD's evaluators: {FPR_MEANINGS[self.host.fpr95]}.", flush=True)
        if ours:
            pipeline = PIPELINES.get(str(name))(Config(config))
        else:
            if name == "train" and training.is_first_process():
                self.training = TrainingRun(Config(config).to_dict())
            if name == "test_ood":
                self.recorder = HostRecorder(Config(config).to_dict(), self._note, self.host.fpr95)
            self._wrap_network(config)
            pipeline = original(config)
        pipeline.run = functools.partial(self._run, pipeline.run, Path(config["output_dir"]))
        return pipeline

    def _run(self, run: Callable[[], Any], folder: Path) -> Any:
        result = run()
        if folder.is_dir():
            write_host(folder, self.host)
        if self.training is not None:
            self.training.finish(folder)
        if self.recorder is not None:
            self.recorder.finish(folder)
        records = (
            [each for each in result if isinstance(each, ResultRecord)] if isinstance(result, list) else []
        )
        if not records:
            return result
        noted = [replace(record, notes=[*record.notes, self._note]) for record in records]
        with writing_together(folder) as stage:
            for record in noted:
                record.write(stage.path / "records")
        return noted

    def _wrap_network(self, config: Any) -> None:
        """Put OpenOOD's wrapper around our network where the postprocessor is nothing without it (ASH, SCALE).

        Without it ASH would take its percentile for a clipping threshold and score energies.
        """
        network = config["network"]
        name = str(at(config, "postprocessor.name"))
        if name not in RECIPES or not usable("get_network", network.get("name"), self.taken):
            return
        wrapper = RECIPES[name].wrapper
        around = next((key for key, value in INJECTED.items() if value == wrapper), None)
        more: dict[str, Any] = {}
        if wrapper == "dropout":
            around, more = (
                "dropout_net",
                {"dropout_p": at(config, "postprocessor.postprocessor_args.dropout_p") or 0.5},
            )
        if around is None:
            return
        shared = {key: network[key] for key in ("num_classes", "num_gpus") if key in network}
        config["network"] = type(config)(
            {"name": around, **shared, **more, "pretrained": False, "checkpoint": "", "backbone": network}
        )

    def launch(self, original: Original, *args: Any, **kwargs: Any) -> Any:
        """OpenOOD's, whose spawned processes register first."""
        return launch(original, self.register, *args, **kwargs)


def _misses_loudly() -> bool:
    """Whether OpenOOD's Config raises for a missing key (v1.5) or answers None (main)."""
    try:
        return openood_module("utils").Config().openood_multimodal is not None
    except (KeyError, AttributeError):
        return True


def _trains(config: Any) -> bool | None:
    """Whether the config's pipeline trains; None where it names none."""
    name = at(config, "pipeline.name")
    return None if name is None else str(name).startswith(training.TRAINING)


def _tell_epochs(trainer: Any, loader: Any) -> None:
    """Let a dataset of ours know the epoch, which OpenOOD's trainers don't tell: its augmentation depends on it."""
    set_epoch = getattr(getattr(loader, "dataset", None), "set_epoch", None)
    train_epoch = getattr(trainer, "train_epoch", None)
    if set_epoch is None or train_epoch is None:
        return

    def told(epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        set_epoch(epoch_idx)
        return train_epoch(epoch_idx, *args, **kwargs)

    trainer.train_epoch = told
