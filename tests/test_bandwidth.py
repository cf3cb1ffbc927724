"""The speed of memory: what is measured, how large, and how often."""

import pytest
import torch

from steppers import bandwidth

afresh = bandwidth._measured.__wrapped__  # past the cache, which the other tests use


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bandwidth, "working_set", lambda device: 8000)


def test_the_best_time_counts_for_twelve_bytes_an_element(small, monkeypatch):
    times = iter([0.5, 0.25, 2.0, 1.0])
    monkeypatch.setattr(bandwidth, "_by_clock", lambda work: next(times))
    assert afresh("cpu", 1) == 12 * 1000 / 0.25


def test_it_is_measured_once(small, monkeypatch):
    bandwidth._measured.cache_clear()
    first = bandwidth.measured("cpu")
    monkeypatch.delattr(bandwidth, "_by_clock")
    assert first > 0
    assert bandwidth.measured(torch.device("cpu")) == first
    bandwidth._measured.cache_clear()


def test_a_device_that_is_not_known_has_no_speed():
    assert bandwidth.measured("meta") is None


def test_memory_that_is_not_there_is_no_error(monkeypatch):
    monkeypatch.setattr(bandwidth, "working_set", lambda device: 1 << 62)
    assert afresh("cpu", 1) is None


@pytest.mark.parametrize(
    ("cache", "wanted"), [(1 << 20, 64 << 20), (32 << 20, 128 << 20), (1 << 30, 256 << 20)]
)
def test_the_tensors_are_larger_than_the_last_cache(cache, wanted, monkeypatch):
    monkeypatch.setattr(bandwidth, "last_cache", lambda device: cache)
    assert bandwidth.working_set("cpu") == wanted


def test_the_last_cache_is_the_largest(tmp_path, monkeypatch):
    monkeypatch.setattr(bandwidth, "CACHES", tmp_path)
    assert bandwidth.last_cache("cpu") == bandwidth.CACHE
    for n, text in enumerate(["32K\n", "1024K\n", "36608K\n", "48K\n"]):
        (tmp_path / f"index{n}").mkdir()
        (tmp_path / f"index{n}" / "size").write_text(text)
    assert bandwidth.last_cache("cpu") == 36608 * 1024


@pytest.mark.gpu
def test_a_gpu_is_measured():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert bandwidth.measured("cuda") > 1e10
