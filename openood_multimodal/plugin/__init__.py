"""The plugin: our components in an OpenOOD that nobody patched, and back.

`register` teaches OpenOOD this package's data sets, networks, trainers, evaluators, pipelines and scores;
`unregister` takes everything back.  ``python -m openood_multimodal.plugin main.py --config ...`` does it for an
unmodified script.  Importing this module imports neither OpenOOD nor torch.
`add_benchmark` gives OpenOOD's ``evaluation_api`` another benchmark.
"""

from typing import TYPE_CHECKING, Any

from .own import OPENOOD_POSTPROCESSORS
from .registering import is_registered, register, unregister

if TYPE_CHECKING:
    from .benchmarks import add_benchmark as add_benchmark

__all__ = ["OPENOOD_POSTPROCESSORS", "add_benchmark", "is_registered", "register", "unregister"]


def __getattr__(name: str) -> Any:
    """Import `add_benchmark` when it is asked for."""
    if name == "add_benchmark":
        from .benchmarks import add_benchmark

        return add_benchmark
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
