"""From a test's results to its records, in whichever host the test ran."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..datasets.skipped import SkippedClip, skip_note
from ..datasets.split_card import SplitCard, entry_of
from ..evaluators.calibration import CalibrationResult
from ..evaluators.outputs import OODResult
from ..evaluators.recordings import MIN_CLIPS
from ..files import file_sha256, text_sha256
from ..files.paths import resolve_inside
from ..networks.build import network_names
from ..reporting.records import ResultRecord
from ..reporting.schema import SEARCHED_NOTE
from ..vocabulary import OOD_VAL, SETTING_OF
from .card import CheckpointCard
from .digest import config_digest, split_digest

NO_CARD = (
    "track own: the checkpoint has no card, so it is not known how and on which clips it was trained; partition and "
    "seed must be the training's"
)


@dataclass(frozen=True)
class Scored:
    """What a record says of a postprocessor.

    Attributes:
        name: as records call it.
        parameters: those in force.
        given: whether a parameter was set beside the preset's.
        preset: or None.
        fit_on: the split that it was fitted on.
        engine: ``{"name", "version"}``.
        notes: its own.
    """

    name: str
    parameters: Mapping[str, Any]
    given: bool
    preset: str | None
    fit_on: str | None
    engine: Mapping[str, str | None]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class TestedRun:
    """What all records of one test share.

    Attributes:
        config: the test config; its ``network`` section is that of the trained network.
        card: of the checkpoint; without one, records are on track ``own``.
        datasets: ID split → dataset.
        ood_datasets: ``nearood``, ``farood`` → OOD set → dataset.
        skipped: split or OOD set → clips that could not be read.
        stores: OOD set → digest of its embedding store.
        remarks: split or OOD set → what was tolerated in its clips' files.
        notes: of the run.
        condition: a record's field: what was done to the test samples.
        csid: names of covariate-shifted ID sets that count as ID.
        calibration: of the fused softmax on the ID samples, where asked for.
    """

    __test__ = False  # not a pytest class

    config: Mapping[str, Any]
    card: CheckpointCard | None
    datasets: Mapping[str, Any]
    ood_datasets: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, Sequence[SkippedClip]] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    condition: Mapping[str, Any] | None = None
    csid: Sequence[str] = ()
    calibration: CalibrationResult | None = None

    def records(self, result: OODResult, scored: Scored) -> list[ResultRecord]:
        """Return one record an OOD set of ``result``."""
        config, card = self.config, self.card
        dataset = self.datasets["test"]
        data: Mapping[str, Any] = getattr(dataset, "provenance", {})
        trainer = card.trainer if card else {}
        # the checkpoint's content counts, not where it is
        network = {key: value for key, value in config["network"].items() if key != "checkpoint"}
        digest = config_digest({**config, "network": network})
        checkpoint = str(config["network"].get("checkpoint") or "")
        checkpoint_digest = file_sha256(checkpoint) if Path(checkpoint).is_file() else None
        modalities = getattr(dataset, "modalities", None)
        notes = [*scored.notes, *_notes(data, card, result), *self.notes]
        return [
            ResultRecord(
                run_id=text_sha256(f"{digest} {checkpoint_digest}")[:16],
                benchmark=str(data.get("benchmark") or config["dataset"]["name"]),
                partition=str(data.get("partition", 0)),
                track=str(data.get("track") or "demo") if card else "own",
                setting=SETTING_OF[group],
                id_set=str(config["dataset"]["name"]),
                ood_set=name,
                csid=list(self.csid),
                condition=self.condition,
                modalities=None if modalities is None else list(modalities),
                networks=network_names(config["network"]),
                training=_training_method(card) if card else None,
                protocol=trainer.get("protocol"),
                synthesis=card.synthesis if card else None,
                auxiliary={key: card.auxiliary[key] for key in ("name", "digest")}
                if card and card.auxiliary
                else None,
                discrepancy=trainer.get("discrepancy") or None,
                postprocessor=scored.name,
                parameters=scored.parameters,
                parameters_from="searched"
                if result.hyperparameters
                else "given"
                if scored.given
                else "preset",
                preset=scored.preset,
                fit_on=scored.fit_on,
                engine=scored.engine,
                seed=card.seed if card else int(config.get("seed") or 0),
                best_epoch=card.epoch if card else None,
                metrics={key: metric.as_dict() for key, metric in metrics.items()},
                failure=result.failure[name].as_dict() if name in result.failure else None,
                calibration=None if self.calibration is None else self.calibration.as_dict(),
                n_id=result.n_id,
                n_ood=result.n_ood[name],
                unseen_recordings=result.unseen[name].as_dict() if name in result.unseen else None,
                digests={
                    "manifest": self._split_digest(group, name),
                    "training": card.settings_digest if card else None,
                    "checkpoint": checkpoint_digest,
                    "store": self.stores.get(name),
                    "config": digest,
                    "inputs": None,
                    "scores": result.digests.get(name),
                },
                notes=[*notes, *self._skip_notes(name)],
                date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            )
            for group, sets in result.items()
            for name, metrics in sets.items()
        ]

    def write_split(self, folder: Path) -> None:
        """Write the manifests of all sets and a split card into ``folder``; nothing where a set has no manifest."""
        sets = dict(self.datasets)
        for group, part in self.ood_datasets.items():
            sets |= {f"{group}_{name}": each for name, each in part.items()}
        if not all(hasattr(each, "manifest") for each in sets.values()):
            return
        test = self.datasets["test"]
        data: dict[str, Any] = {"benchmark": None, "benchmark_version": None, "track": "demo"}
        data |= getattr(test, "provenance", {})
        kept = ("benchmark", "benchmark_version", "track", "synthetic", "modified", "seed")
        card = SplitCard(
            class_names=list(test.class_names),
            splits={name: entry_of(each.manifest, f"{name}.csv") for name, each in sets.items()},
            **{key: data[key] for key in kept if key in data},
        )
        card.write(folder)
        for name, each in sets.items():
            each.manifest.write(resolve_inside(folder, card.splits[name].manifest))

    def _split_digest(self, group: str, name: str) -> str | None:
        sets = {**self.datasets, "ood": self.ood_datasets[group][name]}
        return split_digest(sets) if all(hasattr(each, "manifest") for each in sets.values()) else None

    def _skip_notes(self, ood_set: str) -> list[str]:
        """Return what a record has to say of clips left out, or read with faults: those of its own sets."""
        used = [*self.datasets, OOD_VAL, *self.csid, ood_set]
        skipped = [skip_note(name, self.skipped[name]) for name in used if self.skipped.get(name)]
        return [*skipped, *(note for name in used for note in self.remarks.get(name, ()))]


def _training_method(card: CheckpointCard) -> str:
    """Return the trainer's name; of A2D's two with outliers, the one that says whether they are NP-Mix's."""
    name = str(card.trainer.get("name", "unknown"))
    if name not in ("a2d_npmix", "a2d_synthesis"):
        return name
    return "a2d_npmix" if card.synthesis == "npmix" else "a2d_synthesis"


