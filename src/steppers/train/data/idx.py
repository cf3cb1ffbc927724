"""Read an IDX file, the format of MNIST: a magic number, the sizes, then the bytes of an array."""

import gzip
import math
import struct
import sys
import zlib
from pathlib import Path

import torch
from torch import Tensor

# The third byte of the magic number, and how torch and the file's big-endian numbers name it.
DTYPES = {
    0x08: (torch.uint8, 1),
    0x09: (torch.int8, 1),
    0x0B: (torch.int16, 2),
    0x0C: (torch.int32, 4),
    0x0D: (torch.float32, 4),
    0x0E: (torch.float64, 8),
}


def read_idx(path: str | Path, *, dims: int | None = None) -> Tensor:
    """The array in an IDX file, plain or gzipped, in the dtype and shape that its header states.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, cut off, no IDX file, or has not `dims` dimensions.
    """
    path = Path(path)
    content = _content(path)
    dtype, width, sizes = _header(path, content)
    if dims is not None and len(sizes) != dims:
        shape = " x ".join(map(str, sizes))
        raise ValueError(f"{path}: has {len(sizes)} dimensions ({shape}), {dims} are wanted")
    start, count = 4 + 4 * len(sizes), math.prod(sizes)
    if len(content) - start != count * width:
        raise ValueError(
            f"{path}: holds {len(content) - start:,} bytes after its header, which states"
            f" {' x '.join(map(str, sizes))} numbers of {width} bytes, {count * width:,} in all;"
            " the file is cut off or damaged"
        )
    if not count:
        return torch.empty(sizes, dtype=dtype)
    numbers = _native(bytearray(content[start:]), width)
    return torch.frombuffer(numbers, dtype=dtype).view(sizes)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: is cut off or damaged: {error}") from error


def _header(path: Path, content: bytes) -> tuple[torch.dtype, int, tuple[int, ...]]:
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise ValueError(
            f"{path}: is no IDX file: it starts with {content[:4].hex(' ') or 'nothing'}, and two"
            " zeros, a dtype of 08 to 0e and a number of dimensions are wanted"
        )
    count = content[3]
    if len(content) < 4 + 4 * count:
        raise ValueError(
            f"{path}: is cut off: {len(content)} bytes cannot hold {count} sizes after the magic"
        )
    return *DTYPES[content[2]], struct.unpack_from(f">{count}I", content, 4)


def _native(numbers: bytearray, width: int) -> bytearray:
    """Big-endian numbers in this machine's order."""
    if sys.byteorder == "big":
        return numbers
    for first in range(width // 2):
        last = width - 1 - first
        numbers[first::width], numbers[last::width] = numbers[last::width], numbers[first::width]
    return numbers
