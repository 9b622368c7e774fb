"""Literal versions of the scores that train a network, of OpenOOD's nine, and of those built on another library.

A network is trained by the score itself; what is written out here is the score of its weights.  `LITERAL` has them all.
"""

from __future__ import annotations

from typing import Any

import literal_scores as base
import numpy as np
import torch
from literal_scores import Problem, class_means, energies, energy, inverse, logits_of, softmax, unit
from scipy.linalg import expm
from sklearn.ensemble import IsolationForest

from openood_multimodal.postprocessors.class_centres import ClassCentres
from openood_multimodal.postprocessors.dte_categorical import DTECategorical
from openood_multimodal.postprocessors.flow import Flow, couple
from openood_multimodal.postprocessors.heat import HEAT
from openood_multimodal.postprocessors.knn_variants import KNNCoreset
from openood_multimodal.postprocessors.nl_invariants import NonLinearInvariants


def fitted(kind: Any, p: Problem, params: dict[str, Any]) -> Any:
    return kind(**params).fit(p.train, p.val, p.head)


def network(layers: list[Any], x: np.ndarray, slope: float = 0.0) -> np.ndarray:
    for place, (weight, bias) in enumerate(layers):
        if place:
            x = np.array([v if v > 0 else slope * v for v in x])
        x = weight @ x + bias
    return x


def msp(p: Problem) -> np.ndarray:
    return base.log_odds(logits_of(p.test.features, p.head))


def ebo(p: Problem, temperature: float = 1.0) -> np.ndarray:
    rows = logits_of(p.test.features, p.head)
    return np.array([temperature * energy(row / temperature) for row in rows])


def mls(p: Problem) -> np.ndarray:
    return np.array([max(row) for row in logits_of(p.test.features, p.head)])


def gen(p: Problem, gamma: float = 0.1, M: int = 100) -> np.ndarray:
    rows = [np.sort(softmax(row))[-M:] for row in logits_of(p.test.features, p.head)]
    return np.array([-np.log(sum(q**gamma * (1 - q) ** gamma for q in row)) for row in rows])


def mds(p: Problem) -> np.ndarray:
    return -base.mds_distances(p.train.features, p.train.labels, p.test.features)


def react(p: Problem, percentile: float = 90) -> np.ndarray:
    return energies(np.minimum(p.test.features, np.percentile(p.val.features, percentile)), p.head)


def ash(p: Problem, percentile: float = 90) -> np.ndarray:
    kept = [base.largest_kept(x, percentile) for x in p.test.features]
    count = p.test.dim - int(np.round(p.test.dim * percentile / 100))
    places = [sorted(range(len(x)), key=lambda j, x=x: (-x[j], j))[:count] for x in p.test.features]
    shaped = np.zeros_like(np.array(kept))
    for row, (x, chosen) in enumerate(zip(p.test.features, places, strict=True)):
        shaped[row, chosen] = x.sum() / count
    return energies(shaped, p.head)


def nearest(bank: np.ndarray, test: np.ndarray, K: int) -> np.ndarray:
    return np.array([-np.sort([np.square(x - y).sum() for y in bank])[K - 1] for x in test])


def knn(p: Problem, K: int = 50) -> np.ndarray:
    return nearest(unit(p.train.features), unit(p.test.features), K)


def knn_coreset(p: Problem, **params: Any) -> np.ndarray:
    """Greedy farthest-first selection, by distances themselves."""
    assert p.train.dim <= 128, "wider rows are projected before the selection"
    train, size = unit(p.train.features), int(np.ceil(params.get("ratio", 0.1) * len(p.train)))
    chosen = [0]
    while len(chosen) < size:
        apart = [
            -1.0 if i in chosen else min(np.square(x - train[j]).sum() for j in chosen)
            for i, x in enumerate(train)
        ]
        chosen.append(int(np.argmax(np.round(apart, 12))))
    return nearest(train[chosen], unit(p.test.features), params.get("K", KNNCoreset.Params.K))


