"""The container of a model file: a deterministic `.npz` with a JSON header, read with distrust.

Owns bytes: a ZIP of uncompressed members in a fixed order with a fixed date, closed by the SHA-256 of everything before
it (as the ZIP's comment). The same content gives the same bytes, any flipped bit is noticed, `numpy.load` can read the
arrays. Reading executes nothing and unpickles nothing, and needs no more memory than the file has bytes. Must not know
what the members mean.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spst.errors import ModelFormatError

HEADER = "header.json"
_DIGEST_LENGTH = 64  # hexadecimal digits of SHA-256
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a ZIP can hold; no clock inside a model
_UNREADABLE = (zipfile.BadZipFile, struct.error, ValueError, OSError, EOFError, RuntimeError, OverflowError)


def pack(header: bytes, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Write a header and arrays, in the order given, as the bytes of a container."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, HEADER, header)
        for name, array in arrays.items():
            _add(archive, f"{name}.npy", _npy_prefix(array.dtype, array.shape) + array.tobytes())
        archive.comment = b"0" * _DIGEST_LENGTH
    body = stream.getvalue()[:-_DIGEST_LENGTH]
    return body + _digest(body)


def unpack(data: bytes, max_header: int) -> tuple[bytes, dict[str, bytes]]:
    """Read a container: its header and the bytes of its other members, by name, in the order of the file.

    Raises
    ------
    ModelFormatError
        The digest does not fit, or the ZIP is not one that `pack` writes (compressed or encrypted members, a member
        that claims more bytes than the file has, a header of more than `max_header` bytes, no header in first place).
    """
    body, digest = data[:-_DIGEST_LENGTH], data[-_DIGEST_LENGTH:]
    if digest != _digest(body):
        raise ModelFormatError(
            "not a model file, or truncated or altered: its last 64 bytes are not the SHA-256 of the rest"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_members(infos, len(data), max_header)
            members = {info.filename: archive.read(info) for info in infos}
    except _UNREADABLE as error:
        raise ModelFormatError(f"not a readable ZIP container: {error}") from error
    if len(members) != len(infos) or not infos or infos[0].filename != HEADER:
        raise ModelFormatError(
            f"expected {HEADER} and then each array once, found {[info.filename for info in infos][:20]}"
        )
    return members.pop(HEADER), {name.removesuffix(".npy"): member for name, member in members.items()}


def read_array(name: str, member: bytes, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Give a member as a read-only array of exactly this dtype and shape, or raise ModelFormatError.

    The `.npy` header is compared with the one expected, never evaluated.
    """
    kind = np.dtype(dtype)
    prefix = _npy_prefix(kind, shape)
    if not member.startswith(prefix) or len(member) != len(prefix) + kind.itemsize * math.prod(shape):
        raise ModelFormatError(f"array {name!r} must be {kind.str} of shape {shape}; the file holds something else")
    if kind == np.bool_ and member[len(prefix) :].strip(b"\0\1"):
        raise ModelFormatError(f"array {name!r} must hold truth values, the file holds other bytes")
    return np.frombuffer(member, dtype=kind, offset=len(prefix)).reshape(shape)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system = 3  # Unix, wherever it is written
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _check_members(infos: list[zipfile.ZipInfo], n_bytes: int, max_header: int) -> None:
    """Refuse what could need more memory than the file has bytes: compression, false sizes, members that overlap."""
    if sum(info.file_size for info in infos) > n_bytes:
        raise ModelFormatError(f"the members claim more bytes together than the file has ({n_bytes})")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise ModelFormatError(f"member {info.filename!r} is compressed or encrypted; a model file has neither")
        if info.filename == HEADER and info.file_size > max_header:
            raise ModelFormatError(f"{HEADER} has {info.file_size} bytes, at most {max_header} are allowed")


def _npy_prefix(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Header of a `.npy` file, version 1.0; written here because NumPy's own padding differs between its releases."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(10 + len(text) + 1) % 64
    text += " " * padding + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")
