"""mini-MIAS: digitized mammograms with circles around the abnormalities."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.datasets import _base
from featbus.datasets._files import is_visible, path_array, quote
from featbus.parameters import StrOptions, check_parameters
from featbus.typing import PathLike

_TARGETS = {
    "abnormality": ["normal", "abnormal"],
    "severity": ["normal", "benign", "malignant"],
    "tissue": ["fatty", "fatty-glandular", "dense-glandular"],
}
_TISSUE = dict(zip("FGD", _TARGETS["tissue"]))
_SEVERITY = {"B": "benign", "M": "malignant"}
_LAST_ROW = 1023
_ROW = re.compile(
    r"^(?P<name>mdb(?P<id>\d{3}))\s+(?P<tissue>[FGD])\s+"
    r"(?:NORM|(?P<class>CALC|CIRC|SPIC|MISC|ARCH|ASYM)\s+(?P<severity>[BM])"
    r"(?:\s+(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<radius>\d+)|\s+\*NOTE 3\*)?)\s*$"
)


def load_mini_mias(
    root: PathLike, *, target: Literal["abnormality", "severity", "tissue"] = "abnormality"
) -> Bunch:
    """Load the MIAS MiniMammographic Database (mini-MIAS).

    Reads the original release as it is on disk: ``Info.txt`` next to ``mdb001.pgm``,
    ``mdb002.pgm``, ... A subset of the images is fine. No pixels are read.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    root : path-like
        The folder that holds ``Info.txt`` and the images, or that holds ``all-mias``.
    target : {"abnormality", "severity", "tissue"}, default="abnormality"
        The target. ``"abnormality"``: 0 normal, 1 abnormal. ``"severity"``: 0 normal, 1 benign,
        2 malignant, the worst finding of the image. ``"tissue"``: 0 fatty, 1 fatty-glandular,
        2 dense-glandular.

    Returns
    -------
    Bunch
        The images are sorted by number.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            The class of each image, an index into `target_names`.
        target_names : list of str
            The name of each class.
        groups : ndarray of int of shape (n_images,)
            The woman, ``(id - 1) // 2``. Images with the same number show her two breasts and must
            be on the same side of every split.
        masks : ndarray of shape (n_images,), dtype object
            None for every image: findings are circles, not outlines.
        frame : DataFrame of n_images rows
            ``file``, ``id``, ``side`` (right if the id is odd), ``view`` (MLO), ``tissue``,
            ``class`` (NORM, or the distinct classes of the findings joined by semicolons),
            ``abnormality``, ``severity``, ``findings`` (their number), ``group``.
        findings : DataFrame
            One row per finding: ``image`` (position in `images`), ``file``, ``class``,
            ``severity``; ``x``, ``y``, ``radius`` as in Info.txt; ``row``, ``column``, the center
            in the array; all in pixels, NaN if the table has no value.
        DESCR : str
            Description, source, license, citation and known pitfalls.

    Raises
    ------
    FileNotFoundError
        If the folder, Info.txt or all images are missing.
    ValueError
        If `target` is invalid, a row of the table cannot be read, or an image has no row.

    See Also
    --------
    featbus.load_busi : Breast ultrasound.
    featbus.load_image_folder : Your own images.
    featbus.make_mammograms : Synthetic mammograms.

    Notes
    -----
    The origin of x and y is the bottom-left corner, whereas row 0 of an array is the top row. The
    release does not say whether pixels are counted from 0 or from 1. featbus counts from 0:
    ``row = 1023 - y`` and ``column = x``. Counting from 1 would put the center one row lower and
    one column further left.

    A variant of the table that circulates on the web lists mdb212 and mdb214 as NORM, the release
    of 1995 as CALC B. Labels are those of the table that is there.

    References
    ----------
    .. [1] Suckling J, et al. The Mammographic Image Analysis Society Digital Mammogram Database.
       Excerpta Medica, International Congress Series 1069 (1994) 375-378.

    Examples
    --------
    >>> from featbus.datasets import load_mini_mias
    >>> mias = load_mini_mias("all-mias", target="severity")  # doctest: +SKIP
    >>> mias.findings.loc[0, ["file", "class", "severity", "row", "column", "radius"]].tolist()
    ... # doctest: +SKIP
    ['mdb001.pgm', 'CIRC', 'benign', 598.0, 535.0, 197.0]
    """
    check_parameters({**_base.CONSTRAINTS, "target": [StrOptions(set(_TARGETS))]}, locals())
    folder = _base.release_folder(root, "all-mias")
    paths, table = _find_files(folder)
    rows = _image_rows(paths, _read_info(table))
    findings, masks = _findings(rows), np.full(len(paths), None)
    frame, images = _frame(rows, findings), path_array(paths)
    options = {"target": target, "DESCR": _base.read_descr("mini_mias.rst")}
    return _base.as_bunch(images, masks, frame, _TARGETS[target], findings=findings, **options)


def _find_files(folder):
    """Return the images, sorted by name, and Info.txt."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if is_visible(path)}
    paths = [files[name] for name in sorted(files) if name.endswith(".pgm")]
    if not paths or "info.txt" not in files:
        raise FileNotFoundError(
            f"Found {len(paths)} .pgm images and {'an' if 'info.txt' in files else 'no'} Info.txt "
            f"in {str(folder)!r}, expected those of the release, not converted to another format."
        )
    return paths, files["info.txt"]


