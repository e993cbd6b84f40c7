"""What users write; mypy checks it, and nothing runs it."""

from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import assert_type

import numpy as np

import featbus
from featbus import (
    HOG,
    DeepFeatures,
    FeatureBus,
    FeatureStore,
    IntensityStatistics,
    Resize,
    ThresholdSegmenter,
    evaluate,
    load_image_folder,
    save,
)
from featbus.base import Column, FeatureExtractor
from featbus.evaluation import Evaluation
from featbus.io import read_image
from featbus.parameters import Interval
from featbus.recipes import make_recipe
from featbus.typing import Images

assert_type(featbus.__version__, str)
assert_type(HOG(orientations=8, pixels_per_cell=(16, 16)), HOG)
assert_type(Resize((128, 128)).fit(np.zeros((2, 8, 8))), Resize)

arrays = [np.zeros((8, 8), np.uint8), np.zeros((9, 7), np.uint8)]
paths = [Path("a.png"), "b.dcm"]
stack = np.stack([arrays[0]] * 3)
for images in (arrays, paths, stack):
    assert_type(HOG().transform(images), np.ndarray)
assert_type(read_image(Path("a.png")), np.ndarray)


def features(images: Images) -> np.ndarray:
    """Return rows of a bus that stores them."""
    with FeatureStore("features.sqlite") as store:
        return FeatureBus(DeepFeatures("mobilenet_v2", weights=None), memory=store).transform(
            images
        )


data = load_image_folder(Path("scans"), groups=lambda path: path.stem)
evaluate(HOG(), stack, np.arange(3), groups=[1, 2, 3])
result = evaluate({"svm": make_recipe("fusion")}, data.images, data.target, groups=data.groups)
assert_type(result, Evaluation)
result.to_html("report.html")
save(IntensityStatistics(), Path("model.skops"))


class Bright(FeatureExtractor):
    """An extractor of another package."""

    _parameter_constraints = {"threshold": [Interval(Real, 0, 1, closed="both")]}

    def _columns(self) -> Iterator[Column]:
        yield Column("bright", "share of bright pixels")


# Mistakes that a type checker finds.
HOG(orientations="9")  # type: ignore[arg-type]
HOG(orientation=9)  # type: ignore[call-arg]
ThresholdSegmenter("otzu")  # type: ignore[arg-type]
Resize(8.5)  # type: ignore[arg-type]
evaluate(HOG(), stack, [0, 1, 0], n_repeats="2")  # type: ignore[arg-type]
featbus.Hog()  # type: ignore[attr-defined]
