"""What a run keeps for figures: the scores of every sample, embedding stores, records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...arrays import Embeddings
from ...config import Config, read_config
from ...embeddings.store import EmbeddingStore
from ...errors import UserError
from ...evaluators.metrics import auroc
from ...evaluators.outputs import ID_NAME, SetScores
from ...files import listed
from ...files.npz import read_arrays
from ...vocabulary import ID_SETS, OOD_VAL
from ..methods import TITLES, in_order
from ..records import ResultRecord, load_records
from .style import title_of

SCORES, STORES, TEST, TRAINING = "scores", "embeddings", "test", "training"
PROJECTIONS = ("tsne", "umap", "pca")

Named = tuple[str, Any]
"""Name of a figure's file without its ending, and the figure."""


class Options(NamedTuple):
    """What a figure is asked for.

    Attributes:
        postprocessors: those to draw; empty for all, or those with the highest AUROC where they are many.
        projection: of embeddings, one of `PROJECTIONS`.
    """

    postprocessors: Sequence[str] = ()
    projection: str = "tsne"


class NotDrawn(UserError):  # noqa: N818 - says what happened, and is no failure where nobody asked for the figure
    """A figure can't be made of these runs; the message says why, and what to do."""


@dataclass(frozen=True)
class RunFiles:
    """One run's folder.

    Attributes:
        folder: as it was given.
        name: what figures call the run: its training method, or the folder where runs would share that.
    """

    folder: Path
    name: str

    @cached_property
    def records(self) -> list[ResultRecord]:
        """Every record below the folder."""
        return load_records(self.folder)

    @cached_property
    def csid(self) -> set[str]:
        """Covariate-shifted ID sets: they are not out-of-distribution, and not looked at."""
        return {name for record in self.records for name in record.csid}

    def trained(self) -> list[tuple[dict[str, Any], list[ResultRecord]]]:
        """Return each training below that keeps its config (``training/config.yml``), with its network's records.

        The config is what it says of the trainer, dotted key → value.
        """
        configs = [
            path for path in listed(self.folder, "config.yml", recursive=True) if path.parent.name == TRAINING
        ]
        return [
            (
                dict(Config(Config(read_config(path)).get("trainer") or {}).leaves()),
                load_records(path.parents[1]),
            )
            for path in configs
        ]

    @cached_property
    def home(self) -> Path:
        """The folder that holds ``scores/`` or ``embeddings/``: this one, or the only one below."""
        homes = {path.parents[2] for path in listed(self.folder, f"{ID_NAME}.npz", recursive=True)
                 if path.parents[1].name == SCORES}  # fmt: skip
        homes = {self.folder} if self.folder in homes or (self.folder / STORES).is_dir() else homes
        if len(homes) > 1:
            raise NotDrawn(
                f"{self.folder} holds the scores of {len(homes)} runs; name one of them, e.g. {min(homes)}."
            )
        return next(iter(homes), self.folder)

    @cached_property
    def scores(self) -> dict[str, dict[str, SetScores]]:
        """Postprocessor → set → scores of its samples; the ID set is called ``id``.

        Raises:
            NotDrawn: where the run kept none.
            UserError: for a file that can't be read, or holds NaN.
        """
        found: dict[str, dict[str, SetScores]] = {}
        for path in listed(self.home / SCORES, "*.npz", recursive=True):
            if path.stem in self.csid:
                continue
            found.setdefault(path.parent.name, {})[path.stem] = _read_scores(path)
        found = {name: sets for name, sets in found.items() if ID_NAME in sets and len(sets) > 1}
        if not found:
            raise NotDrawn(
                f"{self.folder} has no scores of single samples (scores/<postprocessor>/<set>.npz). A test with "
                "recorder.save_scores: True keeps them, openood-mm score does with --out; suites don't."
            )
        return {name: found[name] for name in in_order(sorted(found), TITLES)}

    def ood_sets(self) -> list[str]:
        """Return the OOD sets that every postprocessor has scores of."""
        shared = set.intersection(*(set(sets) for sets in self.scores.values())) - {ID_NAME}
        return sorted(shared)

    def best(self, ood_set: str, most: int, wanted: Sequence[str] = ()) -> list[str]:
        """Return the postprocessors to draw: those wanted, or at most ``most``, by AUROC."""
        for name in wanted:
            if name not in self.scores:
                raise NotDrawn(
                    f"{self.folder} has no scores of '{name}'; it has those of {', '.join(self.scores)}."
                )
        if wanted or len(self.scores) <= most:
            return list(wanted or self.scores)
        values = {name: auroc(sets[ID_NAME].conf, sets[ood_set].conf) for name, sets in self.scores.items()}
        chosen = sorted(values, key=lambda name: -values[name])[:most]
        return [name for name in self.scores if name in chosen]

    def stores(self) -> dict[str, Path]:
        """Return the embedding stores by their names: ``train``, ``val``, ``test``, OOD sets."""
        folders = [path.parent for path in listed(self.home / STORES, "*/meta.json")]
        return {each.name: each for each in folders if each.name.partition("@")[0] not in self.csid}

    def embeddings(self, *, modality_logits: bool = False) -> dict[str, Embeddings]:
        """Return the stored test sets by name, the ID set first, as ``id``.

        Raises:
            NotDrawn: where the run keeps no store of the test set and of an OOD set.
        """
        stores = self.stores()
        ood = [name for name in stores if name.partition("@")[0] not in (*ID_SETS, OOD_VAL)]
        if TEST not in stores or not ood:
            raise NotDrawn(
                f"{self.folder} has no embeddings of a test set and an OOD set (embeddings/test/, ...). A test with "
                "recorder.save_embeddings: True keeps them; suites don't."
            )
        found = {
            name: EmbeddingStore.open(stores[place]).embeddings()
            for name, place in ((ID_NAME, TEST), *((name, name) for name in ood))
        }
        if modality_logits and any(
            each.modality_logits is None or each.modality_logits.shape[1] < 2 for each in found.values()
        ):
            raise NotDrawn(
                f"the stores of {self.folder} have no logits of two modalities' own heads; baselines that train the "
                "fused head alone, and runs of one modality, have none to compare."
            )
        return found


