"""Data enters as its docstrings promise or is refused in one line: shipped, fetched, given."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import Dataset, catalogue, get, idx, load, mnist, names
from workers.data.content import take
from workers.data.download import keep

Array = NDArray[np.generic]

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's data or touches the user's cache, and none leaves the machine."""
    monkeypatch.delenv("DNI_DATA", raising=False)
    monkeypatch.setenv("DNI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "MIRRORS", ())


def packed(array: Array) -> bytes:
    """`array` as an IDX file."""
    kind = array.dtype.str[1:]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return head + array.astype(f">{kind}").tobytes()


def arrays(**changed: Array) -> dict[str, Array]:
    """A small good data set, with some arrays changed."""
    good: dict[str, Array] = {
        "x_train": np.arange(24, dtype=np.uint8).reshape(6, 2, 2),
        "y_train": np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        "x_test": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
        "y_test": np.array([3, 0], dtype=np.uint8),
    }
    return good | changed


def saved(folder: Path, content: dict[str, Array]) -> Path:
    path = folder / "own.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in content.items():
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array))
    return path


def loaded(folder: Path, **changed: Array) -> Dataset:
    return load(path=saved(folder, arrays(**changed)))


def refusal(call: Callable[[], object]) -> str:
    """What a DataError of `call` says, in one line."""
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


# The shipped digits


def test_the_digits_are_shipped_and_have_their_checksum() -> None:
    (entry,) = (entry for entry in catalogue() if entry.name == "digits")
    assert entry.source == "embedded"
    assert entry.location == get("digits")
    content = get("digits").read_bytes()
    assert entry.checksums == {"digits.npz": hashlib.md5(content).hexdigest()}
    assert len(content) < 60_000


def test_the_digits_are_1437_and_360_images_of_ten_classes() -> None:
    digits = load("digits")
    assert (digits.name, digits.shape, digits.classes, digits.scale) == (
        "digits",
        (8, 8),
        10,
        1 / 16,
    )
    assert digits.x_train.shape == (1437, 8, 8)
    assert digits.x_test.shape == (360, 8, 8)
    assert digits.x_train.dtype == digits.x_test.dtype == np.uint8
    assert digits.y_train.dtype == digits.y_test.dtype == np.int64
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 16)


def test_each_class_of_the_digits_has_a_fifth_of_its_images_in_the_test_set() -> None:
    digits = load("digits")
    train, test = (np.bincount(y.astype(np.int64)) for y in (digits.y_train, digits.y_test))
    assert np.abs(test - (train + test) * 360 / 1797).max() < 1


# Names and paths


def test_load_wants_exactly_one_of_name_and_path() -> None:
    assert "neither" in refusal(lambda: load())
    assert "both 'digits' and 'a.npz'" in refusal(lambda: load("digits", "a.npz"))


def test_the_catalogue_lists_the_names_and_where_they_are() -> None:
    assert names() == ["digits", "mnist"] == [entry.name for entry in catalogue()]
    assert catalogue()[1].location is None


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert "did you mean 'mnist'?" in refusal(lambda: load("mnits"))
    assert "did you mean 'digits'?" in refusal(lambda: get("digit"))


def test_a_missing_file_is_answered_with_the_nearest_beside_it(tmp_path: Path) -> None:
    saved(tmp_path, arrays())
    assert "did you mean 'own.npz'?" in refusal(lambda: load(path=tmp_path / "owm.npz"))
    assert "no folder" in refusal(lambda: load(path=tmp_path / "absent" / "own.npz"))
    assert "no such file" in refusal(lambda: load(path="~nobody-of-this-name/own.npz"))


