from .utils import get_pipeline

__all__ = ["get_pipeline"]
