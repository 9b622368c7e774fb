"""What OpenOOD's ``test_ood`` leaves: its own files in a folder a postprocessor, the OOD table, and result records."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import SequentialSampler

from ..config import Config
from ..errors import UserError
from ..evaluators import MultimodalOODEvaluator, evaluate_sets
from ..evaluators.outputs import ID_NAME, OODResult, SetScores, write_scores
from ..evaluators.recordings import unseen_sets
from ..files import listed
from ..files.folders import writing_together
from ..files.paths import file_name, remove, remove_if_empty, remove_tree
from ..making.frame_card import described, frames_of
from ..pipelines.card import read_card
from ..pipelines.extract import skipped_clips
from ..pipelines.recording import Scored, TestedRun, print_results
from ..pipelines.test import previous_results
from ..pipelines.verify_split import SPLIT
from ..postprocessors.run import engine_of
from ..reporting.records import ResultRecord
from ..vocabulary import EVALUATOR_GROUPS, TEST_GROUPS
from .host import describe_openood
from .native import NativePostprocessor
from .recipes import RECIPES, openood_defaults, postprocessor_config


class HostRecorder:
    """Watches an evaluator inside OpenOOD, and makes the records of what it found.

    Args:
        config: OpenOOD's, as plain dicts, before a wrapper is put around the network.
        note: which OpenOOD it is.
        fpr95: positive class of its FPR@95, see `version.OpenOODVersion`.
    """

    def __init__(self, config: dict[str, Any], note: str, fpr95: str = "ood") -> None:
        self.config = config
        self.note = note
        self.fpr95 = fpr95
        self.postprocessor: Any = None
        self.results: list[OODResult] = []
        self._run: TestedRun | None = None
        if "calibration" in (config.get("metrics") or ()):
            raise UserError(
                "metrics: calibration needs the logits of embeddings, which are not kept inside OpenOOD; leave it out, "
                "or test with 'openood-mm run'."
            )

    def watch(self, evaluator: Any) -> None:
        """See what ``evaluator.eval_ood`` finds; OpenOOD's evaluators return nothing, so the scores are looked at."""
        eval_ood = evaluator.eval_ood
        ours = isinstance(evaluator, MultimodalOODEvaluator)

        def watched(
            net: Any,
            id_loaders: Mapping[str, Any],
            ood_loaders: Mapping[str, Any],
            postprocessor: Any,
            **more: Any,
        ) -> Any:
            if ours:
                evaluator.unseen = _unseen(id_loaders, ood_loaders)
                result = eval_ood(net, id_loaders, ood_loaders, postprocessor, **more)
                results = [result]
            else:
                with _Seen(postprocessor) as seen:
                    result = eval_ood(net, id_loaders, ood_loaders, postprocessor, **more)
                results = [] if more.get("fsood") else self._again(seen, id_loaders, ood_loaders)
            if not more.get("fsood"):
                self.postprocessor, self.results = postprocessor, results
                self._run = self._tested(id_loaders, ood_loaders)
            return result

        evaluator.eval_ood = watched

    def finish(self, folder: Path) -> list[ResultRecord]:
        """Put records, scores, split and config into ``<folder>/<postprocessor>``, as a test of this package has them.

        So `openood-mm leaderboard verify` and `submit` take that folder.  Records are printed, with where all is, and
        returned.
        """
        if self._run is None:
            return []
        scored = _scored(self.config, self.postprocessor)
        records = [each for result in self.results for each in self._run.records(result, scored)]
        name = str(self.config["postprocessor"]["name"])
        own, scores = folder / name, folder / "scores" / name
        with writing_together(own) as stage:
            Config(self.config).dump(stage.path / "config.yml")
            for record in records:
                record.write(stage.path / "records")
            if scores.is_dir():
                kept = stage.path / "scores" / file_name(scored.name, "postprocessor")
                kept.mkdir(parents=True)
                names = {f"{file_name(each, 'set')}.npz" for each in (ID_NAME, *(r.ood_set for r in records))}
                for path in listed(scores, "*.npz"):
                    if path.name in names:  # others are an earlier run's
                        shutil.copy(path, kept)
                self._run.write_split(stage.path / SPLIT)
            stage.remove(lambda: previous_results(own, records))
        if scores.is_dir():
            remove_tree(folder, f"scores/{name}")
            remove_if_empty(folder, "scores")
        print_results(records)
        if self.config["evaluator"]["name"] not in EVALUATOR_GROUPS and self.fpr95 != "ood":
            print(
                "FPR@95 of this table and of records takes OOD as positive, that of OpenOOD's ood.csv doesn't."
            )
        table = folder / name / "ood.csv"
        print(f"Written: {f'{table}, ' if table.is_file() else ''}{own / 'records'}", flush=True)
        return records

    def _again(
        self, seen: _Seen, id_loaders: Mapping[str, Any], ood_loaders: Mapping[str, Any]
    ) -> list[OODResult]:
        """Return the results of OpenOOD's evaluator with all metrics of records, from the scores that it saw."""
        groups = {
            group: {name: seen.scores(loader) for name, loader in ood_loaders[group].items()}
            for group in TEST_GROUPS
            if ood_loaders.get(group)
        }
        if not groups:
            return []
        chosen = seen.chosen() if self.config["postprocessor"].get("APS_mode") else None
        known, unseen = seen.scores(id_loaders["test"]), _unseen(id_loaders, ood_loaders)
        seed = int(self.config.get("seed") or 0)
        return [
            evaluate_sets(
                known,
                groups,
                postprocessor=seen.name,
                seed=seed,
                unseen=unseen,
                hyperparameters=chosen,
                failure="failure" in (self.config.get("metrics") or ()),
            )
        ]

    def _tested(self, id_loaders: Mapping[str, Any], ood_loaders: Mapping[str, Any]) -> TestedRun:
        checkpoint = self.config["network"].get("checkpoint")
        ids, ood = self.config["dataset"], self.config["ood_dataset"]
        frames = frames_of(self.config)
        groups = [group for names in EVALUATOR_GROUPS.values() for group in names if ood_loaders.get(group)]
        datasets = {name: described(each.dataset, ids[name], frames) for name, each in id_loaders.items()}
        ood_datasets = {
            group: {
                name: described(each.dataset, ood[group][name], frames)
                for name, each in ood_loaders[group].items()
            }
            for group in groups
        }
        every = {**datasets, **{name: each for part in ood_datasets.values() for name, each in part.items()}}
        return TestedRun(
            self.config,
            read_card(checkpoint) if checkpoint and Path(str(checkpoint)).is_file() else None,
            datasets,
            ood_datasets,
            {name: skipped_clips(each) for name, each in every.items()},
            notes=[self.note, *(frames.notes if frames else ())],
        )


