"""The suite's machinery: times, load, records, the command line."""

import json
import math
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.suite import command, load, machine, results, tables
from benchmarks.suite.discover import find_benchmarks
from benchmarks.suite.measuring import Measurement, Report, Times, interleaved, timed, total
from openood_multimodal.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = load.Usage(load_before=0.1, cores=2, wall_s=10.0, own_cpu_s=19.0, machine_cpu_s=19.5)


def line(name: str = "one", wall: float = 1.0, cpu: float = 1.0, **more: object) -> Measurement:
    return Measurement.of(name, Times((wall,), (cpu,)), **more)  # type: ignore[arg-type]


# --- times


def test_timed_measures_wall_and_cpu_apart() -> None:
    asleep = timed(lambda: time.sleep(0.05), repeats=2)
    assert len(asleep.wall) == 2
    assert asleep.wall_s >= 0.05
    assert asleep.cpu_s < 0.04

    def compute() -> None:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    assert timed(compute).cpu_s >= 0.045
    assert timed(lambda: time.sleep(0.02), scale=0.1).wall_s < 0.02


def test_interleaved_takes_turns() -> None:
    order: list[str] = []
    taken = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] * 3
    assert [len(each.wall) for each in taken.values()] == [3, 3]


def test_a_measurement_keeps_median_and_extremes() -> None:
    each = Measurement.of("x", Times((3.0, 1.0, 2.0), (5.0, 4.0, 6.0)))
    assert (each.wall_s, each.cpu_s, each.wall_min_s, each.wall_max_s, each.repeats) == (
        2.0,
        5.0,
        1.0,
        3.0,
        3,
    )


def test_a_total_with_a_gap_is_none() -> None:
    assert total([1.0, 2.0]) == 3.0
    assert total([1.0, None]) is None
    assert total([]) is None


def test_a_ratio_needs_both_sides() -> None:
    report = Report({}, [line("a", 6.0), line("b", 2.0), Measurement.skipped("c", "absent")])
    report.add_ratio("a / b", report.seconds("a"), report.seconds("b"))
    report.add_ratio("a / c", report.seconds("a"), report.seconds("c"))
    report.add_ratio("a / d", report.seconds("a"), report.seconds("d"))
    assert report.ratios == {"a / b": 3.0}


# --- a loaded machine


def test_a_quiet_machine_is_not_loaded() -> None:
    assert load.loaded_reasons(QUIET, [line(wall=1.0, cpu=1.9), line("two", 0.5, 0.5)]) == []


@pytest.mark.parametrize(
    ("usage", "measurements", "said"),
    [
        (QUIET._replace(load_before=0.51), [], "load average"),
        (QUIET._replace(machine_cpu_s=19.0 + 2.4), [], "other processes took 12%"),
        (QUIET._replace(own_cpu_s=9.0), [], "other processes took 52%"),
        (QUIET, [line("slow", wall=1.0, cpu=0.89)], "below 90% of wall time in slow"),
        (QUIET, [line("slow", 1.0, 0.5), line("other", 1.0, 0.5)], "slow and 1 more"),
    ],
)
def test_each_sign_of_load_is_said(usage: load.Usage, measurements: list[Measurement], said: str) -> None:
    reasons = load.loaded_reasons(usage, measurements)
    assert len(reasons) == 1
    assert said in reasons[0]


@pytest.mark.parametrize(
    "measurement",
    [
        line(wall=1.0, cpu=0.91),
        line(wall=0.1, cpu=0.01),  # too short to tell
        line(wall=1.0, cpu=0.1, computes=False),  # waits for a disk
        Measurement.skipped("x", "absent"),
    ],
)
def test_waiting_that_means_nothing(measurement: Measurement) -> None:
    assert load.loaded_reasons(QUIET, [measurement]) == []


def test_unknown_load_is_no_load() -> None:
    assert load.loaded_reasons(load.Usage(None, 2, 10.0, 5.0, None), []) == []
    assert load.loaded_reasons(QUIET._replace(load_before=0.5, machine_cpu_s=19.0 + 1.9), []) == []


