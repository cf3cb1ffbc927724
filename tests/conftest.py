"""What every test shares: a fixed seed, a fixed number of threads, and a command runner.

`pytest --without llvmlite --without triton` runs as if these packages were not installed.
"""

import importlib.abc
import re
import signal
import sys

import pytest
import torch

torch.set_num_threads(1)

# A shell tells what it starts in the background to ignore Ctrl-C, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ADDRESS = re.compile(r" at 0x[0-9a-f]{6}")

# Files whose every test is about what a package makes
FILES = (("triton", "test_fused_triton"), ("llvmlite", "test_fused_prelude"))


class Blocked(importlib.abc.MetaPathFinder):
    """A finder that finds some packages missing."""

    def __init__(self, names):
        self.names = frozenset(names)

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{fullname} is blocked by --without", name=fullname)


def pytest_addoption(parser):
    text = "run as if this optional package were not installed; may be given several times"
    parser.addoption("--without", action="append", default=[], metavar="PACKAGE", help=text)
    text = "write the generated sources to tests/golden instead of comparing with them"
    parser.addoption("--rewrite-golden", action="store_true", help=text)


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(package): skipped where the package is missing")
    blocked = config.getoption("--without")
    loaded = [name for name in blocked if name in sys.modules]
    if loaded:
        raise pytest.UsageError(f"--without {loaded[0]}: it is loaded already")
    if blocked:
        sys.meta_path.insert(0, Blocked(blocked))
    if "llvmlite" in blocked:  # said once in a process, by whichever test is the first
        config.addinivalue_line("filterwarnings", "ignore:.*llvmlite:UserWarning")


def pytest_ignore_collect(collection_path, config):
    """Files that import a blocked package; None leaves the choice to others."""
    name, blocked = collection_path.name, config.getoption("--without")
    missing = [package for package, start in FILES if name.startswith(start) and package in blocked]
    return True if missing else None


def pytest_collection_modifyitems(config, items):
    blocked = config.getoption("--without")
    for item in items:
        if ADDRESS.search(item.nodeid):  # two processes would not collect the same tests
            raise pytest.UsageError(f"{item.nodeid}: a test's name holds an address; give it ids=")
        for package in sorted({*wanted(item)} & {*blocked}):
            item.add_marker(pytest.mark.skip(reason=f"needs {package}, which is blocked"))


def wanted(item):
    """The optional packages that a test needs: marked, or by its file, or by its engine."""
    yield from (package for mark in item.iter_markers("needs") for package in mark.args)
    name = item.path.name
    if name.startswith("test_fused_") and "triton" not in name:
        yield "llvmlite"
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    if any(isinstance(value, str) and value == "fused" for value in values):
        yield "llvmlite"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder: its exit code, stdout and stderr."""
    from steppers.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*argv):
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return run
