"""OpenOOD's ``evaluation_api`` on our benchmarks: ``Evaluator(net, id_name="htad_4_3", postprocessor_name="knn")``.

The class stays OpenOOD's.  What it would download, and its image datasets, are our loaders instead, where ``id_name``
is a benchmark of ours; a group of OOD sets that a benchmark lacks is left out of the table.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader

from ..config import Config
from ..datasets.loaders import build_loaders, build_ood_loaders
from ..errors import UserError
from ..vocabulary import LOADER_GROUPS, SETTING_OF
from .benchmarks import benchmark_of, benchmarks
from .native import PREFIX, openood_postprocessors
from .rebind import rebind
from .recipes import RECIPES, UNSUITABLE, openood_defaults
from .seams import Seam, check_seams
from .several_inputs import name_of, settle
from .surroundings import cuda_means_cpu, seeded
from .wrappers import wrap

if TYPE_CHECKING:
    from .components import Components

MODULE = "openood.evaluation_api"
_EVALUATOR = f"{MODULE}.evaluator"
_ARGUMENTS = (
    *("self", "net", "id_name", "data_root", "config_root", "preprocessor", "postprocessor_name"),
    *("postprocessor", "batch_size", "shuffle", "num_workers"),
)
SEAMS = (
    Seam(
        "data_setup",
        f"{MODULE}.datasets",
        "data_setup",
        "downloads nothing for ours",
        parameters=("data_root", "id_data_name"),
    ),
    Seam(
        "get_id_ood_dataloader",
        f"{MODULE}.datasets",
        "get_id_ood_dataloader",
        "id_name → our loaders",
        parameters=("id_name", "data_root", "preprocessor", "loader_kwargs"),
    ),
    Seam(
        "evaluation_postprocessor",
        f"{MODULE}.postprocessor",
        "get_postprocessor",
        "mm_<name>; searches only where there is an OOD validation set",
        parameters=("config_root", "postprocessor_name", "id_data_name"),
    ),
    Seam(
        "evaluator_init",
        _EVALUATOR,
        "Evaluator.__init__",
        "seeds, evaluation mode, wrapper networks",
        parameters=_ARGUMENTS,
        mentions=("data_setup", "get_id_ood_dataloader", "get_postprocessor", "DATA_INFO"),
    ),
    Seam(
        "evaluator_eval_ood",
        _EVALUATOR,
        "Evaluator.eval_ood",
        "leaves groups out that a benchmark lacks",
        parameters=("self", "fsood", "progress"),
        mentions=("_eval_ood", "metrics"),
    ),
    Seam(
        "evaluator_group",
        _EVALUATOR,
        "Evaluator._eval_ood",
        "a group without sets",
        parameters=("self", "id_list", "ood_split", "progress"),
        mentions=("dataloader_dict",),
    ),
    Seam("data_info", f"{MODULE}.datasets", "DATA_INFO", "knows our names", kind=dict, rebound=False),
)


class EvaluationAPI:
    """Handlers of the seams in ``openood.evaluation_api``; one of the same name as its key.

    Args:
        components: those of the registration.
    """

    def __init__(self, components: Components) -> None:
        self.components = components
        self.added: list[str] = []
        self._info: dict[str, Any] = {}
        self._config: Config | None = None  # of the Evaluator that is being made

    def install(self) -> None:
        """Rebind the seams; a warning where this OpenOOD's API is another one, which then knows its own datasets."""
        try:
            found = check_seams(str(self.components.host), SEAMS)
        except UserError as error:
            warnings.warn(
                f"{MODULE} stays as it is, and doesn't know this package's benchmarks: {error}", stacklevel=2
            )
            return
        self._info = found["data_info"].value
        for name in benchmarks():
            self._announce(name)
        for key, each in found.items():
            if each.seam.rebound:
                rebind(key, each.value, getattr(self, key))

    def uninstall(self) -> None:
        """Take our names out of OpenOOD's table; the functions are put back by `rebind.restore_all`."""
        for name in self.added:
            self._info.pop(name, None)
        self.added.clear()

    def _announce(self, name: str) -> None:
        if name not in self._info:
            self._info[name] = {}  # only asked whether it is there
            self.added.append(name)

    def _is_ours(self, name: object) -> bool:
        return isinstance(name, str) and name in self.added

    # --- seams ---------------------------------------------------------------------------------------------------

    def evaluator_init(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """``Evaluator.__init__``: on our benchmarks seeded, the network in evaluation mode and wrapped as needed."""
        for name in benchmarks():
            self._announce(name)  # those added since
        bound = inspect.signature(original).bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        if not self._is_ours(given["id_name"]):
            return original(*args, **kwargs)
        name = given["postprocessor_name"]
        _check_suitable(str(name))
        if given["preprocessor"] is not None:
            raise UserError(
                "Evaluator's preprocessor is for images; leave it out: "
                f"that of '{given['id_name']}' is in its config (openood_multimodal.plugin.add_benchmark)."
            )
        given["preprocessor"] = "the config's"  # OpenOOD would look for one of images
        net = given["net"]
        trained = getattr(net, "benchmark", None)
        benchmark = trained if trained is not None else benchmark_of(given["id_name"])
        # a folder that OpenOOD fills in itself: ours is where the training's config says
        self._config = benchmark.config(None if trained is not None else given["data_root"])
        self._count_classes(given["id_name"])
        seed = int(self._config.get("seed") or 0)
        if given["postprocessor"] is not None:
            given["postprocessor"] = settle(given["postprocessor"], name, seed)
            name = name or name_of(given["postprocessor"])
        by_name = {each for each in original.__code__.co_consts if each}  # those that OpenOOD wraps itself
        if given["postprocessor_name"] not in by_name:
            given["net"] = _wrapped(net, str(name))
        given["net"].eval()
        try:
            with seeded(seed):
                original(*bound.args, **bound.kwargs)
        finally:
            self._config = None

    def _count_classes(self, id_name: str) -> None:
        assert self._config is not None
        dataset = {"name": id_name, "num_classes": self._config["dataset.num_classes"]}
        self.components.count_classes({"dataset": dataset})

    def data_setup(self, original: Callable[..., Any], data_root: str, id_data_name: str) -> None:
        """Nothing is downloaded for our benchmarks."""
        if not self._is_ours(id_data_name):
            original(data_root, id_data_name)

    def get_id_ood_dataloader(
        self, original: Callable[..., Any], id_name: str, data_root: str, preprocessor: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Our sets, in OpenOOD's nested dict of loaders: ``id``, ``csid`` (none), ``ood: {val, near, far}``."""
        if not self._is_ours(id_name):
            return original(id_name, data_root, preprocessor, **kwargs)
        config = self._config or benchmark_of(id_name).config(data_root)

        def again(loader: Any) -> Any:
            return DataLoader(loader.dataset, **kwargs)

        ood: dict[str, Any] = {group: {} for group in SETTING_OF.values()}
        for group, part in build_ood_loaders(config, tuple(LOADER_GROUPS.values())).items():
            if group == "val":
                ood["val"] = again(part)
            else:
                ood[SETTING_OF[group]] = {name: again(loader) for name, loader in part.items()}
        splits = build_loaders(config, training=False)
        return {"id": {name: again(each) for name, each in splits.items()}, "csid": {}, "ood": ood}

    def evaluation_postprocessor(
        self, original: Callable[..., Any], config_root: str, postprocessor_name: str, id_data_name: str
    ) -> Any:
        """One of our scores as ``mm_<name>``, or OpenOOD's with its YAML; APS only where it can search."""
        if not self._is_ours(id_data_name):
            return original(config_root, postprocessor_name, id_data_name)
        _check_suitable(postprocessor_name)
        config = self._config or benchmark_of(id_data_name).config()
        ours = openood_postprocessors().get(postprocessor_name)
        if ours is not None:
            return ours({"postprocessor": {}})
        with cuda_means_cpu():
            found = original(config_root, postprocessor_name, id_data_name)
        sets = config["ood_dataset.split_names"]
        if found.APS_mode and not ("val" in sets and getattr(found, "args_dict", None)):
            why = "nothing to search" if "val" in sets else f"'{id_data_name}' has no OOD validation set"
            print(f"Note: no parameters are searched for {postprocessor_name}: {why}.", flush=True)
            found.APS_mode = False
        return settle(found, postprocessor_name, int(config.get("seed") or 0))

    def evaluator_eval_ood(
        self, original: Callable[..., Any], evaluator: Any, fsood: bool = False, progress: bool = True
    ) -> Any:
        """``Evaluator.eval_ood``: the table without the rows of a group that the benchmark lacks."""
        if not self._is_ours(evaluator.id_name):
            return original(evaluator, fsood, progress)
        if fsood:
            raise UserError(f"'{evaluator.id_name}' has no covariate-shifted (csid) sets: leave fsood out.")
        table = original(evaluator, fsood, progress)
        absent = [
            f"{group}ood"
            for group, sets in evaluator.dataloader_dict["ood"].items()
            if group != "val" and not sets
        ]
        evaluator.metrics["ood"] = table.drop(index=absent, errors="ignore")
        return evaluator.metrics["ood"]

    def evaluator_group(
        self,
        original: Callable[..., Any],
        evaluator: Any,
        id_list: Any,
        ood_split: str = "near",
        progress: bool = True,
    ) -> Any:
        """``Evaluator._eval_ood``: a row of NaN for a group without sets, which OpenOOD would take a mean of."""
        if evaluator.dataloader_dict["ood"][ood_split]:
            return original(evaluator, id_list, ood_split, progress)
        metrics = sys.modules["openood.evaluators.metrics"].compute_all_metrics
        columns = len(metrics(np.array([0.0, 1.0]), np.array([-1, 0]), np.array([0, 0])))
        return np.full((1, columns), np.nan)


def _check_suitable(name: str) -> None:
    """Refuse one of OpenOOD's postprocessors that our networks can't serve."""
    reason = UNSUITABLE.get(name) or getattr(RECIPES.get(name), "no_network", "")
    if reason and not name.startswith(PREFIX):
        raise UserError(f"OpenOOD's '{name}' can't run on a network of several inputs: {reason}.")


def _wrapped(net: Any, name: str) -> Any:
    """Return the network in OpenOOD's wrapper where the postprocessor is nothing without it (ASH, dropout)."""
    wrapper = RECIPES[name].wrapper if name in RECIPES else None
    if wrapper is None:
        return net
    more = {"dropout_p": openood_defaults(name)[0]["dropout_p"]} if wrapper == "dropout" else {}
    return wrap(net, wrapper, **more)