def test_a_folder_without_idx_files_is_answered_with_its_npz(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    assert f"did you mean {str(path)!r}?" in refusal(lambda: load(path=tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", pickle.dumps([1]), b"\x93NUMPY"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    assert f"{path}: is no .npz file" in refusal(lambda: load(path=path))


# The user's arrays


def test_integers_stay_as_they_are_and_labels_become_int64(tmp_path: Path) -> None:
    own = loaded(tmp_path)
    assert (own.name, own.shape, own.classes, own.scale) == ("own", (2, 2), 4, 1 / 255)
    assert own.x_train.dtype == np.uint8
    np.testing.assert_array_equal(own.x_train, arrays()["x_train"])
    assert own.y_train.dtype == np.int64
    np.testing.assert_array_equal(own.y_test, [3, 0])


@pytest.mark.parametrize(
    ("stored", "kept", "scale"),
    [("u1", "u1", 1 / 255), ("?", "u1", 1.0), ("i1", "i1", 1 / 128), (">i2", "i2", 1 / 128)]
    + [(kind, "f4", 1.0) for kind in ("f2", "f4", ">f8")],
)
def test_inputs_are_kept_narrow_and_scaled_into_one(
    tmp_path: Path, stored: str, kept: str, scale: float
) -> None:
    x = np.array([[-128, 1], [0, 1], [1, 1], [0, 0], [2, 3], [5, 7]]).astype(stored)
    own = loaded(tmp_path, x_train=x, x_test=x[:2])
    assert own.x_train.dtype == own.x_test.dtype == np.dtype(kept)
    np.testing.assert_array_equal(own.x_train, x)
    assert own.scale == scale


def test_all_zero_integers_have_the_scale_one(tmp_path: Path) -> None:
    x = np.zeros((6, 2), dtype=np.int16)
    assert loaded(tmp_path, x_train=x, x_test=x[:2]).scale == 1.0


def test_a_column_of_integers_is_labels(tmp_path: Path) -> None:
    own = loaded(tmp_path, y_train=np.array([[0], [1], [2], [0], [1], [2]]))
    np.testing.assert_array_equal(own.y_train, [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("tail", "width"), [((), 1), ((1,), 1), ((3,), 3)])
def test_floats_are_targets_of_their_width(
    tmp_path: Path, tail: tuple[int, ...], width: int
) -> None:
    own = loaded(tmp_path, y_train=np.ones((6, *tail)), y_test=np.ones((2, *tail)))
    assert own.y_train.shape == (6, width)
    assert own.y_test.dtype == np.float32
    assert own.classes == width


def test_rows_of_booleans_are_targets_of_several_labels(tmp_path: Path) -> None:
    own = loaded(tmp_path, y_train=np.eye(6, 3, dtype=bool), y_test=np.eye(2, 3, dtype=bool))
    np.testing.assert_array_equal(own.y_test, np.eye(2, 3, dtype=np.float32))
    assert own.classes == 3


WRONG: list[tuple[dict[str, Array], str]] = [
    ({"y_train": np.zeros(5, int)}, "x_train has 6 examples but y_train has 5"),
    ({"x_test": np.zeros((2, 4), np.uint8)}, "x_train has shape (2, 2) but one of x_test (4,)"),
    ({"x_test": np.zeros((2, 2, 2))}, "x_train is uint8 but x_test float64"),
    ({"x_test": np.zeros((2, 2, 2), bool)}, "x_train is uint8 but x_test bool"),
    ({"y_test": np.zeros(2)}, "y_train holds class labels but y_test float targets of width 1"),
    ({"y_train": np.array([0, 1, -1, 0, 0, 0])}, "y_train: holds the label -1"),
    ({"y_train": np.full(6, 2**64 - 1, np.uint64)}, "y_train: holds the label 184467440737"),
    ({"y_train": np.zeros((6, 2), int)}, "y_train: integers of shape (6, 2)"),
    ({"y_train": np.zeros((6, 2, 2))}, "y_train: shape (6, 2, 2) has too many axes"),
    ({"x_train": np.zeros((0, 2, 2), np.uint8)}, "x_train: shape (0, 2, 2) holds no examples"),
    ({"x_train": np.array(1)}, "x_train: shape () holds no examples"),
    ({"x_train": np.zeros(6, np.uint8)}, "x_train: shape (6,) has no feature axis"),
    ({"x_train": np.zeros((6, 2), complex)}, "x_train: dtype complex128"),
    ({"x_train": np.full((6, 2), "a")}, "x_train: dtype <U1"),
    ({"x_train": np.zeros((6, 2), "M8[s]")}, "x_train: dtype datetime64[s]"),
    ({"x_train": np.full((6, 2), None)}, "x_train: holds Python objects"),
    ({"x_train": np.array([[0.0]] * 5 + [[np.nan]])}, "x_train: example 5 (and 0 more) holds NaN"),
    ({"x_train": np.full((6, 2), 1e300)}, "x_train: example 0 (and 5 more)"),
    ({"y_train": np.full(6, -np.inf)}, "y_train: example 0 (and 5 more)"),
]


@pytest.mark.parametrize(("changed", "said"), WRONG, ids=[said for _, said in WRONG])
def test_an_array_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, changed: dict[str, Array], said: str
) -> None:
    text = refusal(lambda: loaded(tmp_path, **changed))
    assert text.startswith(f"{tmp_path / 'own.npz'}: ")
    assert said in text


def test_a_missing_array_is_answered_with_the_nearest(tmp_path: Path) -> None:
    content = arrays()
    content["x_tset"] = content.pop("x_test")
    text = refusal(lambda: load(path=saved(tmp_path, content)))
    assert "the array 'x_test' is missing; did you mean 'x_tset'?" in text
    content.pop("x_tset")
    assert "holds x_train, y_train, y_test" in refusal(lambda: load(path=saved(tmp_path, content)))
    assert "holds no arrays" in refusal(lambda: load(path=saved(tmp_path, {})))


def test_a_damaged_npz_is_refused_and_never_crashes(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    good = path.read_bytes()
    outcomes = set()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            load(path=path)
            outcomes.add("loaded")  # a byte that nothing reads, such as a date
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_an_array_that_claims_a_petabyte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {key: value for key, value in arrays().items() if key != "x_train"})
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (2**25, 2**25)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    assert "x_train: cannot be read" in refusal(lambda: load(path=path))


# IDX

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5)
idx_arrays = st.sampled_from(sorted(CODES)).flatmap(lambda kind: hnp.arrays(kind, shapes))


@given(idx_arrays)
def test_an_idx_array_comes_back_as_it_was(array: Array) -> None:
    back = idx.read(io.BytesIO(packed(array)), "file")
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)


@given(idx_arrays, st.data())
def test_an_idx_file_of_any_other_length_is_refused(array: Array, data: st.DataObject) -> None:
    whole = packed(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0"):
        read = partial(idx.read, io.BytesIO(wrong), "file")
        assert refusal(read).startswith("file: ")


garbage = st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\0\0" + tail)
headers = st.builds(
    lambda code, sizes, tail: (
        struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes) + tail
    ),
    st.sampled_from(sorted(CODES.values())),
    st.lists(st.integers(0, 2**32 - 1), max_size=40),
    st.binary(max_size=40),
)


@given(garbage | headers)
def test_garbage_for_an_idx_file_gives_that_very_array_or_a_data_error(raw: bytes) -> None:
    try:
        array = idx.read(io.BytesIO(raw), "file")
    except DataError:
        return
    assert packed(array) == raw or array.dtype.kind == "f"  # a NaN may change its bits


class _Endless(io.RawIOBase):
    """A stream which counts what is asked of it and never ends."""

    given = 0

    def read(self, size: int = -1, /) -> bytes:
        self.given += size
        return bytes(size)


def test_no_more_is_read_of_an_endless_stream_than_was_asked_for() -> None:
    stream = _Endless()
    assert len(take(stream, 3_000_000)) == 3_000_000  # type: ignore[arg-type]
    assert stream.given == 3_000_000


def idx_folder(folder: Path, content: dict[str, Array], spelling: Callable[[str], str]) -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in content.items():
        raw = packed(array)
        name = spelling(idx.NAMES[key])
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name,
        lambda name: f"{name}.gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("t10k", "test").replace("-idx", ".idx") + ".gz",
    ],
    ids=["plain", "gzipped", "dotted", "test"],
)
def test_a_folder_of_idx_files_is_a_data_set(
    tmp_path: Path, spelling: Callable[[str], str]
) -> None:
    own = load(path=idx_folder(tmp_path / "own", arrays(), spelling))
    assert (own.name, own.shape, own.classes) == ("own", (2, 2), 4)
    np.testing.assert_array_equal(own.x_test, arrays()["x_test"])


