"""A training's ``state.pt``, changed by chance or on purpose: refused before any of it is used."""

from __future__ import annotations

import io
import random
import shutil

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.files.seal import check_seal, sealed


@pytest.fixture
def half(tiny, trained):
    """A training that could go on for another epoch: its folder."""
    run = shutil.copytree(trained, tiny.folder / "run")
    state = torch.load(run / "state.pt", weights_only=True)
    state["epoch_idx"] = 2
    write(run, state)
    return run


def write(run, state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (run / "state.pt").write_bytes(sealed(buffer.getvalue()))


def test_the_planted_state_is_one_that_goes_on(tiny, half, cli):
    done = cli(tiny.train())
    assert done.code == 0, done.err
    assert "Resuming after epoch 2" in done.out


def test_one_flipped_bit(tiny, half, cli):
    """Anywhere: the run stops and names the file, or reads what was written."""
    whole = (half / "state.pt").read_bytes()
    draws = random.Random(0)
    for place in (*draws.sample(range(len(whole) - 82), 12), len(whole) // 2):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draws.randrange(8)
        (half / "state.pt").write_bytes(flipped)
        done = cli(tiny.train())
        assert done.code == 2, place
        assert "state.pt is damaged: it has changed since it was written" in done.err
        assert "Delete it" in done.err or "train again" in done.err


def test_a_checkpoint_with_one_flipped_bit(tiny, trained, cli):
    run = shutil.copytree(trained, tiny.folder / "run")
    (run / "best.json").unlink()  # without its card: the checkpoint has a checksum of its own
    content = bytearray((run / "best.ckpt").read_bytes())
    content[len(content) // 2] ^= 4
    (run / "best.ckpt").write_bytes(content)
    done = cli(tiny.test())
    assert done.code == 2
    assert "best.ckpt is damaged: it has changed" in done.err


def test_a_state_of_an_older_version_is_read_with_a_note(tiny, half, cli):
    torch.save(torch.load(half / "state.pt", weights_only=True), half / "state.pt")
    with pytest.warns(UserWarning, match="has no checksum"):
        assert cli(tiny.train()).code == 0


def _first(state):
    return state["trainer"]["optimizer"]["state"][0]


def _set(path, value):
    def change(state):
        *way, last = path
        for part in way:
            state = state[part]
        state[last] = (
            value(state.get(last) if isinstance(state, dict) else state[last]) if callable(value) else value
        )

    return change


def _pop(*path):
    def change(state):
        *way, last = path
        for part in way:
            state = state[part]
        state.pop(last)

    return change


OPTIMIZER = ("trainer", "optimizer", "state", 0)
NUMPY = ("trainer", "random", "numpy")
CHANGES = {
    "shorter moments": _set((*OPTIMIZER, "exp_avg"), torch.zeros(1)),
    "no moments": _set((*OPTIMIZER, "exp_avg"), torch.zeros(0)),
    "moments of one row": _set((*OPTIMIZER, "exp_avg_sq"), lambda value: value[:1].clone()),
    "half moments": _set((*OPTIMIZER, "exp_avg"), lambda value: value.half()),
    "sparse moments": _set((*OPTIMIZER, "exp_avg"), lambda value: value.to_sparse()),
    "moments as a list": _set((*OPTIMIZER, "exp_avg"), [1.0]),
    "moments missing": _pop(*OPTIMIZER, "exp_avg"),
    "moments besides": _set((*OPTIMIZER, "max_exp_avg_sq"), torch.zeros(1)),
    "long step": _set((*OPTIMIZER, "step"), torch.zeros(1000)),
    "step as float64": _set((*OPTIMIZER, "step"), torch.zeros((), dtype=torch.float64)),
    "state of no parameter": _set(("trainer", "optimizer", "state", 10**6), {}),
    "other groups": _set(("trainer", "optimizer", "param_groups"), lambda groups: groups * 2),
    "other parameters": _set(("trainer", "optimizer", "param_groups", 0, "params"), lambda ids: ids[::-1]),
    "fewer parameters": _set(("trainer", "optimizer", "param_groups", 0, "params"), lambda ids: ids[:-1]),
    "group without rate": _pop("trainer", "optimizer", "param_groups", 0, "lr"),
    "rate as text": _set(("trainer", "optimizer", "param_groups", 0, "lr"), "x"),
    "rate as tensor": _set(("trainer", "optimizer", "param_groups", 0, "lr"), torch.zeros(7)),
    "no optimizer": _pop("trainer", "optimizer"),
    "no progress": _pop("trainer", "progress"),
    "no random": _pop("trainer", "random"),
    "no bank": _pop("trainer", "bank"),
    "smaller bank": _set(("trainer", "bank", "embeddings"), lambda value: value[:1].clone()),
    "bank's slots beyond": _set(("trainer", "bank", "next_slots"), lambda value: value + 10**9),
    "generator cut": _set(("trainer", "generator"), lambda value: value[:10].clone()),
    "words cut": _set((*NUMPY, "keys"), lambda value: value[:10].clone()),
    "position beyond": _set((*NUMPY, "position"), 10**6),
    "position before": _set((*NUMPY, "position"), -5),
    "another generator": _set((*NUMPY, "name"), "PCG64"),
    "torch's words cut": _set(("trainer", "random", "torch"), lambda value: value[:16].clone()),
    "python's words": _set(("trainer", "random", "python", "words"), torch.zeros(3, dtype=torch.int64)),
    "network without a weight": lambda state: state["network"].pop(next(iter(state["network"]))),
    "network besides": _set(("network", "x"), torch.zeros(1)),
    "best of another shape": lambda state: state["best"]["network"].update(
        {next(iter(state["best"]["network"])): torch.zeros(1)}
    ),
    "best missing": _pop("best"),
    "best without accuracy": _pop("best", "acc"),
    "log missing": _pop("log"),
    "log of numbers": _set(("log",), [1]),
    "epoch as text": _set(("epoch_idx",), "2"),
    "progress of another epoch": _set(("trainer", "progress"), {"epoch_idx": 99}),
    "trainer as list": _set(("trainer",), []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_that_fits_neither_network_nor_optimizer(tiny, half, cli, change):
    state = torch.load(half / "state.pt", weights_only=True)
    CHANGES[change](state)
    write(half, state)
    done = cli(tiny.train())
    assert done.code == 2, done.out
    assert "state.pt" in done.err
    assert "Traceback" not in done.err
    assert "Delete it" in done.err or "train again" in done.err


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 5000])
def test_files_without_a_seal(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert not check_seal(tmp_path / "x", "")


def test_a_sealed_file_reads_as_before(tmp_path):
    torch.save({"a": torch.arange(3)}, tmp_path / "x")
    (tmp_path / "x").write_bytes(sealed((tmp_path / "x").read_bytes()))
    assert check_seal(tmp_path / "x", "")
    for mmap in (False, True):
        assert torch.load(tmp_path / "x", weights_only=True, mmap=mmap)["a"].tolist() == [0, 1, 2]
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(b"PK\3\5" + content[4:])
    with pytest.raises(UserError, match="changed since it was written"):
        check_seal(tmp_path / "x", "")