def test_others_share_counts_what_was_not_ours() -> None:
    assert QUIET.others_share == pytest.approx(0.5 / 20)
    assert QUIET._replace(machine_cpu_s=18.0).others_share == 0.0


def test_machine_seconds_leave_out_idling(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    ticks = os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  100 10 20 100000 5000 3 2 65 7 7\ncpu0 1 2 3\n")
    assert load.machine_cpu_seconds(stat) == pytest.approx(200 / ticks)
    stat.write_text("cpu  100 10 20 900000 9000 3 2 65 7 7\ncpu0 1 2 3\n")
    assert load.machine_cpu_seconds(stat) == pytest.approx(200 / ticks)
    assert load.machine_cpu_seconds(tmp_path / "absent") is None


# --- records


def record_of(report: Report, usage: load.Usage = QUIET) -> results.Record:
    return results.make_record({"some": report}, usage, threads=1, quick=True)


def test_a_record_says_where_it_ran(tmp_path: Path) -> None:
    record = record_of(
        Report({"N": 3}, [line(), Measurement.skipped("two", "absent")], {"r": 1.5}, ["a note"])
    )
    path = tmp_path / "new" / "r.json"
    results.write_record(path, record)
    assert results.read_record(path) == record
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["cpu"]
    assert record["versions"]["torch"]
    assert any(each["of"] == "numpy" for each in record["blas"])
    assert all("/" not in str(value) for each in record["blas"] for value in each.values())
    assert record["git"] is None or len(record["git"]["commit"]) == 40
    assert record["loaded"] is False
    assert "WARNING" not in command.summary(record)


def test_a_loaded_run_is_marked_and_warned_of() -> None:
    record = record_of(Report({}, [line("slow", 1.0, 0.3)]))
    assert record["loaded"] is True
    assert "slow" in record["loaded_because"][0]
    assert "WARNING: the machine was loaded" in command.summary(record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.pop("date"), "no field 'date'"),
        (lambda r: r.update(extra=1), "'extra', which the schema does not know"),
        (lambda r: r.update(threads="2"), "'threads' is '2'"),
        (lambda r: r.update(threads=True), "'threads' is True"),
        (lambda r: r.update(schema_version=2), "schema_version 2"),
        (lambda r: r["benchmarks"]["some"].pop("ratios"), "no field 'ratios'"),
        (lambda r: r["benchmarks"]["some"]["ratios"].update(x="fast"), "must be a number"),
        (lambda r: r["benchmarks"]["some"]["measurements"][0].pop("cpu_s"), "no field 'cpu_s'"),
        (lambda r: r["benchmarks"]["some"]["measurements"][0].update(wall_s=None), "neither"),
        (lambda r: r["benchmarks"]["some"]["measurements"].append(r["benchmarks"]["some"]["measurements"][0]), "taken"),
    ],
)  # fmt: skip
def test_another_record_is_refused(change: object, said: str) -> None:
    record = json.loads(json.dumps(record_of(Report({}, [line()], {"r": 1.0}))))
    results.check_record(record, "it")
    change(record)  # type: ignore[operator]
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        results.check_record(record, "it")


