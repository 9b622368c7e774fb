"""Test: embeddings once, then every score on them; OpenOOD's outputs, and a record a row."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tqdm import tqdm

from .. import __version__
from ..arrays import Embeddings, LinearHead
from ..atomic import write_npz
from ..config import Config, bind
from ..datasets.loaders import EmbeddingLoader, build_loaders, build_ood_loaders
from ..datasets.skipped import SkippedClip, skip_note
from ..datasets.store import EmbeddingStore
from ..engines import engine_of
from ..errors import UserError
from ..evaluators.outputs import ID_NAME, OODResult, write_results_csv
from ..evaluators.recordings import MIN_CLIPS, unseen_sets
from ..networks import EmbeddingHead, build_network
from ..networks.build import network_names
from ..postprocessors.arithmetic import ScoringOptions, ScoringSettings, arithmetic_for
from ..postprocessors.base import Postprocessor
from ..postprocessors.plan import ScoredAlready, fit_all, naming, score_all
from ..registry import EVALUATORS, PIPELINES
from ..reporting.records import SUFFIX, ResultRecord
from .card import CheckpointCard, read_card
from .checks import check_config, check_trained
from .device import choose_device
from .digest import config_digest, file_digest, split_digest
from .extract import extract_embeddings, extract_to_store, skipped_clips, store_digests
from .options import TestOptions

GROUPS = {"near_ood": ("nearood", "val"), "far_ood": ("farood", "val")}
SETTINGS = {"nearood": "near", "farood": "far"}


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
        self.save_embeddings = bool(recorder.get("save_embeddings", True))
        self.stores = Path(recorder.get("embeddings") or self.folder / "embeddings")
        self.options = TestOptions.from_config(config)
        self._skipped: dict[str, tuple[SkippedClip, ...]] = {}
        self.settings = bind(config.get("scoring") or {}, ScoringSettings, "scoring", ignore=())
        arithmetic_for(self.settings.device)

    def run(self) -> list[ResultRecord]:
        """Extract, score, evaluate, write; return the records.

        Raises:
            UserError: when the checkpoint was trained on other data than the config's, among others.
        """
        config = self.config
        # first: a misspelt parameter shouldn't cost an extraction
        scores = self.options.build_postprocessors()
        check_trained(config["network"])
        checkpoint = config["network"].get("checkpoint")
        net = build_network(config["network"]).to(choose_device(config))
        card = read_card(checkpoint)
        loaders = build_loaders(config, training=False)
        evaluator_name = config["evaluator"]["name"]
        ood_loaders = build_ood_loaders(config, GROUPS.get(evaluator_name, ("nearood", "farood", "val")))
        _check_sets(evaluator_name, ood_loaders, config["ood_dataset"])
        check_same_data(card, loaders, checkpoint)

        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(config, Config):
            config.dump(self.folder / "config.yml")
        id_sets = {name: self._embeddings(net, loader, name) for name, loader in loaders.items()}
        ood_sets = {
            group: (
                self._embeddings(net, part, "ood_val")
                if group == "val"
                else {name: self._embeddings(net, loader, name) for name, loader in part.items()}
            )
            for group, part in ood_loaders.items()
        }
        head = LinearHead(*net.get_fc())  # type: ignore[operator]
        if self.save_embeddings:
            write_npz(self.stores / "head.npz", {"weight": head.weight, "bias": head.bias})

        id_loaders = {name: EmbeddingLoader(each) for name, each in id_sets.items()}
        ood_embedding_loaders = {
            group: EmbeddingLoader(part)
            if isinstance(part, Embeddings)
            else {name: EmbeddingLoader(each) for name, each in part.items()}
            for group, part in ood_sets.items()
        }
        evaluator = EVALUATORS.get(evaluator_name)(config)
        evaluator.unseen = _unseen(loaders, ood_loaders, id_sets, ood_sets)
        embedding_head = EmbeddingHead(head.weight, head.bias)
        fit_set = id_sets.get(self.options.fit_on)
        if fit_set is None:
            raise UserError(f"fit_on is '{self.options.fit_on}', and dataset.split_names has no such split.")
        records: list[ResultRecord] = []
        rows: list[dict[str, Any]] = []
        ready = self._ready(scores, fit_set, id_sets, ood_sets, head)
        for postprocessor in tqdm(
            ready, desc="Score", unit="score", leave=False, disable=True if self.quiet else None
        ):
            if isinstance(postprocessor, ScoredAlready):
                result = evaluator.eval_ood(embedding_head, id_loaders, ood_embedding_loaders, postprocessor)
            elif getattr(postprocessor, "wants_network", False):  # reads inputs or inner layers
                postprocessor.fit_on = self.options.fit_on
                postprocessor.setup(net, loaders, ood_loaders)
                result = evaluator.eval_ood(net, loaders, ood_loaders, postprocessor)
            else:
                postprocessor.fit(fit_set, id_sets.get("val"), head)
                result = evaluator.eval_ood(embedding_head, id_loaders, ood_embedding_loaders, postprocessor)
            rows += result.rows()
            records += self._records(result, postprocessor, card, checkpoint, loaders, ood_loaders)
        write_results_csv(self.folder / "results.csv", rows)
        _remove_previous(self.folder, records)
        for record in records if card is not None else ():
            record.write(self.folder / "records")
        if not self.quiet:
            self._report(records, card)
        return records

    def _ready(
        self,
        scores: Sequence[Any],
        fit_set: Embeddings,
        id_sets: Mapping[str, Embeddings],
        ood_sets: Mapping[str, Any],
        head: LinearHead,
    ) -> list[Any]:
        """Fit the native scores together and apply them, so that what they share is computed once.

        Others stay as they are; so do all of them where parameters are searched for, and where there is no test set,
        which the evaluator says.
        """
        if (self.config.get("postprocessor") or {}).get("APS_mode") or "test" not in id_sets:
            return list(scores)
        native = [
            each
            for each in scores
            if isinstance(each, Postprocessor) and not getattr(each, "wants_network", False)
            if type(each).inference is Postprocessor.inference  # else that has to be asked
        ]
        names = list(zip(scores, self.options.postprocessors, strict=True))

        def around(score: Postprocessor) -> contextlib.AbstractContextManager[None]:
            return naming(score.name, [name for each, name in names if each is not score])

        options = ScoringOptions(**asdict(self.settings), progress=not self.quiet)
        fit_all(native, fit_set, id_sets.get("val"), head, options, around)
        sets = {"id": id_sets["test"]}
        for group, part in ood_sets.items():
            sets |= {f"{group}/{name}": each for name, each in part.items()} if group != "val" else {}
        found = score_all(native, sets, options, around)
        known = {
            id(score): ScoredAlready(score, [(each, found[name][i]) for name, each in sets.items()])
            for i, score in enumerate(native)
        }
        return [known.get(id(score), score) for score in scores]

    def _embeddings(self, net: Any, loader: Any, name: str) -> Embeddings:
        if not self.save_embeddings:
            embeddings = extract_embeddings(net, loader, name, self.quiet)
            self._skipped[name] = skipped_clips(loader.dataset)
            return embeddings
        digests = store_digests(self.config, loader.dataset)
        store = extract_to_store(net, loader, self.stores / name, digests, name, self.quiet)
        self._skipped[name] = store.skipped
        return store.embeddings()

    def _skip_notes(self, id_sets: Sequence[str], ood_set: str) -> list[str]:
        """Return what a record has to say of clips left out: those of its own sets."""
        used = [*id_sets, "ood_val", ood_set]
        return [skip_note(name, self._skipped[name]) for name in used if self._skipped.get(name)]

    def _records(
        self,
        result: OODResult,
        postprocessor: Any,
        card: CheckpointCard | None,
        checkpoint: str,
        loaders: Mapping[str, Any],
        ood_loaders: Mapping[str, Any],
    ) -> list[ResultRecord]:
        config, options = self.config, self.options
        dataset = loaders["test"].dataset
        id_datasets = {name: loader.dataset for name, loader in loaders.items()}
        data = dataset.provenance
        trainer = card.trainer if card else {}
        notes = [*getattr(postprocessor, "notes", [])]
        if result.hyperparameters:
            chosen = ", ".join(f"{name} = {value}" for name, value in result.hyperparameters.items())
            notes.append(f"parameters chosen by AUROC on the validation OOD set: {chosen}")
        if data.get("synthetic"):
            notes.append("synthetic data")
        if data.get("modified"):
            notes.append("source files differ from the benchmark's digests")
        if card is None:
            notes.append(
                "the checkpoint has no card, so it is not known how and on which clips it was trained: make sure that "
                "partition and seed are the training's; no record is written"
            )
        elif card.chosen_before_synthesis:
            began = card.first_synthesis_epoch or "never"
            notes.append(
                f"checkpoint of epoch {card.epoch}, chosen before outliers were used (first: {began})"
            )
        # the checkpoint's content counts, not where it lies
        network = {key: value for key, value in config["network"].items() if key != "checkpoint"}
        digest = config_digest({**config, "network": network})
        checkpoint_digest = file_digest(checkpoint)
        run_id = hashlib.sha256(f"{digest} {checkpoint_digest}".encode()).hexdigest()[:16]
        records = []
        for group, sets in result.items():
            for name, metrics in sets.items():
                records.append(
                    ResultRecord(
                        run_id=run_id,
                        benchmark=str(data.get("benchmark") or config["dataset"]["name"]),
                        partition=str(data.get("partition", 0)),
                        track=str(data.get("track") or "demo"),
                        setting=SETTINGS[group],
                        id_set=str(config["dataset"]["name"]),
                        ood_set=name,
                        modalities=list(dataset.modalities),
                        networks=network_names(config["network"]),
                        training=str(trainer.get("name", "unknown")),
                        protocol=trainer.get("protocol"),
                        synthesis=card.synthesis if card else None,
                        discrepancy=trainer.get("discrepancy"),
                        postprocessor=postprocessor.name,
                        parameters=dict(postprocessor.parameters),
                        preset=getattr(postprocessor, "preset", options.preset),
                        fit_on=options.fit_on,
                        engine=engine_of(postprocessor),
                        seed=card.seed if card else int(config.get("seed") or 0),
                        best_epoch=card.epoch if card else None,
                        metrics={key: metric.as_dict() for key, metric in metrics.items()},
                        n_id=result.n_id,
                        n_ood=result.n_ood[name],
                        unseen_recordings=result.unseen[name].as_dict() if name in result.unseen else None,
                        digests={
                            "manifest": split_digest(
                                {**id_datasets, "ood": ood_loaders[group][name].dataset}
                            ),
                            "training": card.settings_digest if card else None,
                            "checkpoint": checkpoint_digest,
                            "store": self._store_digest(name),
                            "config": digest,
                        },
                        notes=[*notes, *self._skip_notes(list(loaders), name)],
                        package_version=__version__,
                        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
                        source="reproduced",
                    )
                )
        return records

    def _store_digest(self, name: str) -> str | None:
        if not self.save_embeddings:
            return None
        return EmbeddingStore.open(self.stores / name).digest()

    def _report(self, records: Sequence[ResultRecord], card: CheckpointCard | None) -> None:
        width = max(8, *(len(record.postprocessor) + 1 for record in records))
        print(f"{'score':<{width}}{'OOD set':<18}{'FPR@95':>8}{'AUROC':>8}{'ACC':>8}   (percent)")
        for record in records:
            values = "".join(f"{100 * record.metrics[k]['value']:8.2f}" for k in ("FPR@95", "AUROC", "ACC"))
            print(f"{record.postprocessor:<{width}}{record.ood_set:<18}{values}")
        _report_unseen(records, width)
        for note in dict.fromkeys(note for record in records for note in record.notes):
            print(f"Note: {note.rstrip('.')}.")
        print(f"Written: {self.folder / 'results.csv'}, and records/ and scores/ beside it", flush=True)
        if self.save_embeddings:
            print(f"Embeddings: {self.stores}", flush=True)


def _remove_previous(folder: Path, records: Sequence[ResultRecord]) -> None:
    """Remove what an earlier run left of scores and OOD sets that this one doesn't have: a run replaces, whole."""
    present = {record.file_name for record in records}
    names = {record.postprocessor for record in records}
    for path in (folder / "records").glob(f"*{SUFFIX}"):
        if path.name in present:
            continue
        postprocessor, _, ood_set = (unquote(part) for part in path.name.removesuffix(SUFFIX).partition("@"))
        scores = folder / "scores" / postprocessor
        gone = [scores / f"{ood_set}.npz"]
        if postprocessor not in names:
            gone += [scores / "id.npz", folder / postprocessor / "ood.csv"]
        for each in (*gone, path):
            each.unlink(missing_ok=True)
        for each in (scores, folder / postprocessor):
            with contextlib.suppress(OSError):  # not empty, or never there
                each.rmdir()


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
        if group != "val":
            sets |= {name: (loader, ood_sets[group][name]) for name, loader in part.items()}
    recordings = {}
    for name, (loader, embeddings) in sets.items():
        manifest = loader.dataset.manifest
        of = dict(zip(manifest.clips, manifest.groups, strict=True))
        recordings[name] = [of[clip] for clip in embeddings.clips]
    return unseen_sets(recordings, loaders["train"].dataset.manifest.groups)


