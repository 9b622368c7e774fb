"""Parameters with which every score is fitted in a moment, on a hundred rows of 24 columns."""

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "class_centres": {"epochs": 1},
    "dte_c": {"steps": 3},
    "flow": {"dim": 5, "epochs": 1, "hidden": 16},
    "heat": {"steps": 2, "hidden": 16},
    "iforest": {"trees": 10},
    "nl_invariants": {"steps": 2},
    "residual": {"dim": 8},
    "rpo": {"projections": 50},
    "vim": {"dim": 8},
}
