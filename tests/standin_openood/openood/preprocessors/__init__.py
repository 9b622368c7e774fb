from .utils import get_preprocessor

__all__ = ["get_preprocessor"]
