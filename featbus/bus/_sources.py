"""Where many images are: a folder, a table, tar files or an address, listed as they are needed."""

import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import gen_batches

from featbus.bus._fingerprint import digest_image
from featbus.files import as_unicode
from featbus.images import ImageError, as_batch, is_path
from featbus.io import (
    ImageReadError,
    SpacedImage,
    is_image_file,
    read_header,
    read_item,
    read_mask,
    split_frame,
)
from featbus.masks import restrict

_MOST = 10_000  # images in a partition: their rows have to fit into memory
_CHUNK = 50_000  # rows of a table, read at a time
_DOWNLOADS = 16  # files that are in memory at a time
_UNKNOWN = 2**18  # bytes of a file whose size nobody has said
_COLUMNS = ["path", "mask", "group", "label"]


class Entry(NamedTuple):
    """One image of a source, or a tar file of images; nothing of it has been read.

    `stamp` changes with the file; None if it is unknown. `kind` is ``"image"``, ``"file"`` of a
    folder, which may be anything else, too, or ``"tar"``.
    """

    item: Any
    path: str | None
    size: int
    stamp: str | None
    mask: str | None = None
    group: str | None = None
    label: str | None = None
    kind: str = "image"


class Partition(NamedTuple):
    """Entries that one worker reads, and whose rows it writes."""

    number: int
    entries: list[Entry]
    start: int | None  # position of the first image in a list

    def identify(self):
        """Return 8 bytes that say which images these are, whatever their contents."""
        names = [(e.path or e.stamp, e.mask, e.group, e.label) for e in self.entries]
        return hashlib.blake2b("".join(map(repr, names)).encode(), digest_size=8).hexdigest()

    def stamp(self):
        """Return a text that changes with any of the files; None if one may change unnoticed."""
        stamps = [entry.stamp for entry in self.entries]
        if None in stamps:
            return None
        return hashlib.blake2b(repr(stamps).encode(), digest_size=16).hexdigest()


def list_partitions(source, n_bytes):
    """Yield the partitions of a source.

    A partition has about `n_bytes`. Where it ends depends on the names of the images around its
    end, so that more images change only the partitions that they are in.

    Parameters
    ----------
    source : str, os.PathLike, DataFrame or batch of images
        A folder, a table, or a pattern of tar files, each also as an address; or images.
    n_bytes : int
        Size of a partition.

    Yields
    ------
    Partition
        At least one.

    Raises
    ------
    ValueError
        If there are no images, or a table has no column ``path``.
    """
    number = position = size = 0
    is_list = not is_path(source) and not isinstance(source, pd.DataFrame)
    entries = []
    for entry in _list_entries(source):
        entries.append(entry)
        size += entry.size
        # The share of names that end a partition grows with the bytes of their file.
        name = (entry.path or entry.stamp).encode("utf-8", "backslashreplace")
        draw = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest()) / 2**32
        ends = size >= n_bytes / 2 and draw < 2 * entry.size / n_bytes
        if ends or size >= 2 * n_bytes or len(entries) >= _MOST:
            yield Partition(number, entries, position if is_list else None)
            number, position = number + 1, position + len(entries)
            entries, size = [], 0
    if entries:
        yield Partition(number, entries, position if is_list else None)
    elif number == 0:
        raise ValueError(f"Found no images in {source!r}, expected at least one.")


def _list_entries(source) -> Iterator[Entry]:
    if isinstance(source, pd.DataFrame):
        return _list_table([source], "")
    if not is_path(source):
        return map(_as_entry, as_batch(source))
    text = os.fspath(source)
    if text.startswith("file://"):
        text = open_address(text)[1]
    suffixes = PurePosixPath(text.lower()).suffixes
    if suffixes[-1:] in ([".csv"], [".parquet"]):
        return _list_table(_read_table(text), os.path.dirname(text))
    if ".tar" in suffixes or suffixes[-1:] == [".tgz"]:
        return _list_shards(text)
    if os.path.isfile(text):
        raise ValueError(f"{text!r} is a file, expected a folder, or .csv, .parquet, .tar or .tgz.")
    return _list_address(text) if "://" in text else _walk(text, ())


def _as_entry(item, mask=None, group=None, label=None):
    """Return the entry of an item of a batch, or of a line of a table."""
    source = item.image if isinstance(item, SpacedImage) else item
    if not is_path(source):
        image = np.asanyarray(source)
        return Entry(item, None, image.nbytes, digest_image(item).hex())
    path, size, stamp = as_unicode(source), _UNKNOWN, None
    # There is none at an address; reading a file that is missing says what is wrong.
    with suppress(OSError, ValueError):
        found = os.stat(split_frame(source)[0])
        size, times = found.st_size, (found.st_mtime_ns, found.st_ctime_ns)
        stamp = f"{size} {times} {getattr(item, 'spacing', None)}"
    # A mask may change, too.
    return Entry(item, path, size, None if mask else stamp, mask, group, label)


