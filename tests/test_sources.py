"""What FeatureBus.to_parquet reads: folders, tables, tar files and addresses."""

import io
import json
import logging
import os
import tarfile
from contextlib import nullcontext
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, noise, write_images

from featbus import FeatureBus, FeatureTable
from featbus.bus._sources import list_partitions
from featbus.masks import with_mask

pytest.importorskip("pyarrow", reason="the extra featbus[parquet] is not installed")

IMAGES = noise(8, (12, 12))
PNG = [cv2.imencode(".png", image)[1].tobytes() for image in IMAGES]
MASK = np.repeat([[0], [255]], 6, axis=0).repeat(12, axis=1).astype(np.uint8)
MASK_PNG = cv2.imencode(".png", MASK)[1].tobytes()
MEANS = IMAGES.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
MASKED = with_mask(IMAGES[0], MASK > 0).mean().astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images", IMAGES)
    return tmp_path / "images"


@pytest.fixture
def rows(tmp_path, log):
    """Return a function from a source to its rows, and to the number of files left out."""

    def write(source, directory=tmp_path / "rows", **options):
        bus = FeatureBus(CountingMean(log=log), on_error="nan")
        table = bus.to_parquet(source, directory, partition_bytes=500, **options)
        columns = {name: getattr(table, f"{name}s") for name in ("path", "group", "label", "error")}
        mean = np.asarray(table)[:, 0]
        return pd.DataFrame({**columns, "mean": mean}, dtype=object), table.manifest[
            "left_out"
        ].sum()

    return write


def write_tar(path, members, mode="w"):
    """Write a tar file of contents by name."""
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_a_folder(folder, rows, tmp_path):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "scan (001).png").rename(folder / "a" / "b" / "no extension")
    (folder / "scan (002).png").rename(folder / ".hidden.png")
    (folder / ".git").mkdir()
    (folder / "scan (003).png").rename(folder / ".git" / "x.png")
    (folder / "scan (004).png").rename(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "dead link.png").symlink_to(tmp_path / "missing.png")
    (folder / "a" / "circle").symlink_to(folder, target_is_directory=True)
    for name in ("notes.txt", "a/scan.gif", "Thumbs.db"):
        (folder / name).write_bytes(b"GIF89a")
    (folder / "damaged.png").write_bytes(PNG[5][:-30])
    frame, n_left_out = rows(folder)
    frame = frame.set_index("path").sort_index()
    names = ["a/b/no extension", "damaged.png", "link.png"]
    names += [f"scan ({index:03d}).png" for index in (0, 5, 6, 7)]
    assert frame.index.tolist() == [str(folder / name) for name in names]
    expected = MEANS[[1, 0, 4, 0, 5, 6, 7]]
    expected[1] = np.nan
    np.testing.assert_array_equal(frame["mean"].astype(np.float32), expected)
    assert np.flatnonzero(frame["error"].notna()).tolist() == [1]
    assert n_left_out == 3


