"""Feature Mixing: channels swapped between the embeddings of modalities (Liu et al., NeurIPS 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError
from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .drawing import numpy_generator, require_at_least
from .outliers import Outliers


@SYNTHESES.register("feature_mixing")
@dataclass(frozen=True)
class FeatureMixing:
    """One outlier a class: a row of the class, N channels of each modality replaced by another modality's.

    In each modality N distinct channels are drawn, in random order.  Two modalities swap theirs, the first drawn
    channel with the first and so on.  The method was published for two; here M modalities are put into a random
    order, and each receives the channels drawn in the next one, the last those of the first.  So every modality
    gives N channels and receives N, whatever its width, and an outlier has the same values as its row.

    Args:
        num_channels: N >= 1, at most the width of the narrowest modality; None takes half of that width.  (The
            published value wasn't available.)

    Raises:
        UserError: when ``num_channels`` is below 1.
    """

    num_channels: int | None = None

    def __post_init__(self) -> None:
        if self.num_channels is not None:
            require_at_least(1, "feature mixing", num_channels=self.num_channels)

    def check(self, bank: EmbeddingBank) -> int:
        """Return N for the bank's modalities.

        Raises:
            UserError: when there is one modality, or one is narrower than N.
        """
        narrowest = min(bank.widths)
        if len(bank.widths) < 2:
            raise UserError(
                "feature mixing swaps channels between modalities; the bank has one. "
                "Give EmbeddingBank the widths of at least two, or take another synthesis."
            )
        count = self.num_channels if self.num_channels is not None else max(narrowest // 2, 1)
        if count > narrowest:
            raise UserError(
                f"feature mixing was asked for num_channels = {count}; the narrowest modality has {narrowest}."
            )
        return count

    @torch.no_grad()
    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Draw ``[C, D]``.

        ``info`` holds ``rows``, int64 ``[C]``, slots in the bank, and ``source``, int64 ``[C, D]``: column d of outlier
        c is ``bank.embeddings[c, rows[c], source[c, d]]``.

        Args:
            bank: full, with the ``widths`` of at least two modalities.
            generator: as NP-Mix's.

        Raises:
            UserError: when the bank isn't full or has one modality, or one is narrower than N.
        """
        count = self.check(bank)
        bank.require_full()
        classes, rng = bank.num_classes, numpy_generator(generator)
        rows = torch.from_numpy(rng.integers(bank.size, size=classes)).to(bank.device)
        order = rng.permuted(np.tile(np.arange(len(bank.widths)), (classes, 1)), axis=1)
        columns = np.split(np.arange(bank.dim), np.cumsum(bank.widths)[:-1])
        drawn = [rng.permuted(np.tile(each, (classes, 1)), axis=1)[:, :count] for each in columns]
        chosen = np.stack(drawn, axis=1)  # [C, M, N]
        to = np.take_along_axis(chosen, order[:, :, None], axis=1).reshape(classes, -1)
        taken = np.take_along_axis(chosen, np.roll(order, -1, axis=1)[:, :, None], axis=1)
        source = np.tile(np.arange(bank.dim), (classes, 1))
        np.put_along_axis(source, to, taken.reshape(classes, -1), axis=1)
        at = torch.from_numpy(source).to(bank.device)
        whole = bank.embeddings[torch.arange(classes, device=bank.device), rows]
        return Outliers(whole.gather(1, at), {"rows": rows, "source": at})