def test_a_folder_lacking_an_idx_file_is_told_which(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: name)
    (folder / "t10k-labels-idx1-ubyte").rename(folder / "t10k-label-idx1-ubyte")
    text = refusal(lambda: load(path=folder))
    assert "t10k-labels-idx1-ubyte[.gz] is missing; did you mean 't10k-label-idx1-ubyte'?" in text


def test_a_gzip_bomb_is_refused_by_the_claim_in_its_header(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: f"{name}.gz")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(packed(arrays()["x_train"]) + bytes(100_000_000), 1))
    assert f"{path}: its IDX header claims 24 bytes" in refusal(lambda: load(path=folder))


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: f"{name}.gz")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path}: broken gzip" in refusal(lambda: load(path=folder))


# MNIST, of the real files


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    root = REAL
    if root is None:
        pytest.skip("DNI_DATA is not set: it names a folder in which mnist/*.gz lies")
    monkeypatch.setenv("DNI_DATA", root)
    return Path(root) / "mnist"


REAL = os.environ.get("DNI_DATA")


def test_the_real_mnist_is_found_verified_and_loaded(real: Path) -> None:
    data = load("mnist")
    assert (data.shape, data.classes, data.scale) == ((28, 28), 10, 1 / 255)
    assert data.x_train.shape == (60_000, 28, 28)
    assert data.x_test.dtype == np.uint8
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert catalogue()[1].location == real


