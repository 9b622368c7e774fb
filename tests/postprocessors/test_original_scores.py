"""Native scores beside the code that their authors released, on the same arrays: AUROC and FPR@95.

Both have the figures of the formula written out in float64.  Each test needs a clone of the
repository that `original_code.REPOSITORIES` names, and an environment variable that says where it is::

    LTS_ROOT=~/lts NAC_ROOT=~/ood_coverage python -m pytest tests/postprocessors/test_original_scores.py -rs

NECO's own repository is gitlab.com/drti/neco; the one named holds its file ``ood_methods.py``.
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
from original_trained import dte_c, heat, hybrid_models, inputs
from score_parity import figures
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from openood_multimodal.postprocessors.heat import HEAT, Chain, langevin
from openood_multimodal.postprocessors.igeood import Igeood, angles
from openood_multimodal.registry import POSTPROCESSORS

MANY = "few_rows_of_many_classes"
CASES = {case.name: case for case in (*parity.SCORE_CASES, parity.Case(MANY, 387, 40, 129, 16))}
FEW = ("more_rows_than_columns", "fewer_rows_than_columns")
TRIED_CASES = (*FEW, "isotropic_spectrum", "decaying_spectrum", "ties", MANY)


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
    estimator.t_act = estimator.t_act.double()
    estimator.get_score()
    coverage = torch.cat([estimator.ood_test(states(block)) for block in a.test.split(64)])
    return coverage.numpy().round(12)  # rounding, of float32 more so, gives equal coverages an order


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


def conjnorm(a: Arrays) -> Any:
    """Their `dist` is given one prototype at a time, since of several it takes the norm over classes, and no 0 in it,
    where it is NaN.
    """
    script, size = clone("CONJNORM_ROOT", "run_cifar10_densenet.py"), a.train.shape[1]
    names = run_lines(script, {}, "t1 =", "ord_def =", "q =", "normalizer =", "def dist")
    names |= {"feat_log": a.train.numpy(), "mask_k": None}

    def exponents(rows: torch.Tensor) -> Any:
        rows = names["normalizer"](rows.numpy())
        return np.stack([np.diag(names["dist"](rows, each)) for each in prototypes], axis=1)

    prototypes = []
    for k in range(len(a.weight)):
        names["mask_k"] = (a.labels == k).numpy()
        run_lines(script, names, "k_protype = normalizer", constants={282: 0, 624: size})
        prototypes.append(np.where(names["k_protype"] == 0.0, 1e-300, names["k_protype"]))
    names["score_log_exp"] = np.exp(exponents(a.train) / names["t1"])  # all rows; theirs are drawn of them
    names["score_log_val_exp"] = np.exp(exponents(a.test) / names["t1"])
    lines = ("score_log_val_exp = score_log_val_exp / np.sum", "scores_in = np.log")
    return run_lines(script, names, *lines)["scores_in"]


def neco(a: Arrays) -> Any:
    metrics = SimpleNamespace(
        auc=lambda *scores: found.extend(scores) or [0.0], fpr_recall=lambda *_: (0.0, 0)
    )
    tools = {"StandardScaler": StandardScaler, "PCA": PCA, "LA": np.linalg, "utils": metrics}
    found: list[Any] = []
    score = definitions(clone("NECO_ROOT", "ood_methods.py"), "neco", **tools)["neco"]
    features, logits = a.test.numpy(), a.test_logits.numpy()
    half, classes = len(features) // 2, len(a.weight)
    score(
        a.train.numpy(), features[:half], features[half:], logits[:half], logits[half:], "vit",
        min(classes, features.shape[1]),
    )  # fmt: skip
    return np.concatenate(found[:2])


def dte_np(a: Arrays) -> Any:
    """The statistic that their `predict_score` turns into one of 300 noise levels."""
    names = {"X_noisy": a.test, "X_train": a.train, "self": SimpleNamespace(K=5)}
    script = clone("DTE_ROOT", "diffusion/non_param_dte.py")
    names |= definitions(script, "compute_pairwise_diff")
    run_lines(script, names, "pairwise_diff =", "pairwise_norm_2 =", "min_norm_2 =")
    return -names["min_norm_2"].numpy()


ORIGINALS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ash": (ash("ash_b"), {"percentile": 90}),
    "ash_p": (ash("ash_p"), {}),
    "ash_s": (ash("ash_s"), {}),
    "conjnorm": (conjnorm, {}),
    "dte_c": (dte_c, {"steps": 40}),
    "dte_np": (dte_np, {}),
    "fdbd": (fdbd, {}),
    "heat": (heat, {"steps": 20, "hidden": 32, "layers": 1}),
    "igeood": (igeood, {}),
    "igeood_features": (igeood_features, {}),
    "lts": (lts, {}),
    "nac": (nac, {"valid_num": 10_000}),
    "neco": (neco, {}),
    "nnguide": (nnguide, {"K": 10, "alpha": 1.0}),
    "optfs": (optfs, {}),
    "pnml": (pnml, {}),
    "relation": (relation, {}),
    "scale": (scale, {}),
    "vra": (vra, {}),
    "wdiscood": (wdiscood, {}),
}
OURS_INSIDE = ("dte_c", "heat", "igeood")  # what theirs is given of our fit: weights, centroids
DIFFERENT = {(name, "ties") for name in ("ash", "ash_p", "ash_s")}
"""Which of equal activations `torch.topk` keeps isn't specified."""
TRIED = [
    (name, case)
    for name in ORIGINALS
    for case in TRIED_CASES
    if (name, case) not in {("wdiscood", FEW[1]), ("neco", FEW[1])}
]
"""Without WDiscOOD and NECO on fewer rows than columns, where the authors' `np.linalg.eig` of the precision is complex
and their `PCA` wants as many rows."""


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
        if name in OURS_INSIDE:
            arrays.native = POSTPROCESSORS.get(name)(**parameters).fit(
                problem.train, problem.val, problem.head
            )
        return original(arrays)

    ours, other, exact = figures(CASES[case], name, parameters, theirs)
    if (name, case) not in DIFFERENT:
        assert ours == pytest.approx(other, abs=parity.LIMIT)
    assert ours == pytest.approx(exact, abs=parity.LIMIT)


