"""`register` and `unregister`: OpenOOD with our components, and as it was.

Importing this module imports neither OpenOOD nor torch; registering does.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingPackageError, UserError
from .placeholders import after_import, stop_watching, watch_imports
from .rebind import rebind, restore_all
from .seams import check_seams

if TYPE_CHECKING:
    from .components import Components

_registered: Components | None = None
_added_path: str | None = None
EVALUATION_API = "openood.evaluation_api"
_CORE = ("openood.pipelines", "openood.postprocessors", "openood.utils.launch")


def is_registered() -> bool:
    """Whether OpenOOD knows this package's components just now."""
    return _registered is not None


def register(cpu: bool = True, root: str | os.PathLike[str] | None = None) -> None:
    """Teach OpenOOD this package's components; in any import order, and as often as you like.

    From now on OpenOOD's own ``main.py`` and pipelines know our ``dataset_class``, ``preprocessor.name``,
    ``network.name``, ``trainer.name``, ``evaluator.name``, ``pipeline.name`` and, as ``mm_<name>``, our scores.
    Whatever it knew itself it does as before.  Third-party packages that OpenOOD imports and that are missing
    here are placeholders (see `placeholders`).  Silent on success.

    Args:
        cpu: make ``.cuda()`` do nothing while there is no CUDA device, until `unregister`.
        root: folder of an OpenOOD checkout; without it ``OPENOOD_ROOT``, else the installed package.

    Raises:
        UserError: when OpenOOD is not found, or is a version whose seams have moved; nothing is changed then.
    """
    from .components import Components
    from .host import find_openood
    from .names import check_collisions
    from .surroundings import switch_off, switch_on
    from .version import openood_version

    global _registered, _added_path
    folder = find_openood(root)
    try:
        if "openood" not in sys.modules and str(folder) not in sys.path:
            # behind the script's own folder, unless that has an openood of its own
            sys.path.insert(0 if os.path.isdir(os.path.join(sys.path[0], "openood")) else 1, str(folder))
            _added_path = str(folder)
        watch_imports()
        _import_openood(folder)
        metrics = sys.modules["openood.evaluators.metrics"]
        host = openood_version(folder, getattr(metrics, "compute_all_metrics", None))
        found = check_seams(str(host))
        check_collisions({key: each.names for key, each in found.items() if each.seam.picks})

        components = Components(found, host, functools.partial(register, cpu, str(folder)))
        if _registered is not None:  # what it put into OpenOOD is still to be taken out again
            components.injected = _registered.injected
            components.added_counts = _registered.added_counts
            _registered.evaluation.uninstall()
        _registered = components
        for key, each in found.items():
            if each.seam.rebound:
                rebind(key, each.value, getattr(components, key))
        _replace_test_preprocessor(components)
        after_import(EVALUATION_API, components.evaluation.install)
        if cpu:
            switch_on()
        else:
            switch_off()
    except BaseException:
        unregister()
        raise


def unregister() -> None:
    """Put OpenOOD, torch's ``.cuda()`` and the import system back as they were; a no-op where they are."""
    from .surroundings import switch_off

    global _registered, _added_path
    stop_watching()
    restore_all()
    switch_off()
    if _registered is not None:
        components = _registered
        reach = vars(components.found["get_dataloader"].module)
        for name in components.injected:
            reach.pop(name, None)
        seam = components.found["test_preprocessor"]
        setattr(seam.module, seam.seam.attribute, seam.value)
        components.evaluation.uninstall()
        for name in components.added_counts:
            components.found["num_classes_dict"].value.pop(name, None)
    _registered = None
    if _added_path in sys.path:
        sys.path.remove(str(_added_path))
    _added_path = None


def _import_openood(folder: Path) -> None:
    for module in _CORE:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = str(error.name)
            if missing.partition(".")[0] == "openood":
                raise UserError(
                    f"the OpenOOD in {folder} is incomplete, or not one that the plugin knows: it has no {missing}."
                ) from error
            raise MissingPackageError(
                f"OpenOOD in {folder} imports '{missing}', which is not installed: pip install {missing}"
            ) from error


def _replace_test_preprocessor(components: Components) -> None:
    """The one seam that is a class: OpenOOD calls it by its name in ``openood.datasets.utils``."""
    seam = components.found["test_preprocessor"]

    def standard_preprocessor(config: Any) -> Any:
        return components.test_preprocessor(seam.value, config)

    standard_preprocessor.openood_class = seam.value  # type: ignore[attr-defined]
    setattr(seam.module, seam.seam.attribute, standard_preprocessor)