def _notes(data: Mapping[str, Any], card: CheckpointCard | None, result: OODResult) -> list[str]:
    notes = result.csid_notes()
    if result.hyperparameters:
        chosen = ", ".join(f"{name} = {value}" for name, value in result.hyperparameters.items())
        notes.append(f"{SEARCHED_NOTE}: {chosen}")
    if data.get("synthetic"):
        notes.append("synthetic data")
    if data.get("modified"):
        notes.append("source files differ from the benchmark's digests")
    if card is None:
        notes.append(NO_CARD)
    elif card.chosen_before_synthesis:
        began = card.first_synthesis_epoch or "never"
        notes.append(f"checkpoint of epoch {card.epoch}, chosen before outliers were used (first: {began})")
    return notes


def print_results(records: Sequence[ResultRecord]) -> None:
    """Print a line a record, the results on clips of unseen recordings, and what a reader has to know."""
    if not records:
        return
    width = max(8, *(len(record.postprocessor) + 1 for record in records))
    print(f"{'score':<{width}}{'OOD set':<18}{'FPR@95':>8}{'AUROC':>8}{'ACC':>8}   (percent)")
    for record in records:
        values = "".join(f"{100 * record.metrics[k]['value']:8.2f}" for k in ("FPR@95", "AUROC", "ACC"))
        print(f"{record.postprocessor:<{width}}{record.ood_set:<18}{values}")
    _print_unseen(records, width)
    for note in dict.fromkeys(note for record in records for note in record.notes):
        print(f"Note: {note.rstrip('.')}.")


def _print_unseen(records: Sequence[ResultRecord], width: int) -> None:
    """Print the metrics on clips of unseen recordings, where they differ from those on all clips."""
    rows = [
        (record, record.unseen_recordings)
        for record in records
        if record.unseen_recordings and record.unseen_recordings["metrics"] != record.metrics
    ]
    if not rows:
        return
    print("on clips whose recording was not in training:")
    for record, unseen in rows:
        counts = f"{unseen['n_id']} of {record.n_id} ID, {unseen['n_ood']} of {record.n_ood} OOD clips"
        metrics = unseen["metrics"]
        values = (
            "".join(f"{100 * metrics[k]['value']:8.2f}" for k in ("FPR@95", "AUROC", "ACC"))
            if metrics
            else ""
        )
        few = "" if metrics else f"  too few for a metric (at least {MIN_CLIPS} of each)"
        print(f"{record.postprocessor:<{width}}{record.ood_set:<18}{values}  {counts}{few}")
