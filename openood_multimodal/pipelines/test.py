"""Test: embeddings once, then every score on them; OpenOOD's outputs, and a record a row."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ..arrays import Embeddings, LinearHead
from ..config import Config, bind
from ..datasets.loaders import EmbeddingLoader, build_loaders, build_ood_loaders
from ..datasets.skipped import SkippedClip
from ..errors import UserError
from ..evaluators import MultimodalOODEvaluator, OODResult, SetScores
from ..evaluators.calibration import CalibrationResult
from ..evaluators.metrics import more_metrics
from ..evaluators.outputs import ID_NAME, write_results_csv
from ..evaluators.recordings import unseen_sets
from ..files import holding, listed
from ..files.atomic import write_npz
from ..files.folders import Stage, writing_together
from ..files.paths import file_name, resolve_inside
from ..linalg.torch_arithmetic import arithmetic_for
from ..networks import EmbeddingHead, build_network
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.protocol import head_of
from ..postprocessors.run import Chosen, named, run
from ..postprocessors.search import Search
from ..progress import progress_bar
from ..registry import EVALUATORS, PIPELINES
from ..reporting.records import SUFFIX, ResultRecord
from ..scoring.more_tables import calibration_of_sets, more_tables, write_tables
from ..scoring.search import criterion_of, require_disjoint
from ..vocabulary import CSID, LOADER_GROUPS, MORE_METRICS, OOD_VAL, TEST_GROUPS
from .card import CheckpointCard, check_auxiliary, check_same_data, read_card
from .checks import check_config, check_search, check_sets, check_trained, choose_scores
from .conditions import TestCondition, read_conditions, store_name
from .device import choose_device, set_determinism
from .extract import clip_remarks, extract_embeddings, extract_to_store, skipped_clips, store_digests
from .recording import Scored, TestedRun, print_results
from .verify_split import SPLIT

RESULTS = "results.csv"


@PIPELINES.register("multimodal_test", "test_ood")
class TestPipeline:
    """Evaluate one trained network with one or several scores.

    Args:
        config: a test config; see ``docs/configs.md``.  ``recorder.embeddings`` names a folder for the stores, so that
            another evaluator's run finds them and decodes nothing; without it they go below ``output_dir``.
    """

    __test__ = False  # not a pytest class

    def __init__(self, config: Mapping[str, Any]) -> None:
        check_config(config, ("dataset", "network", "evaluator"))
        self.config = config
        self.folder = Path(config["output_dir"])
        recorder = config.get("recorder") or {}
        self.quiet = bool(recorder.get("quiet", False))
        self.save_scores = bool(recorder.get("save_scores", True))
        self.save_embeddings = bool(recorder.get("save_embeddings", True))
        self.stores = Path(recorder.get("embeddings") or self.folder / "embeddings")
        self.fit_on = str(config.get("fit_on") or "train")
        self.scores = choose_scores(config)  # first: a misspelt parameter shouldn't cost an extraction
        self.searches = check_search(config, self.scores)
        self.more = more_metrics(config.get("metrics"))
        self.full_spectrum = config["evaluator"].get("ood_scheme") == "fsood"
        self._skipped: dict[str, tuple[SkippedClip, ...]] = {}
        self._remarks: dict[str, tuple[str, ...]] = {}
        self._store_digests: dict[str, str] = {}
        self.settings = bind(config.get("scoring") or {}, ScoringSettings, "scoring", ignore=())
        arithmetic_for(self.settings.device)

    def run(self) -> list[ResultRecord]:
        """Extract, score, evaluate, write; return the records.

        Raises:
            UserError: when the checkpoint was trained on other data than the config's, among others.
        """
        config = self.config
        check_trained(config["network"])
        checkpoint = config["network"].get("checkpoint")
        set_determinism(config)
        net = build_network(config["network"]).to(choose_device(config))
        card = read_card(checkpoint)
        loaders = build_loaders(config, training=False)
        evaluator_name = config["evaluator"]["name"]
        evaluator = EVALUATORS.get(evaluator_name)(config)  # which sets it takes; _tested makes its own
        groups = tuple(getattr(evaluator, "groups", TEST_GROUPS))
        csid = (CSID,) if self.full_spectrum else ()
        ood_loaders = build_ood_loaders(config, (*groups, *csid, LOADER_GROUPS[OOD_VAL]))
        check_sets(evaluator_name, groups, ood_loaders, config["ood_dataset"])
        if csid and not ood_loaders.get(CSID):
            raise UserError(
                "evaluator.ood_scheme is fsood, and ood_dataset has no covariate-shifted ID sets: add the group csid "
                "to ood_dataset.split_names (docs/conditions.md)."
            )
        sets = [each.dataset for each in loaders.values()]  # all have the same modalities
        conditions = read_conditions(config, getattr(sets[0], "modalities", ()) if sets else (), ood_loaders)
        for condition in conditions:
            self._check_condition(condition)
            condition.degrade(loaders, ood_loaders)
        check_same_data(card, loaders, checkpoint)
        check_auxiliary(card, config, checkpoint)

        with contextlib.ExitStack() as held:
            held.enter_context(
                holding(self.folder)
            )  # a second process waits, and finds the embeddings extracted
            if self.save_embeddings:
                held.enter_context(holding(self.stores))
            stage = held.enter_context(writing_together(self.folder, last=RESULTS))
            records = self._tested(stage, net, card, loaders, ood_loaders, conditions)
        if not self.quiet:
            self._report(records)
        return records

    def _tested(
        self,
        stage: Stage,
        net: Any,
        card: CheckpointCard | None,
        loaders: Mapping[str, Any],
        ood_loaders: Mapping[str, Any],
        conditions: Sequence[TestCondition] = (),
    ) -> list[ResultRecord]:
        """Extract, score and evaluate; write the files into ``stage``."""
        config = self.config
        if isinstance(config, Config):
            config.dump(stage.path / "config.yml")
        id_sets = {name: self._embeddings(net, loader, name) for name, loader in loaders.items()}
        ood_sets = {
            group: (
                self._embeddings(net, part, OOD_VAL)
                if group == LOADER_GROUPS[OOD_VAL]
                else {name: self._embeddings(net, loader, name) for name, loader in part.items()}
            )
            for group, part in ood_loaders.items()
        }
        head = head_of(net)
        assert head is not None
        if self.save_embeddings:
            write_npz(self.stores / "head.npz", head.arrays())

        for condition in conditions:
            id_sets, ood_sets = condition.apply(id_sets, ood_sets, loaders, ood_loaders, head)

        evaluator = EVALUATORS.get(config["evaluator"]["name"])(_into(config, stage.path))
        evaluator.unseen = _unseen(loaders, ood_loaders, id_sets, ood_sets)
        if self.fit_on not in id_sets:
            raise UserError(f"fit_on is '{self.fit_on}', and dataset.split_names has no such split.")
        tested = TestedRun(
            config,
            card,
            {name: loader.dataset for name, loader in loaders.items()},
            {
                group: {name: loader.dataset for name, loader in part.items()}
                for group, part in ood_loaders.items()
                if group != "val"
            },
            self._skipped,
            self._store_digests,
            self._remarks,
            notes=[each.note() for each in conditions if each.csid is not None],
            condition=next((each.as_record() for each in conditions if each.csid is None), None),
            csid=tuple(ood_loaders.get(CSID, ())),
            calibration=self._calibration(id_sets, ood_sets, head),
        )
        records: list[ResultRecord] = []
        results: list[OODResult] = []
        search = self._search(id_sets, ood_sets) if self.searches else None
        known = self._scored_at_once(evaluator, id_sets, ood_sets, head, search)
        stored_head = EmbeddingHead(head.weight, head.bias, head.modality_heads)
        stored = _stored(loaders, id_sets), _stored(ood_loaders, ood_sets)
        for each in progress_bar(self.scores, desc="Score", unit="score", leave=False, quiet=self.quiet):
            score = each.score
            if each.name in known:
                found = search.found.get(each.name) if search is not None else None
                chosen = found.chosen if found is not None else None
                result = evaluator.eval_scores(score, hyperparameters=chosen, **known[each.name])
            elif getattr(score, "wants_network", False):  # reads inputs or inner layers
                score.fit_on = self.fit_on
                score.setup(net, loaders, ood_loaders)
                result = evaluator.eval_ood(net, loaders, ood_loaders, score, self.full_spectrum)
            else:
                score.batch_size = loaders[self.fit_on].batch_size  # an engine's that works in batches
                score.fit(id_sets[self.fit_on], id_sets.get("val"), head)
                result = evaluator.eval_ood(stored_head, *stored, score, self.full_spectrum)
            results.append(result)
            records += tested.records(result, self._described(each))
        write_results_csv(stage.path / RESULTS, [row for each in results for row in each.rows()])
        write_tables(stage.path, more_tables(self.more, results, tested.calibration))
        for record in records:
            record.write(stage.path / "records")
        if self.save_scores:
            tested.write_split(stage.path / SPLIT)
        stage.remove(lambda: previous_results(self.folder, records))
        return records

    def _check_condition(self, condition: TestCondition) -> None:
        """Refuse scores that a condition can't reach."""
        reading = [each.name for each in self.scores if getattr(each.score, "wants_network", False)]
        if reading and not condition.at_input:
            raise UserError(
                f"{', '.join(reading)} read the network's input, and a condition of embeddings doesn't change it: "
                "leave them out, or give condition.level: input."
            )

    def _search(self, id_sets: Mapping[str, Embeddings], ood_sets: Mapping[str, Any]) -> Search:
        """Return the search on the ID and OOD validation sets, once these are known to hold no test row."""
        known, unknown = id_sets.get("val"), ood_sets.get(LOADER_GROUPS[OOD_VAL])
        if known is None or unknown is None:
            lacking = (
                "dataset.split_names has no val"
                if known is None
                else "the benchmark has no OOD validation set"
            )
            raise UserError(
                f"search is validation, but {lacking}, and parameters are never chosen on test data: add "
                f"{'it' if known is None else 'ood_dataset.val'}, or leave search out."
            )
        tests = {
            f"{group} {name}": each for group in TEST_GROUPS for name, each in ood_sets.get(group, {}).items()
        }
        require_disjoint({"val": known, OOD_VAL: unknown, "test": id_sets["test"], **tests}.items())
        fixed = {each.name: each.fixed for each in self.scores}
        return Search(known, {OOD_VAL: unknown}, criterion_of("AUROC", known.labels), fixed)

    def _scored_at_once(
        self,
        evaluator: Any,
        id_sets: Mapping[str, Embeddings],
        ood_sets: Mapping[str, Any],
        head: LinearHead,
        search: Search | None,
    ) -> dict[str, dict[str, Any]]:
        """Return native score → its scores of every set, as `MultimodalOODEvaluator.eval_scores` takes them.

        The evaluator asks the others itself: another engine's, those with an `inference` of their own, and all of
        them where parameters are searched for, where the evaluator has its own `eval_ood`, or where there is no test
        set, which the evaluator says.
        """
        searching = (self.config.get("postprocessor") or {}).get("APS_mode")
        asks = getattr(type(evaluator), "eval_ood", None) is not MultimodalOODEvaluator.eval_ood
        if searching or asks or "test" not in id_sets:
            return {}
        native = [
            each
            for each in self.scores
            if isinstance(each.score, Postprocessor) and not getattr(each.score, "wants_network", False)
            if type(each.score).inference is Postprocessor.inference
        ]
        groups = {group: part for group, part in ood_sets.items() if group != "val"}
        sets = {ID_NAME: id_sets["test"]}
        sets |= {f"{group}/{name}": each for group, part in groups.items() for name, each in part.items()}
        if "failure" in self.more and "val" in id_sets:
            sets["val"] = id_sets["val"]
        options = ScoringOptions(**asdict(self.settings), progress=not self.quiet)
        fit, val = id_sets[self.fit_on], id_sets.get("val")
        found = run(
            native, fit, val, head, sets, options, lambda each: named(each, self.scores), None, search
        )
        known: dict[str, dict[str, Any]] = {}
        for each, of_sets in zip(native, found, strict=True):
            scores = {key: SetScores(*of_sets[key], np.asarray(sets[key].labels)) for key in sets}
            unknown = {
                group: {name: scores[f"{group}/{name}"] for name in part} for group, part in groups.items()
            }
            known[each.name] = {"known": scores[ID_NAME], "csid": unknown.pop(CSID, {}), "unknown": unknown}
            if "val" in sets:
                known[each.name]["val_conf"] = scores["val"].conf
        return known

    def _calibration(
        self, id_sets: Mapping[str, Embeddings], ood_sets: Mapping[str, Any], head: LinearHead
    ) -> CalibrationResult | None:
        """Return the calibration on the ID samples, covariate-shifted ones too where they count as ID."""
        if "calibration" not in self.more or "test" not in id_sets:
            return None
        known, val = (id_sets["test"], *ood_sets.get(CSID, {}).values()), id_sets.get("val")
        seed = int(self.config.get("seed") or 0)
        resamples = self.config["evaluator"].get("n_bootstrap")
        options = {} if resamples is None else {"n_bootstrap": int(resamples)}
        return calibration_of_sets(known, val, head, seed=seed, **options)

    def _embeddings(self, net: Any, loader: Any, name: str) -> Embeddings:
        if not self.save_embeddings:
            embeddings = extract_embeddings(net, loader, name, self.quiet)
            self._skipped[name] = skipped_clips(loader.dataset)
            self._remarks[name] = tuple(clip_remarks(loader.dataset))
            return embeddings
        digests = store_digests(self.config, loader.dataset)
        folder = resolve_inside(self.stores, store_name(name, loader.dataset))
        store = extract_to_store(net, loader, folder, digests, name, self.quiet)
        self._skipped[name], self._store_digests[name] = store.skipped, store.digest()
        self._remarks[name] = store.notes
        return store.embeddings()

    def _described(self, each: Chosen) -> Scored:
        score = each.score
        preset = getattr(score, "preset", str(self.config.get("preset") or "openood"))
        return Scored(
            score.name,
            dict(score.parameters),
            each.given,
            preset,
            self.fit_on,
            each.engine,
            getattr(score, "notes", []),
        )

    def _report(self, records: Sequence[ResultRecord]) -> None:
        print_results(records)
        print(f"Written: {self.folder / 'results.csv'}, and records/ and scores/ beside it", flush=True)
        if self.save_embeddings:
            print(f"Embeddings: {self.stores}", flush=True)


