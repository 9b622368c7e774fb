"""An evaluator: near and far OOD sets in one run."""

from openood_multimodal.evaluators import MultimodalOODEvaluator


class NearAndFar(MultimodalOODEvaluator):
    """Near and far OOD sets in one run."""

    groups = ("nearood", "farood")
