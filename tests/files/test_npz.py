"""Files from strangers: nothing unpickled, nothing allocated on a header's word."""

import io
import struct
import zipfile

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files import npz
from openood_multimodal.files.npz import read_arrays


def header(shape, descr="<f4", fortran=False):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": descr, "fortran_order": fortran, "shape": tuple(shape)}
    )
    return buffer.getvalue()


def pack(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_what_numpy_writes(tmp_path, save, dtype, order):
    features = np.asarray(np.random.default_rng(0).standard_normal((7, 5)), dtype=dtype, order=order)
    save(tmp_path / "a.npz", features=features, labels=np.arange(7), other=np.zeros(2))
    values, ignored = read_arrays(tmp_path / "a.npz", ["features"], ["labels", "absent"])
    np.testing.assert_array_equal(values["features"], features)
    assert values["features"].dtype == features.dtype
    np.testing.assert_array_equal(values["labels"], np.arange(7))
    assert sorted(values) == ["features", "labels"]
    assert ignored == ("other",)


def test_reads_arrays_larger_than_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_CHUNK", 64)
    features = np.arange(300, dtype="f4").reshape(100, 3)
    np.savez_compressed(tmp_path / "a.npz", features=features)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz", ["features"]).values["features"], features)


@pytest.fixture
def no_allocation(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("allocated before the sizes were checked")

    monkeypatch.setattr(npz.np, "empty", refuse)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_claim_of_10_to_the_12_rows_is_refused_before_allocation(tmp_path, no_allocation, compression):
    path = pack(tmp_path / "a.npz", {"features": header((10**12, 4)) + bytes(128)}, compression)
    with pytest.raises(
        UserError, match=r"claims float32 \[1000000000000, 4\], that is 16 TB.*holds 128 bytes"
    ):
        read_arrays(path, ["features"])


def test_a_claim_that_the_archive_repeats_is_refused_too(tmp_path, no_allocation):
    path = pack(tmp_path / "a.npz", {"features": header((10**9, 4)) + bytes(128)})
    data = bytearray(path.read_bytes())
    size = struct.pack("<I", len(header((10**9, 4))) + 16 * 10**8)
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = size  # what the central directory says is unpacked
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"can't hold"):
        read_arrays(path, ["features"])


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch, no_allocation):
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((1000, 10), "f4"))
    monkeypatch.setattr(npz, "_physical_memory", lambda: 10_000)
    with pytest.raises(UserError, match=r"40 kB of arrays, more than this machine's memory"):
        read_arrays(tmp_path / "a.npz", ["features"])


def test_objects_are_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    trap = np.empty((2, 2), dtype=object)
    trap[:] = Trap()
    np.savez(tmp_path / "a.npz", features=trap)
    with pytest.raises(UserError, match=r"'features' holds Python objects"):
        read_arrays(tmp_path / "a.npz", ["features"])


def test_a_missing_key_names_those_that_are_there(tmp_path):
    np.savez(tmp_path / "a.npz", feats=np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"no array 'features'; it holds feats"):
        read_arrays(tmp_path / "a.npz", ["features"])


def test_not_an_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"is not an \.npz file.*numpy\.savez"):
        read_arrays(tmp_path / "a.npy", ["features"], ["labels"])
    with pytest.raises(UserError, match="no such file"):
        read_arrays(tmp_path / "b.npz", ["features"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense, and not a little of it",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00\x04\x00{  }",
        header((3, 2), "<f4")[:40],
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b"(" * 5000,
    ],
)
def test_damaged_headers_are_user_errors(tmp_path, content):
    with pytest.raises(UserError, match="'features'"):
        read_arrays(pack(tmp_path / "a.npz", {"features": content}), ["features"])


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path):
    features = np.arange(24, dtype="f4").reshape(6, 4)
    np.savez_compressed(tmp_path / "a.npz", features=features)
    good = (tmp_path / "a.npz").read_bytes()
    noticed = 0
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x55
        (tmp_path / "b.npz").write_bytes(bad)
        try:
            values = read_arrays(tmp_path / "b.npz", ["features"]).values
            np.testing.assert_array_equal(values["features"], features)
        except UserError:
            noticed += 1
    assert noticed > len(good) // 4


def test_the_same_array_twice_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    data = header((1, 1)) + bytes(4)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", data)
        archive.writestr("features", data)
    with pytest.raises(UserError, match="twice"):
        read_arrays(path, ["features"])


def test_a_file_of_torch_save_is_named_as_one(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"features": torch.zeros(3, 2)}, tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=r"a\.pt was written by torch\.save; save its tensors as arrays: numpy\.savez"
    ):
        read_arrays(tmp_path / "a.pt", ["features"])
