"""What OpenOOD's postprocessors leave to luck, settled around one of them: in its own pipelines and in ours.

The class stays OpenOOD's.  `accept_several_inputs` sees to the network's mode, random draws, shapes, and sizes that
don't go together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..evaluators.ood import evaluation_mode
from ..postprocessors.mds import MDS
from ..postprocessors.sweeps import within_limits
from ..postprocessors.vim import ViM
from .batches import UndisturbingLoader, as_it_is, perturbable
from .native import NativePostprocessor
from .recipes import RECIPES, Recipe, find_recipe
from .surroundings import seeded, spare_cuda

BELOW_WIDTH = ("vim", "residual")
"""Whose ``dim`` must be less than the embedding's width, or nothing is left to score."""


def accept_several_inputs(postprocessor: Any, name: str, seed: int = 0, search: bool = False) -> None:
    """Let one of OpenOOD's postprocessors give the same results in either host, on several modalities.

    - ``setup`` and ``inference`` put the network into evaluation mode: not every class of OpenOOD's does.
    - They start from ``seed``, and what a data loader draws doesn't count.
    - What perturbs its input (ODIN) perturbs every modality, and no column is divided by image deviations.
    - Confidences ``[N, 1]`` (GRAM's) become ``[N]``, complex ones real; NaN is an error.
    - K above the number of rows searched is an error; in a search such values are left out, with a note.
    - GRAM's layers without a deviation to divide by are an error.
    - v1.5's ReAct gets its threshold at ``setup`` (of its own, it has none before a search sets one).

    Args:
        postprocessor: an object of OpenOOD's class, or of a class written for OpenOOD; changed in place.  What a
            reader of its results has to know is in its attribute ``notes`` after ``setup``.
        name: OpenOOD's name for it.
        seed: of ``setup`` and of every call of ``inference``.
        search: whether parameters will be searched for (``APS_mode``).
    """
    recipe = find_recipe(name) or Recipe(type(postprocessor).__name__)
    convert: Callable[[Any], Any] = perturbable if recipe.perturbs else as_it_is
    setup, inference, postprocess = postprocessor.setup, postprocessor.inference, postprocessor.postprocess
    postprocessor.notes = []

    def prepared_setup(net: Any, id_loaders: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(postprocessor, "setup_flag", False):
            return setup(net, id_loaders, *args, **kwargs)
        evaluation_mode(net)
        loaders = {split: UndisturbingLoader(each, convert) for split, each in id_loaders.items()}
        with seeded(seed), _watching(postprocessor, name, net, loaders):
            result = setup(net, loaders, *args, **kwargs)
        if name == "react" and not hasattr(postprocessor, "threshold"):
            postprocessor.set_hyperparam([postprocessor.percentile])
        check_bank(postprocessor, name)
        _check_layers(postprocessor, name)
        if search and getattr(postprocessor, "args_dict", None):
            limits = limits_of(postprocessor, name, getattr(net, "feature_size", None))
            postprocessor.args_dict, dropped = within_limits(name, postprocessor.args_dict, limits)
            postprocessor.notes += dropped
        for note in postprocessor.notes:
            print(f"Note: {note}.", flush=True)
        return result

    def prepared_inference(net: Any, data_loader: Any, *args: Any, **kwargs: Any) -> Any:
        evaluation_mode(net)
        with seeded(seed):
            pred, conf, *rest = inference(net, UndisturbingLoader(data_loader, as_it_is), *args, **kwargs)
        return pred, _checked(np.asarray(conf), name), *rest

    postprocessor.setup, postprocessor.inference = prepared_setup, prepared_inference
    if recipe.perturbs:
        postprocessor.postprocess = lambda net, data: postprocess(net, perturbable(data))
        if hasattr(postprocessor, "input_std"):
            postprocessor.input_std = [1.0, 1.0, 1.0]
    if hasattr(postprocessor, "set_hyperparam"):
        postprocessor.set_hyperparam = _then_check_bank(postprocessor, postprocessor.set_hyperparam, name)


def _then_check_bank(postprocessor: Any, method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        check_bank(postprocessor, name)
        return result

    return run


def _checked(conf: Any, name: str) -> Any:
    """Return confidences ``[N]``, real.

    Raises:
        UserError: where there is a NaN.
    """
    if conf.ndim == 2 and conf.shape[1] == 1:  # GRAM's
        conf = conf[:, 0]
    if np.iscomplexobj(conf):  # eigenvectors of a matrix that is symmetric but for rounding
        conf = conf.real
    bad = np.flatnonzero(np.isnan(conf))
    if len(bad):
        raise UserError(
            f"OpenOOD's '{name}' gave NaN for {len(bad)} of {len(conf)} samples, the first in row {bad[0]}. "
            "Change its parameters, or look for NaN in the data or the embeddings."
        )
    return conf


def _bank(postprocessor: Any) -> tuple[int | None, str]:
    """Return how many rows are searched for neighbours, None where none are, and what they are."""
    bank = getattr(postprocessor, "bank_guide", None)
    if bank is not None:
        return len(bank), "rows of its bank (alpha of the training set)"
    rows = getattr(getattr(postprocessor, "index", None), "ntotal", None)
    return (rows if isinstance(rows, int) else None), "embeddings of the training set"


def check_bank(postprocessor: Any, name: str) -> None:
    """Refuse K above the number of rows that are searched: faiss would answer with nonsense, silently."""
    rows, which = _bank(postprocessor)
    neighbours = getattr(postprocessor, "K", None)
    if rows is not None and isinstance(neighbours, int) and neighbours > rows:
        raise UserError(
            f"OpenOOD's '{name}' looks for K={neighbours} neighbours among {rows} {which}; "
            f"set postprocessor_args.K to {rows} or less (--postprocessor.postprocessor_args.K {rows})."
        )


def _check_layers(postprocessor: Any, name: str) -> None:
    """Refuse GRAM where it would divide by 0: scores would be NaN or infinite."""
    factors = getattr(postprocessor, "normalize_factors", None)
    if name != "gram" or not isinstance(factors, torch.Tensor):
        return
    bad = int((~(factors > 0)).sum())
    if bad:
        raise UserError(
            "OpenOOD's 'gram' divides the deviations of each layer by their mean over a held-out tenth of each "
            f"class's training rows, which is not above 0 in {bad} of {factors.numel()} layers. It needs more "
            "training rows of each class."
        )


def limits_of(postprocessor: Any, name: str, width: int | None) -> dict[str, int]:
    """Return parameter → the largest value that goes with what the postprocessor was set up on.

    Args:
        postprocessor: OpenOOD's object, after ``setup``.
        name: OpenOOD's name for it.
        width: of the embedding, where it is known.
    """
    rows, _ = _bank(postprocessor)
    limits = {} if rows is None else {"K": rows}
    return {**limits, "dim": width - 1} if name in BELOW_WIDTH and width is not None else limits


@contextmanager
def _watching(postprocessor: Any, name: str, net: Any, loaders: dict[str, Any]) -> Iterator[None]:
    """Note it where what ``setup`` sees has too few dimensions for what is computed of it.

    OpenOOD centres rows in float32 and inverts or decomposes the covariance whatever its rank, so rounding can decide.
    """
    split, check = _RANK_MATTERS.get(name, ("", None))
    if check is None or split not in loaders or not hasattr(net, "register_forward_hook"):
        yield
        return
    labels: list[torch.Tensor] = []
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def remember(_: Any, __: Any, output: Any) -> None:
        if isinstance(output, tuple):
            outputs.append((output[0].detach().cpu(), output[1].detach().cpu()))

    loaders[split] = UndisturbingLoader(loaders[split], as_it_is, lambda batch: labels.append(batch["label"]))
    hook = net.register_forward_hook(remember)
    try:
        yield
    finally:
        hook.remove()
    count = sum(map(len, labels))  # residual reads another split after this one
    logits, features = (torch.cat(each)[:count].numpy() for each in zip(*outputs, strict=True))
    seen = Embeddings(features, torch.cat(labels).cpu().numpy(), logits=logits)
    postprocessor.notes += [
        f"{name}: {note}" for note in check(postprocessor, seen, LinearHead(*net.get_fc()))
    ]


def _rank_of_covariance(_: Any, seen: Embeddings, head: LinearHead) -> list[str]:
    rank = MDS().fit(seen, None, head).whitening.rank
    if rank == seen.dim:
        return []
    return [
        f"the covariance of {len(seen)} rows has rank {rank} of {seen.dim}; OpenOOD's inverse takes in what float32 "
        "rounding leaves outside that rank, so rounding can decide this result; compare the native mds"
    ]


def _rank_beyond_subspace(postprocessor: Any, seen: Embeddings, head: LinearHead) -> list[str]:
    try:
        notes = ViM(dim=postprocessor.dim).fit(seen, None, head).notes
    except UserError as error:
        notes = [str(error)]
    said = (
        note.removeprefix("vim: ").partition("; set a smaller")[0]
        for note in notes
        if note.startswith("vim: ")
    )
    return [f"{note}; OpenOOD scores what rounding leaves, so set a smaller dim" for note in said]


_RANK_MATTERS: Mapping[str, tuple[str, Callable[..., list[str]]]] = {
    "mds": ("train", _rank_of_covariance),
    "rmds": ("train", _rank_of_covariance),
    "vim": ("train", _rank_beyond_subspace),
    "residual": ("val", _rank_beyond_subspace),
}
"""Postprocessor → the split whose embeddings it decomposes, and what looks at their rank."""


def settle(postprocessor: Any, name: str | None = None, seed: int = 0) -> Any:
    """Make one of OpenOOD's postprocessors ready for networks of several inputs; the same object is returned.

    Args:
        postprocessor: an object of OpenOOD's class, or of a class written for OpenOOD; one of ours stays as it is.
        name: OpenOOD's name for it; None: by its class.
        seed: of what it draws.
    """
    if isinstance(postprocessor, NativePostprocessor) or hasattr(postprocessor, "hosted_as"):
        return postprocessor
    name = name or name_of(postprocessor)
    kind: Any = type(postprocessor)
    postprocessor.__class__ = _picklable(kind)
    postprocessor.hosted_as = (name, seed)
    spare_cuda(postprocessor, ("setup", "inference", "postprocess"))
    accept_several_inputs(postprocessor, name, seed, bool(getattr(postprocessor, "APS_mode", False)))
    return postprocessor


def name_of(postprocessor: Any) -> str:
    """Return OpenOOD's name for a postprocessor, else its class's name."""
    if isinstance(postprocessor, NativePostprocessor):
        return postprocessor.name
    kind = type(postprocessor).__name__
    return next((name for name, recipe in RECIPES.items() if recipe.class_name == kind), kind)


@cache
def _picklable(kind: Any) -> Any:
    """Return a subclass that looks like ``kind``, and whose objects are pickled as ``kind`` and hosted again."""
    looks = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**looks, "__reduce__": _reduce})


def _reduce(self: Any) -> tuple[Any, ...]:
    kind = type(self).__mro__[1]
    state = {
        key: value
        for key, value in vars(self).items()
        if key != "hosted_as" and not (callable(value) and callable(getattr(kind, key, None)))
    }
    return _restore, (kind, state, *self.hosted_as)


def _restore(kind: Any, state: dict[str, Any], name: str, seed: int) -> Any:
    postprocessor = kind.__new__(kind)
    vars(postprocessor).update(state)
    return settle(postprocessor, name, seed)
