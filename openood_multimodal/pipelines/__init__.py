"""The verbs: train, extract, test, benchmark.  Wiring only."""

from .extract import ExtractPipeline
from .test import TestPipeline
from .train import TrainPipeline

__all__ = ["ExtractPipeline", "TestPipeline", "TrainPipeline"]
