"""Ranks: several processes train one network, and extract with it, as one process would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from openood_multimodal import ranks
from openood_multimodal.cli import main
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError

DRIVER = """
import json, os, sys
from openood_multimodal.cli import main
for port, words in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    if "--training.compile" in words and os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        import functools, torch
        torch.compile = functools.partial(torch.compile, backend="eager")  # a compiler takes half a minute there
    code = main(words)
    if code:
        sys.exit(code)
"""


AUXILIARY = {
    "dos": ("--trainer.num_outliers", "7"),
    "multimodal_mixoe": ("--dataset.auxiliary.batch_size", "64"),
}


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def start(count: int, *commands: Sequence[str], gpus: bool = False) -> list[subprocess.Popen[str]]:
    """Start the ranks that torchrun would start, on CPUs or GPUs; each gives the commands in turn."""
    task = json.dumps([(free_port(), list(words)) for words in commands])
    each = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, task],
            env={
                **os.environ,
                **{name: str(value) for name, value in {**each, "RANK": r, "LOCAL_RANK": r}.items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(count)
    ]


def outcome(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return every rank's exit code and output."""
    texts = [each.communicate(timeout=120) for each in started]
    return [(each.returncode, *text) for each, text in zip(started, texts, strict=True)]


def words(tiny, kind: str, folder: Path, *more: str) -> list[str]:
    """Return a training, or an extraction with the one-process training's network."""
    if kind == "extract":
        checkpoint = tiny.folder / "one" / "run" / "best.ckpt"
        extract = ("--pipeline.name", "multimodal_extract", "--output_dir", str(folder))
        return [*tiny.test(checkpoint=checkpoint), *extract, "--dataset.val.batch_size", "7", *more]
    if kind in AUXILIARY:
        table = tiny.train(kind, *AUXILIARY[kind], "--optimizer.num_epochs", "1", data="htad")
        data = [word.replace("htad_4_3", "htad_4_2_1") for word in table]
        at = data.index("networks/mlp_fusion.yml")
        outliers = [*data[:at], "datasets/htad/htad_4_2_1_ood.yml", *data[at:]]
        return [*outliers, "--output_dir", str(folder), *more]
    return [*tiny.train(kind), "--output_dir", str(folder), *more]


def files(folder: Path) -> dict[str, bytes]:
    """Return the stores' files; a lock isn't one."""
    found = [
        each for each in folder.rglob("embeddings/*/*") if each.is_file() and not each.name.startswith(".")
    ]
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