def _read_info(path):
    """Return the rows of Info.txt: one per finding and one per normal image."""
    lines = pd.Series(path.read_text(encoding="latin-1").splitlines())
    lines = lines[lines.str.match(r"mdb\d")]  # no text before and after the table
    rows = lines.str.extract(_ROW)
    wrong = lines[rows["name"].isna()]
    if len(wrong):
        raise ValueError(
            f"Line {wrong.index[0] + 1} of {str(path)!r} is {wrong.iloc[0]!r}, expected a row like "
            "'mdb001 G CIRC B 535 425 197' or 'mdb003 D NORM'."
        )
    rows = rows.replace({"tissue": _TISSUE, "severity": _SEVERITY})
    return rows.astype({"id": int, "x": float, "y": float, "radius": float})


def _image_rows(paths, table):
    """Return the rows of the images on disk, with the position and the file of the image."""
    images = pd.DataFrame({"image": range(len(paths)), "file": [path.name for path in paths]})
    images["name"] = [path.stem.lower() for path in paths]
    unknown = images.loc[~images["name"].isin(table["name"]), "file"].tolist()
    if unknown:
        raise ValueError(
            f"Info.txt has no row for {quote(unknown)}, expected images of the release only."
        )
    return images.merge(table, on="name", how="left")


def _findings(rows):
    columns = ["image", "file", "class", "severity", "x", "y", "radius"]
    findings = rows.loc[rows["class"].notna(), columns].reset_index(drop=True)
    return findings.assign(row=_LAST_ROW - findings["y"], column=findings["x"])


def _frame(rows, findings):
    of_image = findings.groupby("image")
    frame = rows.drop_duplicates("image").set_index("image")[["file", "id", "tissue"]]
    frame.insert(2, "side", np.where(frame["id"] % 2 == 1, "right", "left"))
    frame.insert(3, "view", "MLO")
    frame["class"] = of_image["class"].agg(lambda names: ";".join(dict.fromkeys(names)))
    frame["abnormality"] = np.where(frame["class"].isna(), "normal", "abnormal")
    # "malignant" also sorts after "benign": the maximum is the worst finding.
    frame["severity"] = of_image["severity"].max()
    frame["findings"] = of_image.size()
    frame["group"] = (frame["id"] - 1) // 2
    frame = frame.fillna({"class": "NORM", "severity": "normal", "findings": 0})
    return frame.astype({"findings": int}).rename_axis(None)
