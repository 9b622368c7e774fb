"""Results derived again: metrics from scores, scores from embeddings, samples and labels from the split.

The tier of a result is what this finds, never what a file says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..embeddings.store import EmbeddingStore
from ..errors import UserError
from ..evaluators.calibration import CalibrationResult
from ..evaluators.intervals import DEFAULT_RESAMPLES
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME, SetScores, scores_digest
from ..evaluators.recordings import unseen_sets
from ..evaluators.sets import checked_scores, evaluate_sets, joined
from ..files import read_yaml, text_sha256
from ..files.npz import read_arrays
from ..files.paths import file_name, resolve_inside
from ..postprocessors.run import NATIVE, choose, run
from ..reporting.aggregate import stated_tier
from ..reporting.records import ResultRecord, read_record
from ..reporting.verification import RefusedError, Verified
from ..scoring.inputs import read_head
from ..scoring.more_tables import calibration_of_sets
from ..vocabulary import AVERAGE, EVALUATOR_GROUPS, SETTING_OF
from .conditions import read_condition
from .digest import config_digest
from .verify_split import Split, check_rows, check_track, find_split

EXACT = 1e-9
"""By how much metrics and bounds may differ: sums in another order differ by less, one sample by far more."""

RESCORED = 1e-3
"""By how much metrics of scores computed again may differ: another processor's rounding swaps near ties."""

MAX_RESAMPLES = 100_000
"""Bootstrap resamples that a submission may ask for."""

OTHER_CONVENTION = {"FPR@95": "FPR@95_ID_TPR", "FPR@95_ID_TPR": "FPR@95"}


def verify_record(path: Path, record: ResultRecord | None = None, embeddings: bool = True) -> Verified:
    """Derive one result again, from what is beside its record: scores, split, config, embeddings.

    Args:
        path: of the record, in the run's folder or in ``records/`` in it.
        record: what ``path`` holds, if it has been read.
        embeddings: whether scores are computed again where embeddings are there.
    """
    try:
        record = read_record(path) if record is None else record
    except UserError as error:
        return Verified(path, None, "self-reported", "record", str(error))
    if record.source == "published":
        return Verified(path, record, stated_tier(record))
    check = _Check(record, path.parent.parent if path.parent.name == "records" else path.parent, embeddings)
    try:
        if path.name != record.file_name:
            raise RefusedError("record", f"the file of this result must be called {record.file_name}")
        tier = check.run()
    except RefusedError as error:
        return Verified(path, record, "self-reported", error.reason, str(error))
    except UserError as error:
        return Verified(path, record, "self-reported", check.reading, str(error))
    return Verified(path, record, tier, remarks=tuple(check.remarks))


def tier_of(path: Path, record: ResultRecord) -> str:
    """Return a record's tier, for `reporting.leaderboard.build`.

    Raises:
        UserError: when what is beside the record contradicts it.
    """
    found = verify_record(path, record)
    if found.reason:
        raise UserError(f"{path} is refused ({found.reason}): {found.message}")
    return found.tier