def equal_trainings(one: Path, two: Path) -> None:
    """Check that two folders have trainings of the same losses, accuracies and weights."""
    timing = ["seconds", "samples_per_second", "data_wait"]
    logs = [pd.read_csv(each / "log.csv").drop(columns=timing) for each in (one, two)]
    np.testing.assert_allclose(*logs, rtol=1e-5, atol=1e-6)
    weights = [torch.load(each / "last.ckpt") for each in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def both(tmp_path_factory, tiny_in):
    """A training with outliers and a bank, a contrastive one, and an extraction; by one process, and by two ranks.

    The ranks also train with outliers and a compiled network, which is traced only.
    """
    tiny = tiny_in(tmp_path_factory.mktemp("ranks"))
    made = {}
    for name in ("one", "two"):
        folder = tiny.folder / name
        commands = [
            words(tiny, "a2d_npmix", folder),
            words(tiny, "multimodal_contrastive", folder / "contrastive"),
            words(tiny, "extract", folder / "extracted"),
        ]
        if name == "one":
            assert [main(each) for each in commands] == [0, 0, 0]
        else:
            compiled = words(tiny, "a2d_npmix", folder / "compiled", "--training.compile", "true")
            made = dict(enumerate(outcome(start(2, *commands, compiled))))
    return tiny, made


def test_training_equals_one_process(both):
    """Losses, accuracy and weights are those of one process, NP-Mix's bank included; rank 0 alone speaks."""
    tiny, made = both
    assert [code for code, _, _ in made.values()] == [0, 0], made
    assert "best.ckpt" in made[0][1]
    said = [
        line for line in made[1][2].splitlines() if "Profiler record function" not in line
    ]  # the compiler
    assert (made[1][1], said) == ("", []), "the second rank says nothing"
    for run in ("run", "contrastive/run"):
        equal_trainings(*(tiny.folder / name / run for name in ("one", "two")))
    assert "loss_outlier_entropy" in pd.read_csv(tiny.folder / "two" / "run" / "log.csv"), (
        "outliers were used"
    )


def test_a_compiled_network_under_ranks_is_the_same(both):
    """The compiler follows the encoders of each rank, and not what is sent to others."""
    tiny, _ = both
    equal_trainings(tiny.folder / "one" / "run", tiny.folder / "two" / "compiled" / "run")


def test_auxiliary_outliers_equal_one_process(tiny):
    """Each rank reads its share of the outliers; DOS chooses among all of them."""
    folders = {name: tiny.folder / name for name in ("one", "two")}
    one, two = ([words(tiny, each, folder / each) for each in AUXILIARY] for folder in folders.values())
    assert [main(each) for each in one] == [0, 0]
    assert [code for code, _, _ in outcome(start(2, *two))] == [0, 0]
    for each in AUXILIARY:
        equal_trainings(*(folder / each / "run" for folder in folders.values()))


def test_extraction_equals_one_process_to_the_byte(both):
    """The stores hold the same bytes, also where the ranks' shares are not equal."""
    tiny, _ = both
    one, two = (files(tiny.folder / name / "extracted") for name in ("one", "two"))
    assert len(one) > 15
    assert one == two


@pytest.mark.cuda(2)
@pytest.mark.parametrize("more", [(), ("--training.precision", "float16"), ("--training.compile", "true")])
def test_two_gpus(both, more):
    """With NCCL, a GPU a rank: losses and embeddings of one process on a CPU, within the precision's tolerance."""
    tiny, _ = both
    folder = tiny.folder / "gpus" / "-".join(more)
    batch_norm = (
        "--training.sync_batch_norm",
        "true",
    )  # the network has none: its conversion must do no harm
    commands = [words(tiny, "a2d_npmix", folder, *batch_norm, *more), words(tiny, "extract", folder)]
    made = outcome(start(2, *commands, gpus=True))
    assert [code for code, _, _ in made] == [0, 0], made
    one, two = (
        pd.read_csv(tiny.folder / each / "run" / "log.csv").filter(like="loss") for each in ("one", folder)
    )
    np.testing.assert_allclose(two, one, rtol=0.02 if "float16" in more else 1e-3, atol=1e-3)
    one, two = (
        EmbeddingStore.open(each / "test" / "embeddings" / "train").embeddings().features
        for each in (tiny.folder / "one" / "extracted", folder)
    )
    np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())


def test_killed_rank_and_resume(both):
    """After SIGKILL of a rank the others end; resumed with another number of ranks, the extraction is the same one."""
    tiny, _ = both
    folder = tiny.folder / "killed"
    small = ("--dataset.train.batch_size", "1")
    started = start(3, words(tiny, "extract", folder, *small))
    done = folder / "test" / "embeddings" / "train" / "done.npy"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # the store's meta.json comes last: before it, its arrays may be empty files
        if (done.parent / "meta.json").is_file() and np.load(done).sum() > 3:
            break
        time.sleep(0.01)
    started[1].send_signal(signal.SIGKILL)
    made = outcome(started)
    codes = [code for code, _, _ in made]
    assert codes[1] == -signal.SIGKILL
    assert 0 not in codes, "no rank takes the extraction for finished"
    assert sum("another rank ended without a word (killed" in err for _, _, err in made) == 1, made
    assert "Traceback" not in "".join(err for _, _, err in made)
    pending = ~np.load(done)
    assert pending.any()
    assert not (done.parent.parent / "head.npz").exists()
    assert main(words(tiny, "extract", folder, *small)) == 0
    assert EmbeddingStore.open(done.parent).complete
    whole = tiny.folder / "whole"
    assert main(words(tiny, "extract", whole, *small)) == 0
    assert files(folder) == files(whole)


def test_first_failure_is_told_once(tiny):
    """What one rank finds wrong, one rank says, with its number; all end."""
    bad = words(tiny, "a2d", tiny.folder / "x", "--dataset.train.batch_size", "9")
    results = outcome(start(2, bad))
    assert sorted(code for code, _, _ in results) == [1, 2]
    told = [err for _, _, err in results if err]
    assert len(told) == 1
    assert "batch_size is 9, of all ranks together, and 2 ranks can't have equal shares" in told[0]
    assert told[0].startswith("openood-mm: rank ")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4 in this environment, and RANK, LOCAL_RANK"),
        ({"RANK": "4"}, "RANK=4, WORLD_SIZE=4 in this environment"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK=x in this environment"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two in this environment"),
        ({"TORCHELASTIC_RESTART_COUNT": "1"}, "give the whole command again"),
    ],
)
def test_wrong_environment(monkeypatch, variables, message):
    """An environment that no launcher makes is refused before anything is sent."""
    if variables != {"WORLD_SIZE": "4"}:
        good = {name: "1" for name in ranks.VARIABLES} | {"WORLD_SIZE": "4"}
        variables = good | variables
    for name in ranks.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message), ranks.together():
        pass


