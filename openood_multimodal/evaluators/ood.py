"""The evaluator: OpenOOD's interface, near or far OOD sets, results that replace earlier ones.

Differences from OpenOOD's ``OODEvaluator``: a benchmark may have only near, or only far, sets; files are
replaced, never appended to; every metric has an interval; the hyper-parameter search takes the first of tied
settings.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files.paths import file_name
from ..naming import did_you_mean
from ..postprocessors.sweeps import settings, within_limits
from ..ranks import gather_in_turn
from ..registry import EVALUATORS
from ..vocabulary import EVALUATOR_GROUPS, TEST_GROUPS
from .intervals import DEFAULT_RESAMPLES
from .metrics import auroc, more_metrics
from .outputs import ID_NAME, OODResult, SetScores, write_ood_csv, write_scores
from .sets import as_ood, checked_scores, evaluate_sets, joined

_log = logging.getLogger(__name__)


@EVALUATORS.register("near_ood", "far_ood")
class MultimodalOODEvaluator:
    """Evaluate a network and a postprocessor on an ID set and its near, or far, OOD sets.

    Args:
        config: a mapping (OpenOOD's Config is one) with ``evaluator.name`` (``near_ood`` or ``far_ood``) and
            ``output_dir``; optional: ``evaluator.intervals`` (default True), ``evaluator.n_bootstrap``
            (default 1000), ``seed`` (of the bootstrap), ``metrics`` (``failure``: failure detection, too),
            ``postprocessor.name``, ``postprocessor.APS_mode``, ``recorder.save_scores`` and ``recorder.save_csv``
            (default True).

    Attributes:
        groups: the groups of OOD sets that are evaluated: those of the name, or the class's own where a subclass says
            ``groups = ("nearood", "farood")``.
        unseen: ``"id"`` and OOD set → bool ``[N]``, the rows whose recording was not in training; may be set
            before `eval_ood`, which then reports metrics on those rows, too.

    Raises:
        UserError: for another ``evaluator.name``, unless a subclass has its own groups.
    """

    groups: tuple[str, ...] = ()

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        name = _get(config, "evaluator", "name")
        if not self.groups and name not in EVALUATOR_GROUPS:
            raise UserError(f"evaluator.name is '{name}'.{did_you_mean(str(name), EVALUATOR_GROUPS)}")
        self.name = str(name)
        self.groups = self.groups or EVALUATOR_GROUPS[self.name]
        self.failure = "failure" in more_metrics(config.get("metrics"))
        self.unseen: Mapping[str, NDArray[np.bool_]] = {}

    def eval_acc(
        self,
        net: Any,
        loader: Any,
        postprocessor: Any = None,
        epoch_idx: int = -1,
        fsood: bool = False,
        csid_data_loaders: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return accuracy on labelled ID data.

        Args:
            net: the network; set to evaluation mode.
            loader: yields ``{"data", "label", ...}``; ``data`` answers ``.to(device)``.
            postprocessor: whose predictions count; None takes the arg max of ``net(data)``.
            epoch_idx: returned as it is.
            fsood: whether to include ``csid_data_loaders`` (covariate-shifted ID sets of full-spectrum OOD).
            csid_data_loaders: name → loader.

        Returns:
            ``{"epoch_idx", "acc"}`` and, without a postprocessor, ``"loss"``: the mean over batches of the
            mean cross-entropy of the fused logits, as OpenOOD's BaseEvaluator computes it.

        Raises:
            UserError: when the loader is empty.
        """
        evaluation_mode(net)
        loaders = [loader, *(csid_data_loaders or {}).values()] if fsood else [loader]
        if postprocessor is None:
            return {"epoch_idx": epoch_idx, **_accuracy_and_loss(net, loaders)}
        sets = [self._infer(net, each, postprocessor, ID_NAME) for each in loaders]
        hits = np.concatenate([scores.pred == scores.label for scores in sets])
        return {"epoch_idx": epoch_idx, "acc": float(hits.mean())}

    def eval_ood(
        self,
        net: Any,
        id_data_loaders: Mapping[str, Any],
        ood_data_loaders: Mapping[str, Any],
        postprocessor: Any,
        fsood: bool = False,
    ) -> OODResult:
        """Score the ID test set and every OOD set of this evaluator's groups; write files; return metrics.

        Args:
            net: the network; set to evaluation mode.
            id_data_loaders: ``"test"`` and, for the automatic parameter search, ``"val"``.
            ood_data_loaders: ``"nearood"`` and/or ``"farood"``: name → loader; optionally ``"val"`` (for the
                search) and ``"csid"`` (for ``fsood``).
            postprocessor: answers ``inference(net, loader) → (pred [N], conf [N], label [N])``.
            fsood: count the ``"csid"`` sets as ID.

        Returns:
            Metrics of each set, their means, counts.  Labels of OOD sets are taken as -1, whatever they are.

        Raises:
            UserError: when a set that is asked for is missing or empty, scores are NaN, or the search is
                asked for without OOD validation data or without anything to search.
        """
        evaluation_mode(net)
        groups = {group: self._group(ood_data_loaders, group) for group in self.groups}
        id_loader = _need(id_data_loaders, "test", "the ID loaders")
        self._postprocessor_name(postprocessor)  # before anything is computed
        chosen = self._search_if_asked(net, id_data_loaders, ood_data_loaders, postprocessor)

        def infer(loaders: Mapping[str, Any]) -> dict[str, SetScores]:
            return {name: self._infer(net, each, postprocessor, name) for name, each in loaders.items()}

        known = self._infer(net, id_loader, postprocessor, ID_NAME)
        csid = infer(_need(ood_data_loaders, "csid", "the OOD loaders")) if fsood else {}
        unknown = {group: infer(loaders) for group, loaders in groups.items()}
        val_conf = None
        if self.failure and id_data_loaders.get("val") is not None:
            val_conf = self._infer(net, id_data_loaders["val"], postprocessor, "val").conf
        return self.eval_scores(postprocessor, known, unknown, csid, chosen, val_conf)

    def eval_scores(
        self,
        postprocessor: Any,
        known: SetScores,
        unknown: Mapping[str, Mapping[str, SetScores]],
        csid: Mapping[str, SetScores] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        val_conf: NDArray[Any] | None = None,
    ) -> OODResult:
        """Evaluate scores that are known; write files; return metrics: `eval_ood` without network and loaders.

        Args:
            postprocessor: what the scores come from; names the files.
            known: scores of the ID test set.
            unknown: group → OOD set → scores; all groups of this evaluator.
            csid: set → scores of covariate-shifted ID sets, which then count as ID.
            hyperparameters: what a parameter search chose, or None.
            val_conf: scores of the ID validation set, whose range AUTC needs.

        Raises:
            UserError: when a group is missing, or scores are NaN.
        """
        name = self._postprocessor_name(postprocessor)
        groups = {group: self._group(unknown, group) for group in self.groups}
        resamples, seed = _get(self.config, "evaluator", "n_bootstrap"), self.config.get("seed")
        result = evaluate_sets(
            known,
            groups,
            postprocessor=name,
            intervals=self._switch("evaluator", "intervals"),
            n_bootstrap=DEFAULT_RESAMPLES if resamples is None else int(resamples),
            seed=0 if seed is None else int(seed),
            unseen=None if csid else self.unseen,
            hyperparameters=hyperparameters,
            csid=csid,
            failure=self.failure,
            val_conf=val_conf,
        )
        if self._switch("recorder", "save_scores"):
            ood = {each: as_ood(scores) for part in groups.values() for each, scores in part.items()}
            for each, scores in {ID_NAME: known, **(csid or {}), **ood}.items():
                write_scores(self.config["output_dir"], name, each, scores)
        if self._switch("recorder", "save_csv"):
            write_ood_csv(self.config["output_dir"], result)
        return result

    def eval_ood_val(
        self,
        net: Any,
        id_data_loaders: Mapping[str, Any],
        ood_data_loaders: Mapping[str, Any],
        postprocessor: Any,
    ) -> dict[str, float]:
        """Return ``{"auroc": percent}`` on the validation sets, after the parameter search if asked for.

        Raises:
            UserError: as `eval_ood`, for the validation sets.
        """
        evaluation_mode(net)
        self._search_if_asked(net, id_data_loaders, ood_data_loaders, postprocessor)
        id_val = _need(id_data_loaders, "val", "the ID loaders")
        ood_val = _need(ood_data_loaders, "val", "the OOD loaders")
        return {"auroc": 100 * self._validation_auroc(net, id_val, ood_val, postprocessor)}

    def report(self, test_metrics: Mapping[str, Any]) -> None:
        """Print what an ``eval_`` method returned: percent, one line an OOD set."""
        if isinstance(test_metrics, OODResult):
            for row in test_metrics.rows():
                values = (f"{k} {100 * v.value:.2f}" for k, v in row.items() if hasattr(v, "value"))
                print(f"{row['postprocessor']} | {row['dataset']} | {', '.join(values)}", flush=True)
        elif "acc" in test_metrics:
            print(f"Accuracy {100 * test_metrics['acc']:.2f}%", flush=True)

    def _group(self, ood_data_loaders: Mapping[str, Any], group: str) -> Mapping[str, Any]:
        loaders = ood_data_loaders.get(group)
        if not loaders:
            present = [g for g in TEST_GROUPS if ood_data_loaders.get(g)]
            other = next((n for n, groups in EVALUATOR_GROUPS.items() if set(groups) <= set(present)), None)
            remedy = f"use evaluator.name: {other}" if other else f"add an OOD set under ood_dataset.{group}"
            raise UserError(
                f"the evaluator '{self.name}' asks for {group} sets, and this benchmark has none; {remedy}."
            )
        for name in loaders:
            if name in (ID_NAME, group):
                raise UserError(f"an OOD set can't be called '{name}': the results use that name.")
            file_name(name, "OOD set")
        return loaders

    def _infer(self, net: Any, loader: Any, postprocessor: Any, name: str) -> SetScores:
        if hasattr(loader, "__len__") and len(loader) == 0:
            raise UserError(f"the set '{name}' is empty; nothing can be scored.")
        pred, conf, label = postprocessor.inference(net, loader)
        return checked_scores(pred, conf, label, name, type(postprocessor).__name__)

    def _search_if_asked(
        self,
        net: Any,
        id_data_loaders: Mapping[str, Any],
        ood_data_loaders: Mapping[str, Any],
        postprocessor: Any,
    ) -> dict[str, Any] | None:
        """Set the parameters with the best AUROC on the validation sets; test data is never looked at."""
        if not _get(self.config, "postprocessor", "APS_mode"):
            return None
        off = "or set postprocessor.APS_mode to False"
        sweep = self._swept(postprocessor)
        if not sweep:
            raise UserError(
                f"postprocessor.APS_mode is on, but {type(postprocessor).__name__} has no args_dict, so "
                f"there is nothing to search. Name values under postprocessor.postprocessor_sweep, {off}."
            )
        ood_val = ood_data_loaders.get("val")
        if not ood_val:
            raise UserError(
                "postprocessor.APS_mode is on, but the benchmark has no OOD validation set, and parameters "
                f"are never chosen on test data. Add ood_dataset.val, {off}."
            )
        id_val = _need(id_data_loaders, "val", "the ID loaders")
        results = []
        for setting in settings(sweep.values()):
            postprocessor.set_hyperparam(setting)
            results.append((self._validation_auroc(net, id_val, ood_val, postprocessor), setting))
        best = max(value for value, _ in results)
        tied = [setting for value, setting in results if value == best]
        names = [key.removesuffix("_list") for key in sweep]
        chosen = dict(zip(names, tied[0], strict=True))
        if len(tied) > 1:
            _log.warning(
                "parameter search: %d settings tie at validation AUROC %.4f; the first, %s, is taken "
                "(OpenOOD would take the last, %s)",
                *(len(tied), best, chosen, dict(zip(names, tied[-1], strict=True))),
            )
        postprocessor.set_hyperparam(tied[0])
        return chosen

    def _swept(self, postprocessor: Any) -> Mapping[str, list[Any]]:
        """Return the sweep, less what doesn't go with the data; that is noted."""
        sweep = getattr(postprocessor, "args_dict", None)
        limits = getattr(postprocessor, "limits", None)
        if sweep and limits:
            sweep, notes = within_limits(self._postprocessor_name(postprocessor), sweep, limits)
            postprocessor.args_dict = sweep
            postprocessor.notes += notes
        return sweep or {}

    def _validation_auroc(self, net: Any, id_val: Any, ood_val: Any, postprocessor: Any) -> float:
        known = self._infer(net, id_val, postprocessor, "val")
        loaders = ood_val.values() if isinstance(ood_val, Mapping) else [ood_val]
        unknown = joined([self._infer(net, each, postprocessor, "OOD val") for each in loaders])
        return auroc(known.conf, unknown.conf)

    def _switch(self, section: str, key: str) -> bool:
        value = _get(self.config, section, key)
        return True if value is None else bool(value)

    def _postprocessor_name(self, postprocessor: Any) -> str:
        name = getattr(postprocessor, "name", None) or _get(self.config, "postprocessor", "name")
        if not name:
            raise UserError(
                f"{type(postprocessor).__name__} has no name to file results under; set postprocessor.name."
            )
        return file_name(str(name), "postprocessor")


def _get(config: Mapping[str, Any], section: str, key: str) -> Any:
    """Return ``config[section][key]``, or None where either is missing or None."""
    found = config.get(section)
    return None if found is None else found.get(key)


def _need(loaders: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in loaders or loaders[key] is None:
        raise UserError(f"{where} have no '{key}' set.{did_you_mean(key, loaders)}")
    return loaders[key]


def evaluation_mode(net: Any) -> None:
    """Put a network, or each of OpenOOD's dict of networks, into evaluation mode."""
    for each in net.values() if isinstance(net, dict) else [net]:
        each.eval()


def _accuracy_and_loss(net: Any, loaders: Iterable[Any]) -> dict[str, float]:
    import torch  # here, so that metrics of stored arrays don't wait for torch
    from torch.nn.functional import cross_entropy

    module = net["backbone"] if isinstance(net, dict) else net
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batches = []
    with torch.inference_mode():
        for batch in itertools.chain.from_iterable(loaders):
            logits = module(batch["data"].to(device, non_blocking=True))
            target = batch["label"].to(device, non_blocking=True)
            hits = int((logits.argmax(dim=1) == target).sum())
            batches.append((cross_entropy(logits, target).item(), hits, len(target)))
    batches = gather_in_turn(batches)
    loss, hits, total = (sum(column) for column in zip(*batches, strict=True)) if batches else (0.0, 0, 0)
    if not total:
        raise UserError("the loader is empty; accuracy needs at least one sample.")
    return {"acc": hits / total, "loss": loss / len(batches)}
