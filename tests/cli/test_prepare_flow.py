"""``openood-mm prepare flow`` and ``prepare audio``: right files, whatever interrupts them."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from openood_multimodal.cli import prepare_audio, prepare_flow
from openood_multimodal.datasets.cells import flow_y
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.making.missing import moved_cell
from openood_multimodal.making.writing import read_comment
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.optical_flow import dequantise

RATE = 22050


def drifting(dx, dy, frames=8, size=(48, 64), seed=0):
    random_ = np.random.default_rng(seed)
    image = cv2.GaussianBlur(random_.standard_normal((200, 200)).astype(np.float32), (0, 0), 3)
    image = np.interp(image, (image.min(), image.max()), (0, 255)).astype(np.float32)
    for i in range(frames):
        matrix = np.float32([[1, 0, i * dx - 60], [0, 1, i * dy - 60]])
        moved = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_CUBIC)
        yield moved.clip(0, 255).astype(np.uint8)


def write_clip(path, frames, sound=False):
    frames = list(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=25)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if track is not None:
            tone = np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE).astype(np.float32)
            samples = av.AudioFrame.from_ndarray(tone[None], format="flt", layout="mono")
            samples.sample_rate = RATE
            container.mux(track.encode(samples))
            container.mux(track.encode(None))


def make_data(root, clips, **columns):
    """Write clips (name → (dx, dy)) as video/<name> and their manifest."""
    for seed, (name, move) in enumerate(clips.items()):
        write_clip(root / "video" / name, drifting(*move, seed=seed))
    names = list(clips)
    files = {"video": [f"video/{name}" for name in names]} | columns
    path = root / "m.csv"
    Manifest.create(names, [0] * len(names), ["c"] * len(names), files).write(path)
    return path


def run(main, manifest, root, *more):
    return main(["--manifest", str(manifest), "--root", str(root), "--workers", "1", *more])


def flow(manifest, root, *more):
    return run(prepare_flow.main, manifest, root, "--method", "dis_fast", *more)


def levels(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(folder):
    return {
        str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_flow_lands_where_the_manifest_says(tmp_path, capsys):
    cells = ["flow/x/right_flow_x.mp4", "flow/down_flow_x.mp4"]
    manifest = make_data(tmp_path, {"x/right.avi": (2, 0), "down.mp4": (0, 2)}, flow=cells)
    assert flow(manifest, tmp_path, "--method", "dis") == 0

    assert "2 made, 0 there already, 0 failed" in capsys.readouterr().out
    for cell, expected in zip(cells, ((2, 0), (0, 2)), strict=True):
        both = [dequantise(levels(tmp_path / each)) for each in (cell, flow_y(cell))]
        assert both[0].shape == (7, 48, 64)
        means = [each[:, 10:-10, 10:-10].mean() for each in both]
        assert np.abs(np.subtract(means, expected)).max() < 0.2
    record = json.loads((tmp_path / "flow.json").read_text())
    assert (record["method"], record["bound"], record["short_side"]) == ("dis", 20.0, None)
    assert not (tmp_path / "m_with_flow.csv").exists()
    assert not (tmp_path / "flow_failed.txt").exists()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert flow(manifest, tmp_path, "--method", "dis") == 0
    assert "0 made, 2 there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == before


def test_moving_shapes_flow_is_found_again(tmp_path):
    """Its own flow is computed from the motions, not from the pictures."""
    data = generate(tmp_path / "data", "ucf101", size="tiny", height=120, width=160, fps=24, frames=12)
    manifest = Manifest.read(data.manifests["test"])
    rows = [row for row, name in enumerate(manifest.class_names) if name in ("Orbit", "Bounce", "Slide")]
    few = tmp_path / "few.csv"
    manifest.take(rows).write(few)
    assert run(prepare_flow.main, few, data.root, "--out", str(tmp_path), "--method", "dis") == 0

    errors = []
    for cell in (manifest.files["flow"][row] for row in rows):
        found, true = (
            np.stack([dequantise(levels(root / each)) for each in (cell, flow_y(cell))], axis=-1)
            for root in (tmp_path, data.root)
        )
        assert found.shape == true.shape
        for f, t in zip(found, true, strict=True):
            moving = np.hypot(t[..., 0], t[..., 1]) > 1
            if moving.sum() > 100:
                difference = np.median(f[moving], axis=0) - np.median(t[moving], axis=0)
                errors.append(np.hypot(*difference) / np.hypot(*np.median(t[moving], axis=0)))
    assert len(errors) > 50
    assert np.median(errors) < 0.1


def test_a_manifest_without_flow_gets_the_column(tmp_path, capsys):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "b.avi": (0, 1)})
    (tmp_path / "video" / "b.avi").write_bytes(b"nonsense")
    assert flow(manifest, tmp_path) == 1

    captured = capsys.readouterr()
    assert "m_with_flow.csv" in captured.out
    assert "video/b.avi" in captured.err
    new = Manifest.read(tmp_path / "m_with_flow.csv")
    assert new.files["flow"] == ("flow/a_flow_x.mp4", "")
    assert new.files["video"] == ("video/a.avi", "video/b.avi")
    (line,) = (tmp_path / "flow_failed.txt").read_text().splitlines()
    assert line.startswith("b.avi\t")
    assert "not a video" in line
    assert sorted(os.listdir(tmp_path / "flow")) == ["a_flow_x.mp4", "a_flow_y.mp4"]  # nothing half-made

    write_clip(tmp_path / "video" / "b.avi", drifting(0, 1))
    assert flow(manifest, tmp_path) == 0
    assert Manifest.read(tmp_path / "m_with_flow.csv").files["flow"][1] == "flow/b_flow_x.mp4"
    assert flow(tmp_path, tmp_path) == 0  # the folder: m.csv, not m_with_flow.csv
    assert not (tmp_path / "flow_failed.txt").exists()


@pytest.mark.parametrize(
    ("video", "cell"),
    [
        ("video/catch/x.y.avi", "flow/catch/x.y_flow_x.mp4"),
        ("human/videos/n.mp4", "human/flow/n_flow_x.mp4"),
        ("n.mp4", "flow/n_flow_x.mp4"),
        ("video/acting in play [1]/a.mp4", "flow/acting in play [1]/a_flow_x.mp4"),
    ],
)
def test_usual_cells(video, cell):
    assert moved_cell(video, "flow", "_flow_x.mp4") == cell


def test_downloaded_flow_is_left_alone(tmp_path, capsys):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "b.avi": (0, 1)})
    (tmp_path / "flow").mkdir()
    for name in ("a_flow_x.mp4", "a_flow_y.mp4", "b_flow_x.mp4"):
        (tmp_path / "flow" / name).write_bytes(b"the authors'")
    assert flow(manifest, tmp_path) == 0

    assert "1 made, 1 there already" in capsys.readouterr().out
    assert (tmp_path / "flow" / "a_flow_x.mp4").read_bytes() == b"the authors'"
    assert (tmp_path / "flow" / "b_flow_x.mp4").read_bytes() != b"the authors'"  # half a pair is no pair
    assert flow(manifest, tmp_path, "--overwrite") == 0
    assert (tmp_path / "flow" / "a_flow_x.mp4").read_bytes() != b"the authors'"


def test_two_ways_do_not_mix(tmp_path):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "b.avi": (0, 1)})
    flow(manifest, tmp_path)
    once = digests(tmp_path / "flow")
    with pytest.raises(UserError, match=r"method dis_fast \(now dis\).*--overwrite"):
        flow(manifest, tmp_path, "--method", "dis")
    with pytest.raises(UserError, match=r"bound 20.0 \(now 15.0\)"):
        flow(manifest, tmp_path, "--bound", "15")
    assert digests(tmp_path / "flow") == once

    assert flow(manifest, tmp_path, "--bound", "15", "--out", str(tmp_path / "other")) == 0
    assert (tmp_path / "other" / "flow" / "a_flow_x.mp4").is_file()
    assert flow(manifest, tmp_path, "--bound", "15", "--overwrite") == 0
    assert digests(tmp_path / "flow") == digests(tmp_path / "other" / "flow") != once


def test_an_interrupted_overwrite_goes_on_without_it(tmp_path, capsys):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "b.avi": (0, 1)})
    flow(manifest, tmp_path)
    kept = {name: (tmp_path / "flow" / name).read_bytes() for name in ("b_flow_x.mp4", "b_flow_y.mp4")}
    flow(manifest, tmp_path, "--bound", "15", "--overwrite")
    whole = digests(tmp_path)
    for name, data in kept.items():  # as if killed before b
        (tmp_path / "flow" / name).write_bytes(data)
    capsys.readouterr()

    assert flow(manifest, tmp_path, "--bound", "15") == 0
    assert "1 made, 1 there already" in capsys.readouterr().out
    assert digests(tmp_path) == whole


def command(manifest, root, *more):
    call = "import sys; from openood_multimodal.cli import prepare_flow as p; sys.exit(p.main(sys.argv[1:]))"
    words = [sys.executable, "-c", call, "--manifest", str(manifest), "--root", str(root)]
    return [*words, "--method", "dis_fast", *more]


def test_killed_at_random_and_restarted(tmp_path):
    names = {f"c{i}.avi": (i % 3, i % 2) for i in range(8)}
    manifest = make_data(tmp_path, names)
    for name in names:  # long enough to be hit in the middle
        write_clip(tmp_path / "video" / name, drifting(*names[name], frames=90))
    reference, out = tmp_path / "reference", tmp_path / "out"
    assert flow(manifest, tmp_path, "--out", str(reference)) == 0

    def listed():
        return set(os.listdir(out / "flow")) if (out / "flow").exists() else set()

    chance = random.Random(0)
    midway = 0
    for _ in range(5):
        before = listed()
        process = subprocess.Popen(
            command(manifest, tmp_path, "--out", str(out), "--workers", "1"),
            stderr=subprocess.PIPE,
            text=True,
        )
        # imports take a second or more; the kill is to fall into the work, which shows in the folder
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None and listed() == before:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        error = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), error
        after = listed()
        assert after != before, error
        midway += any(name.endswith(".tmp") for name in after - before)
        for name in after:  # whatever is there under its name is whole
            if not name.startswith("."):
                assert digest(out / "flow" / name) == digest(reference / "flow" / name), name

    assert midway  # at least one was hit while it wrote
    assert flow(manifest, tmp_path, "--out", str(out)) == 0
    assert digests(out) == digests(reference)  # no more files, no fewer


def test_two_at_once(tmp_path):
    manifest = make_data(tmp_path, {f"c{i}.avi": (i % 3, i % 2) for i in range(10)})
    reference = tmp_path / "reference"
    flow(manifest, tmp_path, "--out", str(reference))
    out = tmp_path / "out"
    words = command(manifest, tmp_path, "--out", str(out), "--workers", "1")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    made = sum(int(output.split(": ")[1].split(" made")[0]) for output in outputs)
    assert made == 10  # shared, none twice
    assert digests(out) == digests(reference)


def test_two_at_once_with_other_settings(tmp_path):
    manifest = make_data(tmp_path, {f"c{i}.avi": (i % 3, i % 2) for i in range(4)})
    out = tmp_path / "out"
    both = [
        subprocess.Popen(
            command(manifest, tmp_path, "--out", str(out), "--workers", "1", "--bound", bound),
            stderr=subprocess.PIPE,
        )
        for bound in ("10", "20")
    ]
    errors = [process.communicate(timeout=60)[1] for process in both]
    # one comes first, the other is refused; no folder has both
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sum(b"must not mix" in error for error in errors) == 1
    assert len({read_comment(path) for path in (out / "flow").glob("*.mp4")}) == 1


def test_interrupted_by_a_person(tmp_path):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "b.avi": (1, 0)})
    for name in ("a.avi", "b.avi"):
        write_clip(tmp_path / "video" / name, drifting(0.1, 0, frames=400))
    call = "import sys; from openood_multimodal.cli import main; from openood_multimodal.cli import prepare_flow as p\n"
    call += "try: sys.exit(p.main(sys.argv[1:]))\nexcept KeyboardInterrupt: sys.exit(130)"
    words = [sys.executable, "-c", call, "--manifest", str(manifest), "--root", str(tmp_path)]
    process = subprocess.Popen(
        [*words, "--method", "tvl1", "--workers", "2"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    folder = tmp_path / "flow"
    while time.monotonic() < deadline and not (folder.exists() and len(os.listdir(folder)) >= 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=20)[1]

    assert process.returncode == 130
    assert "Traceback" not in error
    assert os.listdir(folder) == []


def test_frames_of_a_recording_are_not_touched(tmp_path, capsys):
    manifest = tmp_path / "m.csv"
    files = {"video": ["rgb/train/D3/P22_01/#frames=12,90"], "flow": ["flow/train/D3/P22_01/#frames=6,45"]}
    Manifest.create(["P22_01/12-90"], [0], ["put"], files).write(manifest)
    assert flow(manifest, tmp_path) == 0

    output = capsys.readouterr().out
    assert "1 clips are frames of a recording" in output
    assert "published" in output
    assert os.listdir(tmp_path) == ["m.csv"]


def test_mistakes(tmp_path):
    manifest = make_data(tmp_path, {"a.avi": (1, 0), "a.mp4": (1, 0)})
    with pytest.raises(UserError, match="two videos"):
        flow(manifest, tmp_path)
    with pytest.raises(UserError, match="--bound 0"):
        flow(manifest, tmp_path, "--bound", "0")
    with pytest.raises(UserError, match="--short-side 3"):
        flow(manifest, tmp_path, "--short-side", "3")
    with pytest.raises(UserError, match="--workers 0"):
        flow(manifest, tmp_path, "--workers", "0")
    with pytest.raises(UserError, match="is not a folder"):
        flow(manifest, tmp_path / "none")
    with pytest.raises(UserError, match=r"no manifest \(\*.csv\)"):
        flow(tmp_path / "video", tmp_path)
    wrong = tmp_path / "wrong.csv"
    Manifest.create(["a"], [0], ["c"], {"video": ["video/a.avi"], "flow": ["flow/a.mp4"]}).write(wrong)
    with pytest.raises(UserError, match=r"line 2, column flow: 'flow/a.mp4' must name an x video"):
        flow(wrong, tmp_path)
    Manifest.create(["a"], [0], ["c"], {"audio": ["a.wav"]}).write(wrong)
    with pytest.raises(UserError, match="no column 'video'"):
        flow(wrong, tmp_path)
    (tmp_path / "flow.json").write_text("[]")
    os.remove(tmp_path / "video" / "a.mp4")
    Manifest.create(["a"], [0], ["c"], {"video": ["video/a.avi"]}).write(manifest)
    with pytest.raises(UserError, match="is not the record"):
        flow(manifest, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    os.symlink("/", tmp_path / "elsewhere" / "flow")
    with pytest.raises(UserError, match="symbolic link to /"):
        flow(manifest, tmp_path, "--out", str(tmp_path / "elsewhere"))


def test_sound(tmp_path, capsys):
    manifest = make_data(
        tmp_path, {"a.mp4": (1, 0), "silent.mp4": (0, 1)}, audio=["video/a.wav", "video/silent.wav"]
    )
    write_clip(tmp_path / "video" / "a.mp4", drifting(1, 0), sound=True)
    assert run(prepare_audio.main, manifest, tmp_path) == 1

    captured = capsys.readouterr()
    assert "1 made, 0 there already, 1 failed" in captured.out
    assert "has no sound" in captured.err
    assert (tmp_path / "audio_failed.txt").is_file()
    with wave.open(str(tmp_path / "video" / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        assert file.getnframes() == pytest.approx(8000, abs=1100)  # AAC rounds up to whole packets
    assert not (tmp_path / "video" / "silent.wav").exists()

    whole = (tmp_path / "video" / "a.wav").read_bytes()
    assert run(prepare_audio.main, manifest, tmp_path) == 1
    assert "0 made, 1 there already, 1 failed" in capsys.readouterr().out
    assert run(prepare_audio.main, manifest, tmp_path, "--overwrite") == 1
    assert (tmp_path / "video" / "a.wav").read_bytes() == whole


def test_sound_that_is_read_from_the_video_needs_no_file(tmp_path, capsys):
    manifest = make_data(tmp_path, {"a.mp4": (1, 0)}, audio=["video/a.mp4"])
    assert run(prepare_audio.main, manifest, tmp_path) == 0
    assert "0 made" in capsys.readouterr().out


def test_folders_of_manifests(tmp_path, capsys):
    make_data(tmp_path / "data", {"a.avi": (1, 0), "b.avi": (0, 1)})
    splits = tmp_path / "splits"
    for name, clip in (("train", "a.avi"), ("test", "b.avi"), ("val", "a.avi")):
        cells = {"video": [f"video/{clip}"], "flow": [f"flow/{Path(clip).stem}_flow_x.mp4"]}
        splits.mkdir(exist_ok=True)
        Manifest.create([clip], [0], ["c"], cells).write(splits / f"{name}.csv")
    assert flow(splits, tmp_path / "data") == 0
    assert "2 made" in capsys.readouterr().out
