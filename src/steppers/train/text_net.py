"""A small causal network for bytes: hashed contexts, and what followed them before."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NOWHERE = 256  # stands for the byte that followed a context which has not been there before
ODD = -7046029254386353131  # 2^64 over the golden ratio, as a signed number
# Rows of a table are met far more seldom than the weights of a layer. Held at a fifth of the size
# that they have in the network, they move five times as fast, and one lr serves both.
SCALE = 5.0


class TextNet(nn.Module):
    """Tells the next byte from hashed contexts and from what followed the same bytes before.

    Three things go into an MLP: embeddings of the last 1, 2, … bytes, hashed into the rows of one
    table (what the training text knows); and, for the last 3, 4, 6 and 8 bytes, embeddings of the
    bytes that followed them at the latest two places in the window where they stood before (what
    the window itself shows: names and phrases that come again). The second part is a copying
    attention head that is looked up, by sorting, where a Transformer would have to learn it.

    A window may have any length: the cost of a byte grows with its logarithm only. All state is in
    the weights; nothing is carried from one call to the next. 8,677,504 weights, 8,388,608 of them
    in the table of contexts.

    >>> net = TextNet(table_bits=10)
    >>> net(torch.tensor([list(b"to be or not to b")])).shape
    torch.Size([1, 17, 256])

    Raises:
        ValueError: a length or a size is not within its bounds, or there are no lengths of a kind.
    """

    def __init__(
        self,
        *,
        contexts: Sequence[int] = (1, 2, 3, 4, 5, 6),
        repeats: Sequence[int] = (3, 4, 6, 8),
        places: int = 2,
        table_bits: int = 19,
        dim: int = 16,
        width: int = 256,
    ) -> None:
        super().__init__()
        check_lengths("contexts", contexts, 7)
        check_lengths("repeats", repeats, 8)
        if places < 1:
            raise ValueError(f"TextNet: places must be at least 1, got {places}")
        if not 1 <= table_bits <= 31:
            raise ValueError(f"TextNet: table_bits must be in [1, 31], got {table_bits}")
        self.contexts, self.repeats = tuple(contexts), tuple(repeats)
        self.places, self.table_bits = places, table_bits
        followers = len(repeats) * places
        self.table = nn.Embedding(1 << table_bits, dim)
        self.followers = nn.Embedding(followers * (NOWHERE + 1), dim)
        self.enter = nn.Linear((len(contexts) + followers) * dim, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256)
        self.reset()

    def reset(self) -> None:
        """Draw the tables; the block begins as the identity and the head at 8 bits a byte."""
        nn.init.normal_(self.table.weight, std=0.1 / SCALE)
        nn.init.normal_(self.followers.weight, std=0.3 / SCALE)
        for layer in (self.down, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the byte after each byte: (batch, length) integers to (batch, length, 256).

        Raises:
            TypeError: x is not of integers.
            ValueError: x is not two-dimensional, or a number is not a byte.
        """
        check_bytes(x)
        rows, following = self.look_up(x.long())
        found = torch.cat([self.table(rows), self.followers(following)], 2).flatten(2)
        h = F.gelu(self.enter(SCALE * found), approximate="tanh")
        h = h + self.down(F.gelu(self.up(self.norm(h)), approximate="tanh"))
        return self.head(self.last_norm(h))

    @torch.no_grad()
    def look_up(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of both tables for each byte of x, int64 (batch, length, rows of a byte)."""
        rows = [hashed(last_bytes(x, n) << 3 | n, self.table_bits) for n in self.contexts]
        seen = [f for n in self.repeats for f in followers(x, last_bytes(x, n), self.places)]
        following = torch.stack(seen, 2)
        return torch.stack(rows, 2), following + (NOWHERE + 1) * torch.arange(
            len(seen), device=x.device
        )


def last_bytes(x: Tensor, n: int) -> Tensor:
    """The last n bytes at each place as one int64, zeros before the window; n up to 8."""
    packed = x
    for back in range(1, n):
        packed = packed | F.pad(x, (back, 0))[:, : x.shape[1]] << (8 * back)
    return packed


def hashed(key: Tensor, bits: int) -> Tensor:
    """Numbers in [0, 2^bits) that look random, from int64: the products wrap around."""
    key = key * ODD
    key = (key ^ key >> 32) * ODD
    return key >> (64 - bits) & ((1 << bits) - 1)


def followers(x: Tensor, keys: Tensor, places: int) -> list[Tensor]:
    """The bytes after the latest `places` earlier places with the same key; NOWHERE without one.

    A stable sort brings equal keys together in the order of their places, so the place before in
    that order is the one looked for. It is an earlier one: the byte after it is no later than x's.
    """
    ordered, order = torch.sort(keys, dim=1, stable=True)
    after = F.pad(x, (0, 1))[:, 1:].gather(1, order)
    found: list[Tensor] = []
    for back in range(1, places + 1):
        same = F.pad(ordered[:, back:] == ordered[:, :-back], (back, 0))[:, : x.shape[1]]
        byte = torch.where(same, F.pad(after, (back, 0))[:, : x.shape[1]], NOWHERE)
        found.append(torch.empty_like(x).scatter_(1, order, byte))
    return found


def check_lengths(name: str, lengths: Sequence[int], most: int) -> None:
    """Raise ValueError for lengths that are not in [1, most], and for none at all."""
    if not lengths or not all(1 <= n <= most for n in lengths):
        raise ValueError(f"TextNet: {name} must be lengths in [1, {most}], got {tuple(lengths)}")


def check_bytes(x: Tensor) -> None:
    """Raise for what is not a batch of windows of bytes."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise TypeError(f"TextNet wants integers, got {x.dtype}; use tensor.long()")
    if x.dim() != 2:
        raise ValueError(f"TextNet wants (batch, length), got shape {tuple(x.shape)}")
    if x.numel() and (int(x.min()) < 0 or int(x.max()) > 255):
        raise ValueError(f"TextNet wants bytes, got numbers from {int(x.min())} to {int(x.max())}")