def test_files_that_are_no_records(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json can't be read"):
        results.read_record(tmp_path / "absent.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        results.read_record(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(UserError, match="must be an object"):
        results.read_record(tmp_path / "x.json")


def test_git_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: str) -> str:
        raise FileNotFoundError("git")

    monkeypatch.setattr(machine, "_git", fail)
    assert machine.commit() is None


# --- tables


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"), (123.4, "123 s"), (12.34, "12.3 s"), (1.234, "1.23 s"), (0.01234, "12.3 ms"),
        (0.0001234, "123 µs"), (0.0, "0 µs"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, expected: str) -> None:
    assert tables.seconds(value) == expected


def test_tables_have_a_column_a_value() -> None:
    record = record_of(
        Report({}, [line("a|b", values={"x": 1.5, "fit_s": 0.002}), Measurement.skipped("c", "why")])
    )
    measurements = record["benchmarks"]["some"]["measurements"]
    head, body = tables.rows(measurements)
    assert head == ["", "wall", "CPU", "runs", "x", "fit", "note"]
    assert body == [
        ["a|b", "1.00 s", "1.00 s", "1", "1.5", "2.00 ms", ""],
        ["c", "-", "-", "-", "", "", "why"],
    ]
    assert "a\\|b" in tables.markdown_table(measurements)
    assert len({len(row.split(" | ")) for row in tables.markdown_table(measurements).splitlines()}) == 1


# --- the command


def test_every_benchmark_keeps_to_the_interface() -> None:
    found = find_benchmarks()
    assert {"scoring", "growth", "decoding", "training_step"} <= set(found)
    for name, each in found.items():
        parser = command.common_parser()
        each.add_arguments(parser)
        defaults = vars(parser.parse_args([]))
        assert set(each.QUICK) <= set(defaults), f"{name}: QUICK names an option that it has not"
        assert not each.SUMMARY.endswith(".")


def test_written_options_win_over_quick_ones() -> None:
    found = find_benchmarks()
    parsed = command.parse(found, ["scoring", "growth"], ["--quick", "--dim", "640", "--train", "777"])
    assert (parsed["scoring"].dim, parsed["growth"].dim) == (640, 640)
    assert parsed["scoring"].train == 777
    assert parsed["scoring"].test == found["scoring"].QUICK["test"]
    full = command.parse(found, ["scoring"], [])["scoring"]
    assert (full.train, full.dim, full.classes, full.test, full.ood) == (22549, 4352, 129, 4902, 10000)
    assert full.threads >= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scorng"], "no benchmark 'scorng'.*scoring"),
        (["growth", "--train", "5"], "no option '--train' of growth"),
        (["scoring", "--train", "many"], "invalid int value: 'many'"),
        (["scoring", "--quick", "--threads", "0"], "--threads must be at least 1"),
        (["scoring", "--quick", "--scores", "mps"], "'mps'.*msp"),
        (["scoring", "--quick", "--skip", "openod"], "'openod'.*openood"),
        (["scoring", "--quick", "--vim-dim", "512"], "--vim-dim below D = 512"),
        (["decoding", "--quick", "--codecs", "h265"], "'h265'"),
        (["growth", "--quick", "--folder", "/no/such/folder"], "is not a folder"),
        (["page", "absent.json"], "absent.json can't be read"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "set_threads", lambda count: None)
    out = [] if words[0] == "page" else ["--out", str(tmp_path)]
    assert command.main([*words, *out]) == 2
    error = [each for each in capsys.readouterr().err.splitlines() if each.startswith("Error")]
    assert len(error) == 1
    assert re.search(said, error[0]), error[0]
    assert not list(tmp_path.iterdir())


def test_a_run_writes_one_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "set_threads", lambda count: None)
    seen: list[Namespace] = []

    class Fake:
        NAME, SUMMARY, QUICK = "fake", "a summary", {}

        def run(self, options: Namespace) -> Report:
            seen.append(options)
            return Report({"N": 1}, [line()], {"a / b": math.pi})

    options = {"fake": Namespace(out=tmp_path, quick=True, threads=1)}
    assert command.run_benchmarks({"fake": Fake(), "other": Fake()}, options) == 0  # type: ignore[dict-item]
    (path,) = tmp_path.glob("fake_quick_*.json")
    record = results.read_record(path)
    assert record["benchmarks"]["fake"]["ratios"] == {"a / b": 3.14159}
    out = capsys.readouterr().out
    assert "a / b: 3.142" in out
    assert str(path) in out


def test_list_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert "training_step  what A2D" in capsys.readouterr().out
    assert command.main(["scoring", "--help"]) == 0
    out = capsys.readouterr().out
    assert "python -m benchmarks scoring growth --quick" in out
    assert "--time-limit" in out


def test_as_a_module(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "scoring" in done.stdout
