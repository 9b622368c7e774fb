"""OpenOOD's postprocessors on batches of several modalities, inside OpenOOD's own pipelines."""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from .batches import perturbable
from .recipes import RECIPES


def accept_several_inputs(postprocessor: Any, name: str) -> None:
    """Let one of OpenOOD's postprocessors work on a batch of several modalities.

    What perturbs its input (ODIN) perturbs every modality, and no column is divided by image deviations, since
    these are no images.  Confidences ``[N, 1]`` (GRAM's) become ``[N]``.
    """
    recipe = RECIPES.get(name)
    if recipe is not None and recipe.perturbs:
        postprocess = postprocessor.postprocess
        postprocessor.postprocess = lambda net, data: postprocess(net, perturbable(data))
        if hasattr(postprocessor, "input_std"):
            postprocessor.input_std = [1.0, 1.0, 1.0]
    setup, inference = postprocessor.setup, postprocessor.inference

    def checked_setup(*args: Any, **kwargs: Any) -> Any:
        result = setup(*args, **kwargs)
        _check_bank(postprocessor, name)
        return result

    def flat_inference(*args: Any, **kwargs: Any) -> Any:
        pred, conf, *rest = inference(*args, **kwargs)
        return pred, conf[:, 0] if getattr(conf, "shape", ())[1:] == (1,) else conf, *rest

    postprocessor.setup, postprocessor.inference = checked_setup, flat_inference


def _check_bank(postprocessor: Any, name: str) -> None:
    """Refuse K above the number of rows that are searched: faiss would answer with nonsense, silently."""
    index, bank = getattr(postprocessor, "index", None), getattr(postprocessor, "bank_guide", None)
    rows = getattr(index, "ntotal", None) if bank is None else len(bank)
    neighbours = getattr(postprocessor, "K", None)
    if isinstance(rows, int) and isinstance(neighbours, int) and neighbours > rows:
        which = (
            "embeddings of the training set"
            if bank is None
            else "rows of its bank (alpha of the training set)"
        )
        raise UserError(
            f"OpenOOD's '{name}' looks for K={neighbours} neighbours among {rows} {which}; "
            f"set --postprocessor.postprocessor_args.K {rows} or less."
        )
