""".npy and .npz files of others: what they claim is checked before anything is read, so that memory stays bounded."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from utvm.errors import UtvmError

MAX_BYTES = 256 * 1024 * 1024
"""Of all arrays of a file, as they are in memory."""
MAX_ARRAYS = 1000
_KINDS = "biuf"
BROKEN = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    SyntaxError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file raises."""
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others may ask for memory of any size before they give a byte."""


class ArchiveError(UtvmError):
    """A file that holds no arrays, or more than are read; the text is the reason without the file's name."""


class _NoNumbersError(ArchiveError):
    """An array of text or objects."""


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of an .npy file.

    Raises:
        ArchiveError: it is not one, is cut off, or is too large.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ArchiveError("it is an archive, not an array: name it .npz")
            file.seek(0)
            return _array(file, MAX_BYTES)
    except BROKEN as error:
        raise ArchiveError(_reason(error)) from error


def read_archive(path: Path, *, left_out: list[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, in the file's order.

    Args:
        path: the file.
        left_out: gets the names and types of arrays that hold no numbers; these are an error if None.

    Raises:
        ArchiveError: it is not one, is damaged, or claims more than is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise ArchiveError(f"it has {len(members):,} arrays; at most {MAX_ARRAYS:,} are read")
            arrays: dict[str, NDArray[Any]] = {}
            left = MAX_BYTES
            for member in members:
                with opened(archive, member) as file:
                    name = member.filename.removesuffix(".npy")
                    try:
                        arrays[name] = _array(file, left)
                    except _NoNumbersError as error:
                        if left_out is None:
                            raise
                        left_out.append(f"{name} ({error})")
                        continue
                    left -= arrays[name].nbytes
            return arrays
    except BROKEN as error:
        raise ArchiveError(_reason(error)) from error


def opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Return a part of an archive, to read.

    Raises:
        ArchiveError: it is compressed in a way that is not read.
    """
    if member.compress_type not in _COMPRESSIONS:
        raise ArchiveError("its parts are compressed in another way than archives of numpy and PyTorch are")
    return archive.open(member)


def _array(file: IO[bytes], most: int) -> NDArray[Any]:
    """Return the array at the start of a file; at most `most` bytes of it are read."""
    version = npy_format.read_magic(file)
    read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ArchiveError(f"its format {version[0]}.{version[1]} is not read; save it with numpy.save")
    shape, columns_first, dtype = read_header(file)
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise _NoNumbersError(f"its type {dtype} is none of numbers")
    claimed = math.prod(shape) * dtype.itemsize
    if any(size < 0 for size in shape) or max(shape, default=0) > most or claimed > most:
        raise ArchiveError(f"it claims an array {list(shape)} of {dtype}, {claimed:,} bytes; at most {most:,} are read")
    data = io.BytesIO()
    while (part := file.read(min(1 << 20, claimed - data.tell()))) and data.tell() < claimed:
        data.write(part)
    if data.tell() != claimed:
        raise ArchiveError(f"it is cut off: {data.tell():,} of {claimed:,} bytes are there")
    flat = np.frombuffer(data.getvalue(), dtype)
    array = flat.reshape(shape, order="F" if columns_first else "C")
    return np.array(array, dtype.newbyteorder("="))


def _reason(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__
