"""Imports what only this module of OpenOOD needs."""

import libmr
import timm

MODELS = timm.list_models
FITTER = libmr.MR
