"""FeatureBus.to_parquet: what it writes, and what a run after a run finds."""

import errno
import json
import os
import shutil
import sys
import tracemalloc
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import _spies
import cv2
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, write_images
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featbus import LBP, FeatureBus, FeatureStore, FeatureTable, ImageLoader, ThresholdSegmenter
from featbus.bus import digest_image
from featbus.images import ImageError
from featbus.io import SpacedImage

pq = pytest.importorskip("pyarrow.parquet", reason="the extra featbus[parquet] is not installed")

IMAGE_COLUMNS = ["path", "digest", "group", "label", "error"]
SMALL = 700  # bytes: about three of these images
noise = partial(_spies.noise, shape=(12, 12))


def partitions(directory):
    return sorted(path.name for path in Path(directory).glob("part-*"))


def write(bus, source, directory, **options):
    """Write partitions of a few images, and return all rows."""
    bus.to_parquet(source, directory, **{"partition_bytes": SMALL, **options})
    return pd.read_parquet(directory)


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "images").mkdir()
    return write_images(tmp_path / "images", noise(24))


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "rows"


@pytest.fixture
def relative(paths, tmp_path, monkeypatch):
    """The paths without the test's own folder, since names decide where partitions end."""
    monkeypatch.chdir(tmp_path)
    return [path.relative_to(tmp_path) for path in paths]


@pytest.fixture
def bus(log):
    return FeatureBus(CountingMean(log=log), batch_size=3)


@pytest.mark.parametrize(("n_jobs", "dtype"), [(None, np.float32), (2, np.float64)])
def test_a_line_holds_what_is_known_of_an_image(n_jobs, dtype, paths, directory, memory):
    bus = FeatureBus(LBP(dtype=dtype), memory=n_jobs and memory, batch_size=3, n_jobs=n_jobs)
    frame = write(bus, paths, directory)
    names = LBP().get_feature_names_out().tolist()
    assert frame.columns.tolist() == [*IMAGE_COLUMNS, *names]
    assert frame["path"].tolist() == [str(path) for path in paths]
    assert frame["digest"].tolist() == [digest_image(path).hex() for path in paths]
    assert frame[["group", "label", "error"]].isna().all(axis=None)
    assert (frame.dtypes[names] == dtype).all()
    np.testing.assert_array_equal(frame[names], bus.transform(paths))
    header, *lines = map(json.loads, (directory / "_manifest.jsonl").read_text().splitlines())
    assert header["source"].startswith("images from ")
    assert [line["partition"] for line in lines] == partitions(directory)
    assert sum(line["rows"] for line in lines) == len(paths)
    assert 5 <= len(lines) <= 15


@pytest.mark.parametrize("partition_bytes", [1, SMALL, np.int64(10**9)])
def test_arrays_keep_their_order(partition_bytes, bus, directory):
    images = [*noise(6), *noise(6), *noise(3, seed=1)]
    for _ in range(2):  # partitions of the same images do not take each other's place
        frame = write(bus, images, directory, partition_bytes=partition_bytes)
        np.testing.assert_array_equal(frame[["mean", "size"]], bus.transform(images))
        assert frame["path"].isna().all()
        assert frame["digest"].tolist() == [digest_image(image).hex() for image in images]
        np.testing.assert_array_equal(FeatureTable(directory), bus.transform(images))


def test_only_missing_partitions_are_computed(bus, paths, directory, log):
    before = write(bus, paths, directory)
    times = {path: path.stat().st_mtime_ns for path in directory.glob("part-*")}
    write(bus, paths, directory)
    assert count(log) == 24
    assert {path: path.stat().st_mtime_ns for path in directory.glob("part-*")} == times
    second, third = sorted(times)[1:3]
    n_rows = len(pd.read_parquet(second))
    second.unlink()
    # Killed after a file was written, and before its line of the manifest was.
    manifest = directory / "_manifest.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if third.name not in line))
    (directory / f".{third.name}.half.part").write_bytes(b"half")
    pd.testing.assert_frame_equal(write(bus, paths, directory), before)
    assert count(log) == 24 + n_rows


