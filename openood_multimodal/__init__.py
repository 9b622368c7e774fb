"""Multimodal out-of-distribution detection: the MultiOOD benchmark for OpenOOD, and without it."""

__version__ = "0.1.0"
