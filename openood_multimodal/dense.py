"""Plain dense arrays out of whatever holds numbers; what would lose its meaning on the way is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError


def dense(value: Any, what: str) -> NDArray[Any]:
    """Return the NumPy array that ``value`` is.

    Tensors are taken off their device and graph; bfloat16 and 8-bit floats become float32, which holds their values
    exactly.

    Args:
        value: an array, a tensor, rows in lists, a pandas object, or anything else that NumPy makes an array of.
        what: what it is, for messages: ``"test: features"``.

    Raises:
        UserError: for masked values; for sparse, nested or quantised arrays; for structured ones; for what NumPy makes
            no array of.
    """
    _refuse_masked(value, what)
    if hasattr(value, "detach"):
        value = _from_tensor(value, what)
    elif callable(getattr(value, "toarray", None)) and hasattr(value, "nnz"):
        raise UserError(f"{what} are a sparse {type(value).__name__}; give them dense: .toarray().")
    try:
        array = np.asarray(value)
    except Exception as error:  # a foreign type's own conversion
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what}: can't make an array of a {type(value).__name__}: {reason}.") from error
    if array.dtype.names is not None:
        raise UserError(
            f"{what} are a structured array with the fields {', '.join(array.dtype.names)}; give plain columns: "
            "numpy.lib.recfunctions.structured_to_unstructured."
        )
    if (array.dtype.kind == "V" and "float8" in array.dtype.name) or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array


def _refuse_masked(value: Any, what: str) -> None:
    parts = value if isinstance(value, list | tuple) else [value]
    for part in parts:
        if isinstance(part, np.ma.MaskedArray) and (count := int(np.ma.count_masked(part))):
            noun = "value is" if count == 1 else "values are"
            raise UserError(
                f"{what}: {count} {noun} masked. Leave their rows out, or fill them: .filled(...); a masked value has "
                "none that could be used."
            )
        if callable(getattr(part, "get_mask", None)):  # torch.masked
            raise UserError(
                f"{what} are a masked tensor; leave masked rows out, or fill them: .to_tensor(...)."
            )


def _from_tensor(value: Any, what: str) -> Any:
    import torch

    if getattr(value, "is_nested", False) or getattr(value, "is_quantized", False):
        kind = "nested" if value.is_nested else "quantised"
        remedy = "pad its rows to one length" if value.is_nested else "give .dequantize()"
        raise UserError(f"{what} are a {kind} tensor; {remedy}.")
    if getattr(value, "layout", torch.strided) is not torch.strided:
        raise UserError(f"{what} are a sparse tensor ({value.layout}); give them dense: .to_dense().")
    try:
        value = value.detach().cpu()
        if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
            value = value.float()
        return value.resolve_conj().resolve_neg().numpy()
    except Exception as error:  # a tensor without data ("meta"), a dtype NumPy lacks
        reason = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
        raise UserError(f"{what}: can't make an array of a {type(value).__name__}: {reason}.") from error
