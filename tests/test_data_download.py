"""Downloads and archives: whole or not at all, from a server of the test's own or from a file."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from test_data_idx import mnist_files

from steppers.train.data import archives, download, imagenette, load_imagenette, load_mnist, mnist
from steppers.train.data.archives import unpack
from steppers.train.data.cache import cache_folder
from steppers.train.data.download import Remote, fetch

CONTENT = bytes(range(256)) * 2000


def md5(content):
    return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves what the path asks for: all of it, a part of it, something else, an error."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "gone":
            return self.send_error(404, "Not Found")
        content = b"x" * len(CONTENT) if kind == "other" else CONTENT
        self.send_response(200)
        if kind != "unstated":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:1000] if kind in ("short", "stall") else content)
        if kind == "stall":
            self.server.stalled.wait(20)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.stalled = threading.Event()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.stalled.set()
    served.shutdown()
    thread.join()
    served.server_close()


def remote(server, *kinds, checksum=None):
    urls = tuple(f"{server}/{kind}/file.bin" for kind in kinds)
    return Remote(urls, checksum or md5(CONTENT))


# --- downloads --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["whole", "unstated"])
def test_a_file_is_brought_whole(server, tmp_path, kind):
    sha = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    for checksum in (md5(CONTENT), sha):
        folder = tmp_path / kind / checksum[:3]
        path = fetch(remote(server, kind, checksum=checksum), folder)
        assert path.read_bytes() == CONTENT and left(folder) == ["file.bin"]


def test_what_is_there_is_not_brought_again(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"put there by hand")
    path = fetch(Remote(("http://127.0.0.1:1/file.bin",), md5(CONTENT)), tmp_path)
    assert path.read_bytes() == b"put there by hand"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gone", "Not Found"),
        ("short", "the connection ended after 1,000 of 512,000 bytes"),
        ("other", "the 512,000 bytes that came are not the expected ones: their md5 is"),
    ],
)
def test_a_download_that_fails_says_how_and_leaves_nothing(server, tmp_path, kind, message):
    with pytest.raises(ConnectionError, match=message) as caught:
        fetch(remote(server, kind), tmp_path / "cache")
    assert f"{server}/{kind}/file.bin" in str(caught.value)
    assert f"Put it at {tmp_path / 'cache' / 'file.bin'} by hand" in str(caught.value)
    assert "STEPPERS_DATA" in str(caught.value) and left(tmp_path) == []


def test_an_unstated_length_that_ends_early_is_noticed_by_the_checksum(server, tmp_path):
    wrong = remote(server, "unstated", checksum=md5(CONTENT + b"more"))
    with pytest.raises(ConnectionError, match="not the expected ones"):
        fetch(wrong, tmp_path)
    assert left(tmp_path) == []


def test_the_next_mirror_is_tried(server, tmp_path):
    path = fetch(remote(server, "gone", "other", "short", "whole"), tmp_path)
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["file.bin"]


def test_every_mirror_that_failed_is_named(server, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        fetch(remote(server, "gone", "short"), tmp_path)
    said = str(caught.value)
    assert (
        said.index("/gone/file.bin: ") < said.index("Not Found") < said.index("/short/file.bin: ")
    )


def test_no_server_and_no_such_place_are_failures_of_the_download(tmp_path):
    urls = ("http://127.0.0.1:1/x", "nonsense", "file:///no/such/file", "http://[bad/x")
    with pytest.raises(ConnectionError) as caught:
        fetch(Remote(urls, md5(b"")), tmp_path)
    assert all(f"  {url}: " in str(caught.value) for url in urls) and left(tmp_path) == []


def test_a_server_that_says_no_more_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with pytest.raises(ConnectionError, match="timed out"):
        fetch(remote(server, "stall"), tmp_path)
    assert left(tmp_path) == []


def test_ctrl_c_in_the_middle_leaves_nothing(server, tmp_path, monkeypatch):
    seen = []

    def interrupt(count):
        seen.append(left(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_bar", lambda *_: contextlib.nullcontext(interrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch(remote(server, "whole"), tmp_path)
    assert [len(names) for names in seen] == [1] and seen[0][0].endswith(".part")
    assert left(tmp_path) == []


def test_a_killed_process_leaves_nothing_that_is_read(server, tmp_path):
    program = (
        "import sys; from pathlib import Path; from steppers.train.data.download import *\n"
        "fetch(Remote((sys.argv[1],), 'md5:0'), Path(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", program, f"{server}/stall/file.bin", str(tmp_path)]
    with subprocess.Popen(argv) as process:
        while not left(tmp_path) and process.poll() is None:
            threading.Event().wait(0.05)
        process.kill()
    assert process.returncode == -9 and left(tmp_path) != ["file.bin"]
    assert fetch(remote(server, "whole"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("where", ["file", "proc"])
def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, where):
    folder = Path("/proc/steppers") if where == "proc" else tmp_path / "file" / "cache"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="STEPPERS_DATA") as caught:
        fetch(remote(server, "whole"), folder)
    assert not isinstance(caught.value, ConnectionError) and str(folder) in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_no_failure_of_the_mirror(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_make_part", lambda target: Full("/dev/full"))
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(remote(server, "whole", "whole"), tmp_path)
    assert not isinstance(caught.value, ConnectionError)


class Full(type(Path())):
    """A path that is not removed."""

    def unlink(self, missing_ok=False):
        pass


def test_a_bar_is_shown_on_a_terminal_alone(server, tmp_path, capfd, monkeypatch):
    pytest.importorskip("tqdm")
    fetch(remote(server, "whole"), tmp_path / "1")
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(remote(server, "whole"), tmp_path / "2", progress=False)
    assert capfd.readouterr().err == ""
    fetch(remote(server, "whole"), tmp_path / "3")
    assert "file.bin: 100%" in capfd.readouterr().err


def test_the_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPERS_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("STEPPERS_DATA")
    assert cache_folder() == Path.home() / ".cache" / "steppers"


# --- MNIST by download ------------------------------------------------------------------------


def mirror(monkeypatch, folder):
    """Make MNIST come from a folder, with the checksums of what is there."""
    sums = tuple(
        md5((folder / f"{name}.gz").read_bytes()).removeprefix("md5:") for name in mnist.FILES
    )
    source = mnist.Source("mnist", "MNIST", (folder.as_uri(),), sums, mnist.DIGITS, 0.1307, 0.3081)
    monkeypatch.setattr(mnist, "MNIST", source)


def test_mnist_comes_into_the_cache_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPERS_DATA", str(tmp_path / "cache"))
    mirror(monkeypatch, mnist_files(tmp_path / "far"))
    with pytest.raises(FileNotFoundError):
        load_mnist(download=False)
    assert len(load_mnist().train) == 30
    (tmp_path / "far").rename(tmp_path / "gone")
    assert len(load_mnist().train) == len(load_mnist(download=False).train) == 30
    assert left(tmp_path / "cache") == sorted(f"{name}.gz" for name in mnist.FILES)


def test_mnist_that_is_not_mnist_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPERS_DATA", str(tmp_path / "cache"))
    mirror(monkeypatch, mnist_files(tmp_path / "far"))
    (tmp_path / "far" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(ConnectionError, match=r"t10k-labels-idx1-ubyte.* could not be do"):
        load_mnist()
    assert "t10k-labels-idx1-ubyte.gz" not in left(tmp_path / "cache")


# --- archives ---------------------------------------------------------------------------------


def tar(path, members):
    """A gzipped archive of (name, content or a TarInfo to alter)."""
    with tarfile.open(path, "w:gz") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if callable(content):
                content(info)
                out.addfile(info)
            else:
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return path


def link(info):
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard_link(info):
    info.type, info.linkname = tarfile.LNKTYPE, "../outside"


def fifo(info):
    info.type = tarfile.FIFOTYPE


def test_an_archive_is_unpacked_once(tmp_path):
    archive = tar(tmp_path / "a.tgz", [("data/x/1.txt", b"one"), ("data/2.txt", b"two")])
    folder = unpack(archive, "data")
    assert folder == tmp_path / "data" and (folder / "x" / "1.txt").read_bytes() == b"one"
    (folder / "2.txt").write_bytes(b"changed")
    assert (unpack(archive, "data") / "2.txt").read_bytes() == b"changed"
    assert left(tmp_path) == ["1.txt", "2.txt", "a.tgz"]


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../outside", b"x"),
        ("data/../../outside", b"x"),
        ("/tmp/steppers-outside", b"x"),
        ("C:\\outside", b"x"),
        ("data\\..\\..\\outside", b"x"),
        ("data/link", link),
        ("data/link", hard_link),
        ("data/pipe", fifo),
    ],
)
def test_nothing_is_unpacked_outside(tmp_path, monkeypatch, name, content, filtered):
    if not filtered:  # a Python from before the filters
        monkeypatch.delattr(archives.tarfile, "data_filter", raising=False)
    (tmp_path / "in").mkdir()
    archive = tar(tmp_path / "in" / "a.tgz", [("data/good", b"good"), (name, content)])
    with pytest.raises(ValueError, match="nothing is unpacked"):
        unpack(archive, "data")
    assert left(tmp_path) == ["a.tgz"] and len(list((tmp_path / "in").iterdir())) == 1
    assert not Path("/tmp/steppers-outside").exists()


def test_without_filters_a_good_archive_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.delattr(archives.tarfile, "data_filter", raising=False)
    monkeypatch.setattr(
        tarfile.TarFile, "extraction_filter", staticmethod(tarfile.fully_trusted_filter), False
    )
    assert (unpack(tar(tmp_path / "a.tgz", [("data/1", b"1")]), "data") / "1").read_bytes() == b"1"


def test_damaged_archives_leave_nothing(tmp_path):
    content = os.urandom(40_000)
    whole = tar(tmp_path / "a.tgz", [("data/1", content), ("data/2", content)]).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for broken in (
        b"",
        b"<html>",
        whole[:30],
        whole[: len(whole) // 2],
        whole[:-4],
        bytes(flipped),
    ):
        (tmp_path / "a.tgz").write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.tgz: is cut off or damaged"):
            unpack(tmp_path / "a.tgz", "data")
        assert left(tmp_path) == ["a.tgz"]


def test_an_archive_of_something_else_is_refused(tmp_path):
    archive = tar(tmp_path / "a.tgz", [("other/1.txt", b"one")])
    with pytest.raises(ValueError, match="holds no folder 'data', only other"):
        unpack(archive, "data")
    assert left(tmp_path) == ["a.tgz"]


def test_ctrl_c_while_unpacking_leaves_nothing(tmp_path, monkeypatch):
    archive = tar(tmp_path / "a.tgz", [("data/1.txt", b"one")])

    def interrupted(self, path, *_, **__):
        (Path(path) / "data").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, "data")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_imagenette_comes_from_its_archive(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.new("RGB", (20, 16), (255, 0, 0)).save(stream, "JPEG")
    files = [
        (f"imagenette2-160/{part}/{folder}/{folder}_1.JPEG", stream.getvalue())
        for part in ("train", "val")
        for folder in imagenette.NAMES
    ]
    far = tar(tmp_path / "imagenette2-160.tgz", files)
    near = Remote((far.as_uri(),), md5(far.read_bytes()))
    monkeypatch.setitem(imagenette.ARCHIVES, 160, near)
    monkeypatch.setenv("STEPPERS_DATA", str(tmp_path / "cache"))
    data = load_imagenette(size=8)
    assert (len(data.train), len(data.valid), data.shape) == (10, 10, (3, 8, 8))
    assert data.vocab == tuple(imagenette.NAMES.values())
    far.unlink()
    again = load_imagenette(tmp_path / "cache" / "imagenette", size=8, normalise=None)
    x, y = again.valid[3]
    assert y == 3 and (x - x.new_tensor([1.0, 0, 0]).view(3, 1, 1)).abs().max() < 0.02
    assert len(load_imagenette(size=8, download=False).train) == 10
