"""`inspect_run`: where the scores in a run's folder go wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arrays import Embeddings
from ..config import Config, load_config
from ..datasets.manifest import Manifest
from ..decisions.inspection import Inspection, check_asked, inspect_scores, inspected
from ..decisions.inspection_tables import TEST
from ..embeddings.store import EmbeddingStore
from ..errors import UserError
from ..evaluators.outputs import ID_NAME, SetScores
from ..postprocessors.options import ScoringSettings
from ..registry import DATASETS
from ..reporting.figures.runs import NotDrawn, RunFiles, open_runs
from ..vocabulary import ID_SETS, OOD_VAL
from .checks import data_sections

Scores = dict[str, dict[str, SetScores]]


def inspect_run(
    folder: str | os.PathLike[str],
    postprocessors: Sequence[str] = (),
    *,
    tpr: float = 0.95,
    worst: int = 10,
    manifests: Mapping[str, str | os.PathLike[str] | Manifest] | None = None,
    label_errors: bool = True,
    settings: ScoringSettings | None = None,
    progress: bool = False,
) -> Inspection:
    """Tell where the scores of a run go wrong: a test's, an extraction's, or those of ``openood-mm score``.

    Scores of single samples are those that the run kept, and thresholds are from its ID test set.  Where it kept none,
    its embeddings are scored, with thresholds from its validation set.  Its ``config.yml`` says which manifests name
    the classes.

    Args:
        folder: of the run.
        postprocessors: those to inspect; empty: all of the run's, or the nine of `evaluate` where it kept no scores.
        tpr: see `inspect_scores`, as what follows.
        worst: samples listed of each kind.
        manifests: set → manifest, in place of the config's.
        label_errors: whether to look for label errors.
        settings: threads, device, rows held at once, where embeddings are scored.
        progress: show bars.

    Raises:
        UserError: for a folder that is no run's, or that has neither scores of single samples nor embeddings.
    """
    check_asked(tpr, worst)
    [run] = open_runs([Path(folder)])
    scores, stores = _scores(run, postprocessors), run.stores()
    ood = [name for name in stores if name.partition("@")[0] not in (*ID_SETS, OOD_VAL)]
    if not scores and (TEST not in stores or not ood):
        raise UserError(
            f"{folder} has neither scores of single samples (scores/<postprocessor>/<set>.npz) nor embeddings of a "
            "test set and an OOD set (embeddings/test/, ...). Name what a test, an extraction or openood-mm score "
            "wrote; suites keep neither unless told to."
        )
    wanted = {name for sets in scores.values() for name in sets} or {TEST, *ood}
    path = run.home / "config.yml"
    config = load_config([path]) if path.is_file() else None
    files, named, notes = _manifests(config, wanted | {"train", "val"}, manifests or {})
    if not scores:
        head = run.home / "embeddings" / "head.npz"
        found = inspect_scores(
            stores.get("train"),
            stores[TEST],
            {name: stores[name] for name in ood},
            head if head.is_file() else None,
            stores.get("val"),
            postprocessors or None,
            tpr=tpr,
            worst=worst,
            manifests={
                name: each for name, each in named.items() if name in stores or name in (manifests or {})
            },
            label_errors=label_errors,
            settings=settings,
            progress=progress,
        )
        notes += found.notes
    else:
        sets = {} if _conditioned(run, notes) else _stored(stores, next(iter(scores.values())), notes)
        first = next(iter(scores.values()))
        for name in wanted - {*sets, *(manifests or {})}:
            if name in named and len(named[name]) != len(first[name].label):
                notes.append(f"Clips and classes of {name} have no names: its manifest is of other samples.")
                del named[name]
        known = {*sets, *wanted, *(manifests or {})}
        found = inspected(
            scores,
            None,
            sets,
            None,
            tpr=tpr,
            worst=worst,
            manifests={name: each for name, each in named.items() if name in known},
            notes=notes,
            label_errors=label_errors,
            progress=progress,
        )
        notes = list(found.notes)
    return replace(found, notes=tuple(notes), files={**files, **found.files}, config=config)


def _scores(run: RunFiles, postprocessors: Sequence[str]) -> Scores:
    """Return postprocessor → ``"test"`` and the OOD sets that all have → scores; nothing where the run kept none."""
    try:
        kept, ood = run.scores, run.ood_sets()
    except NotDrawn:
        return {}
    names = run.best(ood[0], len(kept), postprocessors) if ood else ()
    return {name: {TEST: kept[name][ID_NAME], **{each: kept[name][each] for each in ood}} for name in names}


def _conditioned(run: RunFiles, notes: list[str]) -> bool:
    """Tell whether scores are of samples under a condition, which the stored embeddings may be without."""
    if not any(record.condition for record in run.records):
        return False
    notes.append("Embeddings are not looked at: the scores are of samples under a test-time condition.")
    return True


def _stored(
    stores: Mapping[str, Path], scores: Mapping[str, SetScores], notes: list[str]
) -> dict[str, Embeddings]:
    """Return the embeddings that belong to the scores."""
    found = {}
    for name, path in stores.items():
        if name not in scores and name not in ID_SETS:
            continue
        each, of = EmbeddingStore.open(path).embeddings(), scores.get(name)
        if of is not None and (
            len(each) != len(of.label) or (name == TEST and (each.labels != of.label).any())
        ):
            notes.append(f"The embeddings of {name} are not looked at: the scores are of other samples.")
            continue
        found[name] = each
    return found


def _manifests(
    config: Config | None, wanted: set[str], given: Mapping[str, str | os.PathLike[str] | Manifest]
) -> tuple[dict[str, tuple[str, str]], dict[str, Any], list[str]]:
    """Return set → manifest file and folder of its clips, set → manifest, and what is unknown."""
    files: dict[str, tuple[str, str]] = {}
    found: dict[str, Any] = {}
    notes = []
    for name, section in _sections(config):
        if name not in wanted or name in given:
            continue
        try:
            dataset: Any = DATASETS.get(section["dataset_class"])(
                name, section["imglist_pth"], section.get("data_dir") or "", section["num_classes"]
            )
        except UserError as error:
            notes.append(f"The classes of {name} are not known by their names: {error}")
            continue
        found[name] = dataset.manifest
        clips = dataset.reads_files and dataset.manifest.source
        files[name] = (str(dataset.manifest.source), str(dataset.root)) if clips else ("", "")
    return files, {**found, **given}, notes


def _sections(config: Config | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (set, section) of a run's ID and OOD sets."""
    for key, section in data_sections(config) if config and "dataset" in config else ():
        _, _, ood = key.partition("_")
        yield ood or key, {**section, "num_classes": config["dataset"]["num_classes"]}  # type: ignore[index]
