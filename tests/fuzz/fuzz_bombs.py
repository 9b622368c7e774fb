"""Small files that stand for very much: each must end in a UserError, soon and in little memory."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np


def anchors(levels: int = 40, width: int = 9) -> bytes:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


def merges(levels: int = 40) -> bytes:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}], k{i}: v}}" for i in range(1, levels)]
    return "\n".join(lines).encode()


def references(levels: int = 30) -> bytes:
    lines = ["a0: x"]
    lines += [f'a{i}: "@{{a{i - 1}}}@{{a{i - 1}}}@{{a{i - 1}}}"' for i in range(1, levels)]
    return "\n".join(lines).encode()


def _zip_of(name: str, data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def _npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _shared_lists() -> bytes:
    value: list[object] = ["x"]
    for _ in range(40):
        value = [value] * 9
    return pickle.dumps(value)


def _wav(rate: int, channels: int = 1, bits: int = 16, data: bytes = b"\0" * 8000) -> bytes:
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate, (rate * align) % 2**32, align % 2**16, bits)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16)
    return head + layout + b"data" + struct.pack("<I", len(data)) + data


YAML = {
    "anchors": anchors(),
    "few wide anchors": anchors(8, 60),
    "merges": merges(),
    "flow nested": b"a: " + b"[" * 100_000,
    "block nested": b"\n".join(b" " * i + b"a:" for i in range(400)),
    "many keys": b"".join(b"k%d: 1\n" % i for i in range(60_000)),
    "huge": b"a: " + b"x" * (20 * 2**20),
    "long integer": b"a: " + b"9" * 100_000,
    "dotted key": b"a." * 50_000 + b"a: 1",
    "references": references(),
    "question marks": b"? " * 100_000,
    "dashes": b"- " * 100_000,
}
JSON = {
    "nested lists": b"[" * 100_000 + b"]" * 100_000,
    "nested 900": b"[" * 900 + b"]" * 900,
    "nested objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "long integer": b"[" + b"9" * 1_000_000 + b"]",
    "many keys": json.dumps({f"k{i}": i for i in range(200_000)}).encode(),
    "many values": b"[" + b"0," * 5_000_000 + b"0]",
    "huge": b'"' + b"x" * (40 * 2**20) + b'"',
    "lone surrogate": b'{"schema_version": 3, "run_id": "\\ud800"}',
}
PICKLES = {
    "empty lists": b"\x80\x04" + b"]0" * (8 * 2**20) + b".",
    "list of empty lists": b"\x80\x04(" + b"]" * (8 * 2**20) + b"l.",
    "shared lists": _shared_lists(),
    "shared tuples": b"\x80\x04)" + b"\x94h\x00h\x00\x86" * 100_000 + b".",
    "memo far away": b"\x80\x04]r\xff\xff\xff\x7f.",
    "long integer": b"\x80\x04\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b".",
    "marks": b"\x80\x04" + b"(" * (4 * 2**20) + b".",
    "long claim": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
}
ZIPS = {
    "1 GiB of zeros": _zip_of("features.npy", _npy_header((2**26, 4)) + bytes(2**30)),
    "claims 4 TB": _zip_of("features.npy", _npy_header((10**12,)) + bytes(100)),
    "negative shape": _zip_of("features.npy", _npy_header((2, 2)).replace(b"(2, 2)", b"(-2,-2)") + bytes(16)),
    "50 000 members": None,
    "pickle of zeros": _zip_of("archive/data.pkl", bytes(2**28)),
    "pickle of lists": _zip_of("archive/data.pkl", b"\x80\x02" + b"]0" * 2**22 + b".", zipfile.ZIP_STORED),
}
NPY = {
    "claims 4 TB": _npy_header((10**12,)) + bytes(100),
    "claims 4 TB of structures": _npy_header((10**9,), "V4096") + bytes(100),
    "objects": _npy_header((2,), "|O") + pickle.dumps([1, 2]),
    "long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{" * 1000,
    "nested header": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
}
WAVS = {
    "0 Hz": _wav(0),
    "1 Hz": _wav(1, data=bytes(2**20)),
    "4 GHz": _wav(2**32 - 1),
    "0 channels": _wav(16000, 0),
    "65535 channels": _wav(16000, 65535),
    "0 bits": _wav(16000, 1, 0),
    "3 Hz, 100 kB": _wav(3, data=bytes(100_000)),
}
CSVS = {
    "commas": b"," * (8 * 2**20),
    "lines": b"\n" * (8 * 2**20),
    "quote": b'clip,label\n"' + b"x\n" * (4 * 2**20),
    "one cell": b"clip,label,class_name,group,video,start,stop\n" + b"x" * (16 * 2**20) + b",0,a,,v,,\n",
    "wide": b"clip,label,class_name,group,start,stop,"
    + b",".join(b"m%d" % i for i in range(100_000))
    + b"\n",
}


def many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(50_000):
            archive.writestr(f"a{number}.npy", b"")
    return buffer.getvalue()


def bombs_for(target: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the bombs that a file of this name can be."""
    by_ending = {
        ".yml": YAML, ".json": JSON, ".pkl": PICKLES, ".npz": ZIPS, ".npy": NPY, ".wav": WAVS, ".csv": CSVS,
        ".txt": CSVS, ".ckpt": {**ZIPS, **PICKLES}, ".pt": {**ZIPS, **PICKLES},
    }  # fmt: skip
    ending = target[target.rindex(".") :]
    for name, data in by_ending[ending].items():
        yield name, many_members() if data is None else data
    yield "empty", b""
