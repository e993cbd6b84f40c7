"""Copies planted in a data set: how many of each kind the audit finds, and what else it joins.

python benchmarks/comparisons/planted_copies.py [DIR [GROUPS]]

DIR is any folder that `featbus.datasets.load_dataset` reads, GROUPS a table of its groups, which
BUSI needs; without both, images are synthetic. Joined pairs of different groups are false. Each
kind of copy is made of 20 images, one per group, which are in the training part while the copies
are in the test part. `leak` is the share of copies that the audit calls a leak, `suggested` the
share that the suggested groups keep with the original.
"""

import sys
import warnings

import cv2
import numpy as np

from featbus import ImageAugmenter, audit, find_near_duplicates
from featbus.color import to_gray, to_uint8
from featbus.datasets import load_dataset, make_breast_ultrasound
from featbus.io import read_item

N_COPIES = 20
N_IMAGES = 300
LEAKS = ["exact", "near-duplicates", "mirrored"]


def warp(image, degrees=0, share=0.0):
    height, width = image.shape
    affine = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    affine[:, 2] += share * width, share * height
    return cv2.warpAffine(image, affine, (width, height))


def crop(image, share):
    """Remove a share of the width and of the height at each side."""
    rows, columns = (round(share * side) for side in image.shape)
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns].copy()


def add_noise(image):
    noise = np.random.default_rng(image.size).normal(0, 10, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compress(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0)


def stretch(image, ratio):
    height, width = image.shape
    return cv2.resize(image, (width, round(height / ratio)), interpolation=cv2.INTER_AREA)


KINDS = {
    "exact": np.copy,
    "brightness x 1.3": lambda image: np.clip(1.3 * image, 0, 255).astype(np.uint8),
    "gamma 0.6": lambda image: np.rint(255 * (image / 255) ** 0.6).astype(np.uint8),
    "JPEG, quality 50": compress,
    "noise": add_noise,
    "CLAHE": lambda image: cv2.createCLAHE(3).apply(image),
    "flip": lambda image: image[:, ::-1].copy(),
    "upside down": lambda image: image[::-1].copy(),
    "quarter turn": lambda image: np.rot90(image).copy(),
    "inverted": lambda image: 255 - image,
    "crop 5 % at each side": lambda image: crop(image, 0.05),
    "crop 15 % at each side": lambda image: crop(image, 0.15),
    "crop 15 % at the left": lambda image: image[:, round(0.15 * image.shape[1]) :].copy(),
    "crop 15 % at the top": lambda image: image[round(0.15 * image.shape[0]) :].copy(),
    "shift 10 %": lambda image: warp(image, share=0.1),
    "shift 15 %": lambda image: warp(image, share=0.15),
    "rotation 3": lambda image: warp(image, 3),
    "rotation 10": lambda image: warp(image, 10),
    "rotation 15": lambda image: warp(image, 15),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=3),
    "stretched by 1.2": lambda image: stretch(image, 1.2),
    "stretched by 1.5": lambda image: stretch(image, 1.5),
    "ImageAugmenter()": lambda image: ImageAugmenter(1).fit_resample([image], [0])[0][1],
}


def load(folder, table):
    """Return images, their classes and their groups: by the table, or of the data set itself."""
    if folder is None:
        data = make_breast_ultrasound(2 * N_IMAGES, weights=[1, 1, 0], random_state=0)
        keep = np.unique(data.groups, return_index=True)[1]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            data = load_dataset(folder, groups=table)
        if getattr(data.groups, "note", ""):
            raise SystemExit("The groups are near-duplicates themselves. Pass a table of groups.")
        keep = np.arange(len(data.images))
    groups = keep if data.groups is None else np.asarray(data.groups)[keep]
    target = np.asarray(data.target)[keep]
    order = np.random.default_rng(0).permutation(len(keep))[:N_IMAGES]
    return [data.images[keep[k]] for k in order], target[order], groups[order]


def plant(images, y, change, chosen):
    """Return the shares of copies that are a leak, and with their originals in a group."""
    n = len(images)
    copies = [change(to_uint8(to_gray(read_item(images[k], k)))) for k in chosen]
    copied = np.arange(n, n + len(chosen))
    folds = [(np.arange(n), copied)]
    report = audit([*images, *copies], np.r_[y, y[chosen]], cv=folds, n_jobs=2)
    checks = report.checks.query("severity == 'leak'")["check"]
    found = [report.images[check] for check in checks if check.startswith(tuple(LEAKS))]
    leaking = np.isin(copied, np.concatenate([np.arange(0), *found]))
    groups = report.suggested_groups
    return leaking.mean(), (groups[copied] == groups[chosen]).mean(), report.passed


def main(folder=None, table=None):
    images, y, groups = load(folder, table)
    found = find_near_duplicates(images, n_jobs=2)
    joined, belong = (
        np.equal.outer(labels, labels)[np.triu_indices(len(images), 1)]
        for labels in (found, groups)
    )
    print(f"{len(images)} images, {len(joined):,} pairs, {(~belong).sum():,} of different groups")
    print(f"pairs joined: {joined.sum()}, of different groups: {(joined & ~belong).sum()}")
    print(f"pairs of the same group: {belong.sum()}, joined: {(joined & belong).sum()}")
    # Originals without other near-duplicates, so that each copy has one original.
    alone = np.flatnonzero(np.bincount(found)[found] == 1)
    chosen = alone[:: max(1, len(alone) // N_COPIES)][:N_COPIES]
    print(f"\n{'copies of ' + str(len(chosen)) + ' images':26}{'leak':>8}{'suggested':>11}  passed")
    for name, change in KINDS.items():
        leak, suggested, passed = plant(images, y, change, chosen)
        print(f"{name:26}{leak:8.0%}{suggested:11.0%}  {passed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
