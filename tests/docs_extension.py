"""The documentation's own extensions, for tests: they lie outside of any package."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
API = re.compile(r"^```\{api\} (\S+)\n(.*?)```", re.MULTILINE | re.DOTALL)


def loaded(name):
    """One of docs/_ext, imported as Sphinx does it."""
    pytest.importorskip("sphinx", reason="the documentation needs the docs extra")
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS / "_ext"))
