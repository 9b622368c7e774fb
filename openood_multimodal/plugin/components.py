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
from ..naming import did_you_mean
from ..networks import build_network
from ..registry import DATASETS, EVALUATORS, PIPELINES, PREPROCESSORS, TRAINERS
from . import cpu, launching, names, preflight, training, version
from .calling import seeded
from .evaluation import EvaluationAPI
from .outputs import file_by_postprocessor
from .own import OPENOOD_POSTPROCESSORS
from .parallel import is_first_process, keep_in_step
from .recording import HostRecorder
from .seams import Found
from .several_inputs import accept_several_inputs
from .trained import TrainingRun

Original = Callable[..., Any]


class Components:
    """Handlers of OpenOOD's seams.

    Args:
        found: the seams.
        host: the OpenOOD at hand.
        use_cpu: the ``cpu`` of `register`, for spawned processes.
    """

    def __init__(self, found: Mapping[str, Found], host: version.OpenOODVersion, use_cpu: bool) -> None:
        self.found = found
        self.host = host
        self.use_cpu = use_cpu
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
        """OpenOOD's, with the data set classes that the config names within its reach.

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
        """OpenOOD's, with the data set classes that the config names within its reach."""
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
        name = _name(config, "preprocessor")
        return name if names.usable("get_preprocessor", name, self.taken) else None

    # --- network and training --------------------------------------------------------------------------------

    def get_network(self, original: Original, network_config: Any) -> Any:
        """Our network, one of OpenOOD's wrappers around ours, or OpenOOD's."""
        name = network_config.get("name") if isinstance(network_config, dict) else None
        wrapped = self._wrappers()
        if isinstance(name, str) and name in wrapped:
            net = wrapped[name](network_config)
        elif names.usable("get_network", name, self.taken):
            net = build_network(network_config)
        else:
            return original(network_config)
        return net.cuda() if (network_config.get("num_gpus") or 0) > 0 else net

    def _wrappers(self) -> Mapping[str, Callable[[Any], Any]]:
        from .wrappers import wrapped_networks

        return {n: make for n, make in wrapped_networks().items() if n not in self.taken["get_network"]}

    def get_trainer(
        self, original: Original, net: Any, train_loader: Any, val_loader: Any, config: Any
    ) -> Any:
        """Our trainer (before OpenOOD looks at the loader's type), or OpenOOD's."""
        name = _name(config, "trainer")
        if not names.usable("get_trainer", name, self.taken):
            trainer = original(net, train_loader, val_loader, config)
            _tell_epochs(trainer, train_loader)
            if names.usable("get_network", _name(config, "network"), self.taken):
                training.make_ready(trainer, str(name), net, int(config["dataset"]["num_classes"]))
        else:
            trainer = TRAINERS.get(name)(net, train_loader, config)
            keep_in_step(net, trainer.optimizer)
        if self.training is not None:
            self.training.trainer = trainer
        return trainer

    # --- evaluation ------------------------------------------------------------------------------------------

    def get_evaluator(self, original: Original, config: Any) -> Any:
        """Our evaluator, or OpenOOD's."""
        name = _name(config, "evaluator")
        ours = names.usable("get_evaluator", name, self.taken)
        evaluator = EVALUATORS.get(name)(config) if ours else original(config)
        postprocessor = _name(config, "postprocessor")
        if not ours and postprocessor and preflight.is_multimodal(config) and hasattr(evaluator, "_save_csv"):
            file_by_postprocessor(evaluator, str(postprocessor), str(_name(config, "dataset")))
        if self.recorder is not None:
            self.recorder.watch(evaluator)
        return evaluator

    def get_postprocessor(self, original: Original, config: Any) -> Any:
        """Our score as ``mm_<name>``, or OpenOOD's postprocessor, fit for several inputs where they are ours."""
        from .adapters import openood_postprocessors

        name = _name(config, "postprocessor")
        if isinstance(name, str) and name not in self.taken["get_postprocessor"]:
            ours = openood_postprocessors().get(name)
            if ours is not None:
                return ours(config)
        if not preflight.is_multimodal(config):
            own = name not in self.taken["get_postprocessor"] and name in OPENOOD_POSTPROCESSORS
            return self._openood_postprocessor(original, config, str(name)) if own else original(config)
        self.count_classes(config)
        seed = int(config.get("seed") or 0)
        with cpu.cuda_means_cpu(), seeded(seed):
            found = self._openood_postprocessor(original, config, str(name))
        cpu.spare_cuda(found, ("setup", "inference", "postprocess"))
        search = bool(_section(config, "postprocessor").get("APS_mode"))
        accept_several_inputs(found, str(name), seed, search)
        if search and not getattr(found, "args_dict", None):
            raise UserError(
                f"postprocessor.APS_mode is on, and OpenOOD's '{name}' has nothing to search; "
                "switch it off: --postprocessor.APS_mode False"
            )
        return found

    def _openood_postprocessor(self, original: Original, config: Any, name: str) -> Any:
        """Return OpenOOD's postprocessor, also one of those that its ``test_ood`` has no name for."""
        from .recipes import find_recipe

        recipe = find_recipe(name) if name not in self.taken["get_postprocessor"] else None
        if recipe is not None:
            import openood.postprocessors as theirs  # type: ignore[import-not-found,unused-ignore]

            if recipe.kind is not None:
                section = config["postprocessor"]
                for key, values in (
                    ("postprocessor_args", recipe.args),
                    ("postprocessor_sweep", recipe.sweep),
                ):
                    if values:
                        section[key] = type(section)({**values, **(dict.get(section, key) or {})})
            kind = recipe.kind or getattr(theirs, recipe.class_name, None)
            if kind is not None:
                return kind(config)
        return original(config)

    def count_classes(self, config: Any) -> None:
        """Enter the data set into OpenOOD's table of class counts."""
        counts = self.found["num_classes_dict"].value
        dataset = _section(config, "dataset")
        name, count = dataset.get("name"), dataset.get("num_classes")
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
        name = _name(config, "pipeline")
        ours = names.usable("get_pipeline", name, self.taken)
        if not ours:
            self._check_suitable(config)
        preflight.check(config, strict=self.strict, own_pipelines=sorted(own))
        preflight.fill(config)
        if not ours:
            self._check_names(config)
        print(f"openood-multimodal inside OpenOOD {self.host} ({self.host.root}).", end=" ")
        print(f"FPR@95 of OpenOOD's evaluators: {version.FPR_MEANINGS[self.host.fpr95]}.", flush=True)
        if ours:
            pipeline = PIPELINES.get(str(name))(Config(config))
        else:
            if name == "train" and is_first_process():
                self.training = TrainingRun(Config(config).to_dict())
            if name == "test_ood":
                self.recorder = HostRecorder(Config(config).to_dict(), self._note, self.host.fpr95)
            self._wrap_network(config)
            pipeline = original(config)
        pipeline.run = functools.partial(self._run, pipeline.run, Path(config["output_dir"]))
        return pipeline

    def _check_names(self, config: Any) -> None:
        """Refuse a component that neither OpenOOD nor this package has, before anything is loaded."""
        more = {"get_network": set(self._wrappers()), "get_postprocessor": self._more_postprocessors()}
        for section in ("preprocessor", "network", "trainer", "evaluator", "postprocessor"):
            key, name = f"get_{section}", _name(config, section)
            ours = names.KINDS[key].names() if key in names.KINDS else ()
            known = {*self.taken[key], *ours, *more.get(key, ())}
            if name is not None and name not in known:
                raise UserError(
                    f"{section}.name is '{name}', which neither this OpenOOD ({self.host}) nor this package "
                    f"has.{did_you_mean(name, known)}"
                )

    def _check_suitable(self, config: Any) -> None:
        """Refuse, before anything is loaded, one of OpenOOD's postprocessors that our networks can't serve."""
        from .recipes import RECIPES, UNSUITABLE, missing_in

        name, network = _name(config, "postprocessor"), _name(config, "network")
        if not names.usable("get_network", network, self.taken):
            return  # one of OpenOOD's networks, perhaps just the one that it asks for
        training.check_suitable(
            *(
                str(each)
                for each in (network, *(_name(config, s) for s in ("pipeline", "trainer", "evaluator")))
            )
        )
        if _trains(config):
            return
        import openood.postprocessors as theirs  # type: ignore[import-not-found,unused-ignore]

        recipe = RECIPES.get(str(name))
        kind = getattr(theirs, recipe.class_name, None) if recipe else None
        missing = missing_in(str(name), kind) if kind else ""
        reason = UNSUITABLE.get(str(name)) or missing or getattr(recipe, "no_network", "")
        if reason:
            remedy = " Use OpenOOD's main." if missing else ""
            if recipe and not missing:
                remedy = " Run it on stored embeddings: openood-mm run, engine: openood."
            raise UserError(f"OpenOOD's '{name}' can't run on the network '{network}': {reason}.{remedy}")

    def _more_postprocessors(self) -> set[str]:
        """Return the names of our scores, and of OpenOOD's that its ``test_ood`` can't name."""
        import openood.postprocessors as theirs  # type: ignore[import-not-found,unused-ignore]

        from .adapters import openood_postprocessors
        from .recipes import RECIPES

        named = (name for name, recipe in RECIPES.items() if hasattr(theirs, recipe.class_name))
        return {*openood_postprocessors(), *OPENOOD_POSTPROCESSORS.names(), *named}

    def _run(self, run: Callable[[], Any], folder: Path) -> Any:
        result = run()
        if folder.is_dir():
            version.write_host(folder, self.host)
        if self.training is not None:
            self.training.finish(folder)
        if self.recorder is not None:
            self.recorder.finish(folder)
        from ..files.folders import writing_together
        from ..reporting.records import ResultRecord

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
        from .recipes import RECIPES
        from .wrappers import INJECTED

        network = _section(config, "network")
        name = str(_name(config, "postprocessor"))
        if name not in RECIPES or not names.usable("get_network", network.get("name"), self.taken):
            return
        wrapper = RECIPES[name].wrapper
        around = next((key for key, value in INJECTED.items() if value == wrapper), None)
        more: dict[str, Any] = {}
        if wrapper == "dropout":
            around, more = "dropout_net", {"dropout_p": dict(_args(config)).get("dropout_p", 0.5)}
        if around is None:
            return
        shared = {key: network[key] for key in ("num_classes", "num_gpus") if key in network}
        config["network"] = type(config)(
            {"name": around, **shared, **more, "pretrained": False, "checkpoint": "", "backbone": network}
        )

    def launch(self, original: Original, *args: Any, **kwargs: Any) -> Any:
        """OpenOOD's, whose spawned processes register first."""
        return launching.launch(original, self.host.root, self.use_cpu, *args, **kwargs)


