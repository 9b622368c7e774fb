"""Authors' released code of the scores that train a network, with the weights of ours: DTE-C and HEAT.

``a`` is `test_original_scores.Arrays` with ``native``, the fitted score.
"""

from __future__ import annotations

import math
import typing
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from original_code import clone, definitions
from sklearn.preprocessing import StandardScaler
from torch.distributions.multivariate_normal import _batch_mahalanobis

from openood_multimodal.arrays import Embeddings
from openood_multimodal.postprocessors.rows import Rows

TYPES: dict[str, Any] = {
    **{name: getattr(typing, name) for name in ("Any", "List", "Mapping", "Optional", "Tuple", "Union")},
    **{"OrderedDict": typing.OrderedDict, "Tensor": torch.Tensor, "DataLoader": object, "partial": partial},
    **{"NoneType": type(None), "KwargsType": Any, "KwargType": Any},
}
"""Names that annotations in HEAT's files ask for."""


def dte_c(a: Any) -> Any:
    """Their network with our weights, on columns of unit variance as in their `data_generator`."""
    script, scaler = clone("DTE_ROOT", "diffusion/dte.py"), StandardScaler().fit(a.train.numpy())
    names = definitions(script, "MLP", "DTE", "DTECategorical", DataLoader=torch.utils.data.DataLoader)
    theirs = names["DTECategorical"]()
    theirs.model = names["MLP"]([a.train.shape[1], *theirs.hidden_size], theirs.num_bins)
    load(theirs.model.layers, a.native._layers)
    return -theirs.predict_score(scaler.transform(a.test.numpy()))


def heat(a: Any) -> Any:
    """Their energies of two priors with our corrections, and their combination."""
    models, ours = hybrid_models(a), a.native
    script = clone("HEAT_ROOT", "heat/scorers/combine_scorer.py")
    combine = definitions(script, "CombineScorer", AbastractOODScorer=torch.nn.Module, **TYPES)[
        "CombineScorer"
    ]

    def scorer(place: int) -> Any:
        def energies(_: Any, rows: torch.Tensor, **__: Any) -> torch.Tensor:
            z = torch.from_numpy(inputs(ours, rows)[place])
            models[place].base_dist.features = rows
            return models[place](z)[0].detach()

        return SimpleNamespace(is_fitted=True, name=str(place), score_batch=energies)

    both = combine([scorer(0), scorer(1)])
    both._fit(None, [(a.train, a.labels)])
    return -both.score_batch(None, a.test).numpy()


def inputs(ours: Any, features: torch.Tensor) -> Any:
    """Return what HEAT's priors are given of features."""
    embeddings = Embeddings(features.numpy(), np.zeros(len(features), dtype=np.int64))
    return ours._inputs(Rows(embeddings, slice(0, len(features)), ours.head))


def hybrid_models(a: Any) -> list[Any]:
    """HEAT's `HybridEnergyModel`, with our weights: of the Gaussian mixture, and of the logits' energy."""
    tools = definitions(clone("HEAT_ROOT", "heat/lib/pytorch.py"), "requires_grad", "num_parameters", **TYPES)
    lib = SimpleNamespace(ReplayBuffer=lambda **_: None, to_device=lambda x: x, **tools)
    script = clone("HEAT_ROOT", "heat/ebm/hybridenergy.py")
    kind = definitions(script, "HybridEnergyModel", "_identity", lib=lib, AbastractOODScorer=object, **TYPES)
    script = clone("HEAT_ROOT", "heat/lib/distributions.py")
    names: dict[str, Any] = {"_batch_mahalanobis": _batch_mahalanobis, "math": math}
    names |= definitions(script, "Categorical", "MultivariateNormal", "MixtureSameFamily", **names)
    models: list[Any] = []
    inside = torch.from_numpy(inputs(a.native, a.train)[0])
    means = torch.stack([inside[a.labels == c].mean(0) for c in range(len(a.weight))])
    covariance = np.cov((inside - means[a.labels]).T.numpy(), bias=True)
    mixture = names["MixtureSameFamily"](
        names["Categorical"](torch.bincount(a.labels).double()),
        names["MultivariateNormal"](
            means, scale_tril=torch.linalg.cholesky(torch.from_numpy(covariance)), validate_args=False
        ),
        validate_args=False,
    )
    logits = definitions(
        clone("HEAT_ROOT", "heat/scorers/energy_logits_scorer.py"), "EnergyLogitsScorer",
        AbastractOODScorer=object, **TYPES,
    )["EnergyLogitsScorer"]  # fmt: skip
    head = SimpleNamespace(classifier_head=lambda features: features @ a.weight.T + a.bias)
    energies = (
        lambda z, labels=None: -mixture.log_prob(z),
        lambda z, labels=None: logits.energy(head, models[1].base_dist.features),
    )
    for energy, prior, layers in zip(energies, (1e3, 1.0), a.native._corrections, strict=True):
        base = SimpleNamespace(use_pca=True, pca_n_principal_components=layers[0][0].shape[1], energy=energy)
        base.pca_n_last_components = 0
        model = kind["HybridEnergyModel"](
            hidden_dim=len(layers[0][0]), n_hidden_layers=1, temperature=1.0, temperature_prior=prior,
            base_dist=base, use_base_dist=True,
        ).double()  # fmt: skip
        load(model.mlp, layers)
        models.append(model)
    return models


def load(network: Any, layers: list[Any]) -> None:
    """Put our weights into the linear layers of theirs."""
    linear = [each for each in network.modules() if isinstance(each, torch.nn.Linear)]
    for each, (weight, bias) in zip(linear, layers, strict=True):
        each.weight.data = torch.from_numpy(weight).to(each.weight.dtype)
        each.bias.data = torch.from_numpy(bias).to(each.bias.dtype)
