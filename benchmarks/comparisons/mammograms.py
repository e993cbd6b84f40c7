"""Breast region and pectoral muscle: accuracy on real mammograms, CPU time and memory.

python benchmarks/comparisons/mammograms.py [tuning|reporting|all]

Needs the folders ddsm-pectoral, mini-mias and busi in the folder that FEATBUS_TEST_DATA names. A
case, woman or group of duplicates belongs to the half that its name's hash says. All constants were
chosen on the tuning half. An abstention counts as Dice 0. CPU time of one thread, interleaved.
"""

import csv
import hashlib
import os
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
from skimage.feature import canny

from featbus import BreastRegion, PectoralMuscleRemover
from featbus.io import read_image

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
HALF = sys.argv[1] if len(sys.argv) > 1 else "reporting"


def in_half(key):
    even = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 == 0
    return HALF == "all" or even == (HALF == "tuning")


def ddsm():
    paths = sorted(DATA.glob("ddsm-pectoral/*_MLO.png"))
    return [path for path in paths if in_half(path.name.split(".")[0])]


def mini_mias():
    paths = sorted(DATA.glob("mini-mias/*.pgm"))
    return [path for path in paths if in_half(str((int(path.stem[3:]) - 1) // 2))]


def busi():
    with open(DATA / "busi" / "groups.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    name = next(iter(rows[0]))
    groups = {Path(row[name]).stem: row["group"] for row in rows}
    paths = sorted(path for path in DATA.glob("busi/*/*.png") if "_mask" not in path.name)
    return [path for path in paths if in_half("g" + groups[path.stem])]


def dice(first, second):
    return 2 * np.sum(first & second) / (np.sum(first) + np.sum(second))


def accuracy(detect):
    scores = []
    for path in ddsm():
        truth = read_image(path.with_name(f"{path.stem}_LI.png")) == 255
        scores.append(dice(detect(read_image(path)).mask, truth))
    scores = np.array(scores)
    print(f"{HALF}: DDSM, {len(scores)} images: Dice mean {scores.mean():.3f}, ", end="")
    print(f"median {np.median(scores):.3f}, 0.8 or more on {np.mean(scores >= 0.8):.0%}")
    films = [read_image(path) for path in mini_mias()]
    print(f"mini-MIAS, muscle found: {share(detect, films)}")
    films += [read_image(path) for path in ddsm()]
    lower = [film[int(0.6 * len(film)) :] for film in films]
    print(f"lower 40 % of mammograms, wrong cuts: {share(detect, lower)}")
    print(f"mammograms upside down, wrong cuts: {share(detect, [film[::-1] for film in films])}")
    print(f"BUSI, wrong cuts: {share(detect, map(read_image, busi()))}")


def breast(detect):
    scores, extra = [], []
    for path in sorted(DATA.glob("ddsm-pectoral/*_MLO.png")):
        truth = read_image(path.with_name(f"{path.stem}_LI.png")) != 64
        mask = detect(read_image(path)).mask
        scores.append(dice(mask, truth))
        extra.append(np.sum(mask & ~truth) / np.sum(mask ^ truth))
    print(
        f"all: DDSM, {len(scores)} images: Dice of the breast, median {np.median(scores):.3f}; of",
        end="",
    )
    print(f" the difference, {np.mean(extra):.0%} lies outside the reader's outline")


def share(detect, images):
    found = [detect(image).found for image in images]
    return f"{sum(found)} of {len(found)}, {np.mean(found):.1%}"


def cpu_time(image, repeats=11):
    cv2.setNumThreads(1)
    sides = {
        "skimage.feature.canny": lambda: canny(image),
        "BreastRegion": lambda: BreastRegion().transform([image]),
        "PectoralMuscleRemover": lambda: PectoralMuscleRemover().transform([image]),
    }
    times = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            sides[name]()
            times[name].append(time.process_time() - start)
    for name, values in times.items():
        print(f"{name:22} {1e3 * np.median(values[1:]):7.1f} ms CPU, {image.shape} {image.dtype}")


def memory(image):
    for step in (BreastRegion(), PectoralMuscleRemover()):
        tracemalloc.start()
        step.transform([image])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        name = type(step).__name__
        print(f"{name:22} peak memory {peak / image.nbytes:.1f} x the image, {image.dtype}")


def main():
    accuracy(PectoralMuscleRemover().detect)
    breast(BreastRegion().detect)
    film = read_image(DATA / "mini-mias" / "mdb003.pgm")
    cpu_time(film)
    for image in (film, film.astype(np.uint16) * 257, (film / 255).astype(np.float32)):
        memory(image)


if __name__ == "__main__":
    main()
