"""Imports what only this package of OpenOOD needs."""

import libmr
import timm

from .evaluator import Evaluator

__all__ = ["Evaluator"]
MODELS = timm.list_models
FITTER = libmr.MR
