"""Event files that TensorBoard reads, written without importing TensorBoard or TensorFlow.

A file is a row of TFRecords (length, masked CRC-32C of the length, message, masked CRC-32C of the message),
each an ``Event`` of TensorFlow's event.proto. They hold wall times, so they are no results: nothing declares,
compares or bundles them.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types of protocol buffers
_START = 1  # SessionLog.START


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), rotated and shifted as TFRecords ask."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, kind: int, content: bytes) -> bytes:
    """One field of a message; text and messages are preceded by their length."""
    head = _varint(number << 3 | kind)
    return head + _varint(len(content)) + content if kind == _BYTES else head + content


def _event(step: int, content: bytes) -> bytes:
    """A record: an Event of now (field 1) at a step (field 2), with its content."""
    message = _field(1, _DOUBLE, struct.pack("<d", time.time())) + _field(2, _VARINT, _varint(step)) + content
    length = struct.pack("<Q", len(message))
    crcs = (struct.pack("<I", masked_crc(part)) for part in (length, message))
    return length + next(crcs) + message + next(crcs)


class EventFile:
    """The curve of one training for TensorBoard; the file appears with the first point.

    Points that an earlier file of the folder holds beyond `seen` belong to work that was lost and is done
    again: a start mark after `seen` makes TensorBoard drop them.

    Parameters
    ----------
    folder : of all the files of this training. seen : samples already seen when it starts or goes on.
    """

    def __init__(self, folder: Path, seen: int) -> None:
        self.folder, self.seen = folder, seen
        self._path: Path | None = None

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Append the values after `samples` samples; nothing stays in a buffer or open file."""
        records = []
        if self._path is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Names sort by time, which is the order in which TensorBoard reads them.
            self._path = self.folder / f"events.out.tfevents.{time.time_ns():020d}"
            start = _field(7, _BYTES, _field(1, _VARINT, _varint(_START)))
            records = [_event(0, _field(3, _BYTES, b"brain.Event:2")), _event(self.seen + 1, start)]
        points = b"".join(
            _field(1, _BYTES, _field(1, _BYTES, name.encode()) + _field(2, _FLOAT, struct.pack("<f", value)))
            for name, value in values.items()
        )
        records.append(_event(samples, _field(5, _BYTES, points)))
        with self._path.open("ab") as stream:
            stream.write(b"".join(records))