def _stored(loaders: Mapping[str, Any], sets: Mapping[str, Any]) -> dict[str, Any]:
    """Return loaders of embeddings, in batches as large as the clips': some of OpenOOD's scores depend on that."""
    return {
        name: EmbeddingLoader(each, loaders[name].batch_size)
        if isinstance(each, Embeddings)
        else _stored(loaders[name], each)
        for name, each in sets.items()
    }


def _into(config: Mapping[str, Any], folder: Path) -> Any:
    """Return the config with another output folder, of the same class."""
    staged: Any = copy.copy(config)
    staged["output_dir"] = str(folder)
    return staged


def previous_results(folder: Path, records: Sequence[ResultRecord]) -> Iterator[str]:
    """Yield what an earlier run left of scores and OOD sets that this one doesn't have: a run replaces, whole."""
    present = {record.file_name for record in records}
    names = {record.postprocessor for record in records}
    for path in listed(folder / "records", f"*{SUFFIX}"):
        parts = [unquote(part) for part in path.name.removesuffix(SUFFIX).split("@")]
        if path.name in present:
            continue
        try:  # a record that this package wrote has names that can be file names
            postprocessor, ood_set, *_ = (file_name(part, "part of a record's name") for part in parts)
        except ValueError:
            warnings.warn(f"{path} is no record of this package's; it is left alone.", stacklevel=2)
            continue
        if (postprocessor, ood_set) not in {(record.postprocessor, record.ood_set) for record in records}:
            yield f"scores/{postprocessor}/{ood_set}.npz"
        if postprocessor not in names:
            yield from (f"scores/{postprocessor}/{ID_NAME}.npz", f"{postprocessor}/ood.csv")
        yield f"records/{path.name}"
    yield from (f"{SPLIT}/{path.name}" for path in listed(folder / SPLIT))
    yield from (f"{kind}.csv" for kind in MORE_METRICS)


def _unseen(
    loaders: Mapping[str, Any],
    ood_loaders: Mapping[str, Any],
    id_sets: Mapping[str, Embeddings],
    ood_sets: Mapping[str, Any],
) -> dict[str, Any]:
    """Return ``"id"`` and OOD set → rows whose recording is not among the training clips' (see `evaluators`)."""
    if not {"train", "test"} <= loaders.keys():  # the evaluator says what is missing
        return {}
    sets = {ID_NAME: (loaders["test"], id_sets["test"])}
    for group, part in ood_loaders.items():
        if group in TEST_GROUPS:
            sets |= {name: (loader, ood_sets[group][name]) for name, loader in part.items()}
    recordings = {}
    for name, (loader, embeddings) in sets.items():
        manifest = loader.dataset.manifest
        of = dict(zip(manifest.clips, manifest.groups, strict=True))
        recordings[name] = [of[clip] for clip in embeddings.clips]
    return unseen_sets(recordings, loaders["train"].dataset.manifest.groups)