def open_runs(folders: Sequence[Path]) -> list[RunFiles]:
    """Return the runs in ``folders``, each with a name of its own.

    Raises:
        UserError: for a folder that is missing or holds nothing of a run.
    """
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; name the folder of a run.")
        run = RunFiles(folder, folder.name)
        if not run.records and not (folder / SCORES).is_dir() and not (folder / STORES).is_dir():
            raise UserError(
                f"{folder} is not the folder of a run: it holds no records (*.record.json), no scores/ and no "
                "embeddings/. Name the --output-dir of openood-mm score or benchmark, or what a test wrote."
            )
        trainings = {record.training for record in run.records}
        training = trainings.pop() if len(trainings) == 1 else None
        runs.append(RunFiles(folder, title_of(training) if training else folder.name))
    if len({run.name for run in runs}) < len(runs):
        runs = [RunFiles(run.folder, run.folder.name) for run in runs]
    if len({run.name for run in runs}) < len(runs):
        runs = [RunFiles(run.folder, str(run.folder)) for run in runs]
    return runs


def _read_scores(path: Path) -> SetScores:
    arrays = read_arrays(path, SetScores._fields).values
    scores = SetScores(*(arrays[name] for name in SetScores._fields))
    if any(each.ndim != 1 or len(each) != len(scores.conf) or not len(each) for each in scores):
        raise UserError(f"{path}: pred, conf and label must be one value a sample each, and not empty.")
    if scores.conf.dtype.kind not in "fiu" or np.isnan(scores.conf).any():
        raise UserError(f"{path}: conf must be one number a sample, and not NaN. Score the run again.")
    return scores
