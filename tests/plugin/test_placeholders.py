"""Packages that OpenOOD imports and that are missing or broken."""

import importlib.util
import sys

import pytest

from openood_multimodal.errors import MissingPackageError
from openood_multimodal.plugin import placeholders, register, unregister
from openood_multimodal.plugin.placeholders import PACKAGES, Package, state_of

needs_no_libmr = pytest.mark.skipif(
    importlib.util.find_spec("libmr") is not None, reason="libmr is installed"
)
needs_no_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")


def _config(**sections):
    from openood.utils import Config

    return Config({"dataset": {"image_size": 6, "name": "gray"}, **sections})


@needs_no_libmr
def test_a_missing_package_is_one_clear_error_when_it_is_used(standin, table_config):
    register()
    from openood.postprocessors import OpenMax

    with pytest.raises(
        MissingPackageError, match=r"OpenOOD uses libmr\.MR, but libmr is not installed: pip install"
    ):
        OpenMax(_config()).setup(None, {}, {})


def test_a_broken_package_is_one_too_and_says_why(standin):
    register()
    from openood.preprocessors.utils import get_preprocessor

    with pytest.raises(
        MissingPackageError, match=r"imgaug\.augmenters\.\w+, but imgaug can't be.*np\.sctypes"
    ):
        get_preprocessor(_config(preprocessor={"name": "draem"}), "train")


def test_what_inherits_from_a_placeholder_is_a_class_that_cannot_be_made(standin):
    register()
    from openood.preprocessors.standard import InheritedPreprocessor

    assert isinstance(InheritedPreprocessor, type)
    assert not isinstance(3, InheritedPreprocessor)
    with pytest.raises(MissingPackageError, match="imgaug"):
        InheritedPreprocessor(_config())


def test_nothing_of_it_stays_once_openood_is_imported(standin):
    finders = list(sys.meta_path)
    register()
    assert not [m for m in sys.modules.values() if isinstance(m, placeholders._PlaceholderModule)]
    assert not [f for f in sys.meta_path if isinstance(f, placeholders._Placeholders)]
    if "libmr" not in sys.modules:
        missing = importlib.util.find_spec("libmr")
        assert missing is None or missing.origin
    unregister()
    assert sys.meta_path == finders


@needs_no_timm
@needs_no_libmr
def test_modules_of_openood_imported_later_get_them_as_well(standin):
    register()
    import openood.evaluation_api as api

    for function in (api.MODELS, api.FITTER):
        with pytest.raises(MissingPackageError):
            function()
    assert importlib.util.find_spec("timm") is None


def test_a_package_that_works_is_left_alone():
    works = Package("json", "", ("json.decoder",), "nothing")
    with placeholders.placeholders([works]):
        import json

    assert json.loads("1") == 1
    assert state_of(works) == ""


def test_placeholders_answer_as_far_as_an_import_needs():
    absent = Package("no_such_package", "pip install no-such-package", ("no_such_package",), "nothing")
    with placeholders.placeholders([absent]):
        import no_such_package.deep.inside as inside
        from no_such_package import Thing
    assert Thing.attribute.another.__name__ == "another"
    assert not hasattr(inside, "__wrapped__")
    assert not hasattr(Thing, "__wrapped__")
    for use in (
        lambda: Thing(),
        lambda: Thing.method(1),
        lambda: inside.x[0],
        lambda: list(Thing),
        lambda: len(Thing),
    ):
        with pytest.raises(MissingPackageError, match="pip install no-such-package"):
            use()
    with pytest.raises(ImportError):
        import no_such_package.other  # noqa: F401


def test_every_package_says_how_to_install_it():
    assert {p.name for p in PACKAGES} == {
        *(
            "torchvision",
            "imgaug",
            "PIL",
            "cv2",
            "faiss",
            "libmr",
            "diffdist",
            "statsmodels",
            "gdown",
            "foolbox",
            "timm",
        )
    }
    assert all(package.command.startswith("pip install") and package.purpose for package in PACKAGES)