@dataclass
class _Seen:
    """Keeps what a postprocessor's ``inference`` returns."""

    postprocessor: Any

    def __post_init__(self) -> None:
        self.name = str(getattr(self.postprocessor, "name", None) or type(self.postprocessor).__name__)
        self._scores: dict[int, SetScores] = {}
        self._before: Any = None

    def __enter__(self) -> _Seen:
        inference: Callable[..., Any] = self.postprocessor.inference
        self._before = vars(self.postprocessor).get("inference")

        def keeping(net: Any, loader: Any, *args: Any, **kwargs: Any) -> Any:
            found = inference(net, loader, *args, **kwargs)
            self._scores[id(loader)] = SetScores(*map(np.asarray, found))
            return found

        self.postprocessor.inference = keeping
        return self

    def __exit__(self, *_: object) -> None:
        del self.postprocessor.inference
        if self._before is not None:
            self.postprocessor.inference = self._before

    def scores(self, loader: Any) -> SetScores:
        """Return what was kept of ``loader``."""
        return self._scores[id(loader)]

    def chosen(self) -> dict[str, Any]:
        """Return the parameters that OpenOOD's search set."""
        values = self.postprocessor.get_hyperparam()
        values = values if isinstance(values, list | tuple) else [values]
        names = [key.removesuffix("_list") for key in self.postprocessor.args_dict]
        return dict(zip(names, values, strict=False))


def _scored(config: Mapping[str, Any], postprocessor: Any) -> Scored:
    section = config["postprocessor"]
    if isinstance(postprocessor, NativePostprocessor):
        score, preset = postprocessor.score, section.get("preset") or "openood"
        given = score.params != score.Params(**score.presets[preset])
        return Scored(
            score.name, score.parameters, given, preset, score.fit_on, engine_of(score), score.notes
        )
    name, args = str(section["name"]), dict(section.get("postprocessor_args") or {})
    defaults = openood_defaults(name)[0] if name in RECIPES and postprocessor_config(name) else {}
    parameters = {**defaults, **args}
    for key, value in parameters.items():
        now = getattr(postprocessor, key, value)  # a search sets the attribute
        parameters[key] = now if isinstance(now, int | float | str | bool) else value
    given = any(defaults.get(key) != value for key, value in args.items())
    engine = {"name": "openood", "version": describe_openood()}
    return Scored(name, parameters, given, "openood", "train", engine, getattr(postprocessor, "notes", []))


def _unseen(id_loaders: Mapping[str, Any], ood_loaders: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of recordings that training didn't see, where every row of a set is known to be its clip's."""
    loaders = {ID_NAME: id_loaders["test"]}
    for groups in EVALUATOR_GROUPS.values():
        loaders |= {name: each for group in groups for name, each in (ood_loaders.get(group) or {}).items()}
    if "train" not in id_loaders or not hasattr(id_loaders["train"].dataset, "manifest"):
        return {}
    for loader in loaders.values():
        in_order = isinstance(getattr(loader, "sampler", None), SequentialSampler)
        if not in_order or not hasattr(loader.dataset, "manifest") or hasattr(loader.dataset, "skipped"):
            return {}
    recordings = {name: list(loader.dataset.manifest.groups) for name, loader in loaders.items()}
    return unseen_sets(recordings, id_loaders["train"].dataset.manifest.groups)


CSV = "ood.csv"


def file_by_postprocessor(evaluator: Any, postprocessor: str, id_name: str) -> None:
    """Let one of OpenOOD's OOD evaluators write ``<postprocessor>/ood.csv`` and ``scores/<postprocessor>/``.

    OpenOOD appends to one ``ood.csv`` a folder, which doesn't say whose results it holds, and overwrites ``scores/``.

    Args:
        evaluator: OpenOOD's, just made; changed in place.
        postprocessor: its name in the config.
        id_name: the in-distribution dataset's name.
    """
    config = evaluator.config
    folder = Path(config["output_dir"])
    own = folder / file_name(postprocessor, "postprocessor")
    evaluator.config = type(config)(config)
    evaluator.config["output_dir"] = str(own)
    save_csv = evaluator._save_csv
    started = False

    def replacing(*args: Any, **kwargs: Any) -> Any:
        nonlocal started
        if not started:
            own.mkdir(parents=True, exist_ok=True)
            remove(own, CSV)
            started = True
        return save_csv(*args, **kwargs)

    def save_scores(pred: Any, conf: Any, label: Any, name: str) -> None:
        write_scores(
            folder, postprocessor, ID_NAME if name == id_name else name, SetScores(pred, conf, label)
        )

    evaluator._save_csv, evaluator._save_scores = replacing, save_scores
