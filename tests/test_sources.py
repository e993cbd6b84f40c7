"""What FeatureBus.to_parquet reads: folders, tables, tar files and addresses."""

import io
import logging
import os
import tarfile
from contextlib import nullcontext
from types import SimpleNamespace
from urllib.request import urlopen

import cv2
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, noise, write_images
from PIL import Image
from sklearn.pipeline import make_pipeline

from featbus import FeatureBus, FeatureTable, IntensityStatistics, Resample
from featbus.bus._sources import list_partitions
from featbus.io import SpacedImage
from featbus.masks import with_mask

pytest.importorskip("pyarrow", reason="the extra featbus[parquet] is not installed")

IMAGES = noise(8, (12, 12))
PNG = [cv2.imencode(".png", image)[1].tobytes() for image in IMAGES]
MASK = np.arange(144).reshape(12, 12) // 72 * np.uint8(255)
MASK_PNG = cv2.imencode(".png", MASK)[1].tobytes()
MEANS = IMAGES.mean(axis=(1, 2)).astype(np.float32).tolist()
MASKED = with_mask(IMAGES[0], MASK > 0).mean().astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images", IMAGES)
    return tmp_path / "images"


@pytest.fixture
def write(tmp_path, log):
    """Return a function from a source to a table."""

    def write(source, directory=tmp_path / "rows"):
        bus = FeatureBus(CountingMean(log=log), on_error="nan")
        return bus.to_parquet(source, directory, partition_bytes=500)

    return write


def check(table, means, n_left_out=0):
    np.testing.assert_array_equal(np.asarray(table)[:, 0], np.float32(means))
    np.testing.assert_array_equal(table.errors != None, np.isnan(means))  # noqa: E711
    assert table.manifest["left_out"].sum() == n_left_out


def test_a_mask_leaves_the_spacing_of_the_file(tmp_path):
    (tmp_path / "mask.png").write_bytes(MASK_PNG)
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.tif", dpi=(254, 254))  # 0.1 mm
    source = pd.DataFrame({"path": [tmp_path / "a.tif"], "mask": [tmp_path / "mask.png"]})
    bus = FeatureBus(make_pipeline(Resample(0.05), IntensityStatistics()))
    table = bus.to_parquet(source, tmp_path / "rows")
    image = SpacedImage(with_mask(IMAGES[0], MASK), 0.1)
    np.testing.assert_array_equal(np.asarray(table), bus.transform([image]))


def write_tar(path, members, mode="w"):
    """Write a tar file of contents by name."""
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture(params=[False, True])
def ordered(request, monkeypatch):
    """Let folders be listed in the order of the names, or the reverse."""
    scandir, options = os.scandir, {"key": lambda file: file.name, "reverse": request.param}
    monkeypatch.setattr(os, "scandir", lambda name: nullcontext(sorted(scandir(name), **options)))
    return -1 if request.param else 1


def test_a_folder(folder, write, tmp_path, ordered):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    moves = ["a/b/no extension", ".hidden.png", ".git/x.png", "../elsewhere.png"]
    for index, name in enumerate(moves, 1):
        (folder / f"scan ({index:03d}).png").rename(folder / name)
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "dead link.png").symlink_to(tmp_path / "missing.png")
    (folder / "a" / "circle").symlink_to(folder, target_is_directory=True)
    for name in ("0.txt", "a/scan.gif", "zzz.db"):  # without images, in the first partition
        (folder / name).write_bytes(b"GIF89a" + bytes(2000))
    (folder / "damaged.png").write_bytes(PNG[5][:-30])
    table = write(folder)
    names = ["a/b/no extension", "damaged.png", "dead link.png", "link.png"]
    names += [f"scan ({index:03d}).png" for index in (0, 5, 6, 7)]
    order = np.argsort(table.paths)
    assert table.paths[order].tolist() == [str(folder / name) for name in names]
    means = [MEANS[1], np.nan, np.nan, *np.take(MEANS, [4, 0, 5, 6, 7])]
    check(table, np.array(means)[::ordered], 3)
    with pytest.raises(ValueError, match="is inside the source. Name another directory"):
        write(folder, folder / "rows")


