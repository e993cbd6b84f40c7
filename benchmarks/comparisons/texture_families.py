"""All families of radiomics of one masked image: `Radiomics` against MIRP.

Prints the largest relative difference of the values on random masked images, family by family, and
the times of one masked lesion of 128 x 128 pixels, the turns of both sides interleaved. Both use
32 bins of equal width, features averaged over four directions, and 1000 bins for the
intensity-volume histogram. `Radiomics` alone is also timed with the shape of the region, which MIRP
measures in three dimensions only. The time of MIRP is that of its public function on arrays. Takes
half a minute.

MIRP has requirements of its own: install it beside featbus in a new environment,
``pip install featbus mirp``.

python benchmarks/comparisons/texture_families.py
"""

import logging
import time
import warnings

import cv2
import numpy as np
from _interleaved import compare
from mirp import extract_features

from featbus import Radiomics
from featbus.masks import with_mask
from featbus.verify import _load_ibsi

PACKAGES = ["featbus", "mirp", "numpy", "opencv-python-headless"]
# MIRP's name of a family, its prefix, featbus's prefix, and the family in the table of IBSI.
FAMILIES = [
    ("statistics", "stat_", "intensity_", "intensity-based statistics"),
    ("ih", "ih_", "intensity_histogram_", "intensity histogram"),
    ("ivh", "ivh_", "ivh_", "intensity-volume histogram"),
    ("cm", "cm_", "glcm_d1_", "co-occurrence, 2D averaged"),
    ("rlm", "rlm_", "glrlm_", "run length, 2D averaged"),
    ("szm", "szm_", "glszm_", "size zone, 2D"),
    ("dzm", "dzm_", "gldzm_", "distance zone, 2D"),
    ("ngtdm", "ngt_", "ngtdm_", "gray-tone difference, 2D"),
    ("ngldm", "ngl_", "ngldm_", "gray-level dependence, 2D"),
]
OPTIONS = {
    "by_slice": True,
    "base_discretisation_method": "fixed_bin_number",
    "base_discretisation_n_bins": 32,
    "ivh_discretisation_method": "fixed_bin_number",
    "ivh_discretisation_n_bins": 1000,
    "glcm_spatial_method": "2d_average",
    "glrlm_spatial_method": "2d_average",
    "base_feature_families": [family for family, *_ in FAMILIES],
}
# IBSI has no reference value for them.
ONLY_MIRP = "v25", "v50", "v75", "i25", "i50", "i75"


def run_mirp(image):
    pixels = np.ma.getdata(image)[np.newaxis].astype(float)
    inside = (~np.ma.getmaskarray(image))[np.newaxis].astype(int)
    (table,) = extract_features(image=pixels, mask=inside, **OPTIONS)
    return table.iloc[0]


def make_lesion(side=128):
    """Return an image of speckle with an ellipse for a mask."""
    noise = np.random.default_rng(0).rayleigh(0.2, (side, side)).clip(0, 1)
    speckle = (cv2.GaussianBlur(noise, (0, 0), 1.5) * 255).astype(np.uint8)
    row, column = np.ogrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return with_mask(speckle, (row / 0.9) ** 2 + (column / 0.75) ** 2 <= 1)


def make_random(seed):
    """Return noise, smoothed by a random amount, and a random mask."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(20, 60, 2)
    noise = cv2.GaussianBlur(rng.random(shape), (0, 0), rng.uniform(0.3, 3))
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    blobs = cv2.GaussianBlur(rng.random(shape), (0, 0), 3)
    inside = blobs > np.quantile(blobs, rng.uniform(0, 0.6))
    return with_mask((noise * 255).astype(np.uint8), inside)


def find_column(prefix, name):
    plain = prefix == "intensity_histogram_" and name in ("entropy", "uniformity")
    return f"intensity_{name}" if plain else f"{prefix}{name}"


def find_differences(image):
    """Return the largest difference of each family, relative to the larger value, and its name."""
    radiomics = Radiomics(dtype=np.float64)
    ours = dict(zip(radiomics.get_feature_names_out(), radiomics.transform([image])[0]))
    theirs = run_mirp(image)
    references = _load_ibsi()[1]
    differences = {}
    for _, prefix, column_prefix, family in FAMILIES:
        names = [
            name
            for name in theirs.index
            if name.startswith(prefix) and not any(part in name for part in ONLY_MIRP)
        ]
        assert len(names) == len(references[family])
        found = []
        for name, reference in zip(names, references[family]):
            column = find_column(column_prefix, reference)
            scale = {"energy": 255**2, "variance": 255**2}.get(reference, 255)
            unitless = "skewness", "kurtosis", "coefficient_of_variation", "dispersion"
            if prefix != "stat_" or reference.endswith(unitless):
                scale = 1
            pair = ours[column] * scale, float(theirs[name])
            size = max(map(abs, pair))
            found.append((abs(pair[0] - pair[1]) / size if size > 1e-9 else 0.0, column))
        differences[family] = max(found)
    return differences


if __name__ == "__main__":
    cv2.setNumThreads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    largest = {}
    for seed in range(20):
        for family, found in find_differences(make_random(seed)).items():
            largest[family] = max(largest.get(family, found), found)
    print("20 random masked images: largest relative difference")
    for family, (difference, column) in largest.items():
        print(f"{family:28} {difference:.1e}  {column}")

    lesion = make_lesion()
    families = ["intensity", "ivh", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm"]
    radiomics, with_shape = Radiomics(), Radiomics(families=[*families, "shape"])
    print("\none masked lesion of 128 x 128 pixels")
    compare(
        {
            "featbus": lambda: radiomics.transform([lesion]),
            "featbus with shape": lambda: with_shape.transform([lesion]),
            "MIRP": lambda: run_mirp(lesion),
        },
        packages=PACKAGES,
        threads="all use one",
        clock=time.process_time,
    )
