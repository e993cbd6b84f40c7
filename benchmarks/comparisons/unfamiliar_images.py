"""Which images `featbus.commands.examine_image` calls unlike the training images, and how often.

python benchmarks/comparisons/unfamiliar_images.py [--half {0,1}]

Needs the folders busi, mini-mias, ddsm-pectoral and weights in the folder that FEATBUS_TEST_DATA
names. BUSI, mini-MIAS and the images of every other kind are cut into two halves, groups together:
the measures were chosen on half 0, and half 1, which is printed by default, was not looked at
before. Within a half, the limit comes from four of five grouped folds; "false alarms" are the
images of the fifth, over all folds, as they are, cropped, and in a border. "both" has the training
images of both data sets. "network" judges rows of MobileNetV2 (alpha 0.35) in the same way.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage

from featbus import DeepFeatures, load_busi, load_mini_mias
from featbus.color import to_gray
from featbus.commands._examine import _distances, _summarize, measure_appearance
from featbus.groups import stratified_folds
from featbus.io import read_image

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
WEIGHTS = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
COLOR = ["coffee", "astronaut", "rocket", "chelsea", "motorcycle_left", "motorcycle_right"]
COLOR += ["ihc", "retina", "hubble_deep_field", "color"]
GRAY = ["camera", "clock_motion", "gravel", "brick", "grass", "moon", "coins", "cell", "page"]
GRAY += ["text", "horse", "phantom", "microaneurysms", "chessboard_GRAY"]
WORDS = ["the", "name", "of", "patient", "and", "date", "examination", "in", "room", "house"]


def read_bundled(name):
    """Return a photograph of scikit-image, and its four quarters."""
    (path,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*")
    image = read_image(path)
    image = np.ascontiguousarray(image[..., :3]) if image.ndim == 3 else image
    middle = np.array(image.shape[:2]) // 2
    halves = [(slice(None, part), slice(part, None)) for part in middle]
    return [image, *(image[down, across] for down in halves[0] for across in halves[1])]


def make_text(seed, rng):
    image = np.full((500, 700), 255, np.uint8)
    scale, thickness = 0.5 + 0.05 * seed, 1 + seed // 8
    for row in range(30, 490, int(40 * scale) + 5):
        line = " ".join(rng.choice(WORDS, 12))
        cv2.putText(image, line, (5, row), cv2.FONT_HERSHEY_SIMPLEX, scale, 0, thickness)
    return image if seed % 2 else 255 - image


def make_noise(seed, rng):
    shape = rng.integers(150, 900, 2)
    if seed % 2:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return np.clip(rng.normal(128, 5 + 4 * seed, shape), 0, 255).astype(np.uint8)


def make_kinds(ultrasound):
    """Return lists of images of other kinds, by their names."""
    rng = np.random.default_rng(0)
    color = [part for name in COLOR for part in read_bundled(name)]
    some = [to_gray(image) for image in ultrasound[::4]]
    return {
        "color photograph": color,
        "its gray version": [to_gray(np.ascontiguousarray(image)) for image in color],
        "gray photograph": [to_gray(part) for name in GRAY for part in read_bundled(name)],
        "text": [make_text(seed, rng) for seed in range(20)],
        "noise": [make_noise(seed, rng) for seed in range(20)],
        "black to white": [np.full((300, 400), level, np.uint8) for level in range(0, 256, 25)],
        "ultrasound, inverted": [255 - image for image in some],
        "ultrasound, upside down": [np.ascontiguousarray(image[::-1]) for image in some],
        "ultrasound, on its side": [np.ascontiguousarray(np.rot90(image)) for image in some],
        "ultrasound, blurred": [cv2.GaussianBlur(image, (0, 0), 12) for image in some],
    }


def crop(image, share):
    height, width = image.shape[:2]
    down, across = round(share * height), round(share * width)
    return np.ascontiguousarray(image[down : height - down, across : width - across])


def frame(image):
    down, across = (round(0.1 * side) for side in image.shape[:2])
    return cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_CONSTANT, value=0)


CHANGES = {"as they are": lambda image: image}
for percent in (10, 20, 30):
    CHANGES[f"cropped by {percent}% at each side"] = partial(crop, share=percent / 100)
CHANGES["in a black border of 10%"] = frame


def judge(changed, y, groups, others):
    """Return the share of false alarms in five folds, and of the others that are noticed."""
    rows, alarms, noticed = changed["as they are"], [], []
    for train, test in stratified_folds(y, groups, 5, 1):
        summary = _summarize(rows[train], groups[train])
        center, spread, limit = (np.array(summary[key]) for key in ("center", "spread", "limit"))
        found = {kind: _distances(part[test], center, spread) for kind, part in changed.items()}
        alarms.append(pd.DataFrame(found) > limit)
        found = {kind: _distances(part, center, spread) > limit for kind, part in others.items()}
        noticed.append({kind: part.mean() for kind, part in found.items()})
    false = pd.concat(alarms).mean().rename(lambda kind: f"false alarms, {kind}")
    return pd.concat([false, pd.DataFrame(noticed).mean()])


def join(first, second):
    """Return the rows, classes and groups of two data sets as those of one."""
    changed = {kind: np.concatenate([first[0][kind], second[0][kind]]) for kind in CHANGES}
    y, groups = (
        np.concatenate([known, known.max() + 1 + other])
        for known, other in zip(first[1:], second[1:])
    )
    return changed, y, groups


def choose(describe, images, data, half):
    """Return the rows of a half of a data set with each change, its classes and groups."""
    chosen = np.flatnonzero(data.groups % 2 == half)
    changed = {
        kind: describe([change(images[index]) for index in chosen])
        for kind, change in CHANGES.items()
    }
    return changed, data.target[chosen], data.groups[chosen]


def main(half):
    data = {"BUSI": load_busi(DATA / "busi"), "mini-MIAS": load_mini_mias(DATA / "mini-mias")}
    images = {name: [read_image(path) for path in found.images] for name, found in data.items()}
    paths = sorted((DATA / "ddsm-pectoral").glob("*MLO.png"))
    images |= {"DDSM": [read_image(path) for path in paths], **make_kinds(images["BUSI"])}
    network = DeepFeatures("mobilenet_v2", backbone_options={"alpha": 0.35}, weights=WEIGHTS)
    ways = {
        "measures": lambda batch: np.array([measure_appearance(image) for image in batch]),
        "network": lambda batch: network.fit_transform(batch).astype(float),
    }
    columns = {}
    for way, describe in ways.items():
        known = {name: choose(describe, images[name], data[name], half) for name in data}
        known["both"] = join(*known.values())
        rows = {kind: describe(batch[half::2]) for kind, batch in images.items()}
        for name, fit in known.items():
            others = {kind: part for kind, part in rows.items() if kind != name}
            if name == "both":
                others = {kind: part for kind, part in rows.items() if kind not in data}
            columns[name, way] = (100 * judge(*fit, others)).round(1)
    for name, (_, y, _) in known.items():
        table = pd.DataFrame({way: columns[name, way] for way in ways})
        print(f"\n{name}: % of half {half} called unlike {len(y)} images\n{table}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", type=int, choices=[0, 1], default=1)
    main(parser.parse_args().half)
