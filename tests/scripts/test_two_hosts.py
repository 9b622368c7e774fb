"""The script of two "hosts" cleans up, whatever fails; with stand-ins for what needs root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "two_hosts.sh"
IP = """#!/bin/sh
echo "$*" >>"$LOG"
case "$2" in pids) exit 1 ;; exec) exit 7 ;; esac
"""


def test_namespaces_and_folder_are_deleted_and_the_exit_code_is_the_commands(tmp_path: Path) -> None:
    (tmp_path / "ip").write_text(IP)
    (tmp_path / "ip").chmod(0o755)
    left = tmp_path / "left"
    left.mkdir()
    paths = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "TMPDIR": str(left), "LOG": str(tmp_path / "log")}
    ended = subprocess.run(["bash", str(SCRIPT), "true"], env=environment, capture_output=True, check=False)
    assert ended.returncode == 7
    deleted = [line for line in (tmp_path / "log").read_text().splitlines() if "delete" in line]
    assert [line.rpartition("-")[0] for line in deleted] == ["netns delete ood-one", "netns delete ood-two"]
    assert not list(left.iterdir())