@pytest.fixture
def joined(monkeypatch):
    """This process as a rank of two, which needn't meet the other."""
    for name in ranks.VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(ranks, "_meet", lambda patience_s: (None, []))
    for name in ("_connect", "_check_alike", "_tell_torchrun"):
        monkeypatch.setattr(ranks, name, lambda *given: None)
    monkeypatch.setattr(ranks, "launched", lambda: True)
    monkeypatch.setattr(ranks, "_fails_first", lambda store: True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "a GPU's memory ran out"),
        (RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:9"), "another rank ended without"),
    ],
)
@pytest.mark.usefixtures("joined")
def test_what_a_rank_says_with_its_number(error, message):
    """Memory that runs out; another rank that was killed."""
    with pytest.raises(UserError, match=rf"^rank 1 of 1 on .*: {message}"), ranks.together():
        raise error
    assert ranks.world() == 1


LIKE = {"openood-multimodal": "1", "torch": "2", "host": "a", "gpus": 0, "local": (0, 1)}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            {},
            {"torch": "3", "host": "b"},
            "torch is 2 on a and 3 on b; install the same version on every host",
        ),
        (
            {},
            {"openood-multimodal": "0"},
            "openood-multimodal is 1 on a and 0 on a; install the same version",
        ),
        (
            {"gpus": 1},
            {"host": "b"},
            "rank 1 has no GPU of its own, and others have: b has 0, and 1 ranks were",
        ),
        (
            {"gpus": 1, "local": (0, 2)},
            {"gpus": 1, "local": (1, 2)},
            "rank 1 has no GPU .* a has 1, and 2 ranks",
        ),
    ],
)
def test_ranks_that_differ(first, second, message):
    """They are told before they connect, which they might never do."""
    with pytest.raises(UserError, match=message):
        ranks._check_alike([LIKE | first, LIKE | second])
    ranks._check_alike([LIKE | first])


@pytest.mark.usefixtures("joined")
def test_a_folder_that_ranks_do_not_share(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "barrier", lambda: None)
    monkeypatch.setattr(
        ranks, "gather", lambda value: [(True, "a"), value] if type(value) is tuple else [value]
    )
    message = r"one on .* is not the folder of rank 0 \(a\): .* one --output_dir on a"
    with pytest.raises(UserError, match=message), ranks.together(), ranks.one_holding(tmp_path / "one"):
        pass


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        (False, r"the 2 ranks did not come together at 127\.0\.0\.1:.* 2 processes must be started"),
        (True, r"port \d+ of 127\.0\.0\.1 is in use by another program; give another one \(--master-port"),
    ],
)
def test_ranks_that_do_not_come(monkeypatch, taken, message):
    """A rank that waits in vain says for how many, where, and what to look at; one can't listen at a taken port."""
    for name in ranks.VARIABLES:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if taken:
            other.listen()
        else:
            other.close()
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(UserError, match=message), ranks.together(0.5):
            pass
    assert ranks.world() == 1


@pytest.mark.parametrize("error", [RuntimeError("Unable to find address for: nope0\nmore"), ValueError("no")])
def test_ranks_that_can_not_connect(monkeypatch, error):
    """Gloo's own error is one message: on which network interface, and what the host has."""
    for name in ranks.VARIABLES:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nope0")
    monkeypatch.setattr(ranks, "_meet", lambda patience_s: (torch.distributed.HashStore(), [LIKE]))
    monkeypatch.setattr(ranks, "_gpus", lambda: 0)

    def refuse(*args: object, **options: object) -> None:  # as gloo does
        raise error

    monkeypatch.setattr(torch.distributed, "init_process_group", refuse)
    message = r"could not connect to one another \(.*GLOO_SOCKET_IFNAME=nope0: .*\(this host has .*lo"
    with pytest.raises(UserError, match=message), ranks.together(5.0):
        pass


def test_gpus_that_torch_can_not_use_do_not_count(monkeypatch):
    """As where the backend is chosen: NVML counts GPUs of which CUDA can use none."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ranks._gpus() == 0


def test_one_process_needs_nothing():
    """Without torchrun nothing is gathered, and nothing is waited for."""
    with ranks.together():
        assert (ranks.world(), ranks.rank(), ranks.is_first()) == (1, 0, True)
        assert ranks.gather("x") == ["x"]
        assert ranks.gather_in_turn([1, 2]) == [1, 2]
        assert ranks.share_batches([[0], [1]]) == [[0], [1]]
        ranks.barrier()