def _walk(folder, above):
    """Yield the visible files below a folder, in the order of the file system; follow links."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as found:
        for file in found:
            if file.name.startswith("."):
                continue
            if file.is_dir():
                yield from _walk(file.path, (*above, here))
            elif file.is_file() or file.is_symlink():  # reading a dead link says so
                yield _as_entry(file.path)._replace(kind="file")


@contextmanager
def as_os_errors(address, remedy="Check the address, and the credentials that fsspec finds."):
    """Turn what a file system says, which may be any exception, into an `OSError`."""
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise OSError(f"Cannot use {address!r} ({reason}). {remedy}") from error


def open_address(address):
    """Return a file system, which remembers no listings, and the path of an address there."""
    import fsspec

    with as_os_errors(address):
        return fsspec.core.url_to_fs(address, use_listings_cache=False)


def _list_address(address):
    with as_os_errors(address):
        fs, root = open_address(address)
        for _, _, files in fs.walk(root, detail=True, on_error="raise"):
            for name, info in files.items():  # without a name, it stands for a folder
                if name and "/." not in "/" + info["name"].removeprefix(root):
                    yield _of_info(fs, info)


def _of_info(fs, info):
    """Return the entry of a file, by what its file system says of it."""
    path = fs.unstrip_protocol(info["name"])
    version = next((info[key] for key in ("ETag", "etag", "md5Hash", "mtime") if key in info), None)
    stamp = None if version is None else f"{info['size']} {version}"
    return Entry(path, as_unicode(path), info["size"] or _UNKNOWN, stamp, kind="file")


def _list_shards(pattern):
    with as_os_errors(pattern):
        fs, root = open_address(pattern)
        names = [root] if fs.exists(root) else sorted(fs.glob(root))
        if not names:
            raise FileNotFoundError(f"Found no tar files {pattern!r}.")
        for name in names:
            entry = _of_info(fs, fs.info(name)) if "://" in pattern else _as_entry(name)
            yield entry._replace(kind="tar")


def _read_table(path):
    with as_os_errors(path):
        fs, name = open_address(path)
        remedy = "Save it as CSV, in UTF-8 and with commas, or as Parquet."
        with fs.open(name) as file, as_os_errors(path, remedy):
            if name.lower().endswith(".csv"):
                options = {"keep_default_na": False, "na_values": [""], "index_col": False}
                yield from pd.read_csv(file, dtype=str, chunksize=_CHUNK, **options)
            else:
                from pyarrow.parquet import ParquetFile

                for batch in ParquetFile(file).iter_batches(_CHUNK, use_threads=False):
                    yield batch.to_pandas(integer_object_nulls=True)  # floats are not exact


def _list_table(frames, folder):
    """Yield the entries of the lines of tables; relative paths are those from the folder."""
    for frame in frames:
        if "path" not in frame:
            raise ValueError(
                f"The table has the columns {frame.columns.tolist()}, expected 'path', and where "
                "known 'mask', 'group' and 'label'."
            )
        columns = frame.reindex(columns=_COLUMNS).astype(object)
        columns = columns.where(columns.notna() & (columns != ""), None)
        for line in columns.itertuples(index=False):
            path, mask = (name and _resolve(folder, name) for name in line[:2])
            if path is None:
                raise ValueError("The table has a line without a path. Remove it, or fill it in.")
            yield _as_entry(path, mask, *map(_as_text, line[2:]))


def _as_text(cell):
    if isinstance(cell, (float, np.floating)) and cell.is_integer():  # beside missing ones
        cell = int(cell)
    return None if cell is None else str(cell).encode("utf-8", "backslashreplace").decode()


def _resolve(folder, name):
    name = os.fspath(name)
    is_whole = not folder or "://" in name or os.path.isabs(name)
    return name if is_whole else f"{folder}/{name}"


class LazyImage:
    """An item of a batch whose pixels a function returns, or an error about them."""

    def __init__(self, read, *arguments):
        self._read, self._arguments = read, arguments

    def __array__(self, dtype=None, copy=None):
        return self._read(*self._arguments)


def _masked(path, mask):
    """Return an item of a batch: a file that is read with its mask, and its spacing."""
    spacing = None
    with suppress(ImageReadError):  # raised again when the pixels are read
        spacing = read_header(path).get("spacing")
    image = LazyImage(_read_masked, path, mask)
    return image if spacing is None else SpacedImage(image, spacing)


def _read_masked(path, mask):
    image = read_item(path, None)
    return restrict(image, read_mask(mask, image.shape))


def _fail(reason):
    raise ImageReadError(reason)


@contextmanager
def opened(partition):
    """Bring the images of a partition to this machine, as long as they are needed.

    Parameters
    ----------
    partition : Partition
        The images.

    Yields
    ------
    items : list
        The images, on a disk of this machine; files in the folder that are none are left out.
    entries : list of Entry
        Those of the items.
    n_left_out : int
        Number of files that were left out.

    Raises
    ------
    ImageError
        If one is raised in the ``with`` block: with the image's path and position in the source.
    """
    with TemporaryDirectory(prefix="featbus") as folder:
        entries, numbers = [], count()
        for entry in partition.entries:
            entries += _extract(entry, folder, numbers) if entry.kind == "tar" else [entry]
        local = _download([name for e in entries for name in (e.item, e.mask)], folder)
        items, kept = [], []
        for entry in entries:
            item = local.get(entry.item, entry.item) if is_path(entry.item) else entry.item
            if entry.kind == "file" and not is_image_file(Path(item)):
                continue
            if entry.mask is not None:
                item = _masked(item, local.get(entry.mask, entry.mask))
            items.append(item)
            kept.append(entry)
        try:
            yield items, kept, len(entries) - len(kept)
        except ImageError as error:  # of a file that may be a copy
            if error.index is None:
                raise
            index = None if partition.start is None else partition.start + error.index
            raise error.at(index, kept[error.index].path) from error


def _download(names, folder):
    """Copy what is at an address to a folder; return the copy of each address."""
    local, keys = {}, {}
    for name in dict.fromkeys(name for name in names if is_path(name) and "://" in str(name)):
        local[name] = os.path.join(folder, f"{len(local):06d}{PurePosixPath(name).suffix}")
        fs, key = open_address(name)
        keys.setdefault(fs, []).append((name, key))
    for fs, pairs in keys.items():
        for some in gen_batches(len(pairs), _DOWNLOADS):
            addresses, paths = zip(*pairs[some])
            with as_os_errors(addresses[0]):
                # Not `cat`, for which names may be patterns.
                for name, content in zip(addresses, fs.cat_ranges(list(paths), None, None)):
                    if isinstance(content, FileNotFoundError):  # reading it says so
                        continue
                    if isinstance(content, Exception):
                        raise content
                    Path(local[name]).write_bytes(content)
    return local


class _Member(tarfile.TarInfo):
    """A header, which tarfile takes for the end of the file if it is damaged or cut off."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _read_members(shard):
    """Yield the name and the content of each visible file of a tar file, None for a link."""
    fs, name = open_address(shard.item)
    with fs.open(name) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
        for member in tar:
            if not (member.isdir() or PurePosixPath(member.name).name.startswith(".")):
                yield member.name, tar.extractfile(member).read() if member.isfile() else None


