"""Damaged and hostile media files, made from seeds: whatever is read of them gives a result or a `UserError`.

A short run is in ``test_fuzz_media.py``; a long one by hand: ``python tests/fuzz/media_inputs.py --count 3000``.
"""

from __future__ import annotations

import argparse
import io
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "preprocessors"))
from media_files import Pictures, Track, atom, atoms, film, noise

from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.errors import UserError
from openood_multimodal.making.writing import FlowSettings, write_flow, write_sound
from openood_multimodal.preprocessors import video
from openood_multimodal.preprocessors.audio import audio_duration, read_audio
from openood_multimodal.preprocessors.clip import ClipPreprocessor

SLOWEST = 10.0
"""Seconds that one way of reading may take."""
LARGEST = 2 * 2**30
"""Bytes of memory that the process may have had."""
INFLATED = (b"tkhd", b"stts", b"stsz", b"mvhd", b"mdhd", b"avih", b"strh", b"strf", b"fmt ", b"stsd", b"elst")


def sources(folder: Path) -> list[Path]:
    """Return small healthy files of many kinds."""
    stereo = noise(1.5, channels=2)
    made = [
        film(folder / "a.mp4", Pictures(20, b_frames=2), Track(stereo, "stereo")),
        film(folder / "b.mov", Pictures(20, "mpeg4"), Track(noise(1), codec="pcm_s16le")),
        film(
            folder / "c.avi",
            Pictures(20, "mpeg4", size=(96, 128)),
            Track(noise(1, 44100), codec="mp3", rate=44100),
        ),
        film(folder / "d.mkv", Pictures(20, "ffv1"), Track(stereo, "stereo", "flac")),
        film(folder / "e.webm", Pictures(20, "libvpx"), Track(noise(1), codec="libopus")),
        film(folder / "f.ts", Pictures(20, "mpeg2video"), Track(noise(1), codec="mp2")),
        film(folder / "g.mpg", Pictures(20, "mpeg2video"), Track(noise(1), codec="ac3")),
        film(folder / "h.flv", Pictures(20), Track(noise(1, 44100), rate=44100)),
        film(folder / "i.wav", Track(noise(1, 16000), codec="pcm_s16le", rate=16000)),
        film(folder / "j.wav", Track(noise(1, 44100), codec="adpcm_ms", rate=44100)),
        film(folder / "k.avi", Pictures(20, "mjpeg")),
    ]
    return made


def _flipped(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for place in random.integers(0, len(out), random.integers(1, 40)):
        out[place] ^= 1 << int(random.integers(8))
    return bytes(out)


def _head_flipped(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for place in random.integers(0, min(len(out), 700), random.integers(1, 6)):
        out[place] = int(random.integers(256))
    return bytes(out)


def _cut(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    return data[: int(random.integers(1, len(data)))]


def _joined(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    return data[: int(random.integers(len(data) // 2, len(data) + 1))] + other


def _gap(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    first, last = sorted(random.integers(0, len(data), 2).tolist())
    return data[:first] + data[last:]


def _inflated(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Write huge or tiny numbers into headers: sizes of pictures, counts, rates, durations."""
    out = bytearray(data)
    places = [place for kind in INFLATED if (place := data.find(kind)) >= 0]
    for place in random.permutation(places)[:2].tolist():
        at = place + 4 + 4 * int(random.integers(0, 22))
        number = int(random.choice([0, 1, 2, 0xFFFF, 20000, 2**31 - 1, 2**32 - 1]))
        if at + 4 <= len(out):
            out[at : at + 4] = struct.pack(random.choice(["<I", ">I"]), number)
    return bytes(out)


def _atoms_swapped(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    if data[4:8] != b"ftyp":
        return _gap(random, data, other)
    found = [list(each) for each in atoms(data)]
    for each in found:
        if each[0] == b"moov":
            inside = list(atoms(each[1][8:]))
            each[1] = atom(b"moov", *(inside[place][1] for place in random.permutation(len(inside))))
    return b"".join(found[place][1] for place in random.permutation(len(found)))


MUTATIONS: tuple[Callable[[np.random.Generator, bytes, bytes], bytes], ...] = (
    _flipped, _head_flipped, _cut, _joined, _gap, _inflated, _inflated, _atoms_swapped,
)  # fmt: skip


def inputs(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Yield ``count`` damaged files, each a function of ``seed`` and its number; the one before is overwritten."""
    healthy = [(path.suffix, path.read_bytes()) for path in sources(folder)]
    for number in range(count):
        random = np.random.default_rng([seed, number])
        ending, data = healthy[int(random.integers(len(healthy)))]
        _, other = healthy[int(random.integers(len(healthy)))]
        path = folder / f"damaged{ending}"
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](random, data, other))
        yield path


def _flow(path: Path) -> object:
    return write_flow(path, io.BytesIO(), io.BytesIO(), FlowSettings("dis_fast", short_side=64))


def _clip(path: Path) -> object:
    place = ModalityFiles(path)
    small = {"frames": 4, "stride": 2, "short_side": 36, "size": 32}
    section = {"name": "multimodal_clip", "video": small, "audio": {"seconds": 1.0}}
    files = ClipFiles("a", {"video": place, "audio": place})
    return ClipPreprocessor({"preprocessor": section}, "val").look(files, 0, 0, 0, ("video", "audio"))


WAYS: dict[str, Callable[[Path], object]] = {
    "count_frames": video.count_frames,
    "probe": video.probe,
    "read_frames": lambda path: video.read_frames(path, [0, 5, 9]),
    "write_flow": _flow,
    "read_audio": read_audio,
    "read_audio, a span": lambda path: read_audio(path, 0.7, 0.9),
    "audio_duration": audio_duration,
    "write_sound": lambda path: write_sound(path, io.BytesIO()),
    "a clip": _clip,
}


def faults_of(path: Path) -> list[str]:
    """Return what goes wrong where a file is read in each way: other exceptions than a UserError, slowness."""
    faults = []
    video._cache.clear()
    for way, read in WAYS.items():
        began = time.monotonic()
        try:
            read(path)
        except UserError as error:
            if path.name not in str(error):
                faults.append(f"{way}: the message names no file: {error}")
        except Exception:
            faults.append(f"{way}: {traceback.format_exc()}")
        if time.monotonic() - began > SLOWEST:
            faults.append(f"{way}: {time.monotonic() - began:.1f} s")
    return faults


def main() -> int:
    """Try many inputs; keep those with faults in the working directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(inputs(Path(folder), options.count, options.seed)):
            for fault in (found := faults_of(path)):
                print(f"input {number}, seed {options.seed} ({path.name}): {fault}", flush=True)
            if found:
                bad += 1
                Path(f"fault_{options.seed}_{number}{path.suffix}").write_bytes(path.read_bytes())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{options.count} inputs, {bad} with faults; at most {peak / 2**30:.2f} GiB of memory")
    return int(bool(bad) or peak > LARGEST)


if __name__ == "__main__":
    sys.exit(main())
