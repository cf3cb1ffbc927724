"""Text as bytes: windows of a stream, in which each byte is to be told from those before it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .batched import Batch, BatchedDataset
from .corpus import Corpus, as_stream, find_corpus
from .counts import check_count
from .dataset import Data


class ByteText(BatchedDataset):
    """Windows of a stream of bytes: x (batch, window) and y, the same one byte later, in int64.

    Window i begins at byte `i * stride`; with a stride as long as the window, each byte is
    predicted once but the first and up to `window` - 1 at the end. The stream stays uint8.

    >>> ByteText(torch.arange(6).byte(), window=2, stride=2).batch([1, 0])
    (tensor([[2, 3],
            [0, 1]]), tensor([[3, 4],
            [1, 2]]))

    Raises:
        TypeError: the stream is not a 1-d uint8 tensor.
        ValueError: it is shorter than a window and one byte, or a number is below 1.
    """

    def __init__(self, stream: Tensor, window: int, *, stride: int = 1) -> None:
        if stream.dtype != torch.uint8 or stream.dim() != 1:
            raise TypeError(
                f"ByteText: wants a 1-d uint8 tensor, got {stream.dim()}-d {stream.dtype}"
            )
        check_count("ByteText", "window", window, 1)
        check_count("ByteText", "stride", stride, 1)
        if len(stream) <= window:
            raise ValueError(
                f"ByteText: a window of {window:,} and the byte after it do not fit into"
                f" {len(stream):,} bytes; take a shorter window or more text"
            )
        self.stream, self.window, self.stride = stream, window, stride

    def __len__(self) -> int:
        return (len(self.stream) - self.window - 1) // self.stride + 1

    def batch(self, indices: Sequence[int]) -> Batch:
        windows = self.stream.unfold(0, self.window + 1, self.stride)  # a view
        chosen = windows.index_select(0, torch.tensor(indices, device=self.stream.device))
        return chosen[:, :-1].long(), chosen[:, 1:].long()


def load_text(
    path: str | Path | None = None,
    *,
    window: int = 256,
    contiguous: bool = False,
    extensions: Sequence[str] | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Data:
    """The bytes below a folder, or of this Python's standard library: see `find_corpus`.

    An epoch draws windows that begin anywhere, with replacement, as many as fit beside each other;
    with `contiguous` it takes these, in random order. The held-out windows lie beside each other.
    A window may go from one file into the next. `data.valid.stream` is the held-out text.

    Raises:
        OSError, ValueError: as `find_corpus` and `ByteText`.
    """
    corpus = find_corpus(path, extensions=extensions, held_out=held_out, seed=seed)
    contents = [
        b"".join(file.read_bytes() for file in part) for part in (corpus.train, corpus.valid)
    ]
    streams = [as_stream(content) for content in contents]
    train = ByteText(streams[0], window, stride=window if contiguous else 1)
    return Data(
        name="text",
        train=train,
        valid=ByteText(streams[1], window, stride=window),
        shape=(window,),
        description=_describe(corpus, contents, seed),
        epoch_items=None if contiguous else (len(streams[0]) - 1) // window,
    )


def _describe(corpus: Corpus, contents: Sequence[bytes], seed: int) -> str:
    train, valid = (
        f"{len(files):,} files of {len(content):,} bytes"
        for files, content in zip((corpus.train, corpus.valid), contents, strict=True)
    )
    digest = hashlib.sha256(b"".join(contents)).hexdigest()[:12]
    return (
        f"text: {corpus.name}, {train} train / {valid} held out by name (seed {seed}),"
        f" sha256 {digest}"
    )
