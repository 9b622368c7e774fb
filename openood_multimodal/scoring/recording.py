"""Result records of scores on given embeddings: track ``own``, and digests of what was scored in place of a checkpoint.

Embeddings don't say which network made them, nor on which clips it was trained; `About` is what whoever scores them
says, and nothing here checks it.  So such records are ranked among themselves only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..arrays import arrays_digest
from ..config import bind
from ..errors import UserError
from ..evaluators.calibration import CalibrationResult
from ..files import listed, text_sha256
from ..files.folders import writing_together
from ..postprocessors.run import Parameters
from ..reporting.claims import MULTIOOD_BENCHMARKS, known_manifest_digests, manifest_digests, manifests_digest
from ..reporting.records import SUFFIX, ResultRecord, read_record
from .inputs import InputSet
from .run import Result
from .search import Validation
from .task import Task

OWN = "own"
"""The track of these records, and the benchmark of those that name none."""

_NAMED = ("track", "benchmark", "partition", "setting", "training", "networks", "seed")


@dataclass(frozen=True)
class About:
    """What embeddings don't say of themselves, for the rows of a leaderboard.

    Attributes:
        benchmark: the leaderboard that shows the rows.  None: the benchmark of MultiOOD whose lists all sets follow, as
            the manifests of their stores show; else ``"own"``.
        method: the training method.
        network: what made the embeddings.
        setting: ``"near"`` or ``"far"``; known for MultiOOD's benchmarks.
        seed: of the training; results of several seeds are averaged.
        partition: class partition or fold; results of several are averaged.
        notes: for whoever reads the rows.

    Raises:
        UserError: for an empty text or a negative seed.
    """

    benchmark: str | None = None
    method: str | None = None
    network: str | None = None
    setting: Literal["near", "far"] | None = None
    seed: int | None = None
    partition: str = "0"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = {key: getattr(self, key) for key in ("benchmark", "method", "network", "partition")}
        texts |= {f"notes[{number}]": note for number, note in enumerate(self.notes)}
        for key, text in texts.items():
            if text is not None and not text.strip():
                raise UserError(f"{key} is empty; it names the rows of a leaderboard.")
        if self.seed is not None and self.seed < 0:
            raise UserError(f"seed must be at least 0, got {self.seed}.")


@dataclass(frozen=True)
class Recorder:
    """Makes the records of one run.

    Attributes:
        task: what is scored.
        about: what is said of it.
        preset: of the parameters.
        fit_on: the set that fitted scores learn from.
        parameters: score → parameters that were set.
        validation: what parameters were searched on, or None.
    """

    task: Task
    about: About
    preset: str
    fit_on: str
    parameters: Parameters
    validation: Validation | None = None

    def named(self) -> dict[str, Any]:
        """Return the fields that all records of the run share, and that tell it from other runs."""
        about = self.about
        benchmark = about.benchmark or self._benchmark_of_manifests() or OWN
        known = (
            ("far" if benchmark.startswith("far_") else "near") if benchmark in MULTIOOD_BENCHMARKS else None
        )
        return {
            "track": OWN,
            "benchmark": benchmark,
            "partition": about.partition,
            "setting": about.setting or known,
            "training": about.method,
            "networks": about.network,
            "seed": about.seed,
        }

    def records(
        self,
        results: Sequence[Result],
        condition: Mapping[str, Any] | None = None,
        calibration: CalibrationResult | None = None,
    ) -> list[ResultRecord]:
        """Return one record a score and OOD set.

        Args:
            results: of every score.
            condition: a record's field: what was done to the embeddings.  None: what was done to the clips, as the
                stores say.
            calibration: of the fused softmax on the ID test set, where asked for.
        """
        task, named, checkpoint = self.task, self.named(), _shared_digest(self.task, "checkpoint")
        inputs = _text_digest([[name, digest] for name, digest in _digests(task)])
        settings = {**asdict(self.about), "preset": self.preset, "fit_on": self.fit_on}
        if self.validation is not None:
            settings |= self.validation.settings()
        config = _text_digest(
            [settings, self.parameters, [result.chosen.asked for result in results], task.slices]
        )
        known = manifest_digests(named["benchmark"])
        records = []
        for result in results:
            score = result.chosen.score
            for name, metrics in result.metrics.items():
                manifest = self._manifest(name)
                notes = [*result.notes, *self.about.notes]
                if manifest in known:
                    notes.append("the clips are those of the benchmark's lists; the training's are not known")
                records.append(
                    ResultRecord(
                        **named,
                        run_id=_text_digest([config, inputs])[:16],
                        id_set=named["benchmark"],
                        ood_set=name,
                        csid=list(task.csid),
                        condition=condition or self._condition_of_stores(name),
                        modalities=_modalities(task),
                        protocol=None,
                        synthesis=None,
                        discrepancy=None,
                        postprocessor=result.postprocessor,
                        parameters=result.parameters,
                        parameters_from="searched"
                        if result.searched is not None
                        else "given"
                        if result.chosen.given
                        else "preset",
                        preset=getattr(score, "preset", self.preset),
                        fit_on=self.fit_on if score.needs else None,
                        engine=result.chosen.engine,
                        best_epoch=None,
                        metrics=metrics,
                        failure=None
                        if (found := result.found.failure.get(name)) is None
                        else found.as_dict(),
                        calibration=None if calibration is None else calibration.as_dict(),
                        n_id=sum(len(each.embeddings) for each in (task.test, *task.csid.values())),
                        n_ood=len(task.ood[name].embeddings),
                        digests={
                            "manifest": manifest,
                            "training": None,
                            "checkpoint": checkpoint,
                            "store": task.ood[name].origin.get("digest"),
                            "config": config,
                            "inputs": inputs,
                            "scores": result.found.digests[name],
                        },
                        notes=notes,
                        date=datetime.now(UTC).date().isoformat(),
                    )
                )
        return records

    def _condition_of_stores(self, ood_set: str) -> dict[str, Any] | None:
        """Return a record's field for test embeddings that were extracted under a condition, None for clean ones."""
        of_id, of_ood = (each.made_from.get("condition") for each in (self.task.test, self.task.ood[ood_set]))
        if of_id and of_ood and of_id != of_ood:
            raise UserError(
                f"{self.task.test.where} and {self.task.ood[ood_set].where} were extracted under two conditions, "
                f"{of_id} and {of_ood}; score sets of one."
            )
        if not (said := of_id or of_ood):
            return None
        condition = json.loads(said)
        number = condition["severity"] and float(condition["severity"])
        severity = int(number) if number and number.is_integer() else number
        applied_to = "both" if of_id and of_ood else "id" if of_id else "ood"
        return {**condition, "severity": severity, "level": "input", "applied_to": applied_to}

    def check_folder(self, folder: str | os.PathLike[str]) -> None:
        """Check that ``folder`` can take the records: it holds none, or those of an earlier run of the same name.

        Raises:
            UserError: for a file, or the record of another run, which would be lost.
        """
        if Path(folder).exists() and not Path(folder).is_dir():
            raise UserError(f"{folder} is a file; records need a folder.")
        named = self.named()
        for path in _records_in(folder):
            old = read_record(path)
            for key in _NAMED:
                if getattr(old, key) != named[key]:
                    raise UserError(
                        f"{path} is a record of another run, whose {key} is {getattr(old, key)!r}, not {named[key]!r}: "
                        "name another folder, or delete that run's records."
                    )

    def write(self, folder: str | os.PathLike[str], records: Sequence[ResultRecord]) -> None:
        """Write ``records`` in place of those of an earlier run; others than records stay.

        Raises:
            UserError: as `check_folder`.
        """
        self.check_folder(folder)
        with writing_together(folder) as stage:
            written = {record.write(stage.path).name for record in records}
            stage.remove(lambda: [path.name for path in _records_in(folder) if path.name not in written])

    def _manifest(self, ood_set: str) -> str | None:
        """Return the digest of the split, where every set is a store that says which manifest it follows."""
        task = self.task
        sets = {"train": task.train, "val": task.val, "test": task.test, "ood": task.ood[ood_set]}
        digests = {
            name: each.made_from.get("manifest", "") for name, each in sets.items() if each is not None
        }
        return manifests_digest(digests) if len(digests) == len(sets) and all(digests.values()) else None

    def _benchmark_of_manifests(self) -> str | None:
        manifests = {self._manifest(name) for name in self.task.ood}
        if None in manifests:  # then no file of a benchmark need be read
            return None
        known = known_manifest_digests().items()
        return next((benchmark for benchmark, digests in known if manifests <= digests), None)


