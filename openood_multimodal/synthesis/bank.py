"""A bank of the latest embeddings of every class, with running class means.

The work of a step grows with the samples pushed and the number of classes, not with the bank's length: sums,
and the products between them that give distances, are kept up to date for the rows that changed.

Running sums drift when rows are added and subtracted for millions of steps.  So each class has a second sum,
of the rows written since its ring began its present revolution; when the revolution ends, that sum is the sum
of exactly the rows in the ring, built by ``size`` additions from 0, and replaces the running one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..errors import UserError

Ints = NDArray[np.int64]


class EmbeddingBank:
    """The latest ``size`` embeddings of each class, detached.

    It fills and rolls as the authors' code does: until **every** class is full, samples of a class that is
    already full are dropped; afterwards a new sample replaces the oldest of its class.  Which of the two
    holds is decided once a batch, before its first sample: the batch that fills the bank drops its surplus.

    Args:
        num_classes: C >= 1.
        dim: D >= 1, the width of the concatenated embedding.
        size: rows a class; the paper's runs have 65, and 150 for EPIC-Kitchens with three modalities.
        device: where embeddings are pushed from; the bank lives there.
        dtype: of the stored rows.  Sums are float64 throughout.
        widths: of the modalities in the concatenation, for syntheses that tell them apart; they sum to D.  Empty:
            one of width D.

    Raises:
        UserError: when a size isn't positive, or ``widths`` don't sum to D.

    >>> import torch
    >>> bank = EmbeddingBank(num_classes=2, dim=3, size=2)
    >>> bank.push(torch.eye(3), torch.tensor([0, 0, 1]))
    >>> bank.full, bank.counts.tolist(), bank.prototypes()[0].tolist()
    (False, [2, 1], [0.5, 0.5, 0.0])
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        size: int = 65,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        widths: Sequence[int] = (),
    ) -> None:
        for name, value in (("num_classes", num_classes), ("dim", dim), ("size", size)):
            if value < 1:
                raise UserError(f"an embedding bank needs {name} >= 1, got {value}.")
        self.num_classes, self.dim, self.size = num_classes, dim, size
        self.widths = tuple(widths) or (dim,)
        if sum(self.widths) != dim or min(self.widths) < 1:
            raise UserError(f"the modalities' widths {list(self.widths)} don't sum to the bank's dim {dim}.")
        self._rows = torch.zeros(num_classes * size, dim, device=device, dtype=dtype)
        self._sums = torch.zeros(num_classes, dim, device=device, dtype=torch.float64)
        self._revolution = torch.zeros_like(self._sums)  # sums of the rows since slot 0 was last written
        self._gram = self._sums.new_zeros(num_classes, num_classes)  # products of the sums, where not stale
        # Bookkeeping stays on the host: deciding what to drop must not wait for an accelerator.
        self._counts: Ints = np.zeros(num_classes, np.int64)
        self._next: Ints = np.zeros(num_classes, np.int64)  # slot of the oldest row, once full
        self._stale = np.ones(num_classes, bool)
        self._full = False

    @property
    def full(self) -> bool:
        """Whether every class holds ``size`` rows."""
        return self._full

    @property
    def counts(self) -> Tensor:
        """Rows held by each class: int64 ``[C]`` on the CPU, a copy."""
        return torch.from_numpy(self._counts.copy())

    @property
    def embeddings(self) -> Tensor:
        """The rows, ``[C, size, D]``, in the order of their slots (a ring, not by age); zeros where unfilled.

        This is the bank's own memory: read it, don't write to it.
        """
        return self._rows.view(self.num_classes, self.size, self.dim)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._rows.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return self._rows.dtype

    def history(self, label: int) -> Tensor:
        """Return a copy of the rows of one class, oldest first: ``[counts[label], D]``."""
        count, oldest = int(self._counts[label]), int(self._next[label])
        return self.embeddings[label, :count].roll(-oldest if self._full else 0, dims=0)

    def prototypes(self) -> Tensor:
        """Return the class means, float64 ``[C, D]``, from running sums.

        Raises:
            UserError: when a class has no rows yet.
        """
        if not self._counts.all():
            raise UserError(
                f"class {int(self._counts.argmin())} has no embeddings yet, so it has no prototype."
            )
        return self._sums / self._on_device(self._counts).unsqueeze(1)

    @torch.no_grad()
    def push(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add one batch, in its order.

        Args:
            embeddings: floating-point ``[B, D]`` on the bank's device; stored detached, in the bank's dtype.
            labels: integer ``[B]`` in ``[0, C)``.  They are read on the host: one short copy a batch.

        Raises:
            UserError: on shapes, devices or labels that don't fit.  The bank is then unchanged.
        """
        y = self._check(embeddings, labels)
        rows = embeddings.detach().to(self.dtype)
        if not self._full:
            self._fill(rows, y)
            return
        # At most `size` at a time, so that no slot is written twice in one go.
        for start in range(0, len(y), self.size):
            self._roll(rows[start : start + self.size], y[start : start + self.size])

    def _fill(self, rows: Tensor, y: Ints) -> None:
        slots = self._counts[y] + _rank_within_class(y)
        kept = np.flatnonzero(slots < self.size)
        y, slots, rows = y[kept], slots[kept], rows[self._on_device(kept)]
        self._rows.index_copy_(0, self._on_device(y * self.size + slots), rows)
        self._sums.index_add_(0, self._on_device(y), rows.double())
        self._counts += np.bincount(y, minlength=self.num_classes)
        self._stale[y] = True
        self._full = bool((self._counts == self.size).all())

    def _roll(self, rows: Tensor, y: Ints) -> None:
        slots = self._next[y] + _rank_within_class(y)
        at = self._on_device(y * self.size + slots % self.size)
        new = rows.double()
        change = new - self._rows.index_select(0, at)
        self._rows.index_copy_(0, at, rows)

        advanced = self._next + np.bincount(y, minlength=self.num_classes)
        ended = np.flatnonzero(advanced >= self.size)
        if not ended.size:
            self._add(y, change, new)
        else:
            now, later = np.flatnonzero(slots < self.size), np.flatnonzero(slots >= self.size)
            self._add(y[now], change[self._on_device(now)], new[self._on_device(now)])
            classes = self._on_device(ended)
            self._sums.index_copy_(0, classes, self._revolution.index_select(0, classes))
            self._revolution.index_fill_(0, classes, 0.0)
            self._add(y[later], change[self._on_device(later)], new[self._on_device(later)])
        self._next = advanced % self.size
        self._stale[y] = True

    def _add(self, y: Ints, change: Tensor, new: Tensor) -> None:
        classes = self._on_device(y)
        self._sums.index_add_(0, classes, change)
        self._revolution.index_add_(0, classes, new)

    @torch.no_grad()
    def nearest(self, num_neighbors: int) -> Tensor:
        """Return the classes with the nearest prototypes (Euclidean, float64), without the class itself.

        Only products with the prototypes that changed since the last call are recomputed.

        Args:
            num_neighbors: 1 <= N <= C − 1.

        Returns:
            int64 ``[C, N]``, in no particular order.

        Raises:
            UserError: when the bank isn't full, or N is out of range.
        """
        self.require_full()
        if not 1 <= num_neighbors < self.num_classes:
            raise UserError(
                f"{num_neighbors} nearest prototypes were asked for; with {self.num_classes} classes there "
                f"can be 1 to {self.num_classes - 1} beside the class itself."
            )
        stale = np.flatnonzero(self._stale)
        if stale.size:
            rows = self._on_device(stale)
            products = self._sums.index_select(0, rows) @ self._sums.T
            self._gram.index_copy_(0, rows, products)
            self._gram.index_copy_(1, rows, products.T)
            self._stale[:] = False
        # All classes have `size` rows, so sums rank as means do; |s_c|² is the same along row c.
        distances = self._gram.diagonal() - 2 * self._gram
        distances.fill_diagonal_(torch.inf)
        return distances.topk(num_neighbors, dim=1, largest=False, sorted=False).indices

    def require_full(self) -> None:
        """Raise a UserError that says how far the bank is, unless every class is full."""
        if not self._full:
            least = int(self._counts.argmin())
            raise UserError(
                f"the embedding bank isn't full: {int((self._counts < self.size).sum())} of "
                f"{self.num_classes} classes have fewer than {self.size} embeddings "
                f"(class {least} has {self._counts[least]}); wait until bank.full."
            )

    @torch.no_grad()
    def weighted_rows(self, labels: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
        """Return weighted sums of rows, without a copy of the rows themselves.

        Args:
            labels: int64 ``[n, k]``, the classes of the k rows of each sum.
            slots: int64 ``[n, k]``, their slots.
            weights: ``[n, k]`` in the bank's dtype.

        Returns:
            ``[n, D]`` in the bank's dtype.
        """
        at = labels * self.size + slots
        return embedding_bag(at, self._rows, mode="sum", per_sample_weights=weights)

    def to(self, device: torch.device | str) -> EmbeddingBank:
        """Move the bank to ``device``, in place, and return it."""
        for name in ("_rows", "_sums", "_revolution", "_gram"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that a bitwise continuation needs, as tensors.

        It holds ``C * size * D`` stored numbers: some 260 MB for 229 classes of video and flow.
        """
        return {name: tensor.clone() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``: the same pushes and draws then give the same bits.

        Raises:
            UserError: when the state is that of a bank of other sizes, or lacks entries.
        """
        own = self._state()
        for name, tensor in own.items():
            given = state.get(name)
            if not isinstance(given, Tensor):
                raise UserError(
                    f"the state of the embedding bank has no tensor '{name}'; was it saved by a bank?"
                )
            if given.shape != tensor.shape or given.dtype != tensor.dtype:
                raise UserError(
                    f"the saved bank's '{name}' is {list(given.shape)} {given.dtype}, this bank's "
                    f"{list(tensor.shape)} {tensor.dtype}; build the bank with the classes, dim, size and "
                    "dtype that it was saved with."
                )
        for name, most in (("counts", self.size), ("next_slots", self.size - 1)):
            if not ((state[name] >= 0) & (state[name] <= most)).all():
                raise UserError(
                    f"the saved bank's '{name}' has values outside 0 to {most}; it is damaged: train again."
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self._full = bool((self._counts == self.size).all())

    def _state(self) -> dict[str, Tensor]:
        return {
            "embeddings": self.embeddings,
            "sums": self._sums,
            "revolution_sums": self._revolution,
            "products": self._gram,
            "counts": torch.from_numpy(self._counts),
            "next_slots": torch.from_numpy(self._next),
            "stale": torch.from_numpy(self._stale),
        }

    def _on_device(self, values: Ints) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)

    def _check(self, embeddings: Tensor, labels: Tensor) -> Ints:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim or not embeddings.is_floating_point():
            raise UserError(
                f"embeddings pushed to the bank must be floating point [B, {self.dim}], "
                f"got {embeddings.dtype} of shape {list(embeddings.shape)}."
            )
        if embeddings.device != self.device:
            raise UserError(
                f"embeddings are on {embeddings.device}, the bank is on {self.device}; "
                "move it with bank.to(...)."
            )
        if labels.shape != (len(embeddings),) or labels.is_floating_point():
            raise UserError(
                f"labels pushed to the bank must be integers [{len(embeddings)}], "
                f"got {labels.dtype} of shape {list(labels.shape)}."
            )
        y = labels.detach().cpu().numpy().astype(np.int64, copy=False)
        wrong = np.flatnonzero((y < 0) | (y >= self.num_classes))
        if wrong.size:
            raise UserError(
                f"labels[{wrong[0]}] is {y[wrong[0]]}, outside the bank's {self.num_classes} classes "
                f"(0 to {self.num_classes - 1})."
            )
        return y

    def __repr__(self) -> str:
        return (
            f"EmbeddingBank(num_classes={self.num_classes}, dim={self.dim}, size={self.size}, "
            f"rows={int(self._counts.sum())}, full={self._full}, device='{self.device}')"
        )


def _rank_within_class(y: Ints) -> Ints:
    """Return how many earlier samples of the batch have the same label: [2, 5, 2, 2] → [0, 0, 1, 2]."""
    order = np.argsort(y, kind="stable")
    ordered = y[order]
    ranks = np.empty_like(y)
    ranks[order] = np.arange(len(y)) - np.searchsorted(ordered, ordered, side="left")
    return ranks