@pytest.mark.parametrize("case", [*FEW, MANY])
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


def slope_of_energy(energy: Any) -> Any:
    def slope(values: torch.Tensor) -> torch.Tensor:
        moved = values.detach().requires_grad_(True)
        return torch.autograd.grad(energy(moved).sum(), [moved])[0]

    return slope


def test_heats_langevin_steps_are_theirs() -> None:
    problem = parity.make_problem(CASES[FEW[0]])
    arrays = Arrays.of(problem)
    arrays.native = HEAT(steps=3, hidden=16, layers=1).fit(problem.train, problem.val, problem.head)
    model = hybrid_models(arrays)[0].float()
    model.steps, model.step_size_start, model.step_size_end, model.eps_start, model.eps_end = (
        5,
        0.3,
        0.03,
        0,
        0,
    )
    start = torch.from_numpy(inputs(arrays.native, arrays.test[:20])[0]).float()
    moved = langevin(torch, slope_of_energy(model.energy), start, Chain(1e3, 0.3, 0.0, 0.0), 5)
    theirs = model.sgld_samples(start)[: len(start)]
    assert (theirs - start).abs().max() > 1e-3
    torch.testing.assert_close(moved, theirs)


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("RANKFEAT_ROOT", "test_ood_resnetv2.py"),
        ("OPENOOD_ROOT", "openood/postprocessors/rankfeat_postprocessor.py"),
    ],
)
def test_rankfeat_leaves_nothing_of_an_embedding(variable: str, file: str) -> None:
    """An embedding is a feature map of one position: all scores are the energy of the head's bias."""
    features = Arrays.of(parity.make_problem(CASES[FEW[0]])).test
    found = {"feat1": features[:, :, None]}
    run_lines(clone(variable, file), found, "u, s, v = torch.linalg.svd(feat1", "feat1 = feat1 - s")
    assert found["feat1"].abs().max() < 1e-12 * features.abs().max()