def test_a_local_address(folder, write):
    (folder / ".git").mkdir()
    (folder / ".git" / "x.png").write_bytes(PNG[0])
    (folder / os.fsdecode(b"M\xfcller.bmp")).write_bytes(cv2.imencode(".bmp", IMAGES[0])[1])
    table = write(f"file://{folder}")
    assert sorted(table.paths)[0] == str(folder / r"M\xfcller.bmp")
    assert len(table) == 9
    changed, before = folder / "a.bmp", np.asarray(table).copy()
    for image in IMAGES[:2]:  # of the same size and time
        changed.write_bytes(cv2.imencode(".bmp", image)[1])
        os.utime(changed, (1, 1))
        table = write(f"file://{folder}")
    assert np.asarray(table)[table.paths == str(changed), 0] == MEANS[1]
    assert len(before) + 1 == len(table)


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_table(kind, folder, write, log):
    (folder / "mask.png").write_bytes(MASK_PNG)
    (folder / "notes.txt").write_text("no image")
    paths = [f"scan ({index:03d}).png" for index in range(3)] + ["missing.png", "notes.txt"]
    masks = ["mask.png", None, None, None, None, "missing.png"]
    whole = [str(folder / path) for path in [*paths, paths[0]]]
    frame = pd.DataFrame({"note": 1, "path": [*paths[:3], *whole[3:]], "mask": masks})
    big = 1 if kind == "frame" else 2**53 + 1  # no float
    frame["group"] = pd.array([big, 1, 2, 3, None, 4], dtype="Int64")
    frame["label"] = ["benign", None, "NA", "None", "malignant", "malignant"]
    if kind == "frame":
        frame["group"] = frame["group"].astype(float)
        frame["label"] = frame["label"].fillna("")
        source = frame.assign(path=whole, mask=[folder / "mask.png", *masks[1:]])
    else:
        source = folder / f"TABLE.{kind.upper()}"
        frame.to_csv(source) if kind == "csv" else frame.to_parquet(source)
    for _ in range(2):
        table = write(source)
        check(table, [MASKED, *MEANS[1:3], np.nan, np.nan, np.nan])
        assert table.paths.tolist() == whole
        assert table.groups.tolist() == [str(big), "1", "2", "3", None, "4"]
        assert table.labels.tolist() == ["benign", None, "NA", "None", "malignant", "malignant"]
    assert count(log) == 3
    cv2.imwrite(str(folder / "mask.png"), 255 - MASK)
    assert np.asarray(write(source))[0, 0] != MASKED


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("missing", FileNotFoundError, "missing"),
        ("missing.csv", FileNotFoundError, "missing.csv"),
        ("missing-*.tar", FileNotFoundError, "no tar files .*missing"),
        ("empty", ValueError, "no images in .*empty"),
        ("nopath.csv", ValueError, r"columns \['image'\], expected 'path'"),
        ("nothing.csv", OSError, "nothing.csv"),
        ("gap.csv", ValueError, "a line without a path"),
        ("gap.parquet", OSError, "gap.parquet"),
        ("latin.csv", OSError, "latin.csv.*Unicode.*Save it as CSV, in UTF-8"),
        ("ragged.csv", OSError, "ragged.csv.*Expected 1 fields in line 3"),
        ("table.csv.gz", ValueError, "table.csv.gz' is a file, expected a folder"),
        ("nosuch://bucket/images", OSError, "Cannot use 'nosuch://bucket/images'"),
    ],
)
def test_bad_sources(source, error, message, write, tmp_path):
    (tmp_path / "empty").mkdir()
    texts = {"nopath": "image\na.png", "nothing": "", "gap": "path,mask\n,a.png"}
    texts |= {"latin": "path\nM\xfcller.png", "ragged": "path\na.png\nb,c", "table": ""}
    if (name := source.partition(".")[0]) in texts:
        (tmp_path / source).write_text(texts[name], "latin-1")
    with pytest.raises(error, match=message):
        write(source if "://" in source else tmp_path / source)