def _extract(shard, folder, numbers):
    """Extract a tar file, whose names follow WebDataset; return an entry for each image."""
    samples, seen, entries = {}, set(), []

    def fail(path, reason):
        entries.append(Entry(LazyImage(_fail, reason), path, 0, None))

    try:
        for member, content in _read_members(shard):
            name, path = PurePosixPath(member), f"{shard.path}::{as_unicode(member)}"
            stem, *kinds = name.name.split(".")
            images, masks, texts = samples.setdefault(name.parent / stem, ([], {}, {}))
            key = ".".join(kind for kind in kinds[:-1] if kind != "mask")
            # The names of members are never those of files.
            copy = Path(folder, f"member{next(numbers):06d}{name.suffix}")
            if name in seen or ("mask" in kinds and key in masks):
                fail(path, "it is there twice. Give each file of the tar file another name.")
            elif content is None:
                fail(path, "it is a link. Write files: tar --dereference --hard-dereference.")
            elif kinds in (["cls"], ["json"]):
                texts[kinds[0]] = content
            else:
                copy.write_bytes(content)
                if "mask" in kinds:
                    masks[key] = str(copy)
                else:
                    images.append((key, str(copy), path))
            seen.add(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        fail(shard.path, f"the tar file is damaged or incomplete ({error}). Copy it again.")
    for images, masks, texts in samples.values():
        facts, damage = {}, None
        try:
            facts = {**json.loads(texts.get("json", "{}"))}
            if "cls" in texts:
                facts["label"] = texts["cls"].decode().strip()
        except (ValueError, TypeError, RecursionError) as error:
            damage = f"its .json or .cls file is damaged ({error})."
        names = [_as_text(facts.get(key)) for key in ("group", "label")]
        spare = [masks[key] for key in masks.keys() - {key for key, *_ in images}]
        for key, copy, path in images:
            mask = masks.get(key, spare[0] if len(spare) == 1 else None)
            if damage:
                fail(path, damage)
            elif spare and mask is None:
                fail(path, "its mask is one of several. Name it a.left.mask.png for a.left.png.")
            else:
                entries.append(Entry(copy, path, 0, None, mask, *names, "file"))
    return entries
