"""Rows change only together with `_algorithm_version`: stores would serve outdated ones.

Golden rows are recorded by ``python tests/test_golden_rows.py``, which never replaces the numbers
of a known version. Networks are left out: their last digits depend on the processor, and their
random weights on the version of Keras; other tests compare them with Keras itself. So are visual
words, which depend on the version of scikit-learn's k-means.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import featbus
from featbus import (
    GLCM,
    GLDZM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    NGLDM,
    NGTDM,
    BIRADSFeatures,
    BreastDensity,
    FourierEnergy,
    FractalDimension,
    IntensityStatistics,
    IntensityVolumeHistogram,
    Radiomics,
    ShapeStatistics,
    ZernikeMoments,
)
from featbus.base import FeatureExtractor

GOLDEN = Path(__file__).with_name("golden_rows.json")
COMMAND = "python tests/test_golden_rows.py"
LEFT_OUT = {"DeepFeatures", "FineTunedFeatures", "VisualWords"}

EXTRACTORS = {
    "HOG": [
        HOG(pixels_per_cell=(24, 20), cells_per_block=(2, 2)),
        HOG(
            pixels_per_cell=(30, 33),
            cells_per_block=(1, 2),
            orientations=8,
            signed=True,
            block_norm="L1-sqrt",
            transform_sqrt=True,
        ),
    ],
    "LBP": [
        LBP(n_points=(8, 12), radius=(1, 2.5)),
        LBP(method="nri_uniform"),
        LBP(method="var", cells=(2, 1)),
    ],
    "GLCM": [
        GLCM(distances=(1, 3)),
        GLCM(aggregation="merge", bin_width=0.05),
        GLCM(levels=64, intensity_range=(0, 1)),
    ],
    "GLRLM": [GLRLM(levels=8), GLRLM(aggregation="merge", intensity_range=(0, 1))],
    "GLSZM": [GLSZM(levels=8), GLSZM(bin_width=0.1)],
    "GLDZM": [GLDZM(levels=8), GLDZM(bin_width=0.1)],
    "NGTDM": [NGTDM(levels=8), NGTDM(distance=2, bin_width=0.1)],
    "NGLDM": [NGLDM(levels=8), NGLDM(distance=2, coarseness=1, bin_width=0.1)],
    "IntensityStatistics": [
        IntensityStatistics(),
        IntensityStatistics(n_bins=37, bin_range="region"),
    ],
    "IntensityVolumeHistogram": [
        IntensityVolumeHistogram(levels=8),
        IntensityVolumeHistogram(bin_width=0.1, intensity_range=(0, 1)),
    ],
    "Radiomics": [Radiomics(levels=8), Radiomics(families=["ngtdm", "shape"], bin_width=0.1)],
    "ShapeStatistics": [ShapeStatistics()],
    "BIRADSFeatures": [BIRADSFeatures(), BIRADSFeatures(band_width=0.5)],
    "FractalDimension": [FractalDimension()],
    "FourierEnergy": [FourierEnergy(), FourierEnergy(n_rings=3, n_wedges=5)],
    "ZernikeMoments": [ZernikeMoments(), ZernikeMoments(degree=5, outline=True)],
    "BreastDensity": [BreastDensity(), BreastDensity(threshold="otsu", spacing=0.5)],
}


def golden_images():
    """Return masked images of five kinds, made by integers alone: the same on every machine."""
    row, column = np.indices((61, 73))
    speckle = (row * row * 31 + column * column * 17 + row * column * 7 + row * 3) % 101
    distance = (row - 28) ** 2 * 3 + (column - 40) ** 2 * 2
    gray = (60 + speckle - 45 * (distance < 700) + column).astype(np.uint8)
    deep = (gray.astype(np.uint16) * 250 + (row * 37 + column * 101) % 241).astype(np.uint16)
    color = np.stack([gray, gray[::-1], 255 - gray], axis=2)
    images = [gray, deep, color, deep / 65535, gray > 120]
    regions = [distance < 4000 - 500 * index for index in range(len(images))]
    regions[0] = np.ones_like(regions[0])
    regions[0][:1, :2] = False
    return [
        np.ma.MaskedArray(image, np.broadcast_to((~inside).T, image.T.shape).T)
        for image, inside in zip(images, regions)
    ]


def digests(name):
    """Return a row of numbers for each setting of an extractor: weighted sums over the images."""
    images = golden_images()
    rows = [
        extractor.set_params(dtype=np.float64).fit(images).transform(images)
        for extractor in EXTRACTORS[name]
    ]
    return [np.array([1, 2, 3, 5, 7]) @ part for part in rows]


def same(found, expected):
    return len(found) == len(expected) and all(
        len(one) == len(other) and np.allclose(one, other, rtol=1e-6, atol=1e-8)
        for one, other in zip(found, expected)
    )


def version_of(name):
    return getattr(featbus, name)._algorithm_version


def test_every_extractor_has_golden_rows():
    classes = {name: getattr(featbus, name) for name in featbus.__all__}
    extractors = {
        name
        for name, cls in classes.items()
        if isinstance(cls, type) and issubclass(cls, FeatureExtractor)
    }
    assert extractors - LEFT_OUT == set(EXTRACTORS) == set(json.loads(GOLDEN.read_text()))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_rows_are_those_of_the_version(name):
    golden = json.loads(GOLDEN.read_text())[name]
    assert golden["version"] == version_of(name), (
        f"{name} is at version {version_of(name)}, its golden rows at {golden['version']}: record "
        f"new golden rows ({COMMAND})"
    )
    assert same(digests(name), golden["rows"]), (
        f"{name}: numbers changed: raise _algorithm_version and record new golden rows ({COMMAND})"
    )


def test_the_digest_sees_a_small_change():
    (row,) = digests("ShapeStatistics")
    for index in range(len(row)):
        changed = row.copy()
        changed[index] += max(abs(row[index]) * 1e-5, 1e-6)
        assert not same([changed], [row])
    assert same([row * (1 + 1e-9)], [row])


def record():
    """Write the golden rows of all extractors whose version is new."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for name in EXTRACTORS:
        rows = [[float(f"{value:.10g}") for value in row] for row in digests(name)]
        known = golden.get(name)
        if known and known["version"] == version_of(name) and not same(rows, known["rows"]):
            sys.exit(f"{name}: numbers changed: raise _algorithm_version first.")
        golden[name] = {"version": version_of(name), "rows": rows}
    lines = [f'"{name}": {json.dumps(entry)}' for name, entry in sorted(golden.items())]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    record()