@pytest.mark.parametrize("source", [[], pd.DataFrame({"path": []}), pd.DataFrame({"image": [1]})])
def test_a_fitted_bus_without_images(source, tmp_path, log):
    bus = FeatureBus(CountingMean(log=log)).fit(IMAGES)
    with pytest.raises(ValueError, match="empty batch|Found no images|expected 'path'"):
        bus.to_parquet(source, tmp_path / "rows")


def test_a_line_that_ends_with_a_comma(folder, write):
    (folder / "table.csv").write_text("path,label\nscan (000).png,benign,\n")
    table = write(folder / "table.csv")
    assert table.paths.tolist() == [str(folder / "scan (000).png")]
    assert table.labels.tolist() == ["benign"]


SAMPLES = {
    "a/1.png": PNG[0],
    "a/1.mask.png": MASK_PNG,
    "a/1.cls": b"benign\n",
    "b/1.json": b'{"label": "malignant", "group": 0, "age": 50}',
    "b/1.png": PNG[1],
    "b/.hidden.png": PNG[2],
    "b/1.txt": b"no image",
    "../../out.png": PNG[2],
    "/out.png": PNG[3],
    "damaged.png": PNG[4][:-30],
}


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz")])
def test_tar_files(suffix, mode, write, tmp_path, log, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    first, second = (tmp_path / f"shard [{index}].{suffix}" for index in range(2))
    write_tar(first, SAMPLES, mode)
    write_tar(second, {"1.jpg": PNG[5]}, mode)
    for _ in range(2):
        table = write(tmp_path / f"*.{suffix}")
        check(table, [MASKED, *MEANS[1:4], np.nan, MEANS[5]], 1)
        names = ["a/1.png", "b/1.png", "../../out.png", "/out.png", "damaged.png"]
        assert table.paths.tolist()[:5] == [f"{first}::{name}" for name in names]
        assert table.labels.tolist() == ["benign", "malignant", *[None] * 4]
        assert table.groups.tolist() == [None, "0", *[None] * 4]
    assert count(log) == 5
    assert not list(tmp_path.rglob("*.png"))  # nothing outside, nothing left
    check(write(second, tmp_path / "one"), [MEANS[5]])  # a name, not a pattern


def test_a_mask_belongs_to_the_image_of_its_name(write, tmp_path):
    other = cv2.imencode(".png", 255 - MASK)[1].tobytes()
    members = {"a.left.png": PNG[0], "a.left.mask.png": MASK_PNG, "a.right.png": PNG[0]}
    members |= {"a.mask.right.png": other, "b.png": PNG[0], "b.lesion.mask.png": MASK_PNG}
    members |= {"c.left.png": PNG[0], "c.left.mask.png": MASK_PNG, "c.right.png": PNG[0]}
    members |= {"d.png": PNG[0], "d.1.mask.png": MASK_PNG, "d.2.mask.png": MASK_PNG}
    write_tar(tmp_path / "0.tar", members)
    right = with_mask(IMAGES[0], MASK == 0).mean()
    table = write(tmp_path / "0.tar")
    order = np.argsort(table.paths)
    check(table[order], [MASKED, right, MASKED, MASKED, MEANS[0], np.nan])
    assert "a.left.mask.png" in table.failures()["error"].iloc[0]


def test_members_that_are_no_files_or_there_twice(write, tmp_path):
    write_tar(tmp_path / "0.tar", {"a.png": PNG[0]})
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        for name, kind in {"b.png": tarfile.LNKTYPE, "c.png": tarfile.SYMTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            tar.addfile(info)
    write_tar(tmp_path / "1.tar", {"a.png": PNG[0], "a.cls": b"", "m.mask.png": MASK_PNG})
    write_tar(tmp_path / "1.tar", {"./a.png": b"", "./a.cls": b"", "m.mask.tif": b""}, "a")
    failures = write(tmp_path / "*.tar").failures()
    names = "0.tar::b.png", "0.tar::c.png", "1.tar::./a.png", "1.tar::./a.cls", "1.tar::m.mask.tif"
    assert failures["path"].tolist() == [str(tmp_path / name) for name in names]
    assert failures["error"].str.contains("link").tolist() == [True] * 2 + [False] * 3
    assert failures["error"].str.contains("twice").tolist() == [False] * 2 + [True] * 3


def test_odd_texts_in_tar_files(write, tmp_path):
    members = {os.fsdecode(b"M\xfcller.png"): PNG[0], "a.png": PNG[1], "b.png": PNG[2]}
    members |= {"a.json": rb'{"group": "\ud800", "label": 1.0}', "b.json": b"[" * 100_000}
    write_tar(tmp_path / "0.tar", members)
    table = write(tmp_path / "0.tar")
    assert table.paths[0].endswith(r"::M\xfcller.png")
    assert (table.groups[1], table.labels[1]) == (r"\ud800", "1")
    assert "its .json" in table.errors[2]


@pytest.mark.parametrize(
    "change",
    [{"a.cls": b"malignant"}, {"a.json": b'{"group": 1}'}, {"b.png": PNG[0]}, {"b.txt": b""}],
)
def test_what_a_tar_file_says_may_change(change, write, tmp_path, log):
    first = {"a.png": PNG[0], "a.cls": b"benign"}
    for members in (first, first | change if "b.png" not in change else change):
        write_tar(tmp_path / "0.tar", members)
        table = write(tmp_path / "0.tar")
    assert table.paths.tolist() == [
        f"{tmp_path / '0.tar'}::{'b' if 'b.png' in change else 'a'}.png"
    ]
    expected = None if "b.png" in change else change.get("a.cls", b"benign").decode()
    assert (table.labels[0], table.groups[0]) == (expected, "1" if "a.json" in change else None)
    assert table.manifest["left_out"].tolist() == [int("b.txt" in change)]


@pytest.mark.parametrize("kind", ["cut", "cut.gz", "end", "header", "flip", "text", "json"])
def test_damaged_tar_files(kind, write, tmp_path):
    damaged, members = tmp_path / "1.tar", {f"{index}.png": PNG[index] for index in range(4)}
    write_tar(tmp_path / "0.tar", {"a.png": PNG[0]})
    write_tar(damaged, members | {"3.json": b"{"}, "w:gz" if kind == "cut.gz" else "w")
    content = damaged.read_bytes()
    with tarfile.open(damaged) as tar:
        start = tar.getmember("2.png").offset
    contents = {"text": b"no tar", "json": content, "end": content[:start]}
    contents |= {"header": content[: start + 100]}
    contents |= {"flip": content[:start] + b"\xff" + content[start + 1 :]}
    damaged.write_bytes(contents.get(kind, content[: len(content) // 4]))
    failures = write(tmp_path / "*.tar").failures()
    name, reason = f"{damaged}::3.png" if kind == "json" else damaged, failures["error"].iloc[0]
    assert failures["path"].tolist() == [str(name)]
    assert "its .json" in reason if kind == "json" else "damaged or incomplete" in reason


def test_a_listing_is_read_as_it_is_needed(folder, monkeypatch):
    def scan():
        methods = {"is_dir": lambda: False, "is_file": lambda: True}
        for index in range(100_000):
            listed.append(index)
            yield SimpleNamespace(name=f"{index}.png", path=f"{index}.png", **methods)

    listed = []
    monkeypatch.setattr(os, "scandir", lambda _: nullcontext(scan()))
    found = list_partitions(folder, 100 * 2**18)  # bytes of files of unknown size
    n_images = len(next(found).entries)
    assert n_images == len(listed) <= 200
    assert n_images + sum(len(partition.entries) for partition in found) == 100_000


@pytest.fixture(scope="module")
def server():
    """Return the file system of a local server that stores objects as S3 does."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    settings = {
        "ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "EC2_METADATA_DISABLED": "true",
        **dict.fromkeys(["SHARED_CREDENTIALS_FILE", "CONFIG_FILE"], "/none"),
        **dict.fromkeys(["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"], "test"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"AWS_{name}", value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield s3fs.S3FileSystem()
    server.stop()


@pytest.fixture
def bucket(server, tmp_path):
    server.mkdir("bucket", exist_ok=True)
    for index in range(4):
        server.pipe_file(f"bucket/scans/{index // 2}/scan [{index}].png", PNG[index])
    server.pipe_file("bucket/scans/notes.txt", b"no image")
    server.pipe_file("bucket/scans/.git/x.png", PNG[0])
    for folder in ("rows", "scans/0"):  # as the console makes folders
        server.call_s3("put_object", Bucket="bucket", Key=f"{folder}/", Body=b"")
    server.pipe_file("bucket/mask.png", MASK_PNG)
    paths = ["scans/0/scan [0].png", "s3://bucket/scans/0/scan [1].png", "scans/missing.png"]
    paths += ["s3://bucket/scans/0/scan [1].png/"]  # another spelling
    frame = pd.DataFrame({"path": paths, "mask": ["mask.png", None, None, None], "group": 1})
    server.pipe_file("bucket/table.csv", frame.to_csv().encode())
    write_tar(tmp_path / "shard.tar", SAMPLES)
    server.put_file(tmp_path / "shard.tar", "bucket/shards/0.tar")
    yield server
    # Not by s3fs: older releases leave the objects that stand for folders.
    urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"").close()
    server.invalidate_cache()
    type(server).clear_instance_cache()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("scans", MEANS[:4]),
        ("table.csv", [MASKED, MEANS[1], np.nan, MEANS[1]]),
        ("shards/*.tar", [MASKED, *MEANS[1:4], np.nan]),
    ],
)
def test_an_address(source, expected, bucket, write, log, monkeypatch):
    monkeypatch.setattr("featbus.bus._sources._DOWNLOADS", 2)
    for _ in range(2):
        table = write(f"s3://bucket/{source}", "s3://bucket/rows")
        check(table, expected, n_left_out=source != "table.csv")
    assert count(log) == np.isfinite(expected).sum()
    if source == "scans":
        assert table.paths[0] == "s3://bucket/scans/0/scan [0].png"
        # Of another process: old listings are not used.
        other = type(bucket)(skip_instance_cache=True)
        other.pipe_file("bucket/scans/1/scan [4].png", PNG[4])
        write("s3://bucket/scans", "s3://bucket/rows")
        check(FeatureTable("s3://bucket/rows"), MEANS[:5], 1)


@pytest.mark.parametrize("source", ["scans", "table.csv", "*.tar", "rows", "frame"])
@pytest.mark.parametrize("name", ["bucket", "missing"])
def test_an_address_that_cannot_be_used(name, source, bucket, write, monkeypatch, folder):
    address = f"s3://{name}/{source}"
    frame = pd.DataFrame({"path": [address]})
    arguments = {"rows": (folder, address), "frame": (frame,)}.get(source, (address,))
    error, message = FileNotFoundError, "bucket does not exist|no tar files"
    if name == "bucket":
        error, message = OSError, "NoCredentialsError: .*heck the .*credentials"
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        type(bucket).clear_instance_cache()
    elif source == "frame":
        error, message = ValueError, "s3://missing/frame.*there is no such file"
    with pytest.raises(error, match=message):
        write(*arguments)
