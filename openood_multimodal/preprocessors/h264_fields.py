"""H.264 whose packets hold one field of a frame each (PAFF): then packets don't tell the frames.

What is read is the beginning of a sequence parameter set and of a slice header (ITU-T H.264, 7.3.2.1.1 and 7.3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_SLICES = (1, 5)
_SPS = 7
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_HEAD = 64  # bytes of a slice that are enough for its header's first fields


class _Bits:
    """Reads the bits of a NAL unit's payload."""

    def __init__(self, payload: bytes) -> None:
        data = payload.replace(b"\x00\x00\x03", b"\x00\x00")  # bytes that keep start codes apart
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits as a number; IndexError past the end."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the header ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """Return an Exp-Golomb number (ue(v)); a signed one takes as many bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.take(zeros) if zeros else 0)

    def signed(self) -> int:
        """Return a signed Exp-Golomb number (se(v))."""
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def field_finder(extradata: bytes | None, first: bytes) -> Callable[[bytes], bool] | None:
    """Return what tells whether a packet holds a field alone; None where the stream says that none does.

    Args:
        extradata: of the stream's header: ``avcC``, or NAL units with start codes.
        first: the first packet.

    Raises:
        IndexError: when a header makes no sense.
    """
    header = extradata or b""
    length = 0
    if header[:1] == b"\x01" and len(header) > 6:
        length = (header[4] & 3) + 1
        count, at, units = header[5] & 31, 6, []
        for _ in range(count):
            size = int.from_bytes(header[at : at + 2], "big")
            units.append(header[at + 2 : at + 2 + size])
            at += 2 + size
    else:
        units = list(_with_start_codes(header))
    units += _units(first, length)
    sets = {_frame_num_bits(unit[1:]) for unit in units if unit and unit[0] & 31 == _SPS}
    if not any(sets):
        return None  # frames only; or no parameters at all, of which nothing could be decoded
    if len(sets) > 1:
        raise IndexError("several sequence parameter sets")
    (found,) = sets
    assert found is not None
    colour_bits, number_bits = found

    def is_field(packet: bytes) -> bool:
        for unit in _units(packet, length):
            if unit and unit[0] & 31 in _SLICES:
                bits = _Bits(unit[1:_HEAD])
                for _ in range(3):  # first macroblock, type, picture parameter set
                    bits.number()
                bits.take(colour_bits + number_bits)
                return bool(bits.take(1))
        return False

    return is_field


def _frame_num_bits(payload: bytes) -> tuple[int, int] | None:
    """Return the bits of a slice's colour plane and frame number; None where a set allows no fields."""
    bits = _Bits(payload)
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    planes = 0
    if profile in _HIGH_PROFILES:
        chroma = bits.number()
        if chroma == 3 and bits.take(1):
            planes = 2
        bits.number(), bits.number()  # depths
        bits.take(1)
        if bits.take(1):
            for place in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if place < 6 else 64)
    number_bits = bits.number() + 4
    order = bits.number()
    if order == 0:
        bits.number()
    elif order == 1:
        bits.take(1)
        bits.number(), bits.number()
        for _ in range(bits.number()):
            bits.number()
    bits.number()  # reference frames
    bits.take(1)
    bits.number(), bits.number()  # width, height
    return None if bits.take(1) else (planes, number_bits)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _units(packet: bytes, length: int) -> Iterator[bytes]:
    """Yield a packet's NAL units, which are preceded by their length (in so many bytes) or, with 0, by start codes."""
    if not length:
        yield from _with_start_codes(packet)
        return
    at = 0
    while at + length < len(packet):
        size = int.from_bytes(packet[at : at + length], "big")
        yield packet[at + length : at + length + size]
        at += length + size


def _with_start_codes(data: bytes) -> Iterator[bytes]:
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        after = data.find(b"\x00\x00\x01", at + 3)
        yield data[at + 3 : after if after >= 0 else len(data)]
        at = after
