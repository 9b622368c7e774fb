"""Old import paths give the modules of the new ones, with a warning."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module

import pytest

from openood_multimodal._moved import MOVED


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_an_old_path_gives_the_new_module(old: str, new: str) -> None:
    sys.modules.pop(f"openood_multimodal.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"is now openood_multimodal.{new};"):
        found = import_module(f"openood_multimodal.{old}")
    assert found is import_module(f"openood_multimodal.{new}")


def test_a_module_below_a_moved_package_is_not_loaded_twice() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore');"
        "import openood_multimodal.datasets.moving_shapes.settings as old;"
        "import openood_multimodal.moving_shapes.settings as new;"
        "assert old is new; assert new.__name__ == 'openood_multimodal.moving_shapes.settings'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pickles_of_postprocessors_find_what_they_name() -> None:
    saved = b"copenood_multimodal.plugin.hosted\n_restore\n."  # as in those that OpenOOD's eval_ood.py wrote
    assert pickle.loads(saved).__name__ == "_restore"


def test_a_path_that_never_existed_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("openood_multimodal.datasets.stores")