@dataclass
class _Check:
    """One record held against what is beside it.

    Attributes:
        record: the record.
        home: the run's folder.
        embeddings: whether scores are computed again.
        remarks: what could not be checked.
        calibrated: whether the metrics of calibration follow from the embeddings.
        reading: the reason of a refusal, should what is read now be unreadable.
    """

    record: ResultRecord
    home: Path
    embeddings: bool = True
    remarks: list[str] = field(default_factory=list)
    calibrated: bool = False
    reading: str = "scores"

    def run(self) -> str:
        """Return the tier."""
        record = self.record
        scores = resolve_inside(self.home, f"scores/{file_name(record.postprocessor, 'postprocessor')}")
        self.reading = "config"
        config = self._config()
        self.reading = "split"
        split = find_split(record, self.home, self.remarks)
        check_track(record, split)
        if not scores.is_dir():
            self.remarks.append("there are no scores beside the record, so its metrics could not be derived")
            return "self-reported"
        self.reading = "scores"
        known = self._scores(scores, ID_NAME)
        csid = [self._scores(scores, name) for name in record.csid]
        unknown = self._scores(scores, record.ood_set)
        _check_labels(joined([known, *csid]), unknown, record.ood_set)
        unseen = self._check_samples(split, known, csid, unknown) if split is not None else {}
        everywhere = joined([known, *csid])
        for name, count, each in (("n_id", record.n_id, everywhere), ("n_ood", record.n_ood, unknown)):
            if len(each.conf) != count:
                raise RefusedError("counts", f"{name} is {count}, and {len(each.conf)} samples have scores")
        digest = record.digests["scores"]
        if digest is not None and scores_digest(everywhere, unknown) != digest:
            raise RefusedError("scores", "the scores are not those of the record: their SHA-256 differs")
        self._check_metrics(everywhere, unknown, unseen, config)
        if split is None and record.track != "own":
            self.remarks.append(
                "there is no split beside the record, so samples and labels could not be checked"
            )
            return "self-reported"
        if split is None:
            self.remarks.append(
                "track own claims nothing of samples, so their labels and order were not checked"
            )
        self.reading = "embeddings"
        tier = "re-scored" if self._rescored(split, known, unknown, config) else "verified"
        if record.calibration and not self.calibrated:
            self.remarks.append(
                "metrics of calibration are not verified: scores don't hold the probabilities"
            )
        if record.failure and record.failure["val_range"] and tier == "verified":
            self.remarks.append("AUTC is verified for the range of validation scores that the record states")
        return tier

    def _scores(self, folder: Path, name: str) -> SetScores:
        path = resolve_inside(folder, f"{file_name(name, 'set')}.npz")
        shown = f"scores/{folder.name}/{path.name}"
        if not path.is_file():
            raise RefusedError("scores", f"{shown} is missing")
        values = read_arrays(path, SetScores._fields).values
        for column, kinds in zip(SetScores._fields, ("iu", "iuf", "iu"), strict=True):
            if values[column].dtype.kind not in kinds:
                raise RefusedError("scores", f"{shown}: {column} can't be of type {values[column].dtype}")
        bad = np.flatnonzero(np.isnan(values["conf"]))
        if len(bad):
            raise RefusedError("nan", f"{shown} has NaN for {len(bad)} samples, the first in row {bad[0]}")
        return checked_scores(values["pred"], values["conf"], values["label"], name)

    def _check_samples(
        self, split: Split, known: SetScores, csid: Sequence[SetScores], unknown: SetScores
    ) -> dict[str, Any]:
        """Hold numbers and labels of samples against the split; return which are of unseen recordings."""
        record = self.record
        scored = {"test": known, **dict(zip(record.csid, csid, strict=True)), "ood": unknown}
        rows = {
            name: check_rows(record.ood_set if name == "ood" else name, split.sets[name], each, record.notes)
            for name, each in scored.items()
        }
        if csid or "train" not in split.sets:
            return {}
        recordings = {
            name: [split.sets[key].groups[row] for row in rows[key]]
            for name, key in ((ID_NAME, "test"), (record.ood_set, "ood"))
        }
        return unseen_sets(recordings, split.sets["train"].groups)

    def _config(self) -> dict[str, Any]:
        """Return the run's config, once it is known to be the record's; empty where there is none."""
        path = self.home / "config.yml"
        record = self.record
        if not path.is_file():
            return {}
        config = read_yaml(resolve_inside(self.home, path.name), "a run's config")
        sections = ("network", "dataset", "evaluator")
        if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in sections):
            raise RefusedError("config", "config.yml is not the config of a test")
        network = {key: value for key, value in config["network"].items() if key != "checkpoint"}
        digest = config_digest({**config, "network": network})
        if digest != record.digests["config"]:
            raise RefusedError("config", "config.yml is not the config that the record names by its SHA-256")
        condition = read_condition(config, record.modalities or ())
        groups = EVALUATOR_GROUPS.get(str(config["evaluator"].get("name")), tuple(SETTING_OF))
        full = config["evaluator"].get("ood_scheme") == "fsood"
        expected: tuple[tuple[str, str, bool], ...] = (
            ("condition", "condition", record.condition == (condition and condition.as_record())),
            ("condition", "csid", bool(record.csid) == full),
            ("config", "setting", record.setting in [SETTING_OF[group] for group in groups]),
            ("config", "id_set", record.id_set == config["dataset"].get("name")),
            ("config", "fit_on", record.fit_on == (config.get("fit_on") or "train")),
            (
                "config",
                "run_id",
                record.run_id == text_sha256(f"{digest} {record.digests['checkpoint']}")[:16],
            ),
        )
        for reason, name, agrees in expected:
            if not agrees:
                raise RefusedError(
                    reason, f"{name} is {getattr(record, name)!r}, and config.yml says otherwise"
                )
        return config

    def _check_metrics(
        self, known: SetScores, unknown: SetScores, unseen: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        record, failure = self.record, self.record.failure
        found = evaluate_sets(
            known,
            {record.ood_set: unknown},
            **_bootstrap(config),
            unseen=unseen,
            failure=failure is not None,
            val_conf=None
            if failure is None or failure["val_range"] is None
            else np.array(failure["val_range"]),
        )
        _compare(record.metrics, found[AVERAGE][record.ood_set])
        if failure is not None:
            _compare(failure["metrics"], found.failure[record.ood_set].metrics, reason="failure")
        given, again = record.unseen_recordings, found.unseen.get(record.ood_set)
        if given is None or again is None:
            return
        if (given["n_id"], given["n_ood"]) != (again.n_id, again.n_ood):
            raise RefusedError(
                "counts", "unseen_recordings has other counts than the split's recordings give"
            )
        if (given["metrics"] is None) != (again.metrics is None):
            raise RefusedError(
                "metric", "unseen_recordings has metrics where there are too few samples, or lacks them"
            )
        if given["metrics"] is not None and again.metrics is not None:
            _compare(given["metrics"], again.metrics, "unseen_recordings: ")

    def _rescored(
        self, split: Split | None, known: SetScores, unknown: SetScores, config: Mapping[str, Any]
    ) -> bool:
        """Whether embeddings are there, and the scores follow from them."""
        record, folder = self.record, self.home / "embeddings"
        if not self.embeddings or not (folder / "head.npz").is_file():
            return False
        if record.engine["name"] != NATIVE or record.condition or record.csid or split is None:
            self.remarks.append(
                "only native scores of clean test sets with a split are computed again from embeddings"
            )
            return False
        stores = {}
        for name, manifest in split.sets.items():
            folder_name = record.ood_set if name == "ood" else name
            shown = f"embeddings/{folder_name}"
            store = EmbeddingStore.open(
                resolve_inside(self.home, f"embeddings/{file_name(folder_name, 'set')}")
            )
            made_from = store.meta["digests"]
            if made_from.get("manifest") != manifest.digest():
                raise RefusedError("embeddings", f"{shown} was made of another manifest")
            if made_from.get("checkpoint") != record.digests["checkpoint"]:
                raise RefusedError("embeddings", f"{shown} was made by another checkpoint")
            if name == "ood" and store.digest() != record.digests["store"]:
                raise RefusedError("embeddings", f"{shown} is not the store that the record names")
            stores[name] = store.embeddings()  # verified against its checksums
        head = read_head(resolve_inside(self.home, "embeddings/head.npz"))
        if record.calibration is not None:
            derived = calibration_of_sets([stores["test"]], stores.get("val"), head, **_bootstrap(config))
            _check_calibration(record.calibration, derived)
            self.calibrated = True
        name = record.postprocessor
        try:
            chosen = choose(
                [name], preset=record.preset or "openood", parameters={name: record.parameters},
                seed=_whole(config.get("seed"), 0, "seed"),
            )  # fmt: skip
            sets = {key: each for key, each in stores.items() if key != "train"}
            (again,) = run(chosen, stores.get(record.fit_on or "train"), stores.get("val"), head, sets)
        except UserError as error:
            self.remarks.append(f"the scores could not be computed again from the embeddings: {error}")
            return False
        pairs = ((known, again["test"]), (unknown, again["ood"]))
        one, other = (SetScores(each.pred, each.conf, given.label) for given, each in pairs)
        for each, given in ((one, known), (other, unknown)):
            if len(each.conf) != len(given.label):
                raise RefusedError(
                    "counts", f"{len(each.conf)} samples have embeddings, and {len(given.label)} scores"
                )
        val = again["val"].conf if "val" in again else None
        found = evaluate_sets(one, {record.ood_set: other}, intervals=False, failure=True, val_conf=val)
        allowed = max(RESCORED, 1 / min(len(one.conf), len(other.conf)))
        stated = {**record.metrics, **(record.failure or {"metrics": {}})["metrics"]}
        for metric, value in (found[AVERAGE][record.ood_set] | found.failure[record.ood_set].metrics).items():
            if metric in stated and abs(value.value - _value(stated[metric])) > allowed:
                raise RefusedError(
                    "embeddings",
                    f"{metric} is {_value(stated[metric]):.4f}, and the scores of its embeddings give "
                    f"{value.value:.4f}",
                )
        return True


def _check_calibration(given: Mapping[str, Any], again: CalibrationResult) -> None:
    """Hold metrics of calibration against those of the embeddings' logits."""
    _compare(given["metrics"], again.metrics, "calibration: ", "calibration")
    temperature = again.temperature
    if (given["temperature"] is None) != (temperature is None) or (
        temperature and abs(given["temperature"] / temperature - 1) > EXACT
    ):
        raise RefusedError(
            "calibration",
            f"temperature is {given['temperature']}, and the validation set gives {temperature}",
        )
    if again.scaled is not None:
        _compare(given["scaled"], again.scaled, "calibration.scaled: ", "calibration")


def _check_labels(known: SetScores, unknown: SetScores, ood_set: str) -> None:
    negative, classes = int((known.label < 0).sum()), int((unknown.label >= 0).sum())
    if negative and classes:
        raise RefusedError("labels", "the labels of the ID and the OOD samples are swapped")
    if negative:
        raise RefusedError("labels", f"{negative} ID samples have the label of OOD samples, -1")
    if classes:
        raise RefusedError(
            "labels", f"{classes} samples of {ood_set} have the label of a class; OOD samples have -1"
        )


def _compare(
    given: Mapping[str, Any], found: Mapping[str, Metric], where: str = "", reason: str = "metric"
) -> None:
    """Hold a record's metrics and intervals against those computed again; a difference is refused by ``reason``."""
    source = "embeddings" if reason == "calibration" else "scores"
    if given.keys() != found.keys():
        differing = ", ".join(sorted(given.keys() ^ found.keys()))
        raise RefusedError(reason, f"{where}the record and its {source} don't both give {differing}")
    for name, again in found.items():
        value, other = _value(given[name]), OTHER_CONVENTION.get(name)
        if abs(value - again.value) > EXACT:
            if other and abs(value - found[other].value) <= EXACT:
                raise RefusedError("convention", f"{where}{name} is what its scores give for {other}")
            raise RefusedError(
                reason, f"{where}{name} is {value:.6f}, and its {source} give {again.value:.6f}"
            )
        for bound in ("ci_low", "ci_high"):
            stated, derived = given[name][bound], getattr(again, bound)
            if stated is not None and derived is not None and abs(stated - derived) > EXACT:
                raise RefusedError(
                    reason, f"{where}{bound} of {name} is {stated:.6f}, and its {source} give {derived:.6f}"
                )


def _bootstrap(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return seed and resamples of intervals."""
    resamples = _whole((config.get("evaluator") or {}).get("n_bootstrap"), DEFAULT_RESAMPLES, "n_bootstrap")
    if resamples > MAX_RESAMPLES:
        raise RefusedError("config", f"n_bootstrap is {resamples}; at most {MAX_RESAMPLES} are verified")
    return {"seed": _whole(config.get("seed"), 0, "seed"), "n_bootstrap": resamples}


def _value(metric: Mapping[str, float | None]) -> float:
    value = metric["value"]
    assert value is not None  # as the schema says
    return value


def _whole(value: Any, default: int, name: str) -> int:
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise RefusedError("config", f"{name} must be a whole number of at least 0, and is {value!r}")
    return value
