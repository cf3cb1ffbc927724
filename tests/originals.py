"""The originals themselves, where they are installed; a test that asks for one is else skipped.

`make originals` installs them, and there what cannot be imported is a failure.
"""

import importlib
import os
import sys
import types
from importlib.machinery import PathFinder

import pytest


def original(name):
    """A module of another library, or a skip where it cannot be imported here."""
    try:
        return importlib.import_module(name)
    except Exception as why:
        return _absent(f"{name} cannot be had: {why!r:.80}")


def alone(monkeypatch, name, *packages):
    """A module without its package's __init__, nor that of further packages that it imports from.

    So timm's and Composer's optimizers are had where torchvision is not.
    """
    top = PathFinder.find_spec(name.partition(".")[0])
    if top is None or not top.submodule_search_locations:
        return _absent(f"{name.partition('.')[0]} is not installed")
    parts = name.split(".")
    parents = [".".join(parts[:i]) for i in range(1, len(parts))]
    for parent in (*parents, *packages):
        shell = types.ModuleType(parent)
        shell.__path__ = ["/".join([*top.submodule_search_locations, *parent.split(".")[1:]])]
        monkeypatch.setitem(sys.modules, parent, shell)
    module = original(name)
    for loaded in [each for each in sys.modules if each.startswith(parts[0] + ".")]:
        monkeypatch.delitem(sys.modules, loaded)
    return module


def _absent(why):
    (pytest.fail if os.environ.get("ORIGINALS") == "required" else pytest.skip)(why)
