"""The audit's shortcuts: which checks warn if one is planted, and how often they do if none is.

python benchmarks/comparisons/planted_shortcuts.py [DIR] [--half {even,odd}] [--images N]

DIR is a copy of BUSI or mini-MIAS, or a folder with one folder per class; without it, images are
synthetic. Labels are first permuted among groups, so that nothing predicts them. Then each shortcut
in turn is planted into all images of one class. Thresholds were chosen on the even groups of BUSI
and the even women of mini-MIAS.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from featbus import make_breast_ultrasound
from featbus.color import to_gray, to_uint8
from featbus.datasets import load_dataset
from featbus.io import read_image, read_mask
from featbus.model_selection._audit import check_shortcuts
from featbus.model_selection._measures import measure_image, measure_mask
from featbus.model_selection._shortcuts import _permute, score_shortcuts

SEEDS = 20
GRAY = 128


def draw(shape, image, rng, color):
    """Draw at a random place, in a size of a twelfth of the shorter side."""
    size = max(8, min(image.shape[:2]) // 12)
    image = image.copy()
    y, x = (int(rng.integers(size, side - 3 * size)) for side in image.shape[:2])
    if shape == "text":
        scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, size // 2, 1)
        cv2.putText(image, "R 2", (x, y + size), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1)
    elif shape == "box":
        image[y : y + size, x : x + size] = color
    else:
        other = (x + int(rng.integers(-size, 2 * size)), y + 2 * size)
        for center in ((x, y), other):
            cv2.drawMarker(image, center, color, cv2.MARKER_CROSS, size // 2)
    return image


def drawn(shape, color=GRAY):
    return lambda image, rng: draw(shape, image, rng, color)


def with_lines(image, rows, columns):
    image = image.copy()
    image[rows] = image[:, columns] = 0
    return image


def border(axis):
    def plant(image, rng):
        width = max(2, image.shape[axis] // int(rng.integers(25, 50)))
        lines = np.r_[:width, -width:0]
        return with_lines(image, *((lines, []) if axis == 0 else ([], lines)))

    return plant


def line(image, rng):
    return with_lines(image, [int(rng.integers(10, len(image) - 10))], [])


def levels(function):
    """Return a plant that changes the gray levels, as float, by a function of image and `rng`."""
    return lambda image, rng: np.rint(np.clip(function(image.astype(float), rng), 0, 255)).astype(
        np.uint8
    )


def jpeg(quality):
    def plant(image, rng):
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)

    return plant


def scaled(factor_y, factor_x):
    return lambda image, rng: cv2.resize(image, None, fx=factor_x, fy=factor_y)


def colored(image, rng):
    return draw("text", np.dstack([image] * 3), rng, (0, 255, 255))


def to_rgb(image, rng):
    return np.dstack([image] * 3)


def to_box(mask):
    box = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size:
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def grown(mask):
    size = max(3, min(mask.shape) // 3)
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0


# Name, the shortcut that must be found, and what is done to image, mask or file.
PLANTS = [
    ("white text", "marks", {"image": drawn("text", 255)}),
    ("gray text", "marks", {"image": drawn("text")}),
    ("gray square", "marks", {"image": drawn("box")}),
    ("gray calipers", "marks", {"image": drawn("caliper")}),
    ("white calipers", "marks", {"image": drawn("caliper", 255)}),
    ("black calipers", "marks", {"image": drawn("caliper", 0)}),
    ("black box", "marks", {"image": drawn("box", 0)}),
    ("colored text", "marks", {"image": colored}),
    ("black rows", "borders", {"image": border(0)}),
    ("black columns", "borders", {"image": border(1)}),
    ("a black row inside", "borders", {"image": line}),
    ("JPEG, quality 75", "compression", {"image": jpeg(75)}),
    ("JPEG, quality 90", "compression", {"image": jpeg(90)}),
    ("brightness x 1.25", "exposure", {"image": levels(lambda image, rng: image * 1.25)}),
    ("brightness + 20", "exposure", {"image": levels(lambda image, rng: image + 20)}),
    ("gamma 0.65", "exposure", {"image": levels(lambda image, rng: 255 * (image / 255) ** 0.65)}),
    (
        "contrast x 1.4",
        "contrast",
        {"image": levels(lambda image, rng: image.mean() + 1.4 * (image - image.mean()))},
    ),
    (
        "noise, sigma 5",
        "sharpness and noise",
        {"image": levels(lambda image, rng: image + rng.normal(0, 5, image.shape))},
    ),
    (
        "blur, sigma 1",
        "sharpness and noise",
        {"image": lambda image, rng: cv2.GaussianBlur(image, None, 1)},
    ),
    ("size x 1.2", "image size", {"image": scaled(1.2, 1.2), "mask": scaled(1.2, 1.2)}),
    ("width x 1.2", "aspect ratio", {"image": scaled(1, 1.2), "mask": scaled(1, 1.2)}),
    (
        "16 bits",
        "bit depth and channels",
        {"image": lambda image, rng: image.astype(np.uint16) * 257},
    ),
    ("three channels", "bit depth and channels", {"image": to_rgb}),
    ("BMP file", "file format", {"suffix": ".bmp"}),
    ("PNG, weakly compressed", "file size", {"options": [cv2.IMWRITE_PNG_COMPRESSION, 0]}),
    ("grown mask", "mask size", {"mask": lambda mask, rng: grown(mask)}),
    ("box as mask", "mask shape", {"mask": lambda mask, rng: to_box(mask)}),
    (
        "moved mask",
        "mask position",
        {"mask": lambda mask, rng: np.roll(mask, mask.shape[1] // 3, axis=1)},
    ),
]


def load(folder, half, n_images):
    """Return gray images, masks, classes and groups: whole groups, drawn at random."""
    if folder is None:
        data = make_breast_ultrasound(n_images, weights=[1, 1, 0], random_state=0)
        return list(data.images), list(data.masks), data.target, data.groups
    table = Path(folder, "groups.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_dataset(folder, groups=table if table.exists() else None)
    groups = np.arange(len(data.target)) if data.groups is None else data.groups
    groups = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    if half is not None:
        order = order[order % 2 == ("even", "odd").index(half)]
    order = order[np.cumsum(np.bincount(groups)[order]) <= n_images]
    chosen = np.flatnonzero(np.isin(groups, order))
    images = [to_uint8(to_gray(np.ma.getdata(read_image(data.images[i])))) for i in chosen]
    masks = data.get("masks")
    if masks is not None:
        masks = [read_mask(masks[i], image.shape) for i, image in zip(chosen, images)]
        masks = None if all(mask is None for mask in masks) else masks
    groups = np.unique(groups[chosen], return_inverse=True)[1]
    return images, masks, data.target[chosen], groups


def measure(folder, image, mask, suffix=".png", options=()):
    """Write an image to a file, and measure both."""
    path = Path(folder, f"image{suffix}")
    pixels = image if image.ndim == 2 else image[..., ::-1]
    cv2.imwrite(str(path), pixels, list(options))
    return measure_image(path, read_image(path)) | measure_mask(mask)


def plant(folder, image, mask, change, rng):
    if "image" in change:
        image = change["image"](image, rng)
    if mask is not None and "mask" in change:
        mask = change["mask"](mask.astype(np.uint8), rng) > 0
    options = {name: change[name] for name in ("suffix", "options") if name in change}
    return measure(folder, image, mask, **options)


def find_warnings(measures, y, groups, seed):
    """Return the shortcuts that the audit warns of."""
    scores = score_shortcuts(pd.DataFrame(measures), y, groups, random_state=seed)
    checks = check_shortcuts(scores)
    return [check.check.partition(": ")[2] for check in checks if check.severity == "warning"]


def print_planted(folder, images, masks, clean, y, groups):
    """Print what the audit says of each planted shortcut."""
    n_found = n_planted = 0
    print(f"{'planted':24}{'expected':24}{'':8}all warnings")
    for number, (name, expected, change) in enumerate(PLANTS):
        if masks is None and "image" not in change and "mask" in change:
            continue
        rng = np.random.default_rng(number)
        permuted = _permute(y, groups, np.random.RandomState(number))
        measures = [
            plant(folder, image, mask, change, rng) if label == 0 else known
            for image, mask, known, label in zip(images, masks or [None] * len(y), clean, permuted)
        ]
        found = find_warnings(measures, permuted, groups, number)
        n_found, n_planted = n_found + (expected in found), n_planted + 1
        verdict = "found" if expected in found else "MISSED"
        print(f"{name:24}{expected:24}{verdict:8}{', '.join(found)}", flush=True)
    print(f"{n_found} of {n_planted} found")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--half", choices=["even", "odd"])
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    images, masks, y, groups = load(options.folder, options.half, options.images)
    print(f"{len(images)} images in {groups.max() + 1} groups, classes {np.bincount(y).tolist()}")
    with tempfile.TemporaryDirectory() as folder:
        clean = [
            measure(folder, image, mask) for image, mask in zip(images, masks or [None] * len(y))
        ]
        print_planted(folder, images, masks, clean, y, groups)
    found = [
        find_warnings(clean, _permute(y, groups, np.random.RandomState(1000 + seed)), groups, seed)
        for seed in range(options.seeds)
    ]
    n_false = sum(map(bool, found))
    print(f"clean, {options.seeds} permutations of the labels: {n_false} audits with a warning")
    for names in filter(None, found):
        print(f"  {', '.join(names)}")


if __name__ == "__main__":
    main()
