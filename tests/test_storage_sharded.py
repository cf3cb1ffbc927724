"""Two processes with fully_shard store the bits that one stores, random ones included."""

import json

import pytest
import torch.multiprocessing
from storage_sharded import FORMATS, main


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What went wrong for each format, as two spawned processes found it."""
    folder = tmp_path_factory.mktemp("stored")
    torch.multiprocessing.spawn(main, args=(2, str(folder)), nprocs=2)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("form", FORMATS)
def test_two_shards_store_what_one_whole_stores(found, form):
    assert found[form] == ""
