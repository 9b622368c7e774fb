"""The plugin: our components in an OpenOOD that nobody patched, and back.

`register` teaches OpenOOD this package's data sets, networks, trainers, evaluators, pipelines and scores;
`unregister` takes everything back.  ``python -m openood_multimodal.plugin main.py --config ...`` does it for an
unmodified script.  Importing this module imports neither OpenOOD nor torch.
"""

from .registering import is_registered, register, unregister

__all__ = ["is_registered", "register", "unregister"]
