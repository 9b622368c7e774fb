"""Checks of discrepancies and syntheses."""

from __future__ import annotations

from typing import Any

import torch

from ..losses import a2d_loss, outlier_discrepancy_loss
from ..synthesis import EmbeddingBank
from ._rules import refuses, rule, same


def check_discrepancy(name: str) -> None:
    """Hold a registered discrepancy to the contract: a finite, non-negative distance with finite gradients.

    Args:
        name: under which it is registered.
    """
    generator = torch.Generator().manual_seed(0)
    for modalities, batch, classes, scale in ((2, 4, 5, 1.0), (3, 1, 2, 1.0), (2, 3, 4, 1e4)):
        logits = [
            (scale * torch.randn(batch, classes, generator=generator)).requires_grad_()
            for _ in range(modalities)
        ]
        labels = torch.arange(batch) % classes
        for loss in (
            a2d_loss(logits, labels, discrepancy=name),
            outlier_discrepancy_loss(logits, discrepancy=name),
        ):
            rule(loss.ndim == 0, f"'{name}': the loss is a scalar, got shape {tuple(loss.shape)}")
            rule(
                bool(torch.isfinite(loss)),
                f"'{name}': the loss is {loss.item()} at logits of about ±{scale:g}",
            )
            rule(
                loss.item() <= 1e-6,
                f"'{name}': a discrepancy is at least 0, so its loss is at most 0; got {loss.item()}",
            )
            rule(loss.requires_grad, f"'{name}': the loss has no gradient; is a tensor detached on the way?")
            gradients = torch.autograd.grad(loss, logits, allow_unused=True)
            rule(
                all(g is None or bool(torch.isfinite(g).all()) for g in gradients),
                f"'{name}': a gradient is not finite at logits of about ±{scale:g}",
            )
    different = [torch.randn(4, 5, generator=generator) for _ in range(2)]
    rule(
        outlier_discrepancy_loss(different, discrepancy=name).item() < 0,
        f"'{name}': modalities that differ have a discrepancy above 0",
    )
    same_logits = torch.randn(4, 5, generator=generator).requires_grad_()
    loss = outlier_discrepancy_loss([same_logits, same_logits.clone()], discrepancy=name)
    rule(
        abs(loss.item()) < 1e-6, f"'{name}': identical modalities have the discrepancy 0, got {-loss.item()}"
    )
    (gradient,) = torch.autograd.grad(loss, same_logits)
    rule(
        bool(torch.isfinite(gradient).all()), f"'{name}': the gradient is not finite for identical modalities"
    )


def check_synthesis(synthesis: Any) -> None:
    """Hold an outlier synthesis to the contract.

    Args:
        synthesis: an instance, ``(bank, generator) → Outliers``.
    """
    classes, dim, size = 4, 6, 5
    bank = EmbeddingBank(classes, dim, size=size, widths=(4, 2))
    refuses(lambda: synthesis(bank, generator=torch.Generator()), "a bank that is not full must be refused")
    labels = torch.arange(classes).repeat(size)
    bank.push(torch.randn(classes * size, dim, generator=torch.Generator().manual_seed(1)), labels)
    before = [bank.embeddings.clone(), bank.counts, bank.prototypes()]  # not its caches, which may fill
    first = synthesis(bank, generator=torch.Generator().manual_seed(7))
    rule(
        first.embeddings.ndim == 2 and first.embeddings.shape[1] == dim,
        "embeddings are [number of outliers, D]",
    )
    rule(first.embeddings.dtype == bank.dtype, "outliers have the bank's dtype")
    rule(bool(torch.isfinite(first.embeddings).all()), "an outlier is not finite")
    rule(not first.embeddings.requires_grad, "outliers are detached")
    again = synthesis(bank, generator=torch.Generator().manual_seed(7))
    same(
        (first.embeddings, dict(first.info)),
        (again.embeddings, dict(again.info)),
        "the same generator state must give the same outliers",
    )
    other = synthesis(bank, generator=torch.Generator().manual_seed(8))
    rule(
        not len(first.embeddings) or not torch.equal(first.embeddings, other.embeddings),
        "another generator state must give other outliers",
    )
    same(
        [bank.embeddings, bank.counts, bank.prototypes()],
        before,
        "a synthesis must not change the bank",
    )
