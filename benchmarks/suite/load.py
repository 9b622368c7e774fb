"""Whether something else was computing on the machine during a run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .measuring import Measurement, cpu_seconds
from .threads import usable_cores

LOAD_PER_CORE = 0.25
"""Load average (one minute) a core before the run, above which the machine counts as loaded."""

OTHERS_SHARE = 0.10
"""Share of the machine's CPU time that went elsewhere during the run, likewise."""

WAITING = 0.90
"""CPU time over wall time, below which something that computes all the time must have waited."""

SHORTEST = 0.2
"""Seconds: shorter measurements say nothing about waiting."""


class Usage(NamedTuple):
    """Of a whole run.

    Attributes:
        load_before: load average of the minute before, or None where the system has none.
        cores: that this process may use.
        wall_s: of the run.
        own_cpu_s: CPU seconds of this process and its children.
        machine_cpu_s: CPU seconds that all processes (and, in a virtual machine, its neighbours) took in the
            meantime; None where the system does not tell.
    """

    load_before: float | None
    cores: int
    wall_s: float
    own_cpu_s: float
    machine_cpu_s: float | None

    @property
    def others_share(self) -> float | None:
        """The share, 0 to 1, of the machine's CPU time that was not the run's."""
        if self.machine_cpu_s is None or self.wall_s <= 0:
            return None
        return max(0.0, self.machine_cpu_s - self.own_cpu_s) / (self.wall_s * self.cores)


def loaded_reasons(usage: Usage, measurements: Sequence[Measurement]) -> list[str]:
    """Return why the run counts as one on a loaded machine; nothing for a quiet one."""
    reasons = []
    if usage.load_before is not None and usage.load_before > LOAD_PER_CORE * usage.cores:
        reasons.append(
            f"the load average before the run was {usage.load_before:.2f} on {usage.cores} cores "
            f"(quiet: at most {LOAD_PER_CORE * usage.cores:.2f})"
        )
    share = usage.others_share
    if share is not None and share > OTHERS_SHARE and usage.wall_s >= SHORTEST:
        reasons.append(
            f"other processes took {share:.0%} of the machine's CPU time during the run "
            f"(quiet: at most {OTHERS_SHARE:.0%})"
        )
    waited = [
        each.name
        for each in measurements
        if each.computes
        and each.wall_s is not None
        and each.cpu_s is not None
        and each.wall_s >= SHORTEST
        and each.cpu_s < WAITING * each.wall_s
    ]
    if waited:
        more = f" and {len(waited) - 1} more" if len(waited) > 1 else ""
        reasons.append(f"CPU time was below {WAITING:.0%} of wall time in {waited[0]}{more}")
    return reasons


class Watch:
    """Looks at the machine from now on."""

    def __init__(self) -> None:
        self.load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._wall = time.perf_counter()
        self._own = cpu_seconds()
        self._machine = machine_cpu_seconds()

    def usage(self) -> Usage:
        """Return what happened until now."""
        machine = machine_cpu_seconds()
        return Usage(
            self.load_before,
            usable_cores(),
            time.perf_counter() - self._wall,
            cpu_seconds() - self._own,
            None if machine is None or self._machine is None else machine - self._machine,
        )


def machine_cpu_seconds(path: Path = Path("/proc/stat")) -> float | None:
    """Return the CPU seconds of everything on the machine since its start (Linux), or None.

    Time that a virtual machine's host gave to others ("steal") counts; idling and waiting for a disk don't.
    """
    try:
        fields = path.read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _idle, _wait, interrupts, soft, stolen = (int(each) for each in fields[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
