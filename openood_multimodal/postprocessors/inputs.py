"""Whether a set of embeddings carries what a score reads; every message says how to provide what is missing."""

from __future__ import annotations

from ..arrays import Embeddings, LinearHead, check_slices
from ..errors import UserError

NO_HEAD = "needs the head: weight [C, D] and bias [C]"

NO_MODALITY_LOGITS = (
    "needs modality_logits [N, M, C], the logits of each modality's own head: take them from a store that "
    "a test or extract pipeline wrote, add an array 'modality_logits' to the .npz, or give the modality heads "
    "(weight.<modality>, bias.<modality> in the head's .npz) and the slices"
)


def gives_modality_logits(embeddings: Embeddings, head: LinearHead | None) -> bool:
    """Return whether a set has modality logits, or slices and a head for each modality to make them with."""
    if embeddings.modality_logits is not None:
        return True
    heads = head.modality_heads if head is not None else {}
    return bool(embeddings.slices) and all(name in heads for name in embeddings.slices)


def check_modality_logits(
    embeddings: Embeddings, head: LinearHead | None, name: str, label: str = ""
) -> None:
    """Check that a set gives the logits of every modality's own head.

    Args:
        embeddings: the set.
        head: the fusion head with its modality heads, or None.
        name: the score that reads them.
        label: what the set is, for messages: ``"train "``, or nothing.

    Raises:
        UserError: where it doesn't, or where the modality heads have other classes or widths.
    """
    if not gives_modality_logits(embeddings, head):
        where = f"; the {label.strip()} set has none" if label else ""
        raise UserError(f"{name} {NO_MODALITY_LOGITS}{where}.")
    logits = embeddings.modality_logits
    if logits is not None:
        if head is not None and logits.shape[2] != head.num_classes:
            raise UserError(
                f"the {label}modality_logits have {logits.shape[2]} classes (shape {logits.shape}), the head "
                f"{head.num_classes}."
            )
        return
    assert head is not None
    for modality, (start, stop) in embeddings.slices.items():
        dim = head.modality_heads[modality].dim
        if stop - start != dim:
            raise UserError(
                f"the {label}slice of '{modality}' has {stop - start} columns, its head expects {dim}."
            )


def check_width(embeddings: Embeddings, dim: int, label: str = "") -> None:
    """Raise `UserError` unless the features have the ``dim`` columns that the head expects.

    ``label`` is what the set is, for the message: ``"train "``, or nothing.
    """
    if embeddings.dim != dim:
        raise UserError(f"the {label}features have {embeddings.dim} columns, the head expects {dim}.")


def require_slices(embeddings: Embeddings, name: str) -> None:
    """Raise `UserError` unless it is known which columns of all belong to which modality; ``name`` is the score."""
    if not embeddings.slices:
        raise UserError(
            f"{name} treats each modality by itself, but these embeddings don't say which columns belong to "
            "which modality; give their slices, for example {'video': (0, 2304), 'flow': (2304, 4352)}."
        )
    try:
        check_slices(embeddings.slices, embeddings.dim)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
