"""Native scores beside the code that their authors released, on the same arrays: AUROC and FPR@95.

Both have the figures of the formula written out in float64.  Each test needs a clone of the
repository that `original_code.REPOSITORIES` names, and an environment variable that says where it is::

    LTS_ROOT=~/lts NAC_ROOT=~/ood_coverage python -m pytest tests/postprocessors/test_original_scores.py -rs

NECO's repository (gitlab.com/drti/neco) and ConjNorm's weren't available.
"""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import parity  # scripts/openood_pages
import pytest
import torch
import torch.nn.functional as F
from original_code import clone, definitions, run_lines
from score_parity import figures
from sklearn.covariance import EmpiricalCovariance

from openood_multimodal.postprocessors.igeood import Igeood, angles

CASES = {case.name: case for case in parity.CASES}
FEW = ("more_rows_than_columns", "fewer_rows_than_columns")


class Arrays(SimpleNamespace):
    """A problem in float64 tensors: features, logits, weight, bias, labels."""

    @classmethod
    def of(cls, p: parity.Problem) -> Arrays:
        weight, bias = (torch.tensor(each, dtype=torch.float64) for each in (p.head.weight, p.head.bias))
        features = {
            name: torch.tensor(np.asarray(getattr(p, name).features), dtype=torch.float64)
            for name in ("train", "val", "test")
        }
        logits = {f"{name}_logits": each @ weight.T + bias for name, each in features.items()}
        labels = torch.tensor(np.asarray(p.train.labels))
        return cls(**features, **logits, weight=weight, bias=bias, labels=labels)

    def energy(self, features: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(features @ self.weight.T + self.bias, dim=1)


def wdiscood(a: Arrays) -> Any:
    tools: dict[str, Any] = {
        "_to_np": np.asarray,
        "_to_tensor": lambda x, device: torch.as_tensor(x).float(),
        "EmpiricalCovariance": EmpiricalCovariance,
        "tqdm": lambda x: x,
    }
    script = clone("WDISCOOD_ROOT", "ood_scores/scorer_base.py")
    tools |= definitions(script, "ScorerBase", "ScorerBaseFeature", **tools)
    script = clone("WDISCOOD_ROOT", "ood_scores/scorer_dist.py")
    names = definitions(script, "FeatStaticBase", "DiscBase", "WDiscOOD", **tools)
    discriminants = len(a.weight) - 1  # as many as there are: more are rounding
    scorer = names["WDiscOOD"](
        SimpleNamespace(
            device="cpu", alpha=1e-5, feat_norm=False, whiten_data=True, num_disc=discriminants,
            num_disc_res=None, res_dist_weight=5.0, score_g="ClsEucl", score_h="CenterEucl",
        )
    )  # fmt: skip
    scorer.append_features(a.train.float(), a.labels)
    scorer.fit()
    return np.array([scorer.cal_score(row) for row in a.test.float()])


def fdbd(a: Arrays) -> Any:
    names = {
        "w": a.weight, "device": "cpu", "train_mean": a.train.mean(0), "feat_log_val": a.test,
        "score_log_val": a.test_logits,
    }  # fmt: skip
    lines = ("denominator_matrix =", "for p in range", "values, nn_idx =", "logits_sub =", "score_in =")
    return run_lines(clone("FDBD_ROOT", "run_cifar.py"), names, *lines, constants={10: len(a.weight)})[
        "score_in"
    ].numpy()


def optfs(a: Arrays) -> Any:
    script = clone("OPTFS_ROOT", "detector/ours.py")
    names = definitions(
        script, "Ours", Any=Any, BasePostprocessor=object, tqdm=SimpleNamespace(tqdm=lambda x: x), time=os
    )
    ours = names["Ours"]()
    features, weight = a.train.numpy(), a.weight.numpy()
    found = {"feature": features, "self": ours}
    run_lines(script, found, "left_b =", "right_b =", "self.width = (", "self.left_boundary = np.arange")
    found["lc_fv_list"] = ours.get_lc_fv_list(weight, features, a.train_logits.argmax(1).numpy())
    run_lines(script, found, "self.theta = lc_fv_list")
    shaped = {"feature": a.test, "feat_p": torch.zeros_like(a.test), "self": ours}
    ours.theta, ours.w = torch.from_numpy(ours.theta[np.newaxis, :]), a.weight
    shaped["pred"] = a.test_logits.argmax(1)
    loop = "for i, x in enumerate(self.left_boundary):\n    mask = (feature >= x) & (feature < x + self.width)\n    "
    loop += "feat_p += mask * feature * self.theta[0]"
    return run_lines(script, shaped, loop, "conf = torch.sum(self.w")["conf"].numpy()


def nac(a: Arrays) -> Any:
    found = definitions(clone("NAC_ROOT", "openood/postprocessors/nac/coverage.py"), "logspace", "Estimator")
    sigmoid = definitions(clone("NAC_ROOT", "openood/postprocessors/nac/utils.py"), "sigmoid")["sigmoid"]
    gradient = definitions(clone("NAC_ROOT", "openood/postprocessors/nac/instr_state.py"), "kl_grad")
    estimator = found["Estimator"](a.train.shape[1], 50, 50, "cpu")

    def states(features: torch.Tensor) -> torch.Tensor:
        leaf = features.clone().requires_grad_()
        slope = gradient["kl_grad"](leaf, leaf @ a.weight.T + a.bias)
        return sigmoid(features * slope, 100)

    for block in a.train.split(64):
        estimator.update(states(block))
    estimator.get_score()
    return torch.cat([estimator.ood_test(states(block)) for block in a.test.split(64)]).numpy()


def relation(a: Arrays) -> Any:
    names = definitions(
        clone("RELATION_ROOT", "relation.py"), "kernel", "_init", "get_relation",
        ceil=math.ceil, time=SimpleNamespace(time=lambda: 0.0),
    )  # fmt: skip
    unit, others = F.normalize(a.test, dim=1), F.normalize(a.train, dim=1)
    p, q = a.test_logits.softmax(1), a.train_logits.softmax(1)
    return names["get_relation"](unit, others, None, None, p, q, verbose=False)["score"].numpy()


def nnguide(a: Arrays) -> Any:
    faiss = pytest.importorskip("faiss")
    import copy

    near = definitions(
        clone("NNGUIDE_ROOT", "ood_detectors/assets.py"), "knn_score", faiss=faiss, deepcopy=copy.deepcopy
    )
    names = definitions(
        clone("NNGUIDE_ROOT", "ood_detectors/nnguide.py"), "NNGuideOODDetector", OODDetector=object,
        knn_score=near["knn_score"],
    )  # fmt: skip
    detector = names["NNGuideOODDetector"]()
    outputs = {
        "logits": a.train_logits.float(),
        "feas": F.normalize(a.train, dim=1).float(),
        "labels": a.labels,
    }
    detector.setup(SimpleNamespace(detector={"knn_k": 10}), outputs)
    return detector.infer(
        {"logits": a.test_logits.float(), "feas": F.normalize(a.test, dim=1).float()}
    ).numpy()


def scale(a: Arrays) -> Any:
    shape = definitions(clone("SCALE_ROOT", "openood/networks/scale_net.py"), "scale")["scale"]
    return a.energy(shape(a.test.clone()[:, :, None, None], 85).flatten(1)).numpy()


def lts(a: Arrays) -> Any:
    factor = definitions(clone("LTS_ROOT", "lts.py"), "lts")["lts"](a.test, 95)
    return torch.logsumexp(factor * a.test_logits, dim=1).numpy()


def ash(kind: str) -> Any:
    def shaped(a: Arrays) -> Any:
        return a.energy(definitions(clone("LTS_ROOT", "lts.py"), kind)[kind](a.test.clone(), 90)).numpy()

    return shaped


def vra(a: Arrays) -> Any:
    low, high = np.percentile(a.val.numpy(), [10, 90])
    args = SimpleNamespace(featmin=low, featmax=high)
    return a.energy(definitions(clone("VRA_ROOT", "quick_ood.py"), "f", args=args)["f"](a.test)).numpy()


def pnml(a: Arrays) -> Any:
    script = clone("PNML_ROOT", "src/lit_utils/baseline_lit_utils.py")
    unit = {name: F.normalize(each, dim=1) for name, each in (("train", a.train), ("test", a.test))}
    moment = unit["train"].T @ unit["train"]
    it = SimpleNamespace(x_t_x_inv=torch.linalg.pinv(moment, hermitian=True))
    names = {
        "self": it, "features": unit["test"], "device": "cpu",
        "probs": (unit["test"] @ a.weight.T + a.bias).softmax(1), "n_classes": len(a.weight),
    }  # fmt: skip
    lines = ("x_proj =", "x_t_g =", "nf =", "regrets = torch.log")
    return -run_lines(script, names, *lines)["regrets"].numpy()


def igeood(a: Arrays) -> Any:
    """Their distances to our centroids; `test_igeoods_centroids` compares these with theirs."""
    names = definitions(clone("IGEOOD_ROOT", "src/measures.py"), "fisher_rao_logits_distance", "igeoodlogits")
    return names["igeoodlogits"](a.test_logits, 1.0, 2 * torch.tensor(a.native.centroids).log()).numpy()


def igeood_features(a: Arrays) -> Any:
    wanted = ("fr_distance_univariate_gaussian", "fr_distance_multivariate_gaussian", "igeoodfeature")
    default = {"fr_distance_multivariate_gaussian": None}
    names = definitions(clone("IGEOOD_ROOT", "src/measures.py"), *wanted, **default)
    classes = len(a.weight)
    means = {c: a.train[a.labels == c].mean(0) for c in range(classes)}
    about = torch.stack([row - means[int(c)] for row, c in zip(a.train, a.labels, strict=True)])
    covariance = about.T @ about / len(about)
    found = names["igeoodfeature"](a.test, {0: means}, {0: covariance}, {0: covariance}, 0, classes)
    return -found.min(1).values.numpy()


ORIGINALS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ash": (ash("ash_b"), {"percentile": 90}),
    "ash_p": (ash("ash_p"), {}),
    "ash_s": (ash("ash_s"), {}),
    "fdbd": (fdbd, {}),
    "igeood": (igeood, {}),
    "igeood_features": (igeood_features, {}),
    "lts": (lts, {}),
    "nac": (nac, {"valid_num": 10_000}),
    "nnguide": (nnguide, {"K": 10, "alpha": 1.0}),
    "optfs": (optfs, {}),
    "pnml": (pnml, {}),
    "relation": (relation, {}),
    "scale": (scale, {}),
    "vra": (vra, {}),
    "wdiscood": (wdiscood, {}),
}
# literal versions of the others take minutes at C = 129
QUICK = ("ash", "ash_p", "ash_s", "fdbd", "lts", "optfs", "scale", "vra")
TRIED = [
    *((name, case) for name in ORIGINALS for case in FEW if (name, case) != ("wdiscood", FEW[1])),
    *((name, "many_classes") for name in QUICK),
]
"""Without WDiscOOD on fewer rows than columns: the authors' `np.linalg.eig` of the precision is complex there."""


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``.cuda()`` mean nothing."""
    for kind in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self, *_, **__: self)


@pytest.mark.parametrize(("name", "case"), TRIED)
def test_native_original_and_float64_agree(name: str, case: str) -> None:
    original, parameters = ORIGINALS[name]

    def theirs(problem: parity.Problem) -> Any:
        arrays = Arrays.of(problem)
        if name == "igeood":
            arrays.native = Igeood().fit(problem.train, problem.val, problem.head)
        return original(arrays)

    ours, other, exact = figures(CASES[case], name, parameters, theirs)
    assert ours == pytest.approx(other, abs=parity.LIMIT)
    assert ours == pytest.approx(exact, abs=parity.LIMIT)


@pytest.mark.parametrize("case", FEW)
def test_igeoods_centroids_are_no_nearer_to_the_predictions(case: str) -> None:
    """Their 100 gradient steps end above the minimum, where ours is."""
    distance = definitions(clone("IGEOOD_ROOT", "src/measures.py"), "fisher_rao_logits_distance")
    names = definitions(
        clone("IGEOOD_ROOT", "src/estimators.py"), "logits_centroid_estimator",
        Variable=torch.autograd.Variable, logger=SimpleNamespace(info=lambda _: None),
    )  # fmt: skip
    problem = parity.make_problem(CASES[case])
    arrays, own = Arrays.of(problem), Igeood().fit(problem.train, problem.val, problem.head).centroids
    start = torch.eye(len(arrays.weight), dtype=torch.float64)
    found, losses = names["logits_centroid_estimator"](
        arrays.train_logits, arrays.labels, start, distance["fisher_rao_logits_distance"], 100, 0.01
    )
    for c, loss in enumerate(losses):
        roots = np.sqrt(arrays.train_logits[arrays.labels == c].softmax(1).numpy())
        assert 2 * angles(roots, own[c][None]).mean() <= loss[-1] + 1e-6
    assert found.shape == own.shape
