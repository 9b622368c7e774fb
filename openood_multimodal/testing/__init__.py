"""The conformance kit: hold a component, ours or yours, to the contracts of its kind.

Each ``check_*`` raises an AssertionError that says which rule is broken, as scikit-learn's ``check_estimator``
does.  Use them in your own tests::

    from openood_multimodal.testing import check_trainer
    check_trainer(MyTrainer)
"""

from .data import check_dataset, check_preprocessor
from .evaluators import check_evaluator
from .losses import check_discrepancy, check_synthesis
from .networks import check_network
from .odd_inputs import check_odd_inputs
from .postprocessors import check_postprocessor
from .trainers import check_trainer

__all__ = [
    "check_dataset",
    "check_discrepancy",
    "check_evaluator",
    "check_network",
    "check_odd_inputs",
    "check_postprocessor",
    "check_preprocessor",
    "check_synthesis",
    "check_trainer",
]