def test_the_real_mnist_may_lie_unzipped_at_the_root(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in real.glob("*.gz"):
        if path.name.startswith("train-images"):
            (tmp_path / path.name).symlink_to(path)
        else:
            (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    monkeypatch.setenv("DNI_DATA", str(tmp_path))
    assert get("mnist") == tmp_path


# MNIST, of small files from mirrors on this machine

Answers = dict[str, bytes]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path.lstrip("/"))
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        sent = self.server.sent or len(answer or b"")
        self.wfile.write((answer or b"")[:sent])
        self.server.half.set()
        if self.server.sent:
            self.server.go_on.wait(20)

    def log_message(self, *_: object) -> None:
        """Silence."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers: Answers, sent: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.sent = answers, sent
        self.asked: list[str] = []
        self.half, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def mirror(answers: Answers, sent: int | None = None, stall: bool = False) -> Iterator[_Server]:
    """A server of `answers`; of each only the first `sent` bytes, and then silence or the end."""
    with _Server(answers, sent) as server:
        if not stall:
            server.go_on.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The four files of `arrays()` as a mirror has them, in place of those of MNIST."""
    raw = {key: packed(array) for key, array in arrays().items()}
    files = {
        key: mnist.File(idx.NAMES[key], len(raw[key]), hashlib.md5(raw[key]).hexdigest())
        for key in raw
    }
    monkeypatch.setattr(mnist, "FILES", files)
    return {f"{files[key].name}.gz": gzip.compress(raw[key], mtime=0) for key in raw}


def put(folder: Path, answers: Answers) -> Path:
    folder.mkdir(parents=True)
    for name, content in answers.items():
        (folder / name).write_bytes(content)
    return folder


def cached() -> list[str]:
    return sorted(path.name for path in mnist.cache().glob("**/*"))


class _Bar:
    """A progress bar that remembers what it was told."""

    def __init__(self) -> None:
        self.total = 0
        self.told: list[str | int] = []

    def update(self, n: int, /) -> None:
        self.told.append(n)

    def reset(self) -> None:
        self.told.append("reset")

    def close(self) -> None:
        self.told.append("close")


def test_the_second_mirror_is_asked_when_the_first_fails(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror({}) as bad, mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url, good.url))
        assert get("mnist") == mnist.cache()
        assert bad.asked == good.asked == [f"/{name}" for name in small]
        np.testing.assert_array_equal(load("mnist").x_train, arrays()["x_train"])
        assert len(good.asked) == 4
    assert cached() == sorted(small)
    assert catalogue()[1].location == mnist.cache()


