"""OpenOOD's way of asking for a score, through a network and loaders, brought down to arrays.

OpenOOD calls ``.cuda()`` on every batch; here a batch goes to where the network is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..naming import did_you_mean
from ..progress import progress_bar

if TYPE_CHECKING:
    from .base import Postprocessor

Fit = tuple[Embeddings | None, Embeddings | None, LinearHead | None]


def device_of(net: Any) -> torch.device:
    """Return the device of the network's first parameter; the CPU for a network without any."""
    first = next(iter(net.parameters()), None)
    return first.device if first is not None else torch.device("cpu")


def head_of(net: Any) -> LinearHead | None:
    """Return the network's fusion head, or None where it has no ``get_fc``."""
    if not hasattr(net, "get_fc"):
        return None
    # copies: a CPU network hands out its own memory, which further training would change under us
    own = net.get_modality_fcs() if hasattr(net, "get_modality_fcs") else {}
    heads = {name: LinearHead(np.array(weight), np.array(bias)) for name, (weight, bias) in own.items()}
    weight, bias = net.get_fc()
    return LinearHead(np.array(weight), np.array(bias), heads)


def fit_inputs(score: Postprocessor, net: Any, loaders: Mapping[str, Any]) -> Fit:
    """Return ``(train, val, head)`` as the score needs them, collected through ``net``."""
    train = val = None
    if "train" in score.needs:
        train = collect(score, net, _loader(score, loaders, score.fit_on))
    if "val" in score.needs:
        if "val" in loaders:
            val = collect(score, net, loaders["val"])
        elif train is None:
            train = collect(score, net, _loader(score, loaders, "train"))
    return train, val, head_of(net)


def _loader(score: Postprocessor, loaders: Mapping[str, Any], split: str) -> Any:
    if split not in loaders:
        raise UserError(
            f"the postprocessor '{score.name}' needs the split '{split}' to fit on."
            + did_you_mean(split, loaders)
        )
    return loaders[split]


def collect(score: Postprocessor, net: Any, loader: Any) -> Embeddings:
    """Return the embeddings of a loader: stored ones as they are, else one pass through ``net``."""
    stored = _stored(loader)
    if stored is not None:
        return stored
    device = device_of(net)
    batches = [
        embed(score, net, batch["data"].to(device), _array(torch.as_tensor(batch["label"])).astype(np.int64))
        for batch in progress_bar(loader, desc=f"{score.name}: fit", leave=False)
    ]
    if not batches:
        raise UserError(f"a loader that '{score.name}' needs to fit on has no batches.")
    own = [each.modality_logits for each in batches if each.modality_logits is not None]
    return Embeddings(
        np.concatenate([each.features for each in batches]),
        np.concatenate([each.labels for each in batches]),
        np.concatenate([each.logits for each in batches if each.logits is not None]),
        np.concatenate(own) if own else None,
        batches[0].slices,
        modalities=batches[0].modalities,
    )


def embed(score: Postprocessor, net: Any, data: Any, labels: NDArray[np.int64]) -> Embeddings:
    """Return what the score reads of one batch, from one pass through ``net``.

    Raises:
        UserError: when the score looks at modalities and the network has none to show.
    """
    looks = score.reads_modality_logits or score.needs_slices
    if looks and not hasattr(net, "forward_modalities"):
        raise UserError(
            f"{score.name} looks at each modality, and {type(net).__name__} has no forward_modalities(): "
            "use a multimodal network (docs/extending.md), or a score that reads fused logits."
        )
    with torch.no_grad():
        if score.reads_modality_logits:
            output = net.forward_modalities(data)
            own = np.stack([_array(each) for each in output.modality_logits.values()], axis=1)
            slices = _columns(output.embeddings)
            return Embeddings(_array(output.features), labels, _array(output.logits), own, slices)
        if score.reads_features or score.needs:
            logits, feature = net(data, return_feature=True)
            slices = (
                getattr(net, "slices", None) or _columns(net.forward_modalities(data).embeddings)
                if looks
                else {}
            )
            return Embeddings(
                _array(feature).reshape(len(feature), -1), labels, _array(logits), slices=slices
            )
        logits = net(data)
        return Embeddings(np.empty((len(logits), 0), dtype=np.float32), labels, _array(logits))


def _columns(embeddings: Mapping[str, Tensor]) -> Mapping[str, tuple[int, int]]:
    stops = np.cumsum([each.shape[1] for each in embeddings.values()]).tolist()
    return dict(zip(embeddings, zip([0, *stops], stops, strict=False), strict=True))


def make_ready(score: Postprocessor, net: Any) -> None:
    """Take the head of ``net`` as it is now, for a score that fits on nothing else; others must be set up."""
    if not score.needs:
        # while a network trains, its head changes between two calls
        score.fit(head=head_of(net))
    elif not score.fitted:
        raise UserError(f"the postprocessor '{score.name}' was asked to score before setup().")


def score_batch(score: Postprocessor, net: Any, data: Any) -> tuple[Tensor, Tensor]:
    """Return pred and conf, CPU tensors ``[B]``, of one batch."""
    pred, conf = score.score(embed(score, net, data, np.full(len(data), -1, dtype=np.int64)))
    return torch.from_numpy(pred), torch.from_numpy(conf)


def score_loader(
    score: Postprocessor, net: Any, loader: Any, progress: bool
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]:
    """Return pred, conf and label, each ``[N]``, of a whole loader."""
    stored = _stored(loader)
    if stored is not None:
        pred, conf = score.score(stored)
        return pred, conf, np.asarray(stored.labels, dtype=np.int64)
    device = device_of(net)
    preds: list[NDArray[np.int64]] = []
    confs: list[NDArray[Any]] = []
    labels: list[NDArray[np.int64]] = []
    for batch in progress_bar(loader, quiet=not progress):
        batch_pred, batch_conf = score_batch(score, net, batch["data"].to(device))
        preds.append(batch_pred.numpy())
        confs.append(batch_conf.numpy())
        labels.append(_array(torch.as_tensor(batch["label"])).astype(np.int64))
    if not preds:
        raise UserError(f"the loader to be scored by '{score.name}' has no batches.")
    return np.concatenate(preds), np.concatenate(confs), np.concatenate(labels)


def _stored(loader: Any) -> Embeddings | None:
    stored = getattr(loader, "embeddings", None)
    return stored if isinstance(stored, Embeddings) else None


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