@pytest.mark.parametrize(
    "some",
    [
        lambda paths: paths[:-2],
        lambda paths: [*paths[:12], *paths[13:]],
        lambda paths: [*paths, *paths],
    ],
    ids=["end", "middle", "shorter"],
)
def test_another_list_keeps_most_partitions(some, bus, relative, directory, log):
    write(bus, some(relative), directory)
    computed = count(log)
    assert write(bus, relative, directory)["path"].tolist() == list(map(str, relative))
    np.testing.assert_array_equal(FeatureTable(directory), bus.transform(relative))
    assert count(log) - computed - 24 <= 12


def test_a_new_file_in_the_middle_of_a_folder(bus, relative, directory, log, monkeypatch):
    new = relative[12].rename(directory.with_name("new.png"))
    scandir = os.scandir

    in_order = partial(sorted, key=lambda file: file.name)
    monkeypatch.setattr(os, "scandir", lambda folder: nullcontext(in_order(scandir(folder))))
    write(bus, relative[0].parent, directory)
    shutil.copy(new, relative[12])
    frame = write(bus, relative[0].parent, directory)
    assert frame["path"].tolist() == list(map(str, relative))
    assert 24 <= count(log) <= 23 + 12


@pytest.mark.parametrize("change", ["content", "touch", "spacing"])
def test_a_changed_file(change, bus, paths, directory, log):
    images = [SpacedImage(path, (1, 1)) for path in paths]
    before, status = write(bus, images, directory), os.stat(paths[6])
    if change == "content":  # of the same size and time
        content = paths[6].read_bytes()
        paths[6].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif change == "spacing":
        images[6] = SpacedImage(paths[6], (2, 2))
    os.utime(paths[6], ns=(status.st_atime_ns, status.st_mtime_ns + (change == "touch")))
    after = write(bus, images, directory)
    assert (count(log) == 24) == (change == "touch")
    assert after["digest"].tolist() == [digest_image(image).hex() for image in images]
    assert (after["digest"][6] == before["digest"][6]) == (change == "touch")
    pd.testing.assert_frame_equal(after.drop(index=6), before.drop(index=6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda bus, d: bus.set_params(transformer__factor=2),
            "rows of another transformer: found",
        ),
        (lambda bus, d: (d / "a.parquet").touch(), "a.parquet' is not a partition"),
        (lambda bus, d: (d / "a").mkdir(), "a' is not a partition"),
        (lambda bus, d: (d / "_manifest.jsonl").unlink(), "rows of another source and transformer"),
        (lambda bus, d: (d / "_manifest.jsonl").write_text("{}\n["), "jsonl' is damaged"),
        (lambda bus, d: noise(12), r"found .*000\).png.* expected .*[0-9a-f]{32}"),
        (lambda bus, d: d.with_name("images"), "rows of another source: found"),
    ],
    ids=["parameter", "file", "folder", "manifest", "damage", "images", "source"],
)
def test_nothing_is_mixed(change, message, bus, paths, directory, log, request):
    write(bus, paths, directory)
    before, changed = partitions(directory), change(bus, directory)
    source = changed if request.node.callspec.id in ("images", "source") else paths
    with pytest.raises(ValueError, match=f"{message}(.|\n)*Name another directory, or delete"):
        write(bus, source, directory)
    assert partitions(directory) == before
    assert count(log) == 24


