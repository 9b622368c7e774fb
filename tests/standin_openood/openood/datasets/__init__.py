from .utils import get_dataloader, get_ood_dataloader

__all__ = ["get_dataloader", "get_ood_dataloader"]
