import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.files import atomic

WRITERS = {
    "text": lambda p: atomic.write_text(p, "new\n"),
    "bytes": lambda p: atomic.write_bytes(p, b"new"),
    "json": lambda p: atomic.write_json(p, {"a": [1, 2.5, "é"]}),
    "csv": lambda p: atomic.write_csv(p, ("a", "b"), [{"a": 1, "b": "x,y"}]),
    "npy": lambda p: atomic.write_npy(p, np.arange(5)),
    "npz": lambda p: atomic.write_npz(p, {"a": np.arange(5), "b": np.ones((2, 2))}),
}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_round_trips(tmp_path):
    atomic.write_text(tmp_path / "deep" / "er" / "t.txt", "a\r\nb\n")
    assert (tmp_path / "deep" / "er" / "t.txt").read_bytes() == b"a\r\nb\n"
    atomic.write_json(tmp_path / "j.json", {"b": 1, "a": "é"})
    text = (tmp_path / "j.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["b", "a"]
    assert "é" in text
    atomic.write_csv(tmp_path / "c.csv", ("a", "b"), [{"a": 1, "b": "x,y"}])
    assert (tmp_path / "c.csv").read_bytes() == b'a,b\n1,"x,y"\n'
    atomic.write_npy(tmp_path / "n.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(np.load(tmp_path / "n.npy", allow_pickle=False), np.arange(6).reshape(2, 3))
    atomic.write_npz(tmp_path / "scores", {"conf": [0.5, 1.0]})
    with np.load(tmp_path / "scores", allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["conf"], [0.5, 1.0])


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_old_file_stays_and_nothing_else_when_writing_fails(tmp_path, monkeypatch, kind, call, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(*_):
        raise type(error)(*error.args)

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(type(error)) as caught:
        WRITERS[kind](target)
    assert getattr(caught.value, "filename", str(target)) == str(target)  # the message names it
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_real_failure_of_the_file_system(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"old")
    code = """
import resource, signal, sys, numpy as np
from openood_multimodal import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    atomic.write_npz(sys.argv[1], {"a": np.ones(100_000)})
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npz")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[1])},
    )
    assert done.stdout.strip() == str(errno.EFBIG)
    assert names(tmp_path) == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == b"old"


def test_refuses_what_the_formats_do_not_know(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a", float("nan"))
    with pytest.raises(ValueError, match="objects"):
        atomic.write_npz(tmp_path / "a", {"x": np.array([None, 1])})
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        atomic.write_npy(tmp_path / "a", np.array([None, 1]))
    with pytest.raises(ValueError, match="'b'"):
        atomic.write_csv(tmp_path / "a", ("a",), [{"a": 1, "b": 2}])
    assert names(tmp_path) == []


def test_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_mode_follows_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        atomic.write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_sixteen_writers_at_once_leave_one_whole_file(tmp_path):
    texts = [str(i) * 200_000 for i in range(10, 26)]
    threads = [threading.Thread(target=atomic.write_text, args=(tmp_path / "a", t)) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert names(tmp_path) == ["a"]
