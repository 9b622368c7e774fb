"""The plugin: our components in an unmodified OpenOOD, and back.

`register` teaches OpenOOD this package's datasets, networks, trainers, evaluators, pipelines and scores;
`unregister` takes everything back.  ``python -m openood_multimodal.plugin main.py --config ...`` does it for an
unmodified script.  Importing this package imports neither OpenOOD nor torch.
`add_benchmark` gives OpenOOD's ``evaluation_api`` another benchmark.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmarks import add_benchmark as add_benchmark
    from .recipes import OPENOOD_POSTPROCESSORS as OPENOOD_POSTPROCESSORS
    from .registering import is_registered as is_registered
    from .registering import register as register
    from .registering import unregister as unregister

_PLACES = {
    "OPENOOD_POSTPROCESSORS": "recipes",
    "add_benchmark": "benchmarks",
    "is_registered": "registering",
    "register": "registering",
    "unregister": "registering",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