def vim(p: Problem, dim: int) -> np.ndarray:
    origin = -np.linalg.pinv(p.head.weight) @ p.head.bias
    null = np.linalg.svd(p.train.features - origin, full_matrices=True)[2][dim:]
    train, test = (np.linalg.norm((each.features - origin) @ null.T, axis=1) for each in (p.train, p.test))
    alpha = logits_of(p.train.features, p.head).max(axis=1).mean() / train.mean()
    return energies(p.test.features, p.head) - alpha * test


def discrepancy(p: Problem) -> np.ndarray:
    found = []
    for x in p.test.features:
        one, other = (
            softmax(logits_of(x[None, a:b], p.head.modality_heads[name])[0])
            for name, (a, b) in p.test.slices.items()
        )
        found.append(-np.abs(one - other).mean())
    return np.array(found)


def iforest(p: Problem, trees: int = 100, samples: int = 256, seed: int = 0) -> np.ndarray:
    """-2^(-mean path length / c(n)), from the trees of scikit-learn's forest."""

    def usual(n: float) -> float:
        return 0.0 if n <= 1 else 1.0 if n == 2 else 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n

    size = min(samples, len(p.train))
    forest = IsolationForest(n_estimators=trees, max_samples=size, random_state=seed).fit(
        unit(p.train.features)
    )
    found = []
    for x in unit(p.test.features).astype(np.float32):
        depths = []
        for each in forest.estimators_:
            tree, node, depth = each.tree_, 0, 0
            while tree.children_left[node] != -1:
                left = x[tree.feature[node]] <= tree.threshold[node]
                node, depth = (tree.children_left if left else tree.children_right)[node], depth + 1
            depths.append(depth + usual(tree.n_node_samples[node]))
        found.append(-(2 ** (-np.mean(depths) / usual(size))))
    return np.array(found)


def class_centres(p: Problem, **params: Any) -> np.ndarray:
    score = fitted(ClassCentres, p, params)

    def encoded(x: np.ndarray) -> np.ndarray:
        scale = np.sqrt(np.square(p.train.features - p.train.features.mean(axis=0)).mean())
        return network(score._layers, (x - p.train.features.mean(axis=0)) / scale).reshape(4, 128)

    train = np.array([encoded(x) for x in p.train.features])
    centres = class_means(train, p.train.labels)
    found = []
    for f in map(encoded, p.test.features):
        cosines = [
            [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(f, c, strict=True)]
            for c in centres
        ]
        found.append(np.mean(cosines, axis=1).max())
    return np.array(found)


def flow(p: Problem, **params: Any) -> np.ndarray:
    score = fitted(Flow, p, params)
    found = []
    for v in torch.from_numpy((p.test.features - p.train.features.mean(axis=0)) @ score._whiten):
        jacobian = torch.func.jacrev(lambda x: couple(score._net, x[None])[0][0])(v)
        mapped = couple(score._net, v[None])[0][0]
        found.append(float((torch.linalg.slogdet(jacobian).logabsdet - 0.5 * mapped.square().sum()).detach()))
    return np.array(found)


def dte_c(p: Problem, **params: Any) -> np.ndarray:
    score = fitted(DTECategorical, p, params)
    mean, deviation = p.train.features.mean(axis=0), p.train.features.std(axis=0)
    deviation[deviation == 0] = 1.0
    found = []
    for x in p.test.features:
        q = softmax(network(score._layers, (x - mean) / deviation))
        level = sum(k * each for k, each in enumerate(q))
        found.append(np.log((len(q) - 1 - level) / level))
    return np.array(found)


