from .utils import get_evaluator

__all__ = ["get_evaluator"]