def test_files_before_the_first_image_are_left_out(folder, rows, tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for index in range(20):
        (tmp_path / "texts" / f"{index}.txt").write_text("a" * 300)
    with pytest.raises(ValueError, match="None of the files is an image, .*[0-9]+.txt"):
        FeatureBus(CountingMean(log="")).fit(IMAGES).to_parquet(tmp_path / "texts", tmp_path / "0")
    (tmp_path / "texts" / "images").symlink_to(folder, target_is_directory=True)
    scandir = os.scandir
    for reverse in (False, True):  # once, the images come last

        def scan(folder, reverse=reverse):
            return nullcontext(sorted(scandir(folder), key=lambda f: f.name, reverse=reverse))

        monkeypatch.setattr(os, "scandir", scan)
        frame, n_left_out = rows(tmp_path / "texts", tmp_path / str(reverse))
        assert sorted(frame["mean"]) == sorted(MEANS)
        assert n_left_out == 20


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_table(kind, folder, rows):
    (folder / "mask.png").write_bytes(MASK_PNG)
    (folder / "notes.txt").write_text("no image")
    names = [f"scan ({index:03d}).png" for index in range(3)]
    paths = [names[0], str(folder / names[1]), names[2], "missing.png", "notes.txt", names[2]]
    if kind == "frame":
        paths = [folder / path for path in paths]
    masks = ["mask.png", None, None, None, None, "missing.png"]
    if kind == "frame":
        masks[0] = folder / masks[0]
    frame = pd.DataFrame({"note": 1, "path": paths, "mask": masks})
    frame["group"] = [1, 1, 2, 3, None, 4] if kind != "csv" else ["1", "1", "2", "3", "", "4"]
    frame["group"] = frame["group"].astype("Int64" if kind != "csv" else "str")
    frame["label"] = ["benign", None, *["malignant"] * 4]
    source = folder / f"table.{kind}"
    if kind == "csv":
        frame.to_csv(source)
    elif kind == "parquet":
        frame.to_parquet(source)
    else:
        source = frame
    for _ in range(2):
        found, n_left_out = rows(source)
        assert n_left_out == 0
        assert found["path"].tolist() == [str(folder / path) for path in paths]
        assert found["group"].tolist() == ["1", "1", "2", "3", None, "4"]
        assert (
            found["label"].tolist()
            == frame["label"].astype(object).where(frame["label"].notna(), None).tolist()
        )
        nan = np.nan
        np.testing.assert_array_equal(
            found["mean"].astype(np.float32), [MASKED, *MEANS[1:3], nan, nan, nan]
        )
        assert found["error"].notna().tolist() == [False] * 3 + [True] * 3
        assert "missing.png" in found["error"][5]


@pytest.mark.parametrize("part", ["mask", "group"])
def test_what_changes_in_a_table_changes_its_rows(part, folder, rows, log):
    cv2.imwrite(str(folder / "mask.png"), MASK)
    names = [f"scan ({index:03d}).png" for index in range(2)]
    frame = pd.DataFrame({"path": names, "mask": "mask.png", "group": "a"})
    frame.to_csv(folder / "table.csv")
    before, _ = rows(folder / "table.csv")
    rows(folder / "table.csv")
    assert count(log) == 2
    if part == "mask":
        cv2.imwrite(str(folder / "mask.png"), 255 - MASK)
    else:
        frame.assign(group="b").to_csv(folder / "table.csv")
    after, _ = rows(folder / "table.csv")
    assert count(log) == 4
    assert (
        after[part if part == "group" else "mean"] != before[part if part == "group" else "mean"]
    ).all()


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
        ("text.parquet", OSError, "text.parquet"),
        ("nosuch://bucket/images", OSError, "Cannot use 'nosuch://bucket/images'"),
    ],
)
def test_bad_sources(source, error, message, rows, tmp_path):
    (tmp_path / "empty").mkdir()
    texts = {"nopath.csv": "image\na.png", "nothing.csv": "", "gap.csv": "path,mask\n,a.png"}
    for name, text in {**texts, "text.parquet": "text"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        rows(source if "://" in source else tmp_path / source)


SAMPLES = {
    "a/1.png": PNG[0],
    "a/1.mask.png": MASK_PNG,
    "a/1.cls": b"benign\n",
    "b/1.json": json.dumps({"label": "malignant", "group": 7, "age": 50}).encode(),
    "b/1.png": PNG[1],
    "b/.hidden.png": PNG[2],
    "b/1.txt": b"no image",
    "../../out.png": PNG[2],
    "/out.png": PNG[3],
    "damaged.png": PNG[4][:-30],
}


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz")])
def test_tar_files(suffix, mode, rows, tmp_path, log):
    write_tar(tmp_path / f"shard [0].{suffix}", SAMPLES, mode)
    write_tar(tmp_path / f"shard [1].{suffix}", {"1.jpg": PNG[5]}, mode)
    before = sorted(tmp_path.parent.rglob("*.png"))
    for _ in range(2):
        frame, n_left_out = rows(tmp_path / f"*.{suffix}")
        first = tmp_path / f"shard [0].{suffix}"
        names = ["a/1.png", "b/1.png", "../../out.png", "/out.png", "damaged.png"]
        assert frame["path"].tolist()[:5] == [f"{first}::{name}" for name in names]
        expected = [MASKED, *MEANS[1:4], np.nan, MEANS[5]]
        np.testing.assert_array_equal(frame["mean"].astype(np.float32), expected)
        assert frame["label"].tolist() == ["benign", "malignant", *[None] * 4]
        assert frame["group"].tolist() == [None, "7", *[None] * 4]
        assert frame["error"].notna().tolist() == [False] * 4 + [True, False]
        assert n_left_out == 1
    assert count(log) == 5
    assert sorted(tmp_path.parent.rglob("*.png")) == before
    frame, _ = rows(tmp_path / f"shard [1].{suffix}", tmp_path / "one")  # a name, not a pattern
    assert frame["mean"].tolist() == [MEANS[5]]


@pytest.mark.parametrize("kind", ["cut", "cut.gz", "text", "empty", "json"])
def test_damaged_tar_files(kind, rows, tmp_path):
    members = {f"{index}.png": PNG[index] for index in range(4)}
    write_tar(tmp_path / "0.tar", {"a.png": PNG[0]})
    damaged = tmp_path / "1.tar"
    write_tar(damaged, members | {"3.json": b"{"}, "w:gz" if kind == "cut.gz" else "w")
    content = damaged.read_bytes()
    cut = content[: len(content) // 2] if kind == "cut.gz" else content[:3000]
    damaged.write_bytes({"text": b"no tar file", "empty": b"", "json": content}.get(kind, cut))
    frame, _ = rows(tmp_path / "*.tar")
    assert frame["mean"][0] == MEANS[0]
    failed = frame[frame["error"].notna()]
    if kind == "json":
        assert failed["path"].tolist() == [f"{damaged}::3.png"]
    else:
        assert failed["path"].tolist() == [str(damaged)]
        assert "tar file is damaged or incomplete" in failed["error"].iloc[0]


def test_a_listing_is_read_as_it_is_needed(folder, monkeypatch):
    class Files:
        n_listed = 0

        def __enter__(self):
            status = SimpleNamespace(st_size=1000, st_mtime_ns=0, st_ctime_ns=0)
            for self.n_listed in range(1, 100_001):
                yield_ = {"is_dir": lambda: False, "is_file": lambda: True}
                name = f"{self.n_listed}.png"
                yield SimpleNamespace(name=name, path=name, stat=lambda: status, **yield_)

        def __exit__(self, *_):
            pass

    files = Files()
    monkeypatch.setattr(os, "scandir", lambda _: files)
    listed = list_partitions(folder, 100_000)
    first = next(listed)
    assert len(first.entries) == files.n_listed <= 200
    assert sum(len(partition.entries) for partition in listed) == 100_000 - len(first.entries)


@pytest.fixture(scope="module")
def server():
    """Return the file system of a local server that stores objects as S3 does."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
        patch.setenv("AWS_CONFIG_FILE", "/none")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3fs.S3FileSystem.clear_instance_cache()
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        yield fs
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def bucket(server, tmp_path):
    for index in range(4):
        server.pipe_file(f"bucket/scans/{index % 2}/scan [{index}].png", PNG[index])
    server.pipe_file("bucket/scans/notes.txt", b"no image")
    server.pipe_file("bucket/mask.png", MASK_PNG)
    paths = ["scans/0/scan [0].png", "s3://bucket/scans/1/scan [1].png", "scans/missing.png"]
    frame = pd.DataFrame({"path": paths, "mask": ["mask.png", None, None], "group": list("aab")})
    server.pipe_file("bucket/table.csv", frame.to_csv().encode())
    server.pipe_file("bucket/table.parquet", frame.to_parquet())
    write_tar(tmp_path / "shard.tar", SAMPLES)
    server.put_file(tmp_path / "shard.tar", "bucket/shards/0.tar")
    yield server
    server.rm("bucket/", recursive=True)
    server.mkdir("bucket", exist_ok=True)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("scans", [MEANS[index] for index in (0, 2, 1, 3)]),
        ("table.csv", [MASKED, MEANS[1], np.nan]),
        ("table.parquet", [MASKED, MEANS[1], np.nan]),
        ("shards/*.tar", [MASKED, *MEANS[1:4], np.nan]),
    ],
)
def test_an_address(source, expected, bucket, rows, log):
    for _ in range(2):
        frame, n_left_out = rows(f"s3://bucket/{source}", "s3://bucket/rows")
        np.testing.assert_array_equal(frame["mean"].astype(np.float32), expected)
        assert frame["error"].notna().tolist() == np.isnan(expected).tolist()
        assert n_left_out == ("table" not in source)
    assert count(log) == np.isfinite(expected).sum()
    if source == "scans":
        assert frame["path"][0] == "s3://bucket/scans/0/scan [0].png"
        # Of another process: nothing here remembers old listings.
        type(bucket)(use_listings_cache=False, skip_instance_cache=True).pipe_file(
            "bucket/scans/0/scan [4].png", PNG[4]
        )
        assert len(rows("s3://bucket/scans", "s3://bucket/rows")[0]) == 5
    assert FeatureTable("s3://bucket/rows").shape[1] == 2


@pytest.mark.parametrize("source", ["scans", "table.csv", "*.tar", "images", "frame"])
@pytest.mark.parametrize("bucket_name", ["bucket", "missing"])
def test_an_address_that_cannot_be_used(bucket_name, source, bucket, rows, monkeypatch, folder):
    address = f"s3://{bucket_name}/{source}"
    arguments = {
        "images": (folder, address),
        "frame": (pd.DataFrame({"path": [address]}),),
    }.get(source, (address,))
    error, message = FileNotFoundError, "bucket does not exist|no tar files"
    if bucket_name == "bucket":
        error, message = OSError, "NoCredentialsError: .*heck the .*credentials"
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        type(bucket).clear_instance_cache()
    elif source == "frame":
        error, message = ValueError, "s3://missing/frame.*there is no such file"
    with pytest.raises(error, match=message):
        rows(*arguments)
    type(bucket).clear_instance_cache()