def _misses_loudly() -> bool:
    """Whether OpenOOD's Config raises for a missing key (v1.5) or answers None (main)."""
    from openood.utils import Config as TheirConfig  # type: ignore[import-not-found,unused-ignore]

    try:
        return TheirConfig().openood_multimodal is not None
    except (KeyError, AttributeError):
        return True


def _section(config: Any, name: str) -> Mapping[str, Any]:
    section = dict.get(config, name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def _name(config: Any, section: str) -> Any:
    return _section(config, section).get("name")


def _trains(config: Any) -> bool | None:
    """Whether the config's pipeline trains; None where it names none."""
    name = _name(config, "pipeline")
    return None if name is None else str(name).startswith(training.TRAINING)


def _args(config: Any) -> Mapping[str, Any]:
    args = _section(config, "postprocessor").get("postprocessor_args")
    return args if isinstance(args, dict) else {}


def _tell_epochs(trainer: Any, loader: Any) -> None:
    """Let a data set of ours know the epoch, which OpenOOD's trainers don't tell: its augmentation depends on it."""
    set_epoch = getattr(getattr(loader, "dataset", None), "set_epoch", None)
    train_epoch = getattr(trainer, "train_epoch", None)
    if set_epoch is None or train_epoch is None:
        return

    def told(epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        set_epoch(epoch_idx)
        return train_epoch(epoch_idx, *args, **kwargs)

    trainer.train_epoch = told
