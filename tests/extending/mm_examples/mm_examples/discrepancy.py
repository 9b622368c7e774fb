"""A discrepancy: what A2D maximises between the predictions of two modalities."""


def total_variation(p, q):
    """Half the L1 distance of two distributions: [..., B, K] twice to [...], the mean over the batch."""
    return 0.5 * (p - q).abs().sum(-1).mean(-1)
