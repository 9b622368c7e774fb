"""What the benchmarks' tests share."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from benchmarks import growth, scoring


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers of scoring and growth work in this process: starting one takes seconds."""

    def answer(module: str, task: dict[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        worker = importlib.import_module(module)
        return dict(json.loads(json.dumps(worker.work(json.loads(json.dumps(task))))))

    for each in (scoring, growth):
        monkeypatch.setattr(each, "run_module", answer)
