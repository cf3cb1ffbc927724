"""The network for bytes: it looks back and never ahead, it copies, and it refuses other input."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steppers import AdamW
from steppers.train.text_net import NOWHERE, TextNet, followers, hashed, last_bytes


def as_bytes(text: bytes) -> Tensor:
    return torch.tensor([list(text)])


def drawn() -> TextNet:
    """A network whose last layers are drawn too, so that every change shows in the logits."""
    net = TextNet(table_bits=12, width=64)
    for layer in (net.down, net.head):
        torch.nn.init.normal_(layer.weight)
    return net


def test_the_last_bytes_are_one_number_with_zeros_before_the_window():
    assert last_bytes(as_bytes(b"\x01\x02\x03"), 2).tolist() == [[0x0001, 0x0102, 0x0203]]


def test_the_followers_are_the_bytes_after_the_latest_places():
    x = as_bytes(b"abcXabcYabc")
    latest, before = followers(x, last_bytes(x, 3), 2)
    assert (chr(latest[0, 10]), chr(before[0, 10])) == ("Y", "X")
    assert (chr(latest[0, 6]), int(before[0, 6])) == ("X", NOWHERE)
    assert latest[0, :6].tolist() == [NOWHERE] * 6


@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_followers_are_those_that_a_search_byte_by_byte_finds(n: int):
    x = torch.randint(97, 100, (2, 200))
    found = followers(x, last_bytes(x, n), 2)
    for row, text in enumerate(map(bytes, x.tolist())):
        for end in range(n, 201):
            context = text[end - n : end]
            places = [i for i in range(end - 1, n - 1, -1) if text[i - n : i] == context]
            wanted = [*(text[i] for i in places[:2]), NOWHERE, NOWHERE][:2]
            assert [int(one[row, end - 1]) for one in found] == wanted


def test_hashes_fill_their_rows_as_random_numbers_do():
    # n balls in n boxes leave 1/e of the boxes empty.
    rows = hashed(torch.arange(1 << 16), 16)
    assert int(rows.min()) >= 0 and int(rows.max()) < 1 << 16
    assert len(rows.unique()) / (1 << 16) == pytest.approx(1 - 1 / math.e, abs=0.01)


@pytest.mark.parametrize("place", [0, 1, 57, 150, 198, 199])
def test_a_changed_byte_changes_its_logits_and_none_before(place: int):
    net, x = drawn(), torch.randint(97, 100, (2, 200))
    other = x.clone()
    other[:, place] = 200
    moved = (net(x) - net(other)).abs().amax((0, 2))
    assert moved[:place].count_nonzero() == 0
    assert moved[place] > 0


def test_a_window_cut_off_gives_what_the_whole_one_gives_there():
    net, x = drawn(), torch.randint(97, 100, (1, 120))
    whole = net(x)
    for end in (1, 2, 3, 50, 119):
        torch.testing.assert_close(net(x[:, :end]), whole[:, :end])


def test_windows_of_a_batch_do_not_see_each_other():
    net, x = drawn(), torch.randint(97, 100, (3, 80))
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_a_new_network_is_at_8_bits_a_byte():
    x = torch.randint(0, 256, (2, 50))
    loss = F.cross_entropy(TextNet(table_bits=12)(x).flatten(0, 1), x.flatten())
    assert loss.item() / math.log(2) == pytest.approx(8.0, abs=1e-4)


def test_it_learns_to_copy_bytes_that_it_has_never_seen_together():
    net = TextNet(table_bits=12, width=64)
    optimizer = AdamW(net.parameters(), lr=1e-2)

    def bits(part: slice) -> Tensor:
        x = torch.randint(0, 256, (8, 48)).repeat(1, 2)  # random bytes, twice
        logits = net(x[:, :-1])[:, part]
        return F.cross_entropy(logits.flatten(0, 1), x[:, 1:][:, part].flatten()) / math.log(2)

    for _ in range(150):
        optimizer.zero_grad()
        bits(slice(None)).backward()
        optimizer.step()
    with torch.no_grad():
        assert bits(slice(0, 47)) > 7.5  # the first time: nothing can be known
        assert bits(slice(52, None)) < 1.5  # the second time: what followed before


def test_every_weight_gets_a_gradient():
    net = drawn()
    net(torch.randint(97, 100, (2, 100))).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_it_has_the_weights_that_its_docstring_says():
    assert sum(p.numel() for p in TextNet().parameters()) == 8_677_504


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 1), (1, 2)])
def test_short_and_empty_windows_give_logits(shape: tuple[int, int]):
    assert drawn()(torch.zeros(shape, dtype=torch.uint8)).shape == (*shape, 256)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3), TypeError, "wants integers, got torch.float32"),
        (torch.zeros(2, 3).bool(), TypeError, "wants integers, got torch.bool"),
        (torch.zeros(3).long(), ValueError, r"\(batch, length\), got shape \(3,\)"),
        (torch.tensor([[0, 256]]), ValueError, "bytes, got numbers from 0 to 256"),
        (torch.tensor([[-1, 7]]), ValueError, "bytes, got numbers from -1 to 7"),
    ],
)
def test_what_is_no_text_is_refused(x: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        TextNet(table_bits=8)(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(contexts=(1, 8)), r"contexts must be lengths in \[1, 7\], got \(1, 8\)"),
        (dict(repeats=(0,)), r"repeats must be lengths in \[1, 8\], got \(0,\)"),
        (dict(repeats=()), r"repeats must be lengths in \[1, 8\], got \(\)"),
        (dict(places=0), "places must be at least 1, got 0"),
        (dict(table_bits=0), r"table_bits must be in \[1, 31\], got 0"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        TextNet(**options)