def _report_unseen(records: Sequence[ResultRecord], width: int) -> None:
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


def _check_sets(evaluator: str, loaders: Mapping[str, Any], section: Mapping[str, Any]) -> None:
    """Refuse, before anything is extracted, an evaluator whose OOD sets the benchmark lacks."""
    group = GROUPS.get(evaluator, (None,))[0]
    if group and not loaders.get(group):
        there = [name for name in section["split_names"] if name != "val"]
        raise UserError(
            f"the evaluator '{evaluator}' needs {group} sets, and {section['name']} has "
            f"{' and '.join(there) or 'none'} only. Use pipelines/test/"
            f"{'near_ood' if group == 'farood' else 'far_ood'}.yml, or another benchmark."
        )


def check_same_data(card: CheckpointCard | None, loaders: Mapping[str, Any], checkpoint: str) -> None:
    """Refuse a test on data that the training may have seen: other partition, seed or modalities."""
    if card is None:
        return
    shared = [name for name in loaders if name in card.manifest_digests]
    if not shared:
        raise UserError(
            f"none of this config's splits ({', '.join(loaders)}) is one that {checkpoint} was trained with "
            f"({', '.join(card.manifest_digests)}), so its test clips may have been trained on."
        )
    dataset = loaders[shared[0]].dataset
    trained_on, scaling = card.data.get("standardize"), dataset.provenance.get("standardize")
    if trained_on != scaling:
        raise UserError(
            f"{checkpoint} was trained with standardize: {trained_on}, and this config's data has "
            f"standardize: {scaling}; the network would get features on another scale."
        )
    if any(loaders[name].dataset.manifest.digest() != card.manifest_digests[name] for name in shared):
        there = {**card.data, "seed": card.seed, "modalities": card.modalities}
        here = {**dataset.provenance, "modalities": list(dataset.modalities)}
        differing = [
            f"{key} {there[key]} there, {here[key]} here"
            for key in there
            if key in here and there[key] != here[key]
        ]
        raise UserError(
            f"{checkpoint} was trained on other clips than this config's splits "
            f"({'; '.join(differing) or 'the manifests differ'}), so its test clips may have been trained on. "
            "Use the training's dataset files, --dataset.partition, --dataset.modalities and --seed."
        )
