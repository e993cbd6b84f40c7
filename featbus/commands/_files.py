"""Files in and out: the images to work on with what is known about each, and tables."""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pandas as pd

from featbus.bus import FeatureBus, ImageWarning
from featbus.bus._parquet import import_pyarrow
from featbus.commands._data import first_lines, load_labeled
from featbus.datasets import detect_layout, load_busi, load_images
from featbus.datasets._base import SPACING
from featbus.datasets._files import as_name, quote
from featbus.datasets._folder import PARTS
from featbus.files import as_unicode, escape_formula, written_whole
from featbus.images import ImageError
from featbus.io import SpacedImage, read_image, read_mask, split_frame
from featbus.masks import restrict
from featbus.parameters import InvalidParameterError


@dataclass(frozen=True)
class MaskedFile:
    """An image of a batch that is read with its masks when its pixels are needed.

    Parameters
    ----------
    path : str
        The file of the image.
    masks : tuple of str, or None
        The files of its masks.
    """

    path: str
    masks: tuple | None

    def __array__(self, dtype=None, copy=None):
        image = read_image(self.path)
        inside = read_mask(self.masks, image.shape)
        if inside is None or not inside.any():
            found = "found no mask or an empty one, expected a region. Draw it, or leave masks out."
            raise ImageError(found, path=self.path)
        return restrict(image, inside)


def open_images(options, with_classes=True):
    """Find the images in a folder, or take files, with what is known about them.

    Parameters
    ----------
    options : SimpleNamespace
        With ``data``, a folder of any layout, or several files and folders; and ``strict``,
        ``masks`` and ``groups`` of `load_images`.
    with_classes : bool, default=True
        Whether folders may be classes, and masks are looked for. If not, empty folders are allowed.

    Returns
    -------
    items : list of str, MaskedFile or SpacedImage
        The images; masked ones with `masks`.
    info : DataFrame
        ``path`` relative to the data, and ``group``, ``class``, ``split``, ``origin``, ``side``,
        ``view``, ``mask``, ``spacing_row`` and ``spacing_column`` where known.
    """
    data, is_path = options.data, isinstance(options.data, (str, os.PathLike))
    masks, groups = options.masks if with_classes else None, options.groups
    if is_path and os.path.isfile(split_frame(data)[0]):
        data, is_path = [data], False
    layout = detect_layout(data, masks=masks) if is_path and with_classes else "images"
    if layout in ("BUSI", "mini-MIAS"):
        # `load_dataset` would look for near-duplicates in BUSI: that reads all images.
        is_plain = layout == "BUSI" and masks in (None, "_mask")
        found = load_labeled(options, *((load_busi, ("groups", "strict")) if is_plain else ()))
        files = [Path(os.path.relpath(path, data)).as_posix() for path in found.images]
    else:
        data = data if is_path else _list_files(data, masks, options.strict)
        found = load_images(data, masks=masks, groups=groups, strict=options.strict)
        files = found.frame["file"].tolist()
    info = pd.DataFrame({"path": files})
    if "listed_group" in found.frame:  # similar groups have the name of the first
        info["group"] = found.frame.groupby("group")["listed_group"].transform("first").to_numpy()
    elif found.groups is not None:
        info["group"] = found.groups
    if layout in ("class folders", "split"):
        parts = [PurePosixPath(file).parts for file in files]
        info["class"] = [as_name(part[layout == "split"]) for part in parts]
        if layout == "split":
            info["split"] = [PARTS[part[0].lower()] for part in parts]
    elif "target" in found:
        info["class"] = [found.target_names[label] for label in found.target]
    info = info.join(found.frame.filter(["origin", "side", "view"]))
    items = found.images.tolist()
    if masks is not None:
        names = [";".join(Path(file).name for file in files or ()) for files in found.masks]
        info["mask"] = [as_unicode(name) or None for name in names]
        items = [MaskedFile(*pair) for pair in zip(items, found.masks)]
    if {*SPACING} <= {*found.frame}:
        info[SPACING] = found.frame[SPACING].to_numpy()
        if masks is not None or groups is not None:  # which may be a table with spacings
            items = list(map(SpacedImage, items, info[SPACING].to_numpy().tolist()))
    return items, info


def _list_files(paths, masks, strict):
    """Return the files among some paths, and the images in the folders among them."""
    parts = [
        load_images(path, masks=masks, strict=strict).images if os.path.isdir(path) else [path]
        for path in map(os.fspath, paths)
    ]
    return [file for part in parts for file in part]


def check_output(path, *suffixes):
    """Refuse a file of another extension, or one that cannot be written, before hours of work."""
    if path is None:
        return
    path = Path(path)
    if path.suffix.lower() not in suffixes or path.is_dir() or not path.parent.is_dir():
        raise InvalidParameterError(
            f"output is {str(path)!r}, expected a file ending in {' or '.join(suffixes)} in an "
            "existing folder."
        )
    NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent).close()
    if path.suffix.lower() == ".parquet":
        import_pyarrow()


def write_table(table, path):
    """Write a table to a ``.csv`` or ``.parquet`` file: the whole file, or nothing.

    In CSV, text that a spreadsheet would take for a formula gets an apostrophe.
    """
    with written_whole(path) as hidden:
        if Path(path).suffix.lower() == ".parquet":
            table.to_parquet(hidden, index=False, engine="pyarrow")
        else:
            table.map(escape_formula).rename(columns=escape_formula).to_csv(hidden, index=False)


@contextmanager
def written_together(path, *others):
    """Write files in a hidden folder, and move all of them to their places at the end.

    Parameters
    ----------
    path : Path
        The main file, which is moved last.
    *others : Path
        Files that say something about it, in the same folder.

    Yields
    ------
    Path
        The hidden folder, in which to write files of these names. It is removed after an error.
    """
    with TemporaryDirectory(prefix=".featbus-", dir=path.parent) as folder:
        yield Path(folder)
        for each in (*others, path):
            os.replace(Path(folder) / each.name, each)


def compute_rows(transformer, images, **settings):
    """Return the rows of images, NaN where one fails, and the bus, which has the errors."""
    bus = FeatureBus(transformer, on_error="nan", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # all errors are reported
        return bus.fit_transform(images), bus


def add_errors(table, errors):
    """Return a table of images with the column ``error``: None, or the reason."""
    reasons = dict.fromkeys(table.index) | {error.index: error.reason for error in errors}
    return table.assign(error=pd.Series(reasons, dtype=object))


def finish_table(table, options, found, images):
    """Write a table, or print it, and print the images without a result, from a table of these."""
    if options.output is not None:
        write_table(table, options.output)
    failed = images[images["error"].notna()]
    where = "" if options.output is None else f" in {os.fspath(options.output)}"
    head = f"{len(images) - len(failed)} of {len(images)} images with {found}{where}"
    lines = [
        f"{names[0]}: {reason}"
        if len(names) == 1
        else f"{len(names)} images: {reason} ({quote(names)})"
        for reason, names in failed.groupby("error", sort=False)["path"].agg(list).items()
    ]
    options.say(head, *first_lines(lines))
    if options.output is None:
        options.say(table)