def heat(p: Problem, beta: float = 0.0, **params: Any) -> np.ndarray:
    score = fitted(HEAT, p, {"beta": beta, **params})
    train, labels = unit(p.train.features), p.train.labels
    basis, mean = score._unit_vectors, train.mean(axis=0)
    inside = (train - mean) @ basis
    means, shares = class_means(inside, labels), np.bincount(labels) / len(labels)
    precision = inverse(inside - means[labels])
    middle = p.train.features.mean(axis=0)

    def both(x: np.ndarray) -> list[float]:
        v = (x / (np.linalg.norm(x) or 1.0) - mean) @ basis
        exponents = [
            np.log(s) - 0.5 * (v - m) @ precision @ (v - m) for s, m in zip(shares, means, strict=True)
        ]
        spread = np.sqrt(
            np.square((p.train.features - middle) @ score._vectors).sum(axis=0).mean() / len(labels)
        )
        w = (x - middle) @ score._vectors / spread
        density, logits = score._corrections
        return [
            -energy(np.array(exponents)) / 1000 + network(density, v, 0.2)[0],
            -energy(logits_of(x[None], p.head)[0]) + network(logits, w, 0.2)[0],
        ]

    usual = np.array([both(x) for x in p.train.features])
    energies = (np.array([both(x) for x in p.test.features]) - usual.mean(axis=0)) / usual.std(axis=0)
    if beta == 0:
        return -energies.sum(axis=1)
    return np.array([-np.log(np.exp(beta * row).sum()) / beta for row in energies])


def nl_invariants(p: Problem, K: int = 2, variance: float = 0.05, **params: Any) -> np.ndarray:
    score = fitted(NonLinearInvariants, p, {"K": K, "variance": variance, **params})
    train = unit(p.train.features)
    inside = (train - train.mean(axis=0)) @ score._vectors
    shares = np.cumsum(inside.var(axis=0)) / inside.var(axis=0).sum()
    count = len(shares) - int(np.flatnonzero(shares > 1 - variance)[0])
    state = {name: each.detach().numpy() for name, each in score._net.named_parameters()}

    def outputs(v: np.ndarray) -> np.ndarray:
        half = len(v) // 2
        for place in range(score.params.layers + 1):
            upper = np.triu(state[f"turns.{place}"], 1)
            v = expm(upper - upper.T) @ v + state[f"shifts.{place}"]
            if place < score.params.layers:
                layers = [
                    (state[f"couplings.{place}.{j}.weight"], state[f"couplings.{place}.{j}.bias"])
                    for j in (0, 2, 4, 6)
                ]
                v = np.concatenate([v[:half] + network(layers, v[half:]), v[half:]])
        return v

    def neighbours(x: np.ndarray) -> np.ndarray:
        return np.sort(np.square(p.train.features - x).sum(axis=1))

    scale = np.mean([outputs(v)[-count:] ** 2 for v in inside], axis=0)
    usual = np.mean([neighbours(x)[1 : K + 1].sum() for x in p.train.features])
    found = []
    for x, u in zip(p.test.features, unit(p.test.features), strict=True):
        invariants = outputs((u - train.mean(axis=0)) @ score._vectors)[-count:] ** 2
        found.append(-np.sum(invariants / scale) - count * neighbours(x)[:K].sum() / usual)
    return np.array(found)


LITERAL = base.LITERAL | {
    each.__name__: each
    for each in (
        *(
            ash,
            class_centres,
            discrepancy,
            dte_c,
            ebo,
            flow,
            gen,
            heat,
            iforest,
            knn,
            knn_coreset,
            mds,
            mls,
            msp,
        ),
        *(nl_invariants, react, vim),
    )
}
SETTINGS: dict[str, list[dict[str, Any]]] = base.SETTINGS | {
    "class_centres": [{"epochs": 1}],
    "dte_c": [{"steps": 3}],
    "flow": [{"dim": 5, "epochs": 1, "hidden": 16}],
    "gen": [{}, {"gamma": 0.5, "M": 2}],
    "heat": [{"steps": 2, "hidden": 16}, {"beta": -2.0, "steps": 2, "hidden": 16}],
    "iforest": [{"trees": 10}],
    "knn": [{"K": 5}],
    "nl_invariants": [{"steps": 2}],
    "vim": [{"dim": 8}],
}
TRAINED = ("class_centres", "dte_c", "flow", "heat", "nl_invariants")