@pytest.mark.parametrize(
    "change",
    [
        lambda path: pd.read_parquet(path).to_parquet(path),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["other columns", "cut", "empty"],
)
def test_a_partition_that_something_else_changed(change, bus, paths, directory):
    before = write(bus, paths, directory)
    partition = directory / partitions(directory)[1]
    change(partition)
    for _ in range(2):  # the first error does not make the file acceptable
        with pytest.raises(ValueError, match=f"{partition.name}' was changed .* or delete"):
            write(bus, paths, directory)
    partition.unlink()
    pd.testing.assert_frame_equal(write(bus, paths, directory), before)


@pytest.mark.filterwarnings("ignore:2 of 26 images failed.*image 2:UserWarning")
def test_images_without_a_row(bus, paths, directory, tmp_path):
    images = [*paths[:2], "no/such/file.png", *paths[2:], np.full((9, 9), np.nan)]
    bus.set_params(on_error="nan")
    for _ in range(2):  # the second time nothing is computed
        frame = write(bus, images, directory)
        np.testing.assert_array_equal(frame["error"].notna(), frame["mean"].isna())
    failures = FeatureTable(directory).failures()
    assert failures["path"].to_dict() == {2: images[2], 25: None}
    assert "there is no such file" in failures["error"][2]
    assert "81 NaN" in failures["error"][25]
    assert FeatureTable(directory).manifest["failures"].sum() == 2
    good = frame["error"].isna()
    np.testing.assert_array_equal(frame.loc[good, "mean"], bus.transform(paths)[:, 0])
    bus.set_params(on_error="raise")
    for old in (directory, tmp_path / "new"):
        with pytest.raises(ImageError, match="image 2 .*there is no such file"):
            write(bus, images, old)
    assert len(partitions(tmp_path / "new")) < 2


@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_partitions_without_a_single_row(bus, paths, directory):
    bus.set_params(on_error="nan")
    frame = write(bus, [*paths[:4], "missing.png"], directory, partition_bytes=1)
    assert frame.dtypes["mean"] == np.float32
    assert frame["mean"].isna().tolist() == [False] * 4 + [True]
    bus.fit(paths)
    frame = write(bus, ["missing.png", *paths[:4]], directory / "2", partition_bytes=1)
    assert frame["mean"].isna().tolist() == [True] + [False] * 4
    with pytest.raises(ValueError, match="No image gave a row.*missing.*no such file"):
        bus.to_parquet(["missing.png"], directory / "3")


def test_a_file_that_changes_while_its_row_is_computed(paths, directory):
    def overwrite(X):
        changed = str(paths[7])
        if changed in map(str, X):
            cv2.imwrite(changed, np.zeros((12, 12), np.uint8))
        return np.zeros((len(X), 1))

    bus = FeatureBus(FunctionTransformer(overwrite), batch_size=3)
    with pytest.raises(ImageError, match=r"\(007\).png': the file was changed"):
        write(bus, paths, directory)
    assert len(pd.read_parquet(directory)) <= 7


def flatten(X):
    return np.reshape(X, (len(X), -1)).astype(np.float32)


@pytest.mark.parametrize("kind", ["mask", "spacing"])
def test_a_masked_file_that_changes_while_its_row_is_computed(kind, paths, directory):
    def overwrite(X):
        rows = [[float(np.asarray(image).mean())] for image in X]
        cv2.imwrite(str(paths[0]), np.zeros((12, 12), np.uint8))
        return np.array(rows)

    cv2.imwrite(str(paths[1]), np.eye(12, dtype=np.uint8) * 255)
    source = pd.DataFrame({"path": paths[:1], "mask": paths[1:2]})
    if kind == "spacing":
        source = [SpacedImage(paths[0], 0.1)]
    bus = FeatureBus(FunctionTransformer(overwrite)).fit([np.zeros((12, 12), np.uint8)])
    cv2.imwrite(str(paths[0]), noise(1)[0])
    with pytest.raises(ImageError, match="the file was changed"):
        bus.to_parquet(source, directory)


def test_names_of_features_that_are_those_of_other_columns(directory):
    bus = FeatureBus(FunctionTransformer(feature_names_out=lambda *_: np.array(["error", "b"])))
    with pytest.raises(ValueError, match=r"cannot have the names \['error'\]"):
        bus.to_parquet(noise(2), directory)


def test_kept_partitions_with_other_columns(paths, directory):
    bus = FeatureBus(make_pipeline(ImageLoader(), FunctionTransformer(flatten)), batch_size=1)
    bus.to_parquet(paths, directory, partition_bytes=1)
    cv2.imwrite(str(paths[0]), np.zeros((6, 6), np.uint8))
    with pytest.raises(ValueError, match="gave 144 columns of .*, expected 36 of"):
        bus.to_parquet(paths, directory, partition_bytes=1)
    with pytest.warns(UserWarning, match="did not finish"):
        table = FeatureTable(directory)
    with pytest.raises(OSError, match="other columns"):
        np.asarray(table)


def test_images_of_different_sizes_are_named(directory):
    images = [*noise(4) / 255, *_spies.noise(3, (12, 16)) / 255]
    bus = FeatureBus(FunctionTransformer(np.max, kw_args={"axis": 1}))
    with pytest.raises(ValueError, match="gave 16 columns of float64, expected 12 of"):
        write(bus, images, directory, partition_bytes=1)
    assert pd.read_parquet(directory).columns[5:].tolist() == [f"feature{i}" for i in range(12)]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
@pytest.mark.parametrize("kind", ["list", "folder", "table"])
def test_a_name_that_is_no_text(kind, bus, paths, directory):
    odd = os.fsdecode(os.fsencode(paths[0].parent) + b"/M\xfcller.png")
    paths[0].rename(odd)
    source = [odd] if kind == "list" else paths[0].parent
    if kind == "table":
        source = pd.DataFrame({"path": pd.Series([odd], dtype=object)})
    for _ in range(2):
        frame = write(bus, source, directory)
        assert frame["path"].str.endswith(r"/M\xfcller.png").sum() == 1


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    images = noise(300) / 255
    resize = FunctionTransformer(np.resize, kw_args={"new_shape": (1, 1000)})
    bus = FeatureBus(resize, batch_size=1)
    peaks = []
    for n_images in (50, 100, 300):  # the first one imports what it needs
        tracemalloc.start()
        bus.to_parquet(images[:n_images], tmp_path / str(n_images), partition_bytes=30_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails(error, bus, paths, directory, log, monkeypatch):
    fsync, calls = os.fsync, []

    def fail_the_third_time(descriptor):  # the first file is the manifest
        calls.append(descriptor)
        if len(calls) == 3:
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_the_third_time)
    with pytest.raises(type(error)):
        write(bus, paths, directory)
    (first,) = partitions(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["_manifest.jsonl", first]
    computed = count(log)
    with pytest.warns(UserWarning, match="did not finish.* Run it again"):
        n_rows = len(FeatureTable(directory))
    assert 0 < n_rows < computed
    assert len(write(bus, paths, directory)) == 24
    assert len(FeatureTable(directory)) == 24  # without a warning
    assert count(log) == computed + 24 - n_rows


@pytest.mark.parametrize("source", ["bus", "export"])
def test_rows_of_a_store_come_back_from_parquet(source, paths, tmp_path, directory, memory):
    bus = FeatureBus(LBP(), memory=memory)
    expected, part = bus.fit_transform(paths), directory
    if source == "bus":
        write(bus, paths, directory)
    else:
        FeatureBus(ThresholdSegmenter(), memory=memory).fit(paths).predict(paths)
        store = FeatureStore(memory)
        store.write(b"key", "others", [b"a", b"b", b"c"], [np.ones(2), np.ones(3), np.ones(2, int)])
        store.export(directory)
        part, *others = sorted(directory.iterdir(), key=lambda path: path.name[:6] == b"key".hex())
        assert [path.name for path in sorted(others)] == [
            f"6b6579-{k}" for k in ("2f8", "2i8", "3f8")
        ]
    np.testing.assert_array_equal(FeatureTable(part), expected)
    other = FeatureStore(tmp_path / "other.sqlite")
    other.import_parquet(part)
    columns = ["transformer", "n_rows", "dtype"]
    assert other.info()[columns].equals(FeatureStore(memory).info()[columns].iloc[:1])
    np.testing.assert_array_equal(bus.set_params(memory=other).transform(paths), expected)
    assert other.info()["n_rows"].tolist() == [24]
    file = next(part.glob("part-*"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(FileNotFoundError, match="no rows in .*missing"):
        other.import_parquet(tmp_path / "missing")
    with pytest.raises(ValueError, match="is damaged, or featbus did not write it"):
        FeatureStore(tmp_path / "third.sqlite").import_parquet(part)