def test_a_download_moves_the_bar_given_to_it(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = _Bar()
    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        get("mnist", bar)
    assert bar.told.count("close") == 4
    assert bar.total == bar.told[-2] == len(list(small.values())[-1])
    told = len(bar.told)
    get("mnist", bar)
    assert len(bar.told) == told


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-1] + b"\7"), "has MD5"),
        (lambda raw: raw[:-4] + b"\0\0\0\0", "its gzip breaks"),
        (lambda _: b"<html>log in</html>", "has MD5"),
        (lambda raw: raw + bytes(2_000_000), "sends more than"),
    ],
    ids=["changed", "cut", "page", "endless"],
)
def test_corrupted_content_is_refused_and_nothing_of_it_is_kept(
    small: Answers,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    said: str,
) -> None:
    with mirror({name: damage(raw) for name, raw in small.items()}) as bad:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
        assert said in refusal(lambda: load("mnist"))
    assert cached() == []


def test_a_download_that_ends_half_way_leaves_nothing(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(small, sent=20) as bad:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
        refusal(lambda: get("mnist"))
    assert cached() == []


def test_a_download_that_is_interrupted_leaves_nothing(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(_Bar):
        def update(self, n: int, /) -> None:
            raise KeyboardInterrupt(n)

    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        with pytest.raises(KeyboardInterrupt):
            get("mnist", Interrupted())
    assert cached() == []


def test_a_process_killed_in_a_download_leaves_nothing(small: Answers) -> None:
    program = "from workers.data import get, mnist; mnist.MIRRORS = [{!r}]; get('mnist')"
    with mirror(small, sent=20, stall=True) as slow:
        command = [sys.executable, "-c", program.format(slow.url)]
        process = subprocess.Popen(command, cwd=Path(mnist.__file__).parents[2])
        assert slow.half.wait(20)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    assert cached() == []


def test_a_full_disk_leaves_nothing_and_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        text = refusal(lambda: keep(tmp_path / "cache" / "file.gz", bytes(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "file.gz: cannot be written" in text
    assert "DNI_CACHE" in text
    assert list((tmp_path / "cache").iterdir()) == []


def test_downloads_at_once_do_one_another_no_harm(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(small) as good, ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        loads = [pool.submit(load, "mnist") for _ in range(4)]
        assert {future.result().classes for future in loads} == {4}
    assert cached() == sorted(small)


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_broken_file_in_the_cache_is_fetched_again(
    small: Answers, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    put(mnist.cache(), dict(list(small.items())[1:]))
    (mnist.cache() / f"train-images-idx3-ubyte{suffix}").write_bytes(b"broken")
    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        for _ in range(2):
            assert load("mnist").classes == 4
        assert good.asked == ["/train-images-idx3-ubyte.gz"]


def test_a_wrong_file_in_the_users_folder_is_told_with_both_checksums(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "data" / "mnist", small)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"wrong")
    monkeypatch.setenv("DNI_DATA", str(tmp_path / "data"))
    text = refusal(lambda: load("mnist"))
    assert text.startswith(f"{path}: ")
    assert hashlib.md5(b"wrong").hexdigest() in text
    assert mnist.FILES["y_test"].md5 in text


def test_the_users_folder_comes_before_the_cache(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert put(mnist.cache(), small) == get("mnist")
    root = put(tmp_path / "data", small)
    monkeypatch.setenv("DNI_DATA", str(root))
    assert get("mnist") == root
    assert put(root / "mnist", small) == get("mnist")


def test_an_incomplete_users_folder_is_passed_over(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNI_DATA", str(put(tmp_path / "data", dict(list(small.items())[1:]))))
    assert put(mnist.cache(), small) == get("mnist")


def test_without_a_network_the_file_the_mirrors_and_the_mend_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _Server({}, None) as closed:
        gone = (closed.url, f"{closed.url}second/")
    monkeypatch.setattr(mnist, "MIRRORS", gone)
    text = refusal(lambda: load("mnist"))
    for told in ("train-images-idx3-ubyte.gz", *gone, "$DNI_DATA/mnist", str(mnist.cache())):
        assert told in text
    assert len(text) < 1000