def _records_in(folder: str | os.PathLike[str]) -> list[Path]:
    return listed(folder, f"*{SUFFIX}")


def _digests(task: Task) -> Iterator[tuple[str, str]]:
    for name, each in task.named_sets():
        yield name, _digest(each)
    if task.head is not None:
        yield "head", arrays_digest(task.head.arrays().values())


def _digest(each: InputSet) -> str:
    known = each.origin.get("sha256") or each.origin.get("digest")
    arrays = (getattr(each.embeddings, name) for name in ("features", "labels", "logits", "modality_logits"))
    return known or arrays_digest(array for array in arrays if array is not None)


def _modalities(task: Task) -> list[str] | None:
    """Return the modalities' names, or None where nobody named them."""
    names = task.test.embeddings.modalities
    unnamed = all(name.startswith("modality_") for name in names)
    return list(task.slices) or (None if unnamed else list(names))


def _shared_digest(task: Task, key: str) -> str | None:
    values = {each.made_from.get(key) for each in task.sets()}
    return values.pop() if len(values) == 1 else None


def _text_digest(value: Any) -> str:
    return text_sha256(json.dumps(value, sort_keys=True, default=str))


def about_from(given: Mapping[str, Any] | None) -> About:
    """Return `About` from a mapping with its fields.

    Raises:
        UserError: for an unknown field, or a value of another type.
    """
    return bind(given, About, "about", ignore=())
