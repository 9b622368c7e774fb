"""docs/costs.md: its tables are what the script computes, and hours follow its formula."""

from pathlib import Path

import pytest
from by_path import SCRIPTS, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    return load(SCRIPTS / "update_costs_page.py")


def test_the_page_is_as_the_script_gives_it(script):
    assert script.main(["--check"]) == 0


def test_hours_of_a_run_by_hand(script):
    network = {"forward": 2e9, "backward": 4e9, "trained_parameters": 1e6}
    job = script.Job(None, trained=3600, validated=1800, extracted=7200, steps=100, batch=16, network=network)
    slow_gpu = script.Costs(
        flops=6e9, decoded=100.0, link=1e9
    )  # 1 s a clip in training, a third to encode it
    assert slow_gpu.hours(job) == pytest.approx((1.0, 1 / 6, 2 / 3))
    sent = 100 * 4e6 / 1e9 / 3600  # of two ranks, each gradient once
    assert slow_gpu.hours(job, 2) == pytest.approx((0.5 + sent, 1 / 12, 1 / 3))
    slow_decoding = script.Costs(flops=1e15, decoded=2.0, link=1e9)
    assert slow_decoding.hours(job) == pytest.approx((0.5, 0.25, 1.0))


def test_runs_are_put_on_the_first_free_gpus(script):
    network = {"forward": 0.0, "backward": 0.0, "trained_parameters": 0}
    jobs = [script.Job(None, clips, 0, 0, 1, 2, network) for clips in (3600, 3600, 7200)]
    costs = script.Costs(flops=1.0, decoded=1.0, link=1.0)
    assert script.elapsed(jobs, costs, 1) == (4.0, 1)
    assert script.elapsed(jobs, costs, 2) == (2.0, 1)


def test_what_makes_no_sense_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--share", "0"])
    assert "must be above 0" in capsys.readouterr().err
