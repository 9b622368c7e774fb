"""Core messages name Python arguments; the command line names its options in their place."""

import pytest

from openood_multimodal.cli.parsers import option_names
from openood_multimodal.errors import ArgumentError, UserError


@pytest.mark.parametrize(
    ("core", "shown"),
    [
        ('mds needs a set: give train= or fit_on="val".', "mds needs a set: give --train or --fit-on val."),
        ("give head= (none was made)", "give --head (none was made)"),
        ('To run the others: postprocessors="msp,ebo"', "To run the others: --postprocessors msp,ebo"),
        ("import the others: only=['a_b', 'c'].", "import the others: --only a_b c."),
        ("name another out=, or overwrite=True.", "name another --out, or --overwrite."),
        ("made with short_side=256, not 128", "made with --short-side 256, not 128"),
        ("knn.K=10 and trainer.seed=3, /data/head=x.npz, threshold=5", None),
    ],
)
def test_arguments_become_options(core, shown):
    with pytest.raises(UserError) as caught, option_names():
        raise UserError(core)
    assert str(caught.value) == (core if shown is None else shown)


def test_an_argument_with_a_wrong_value():
    with pytest.raises(UserError, match=r"^--short-side 3 is too small$"), option_names():
        raise ArgumentError("short_side", "3 is too small")


def test_only_the_arguments_that_are_options_of_a_command():
    with pytest.raises(UserError) as caught, option_names("device"):
        raise UserError('use device="cpu", or give overwrite=True.')
    assert str(caught.value) == "use --device cpu, or give overwrite=True."
