"""Images, gray levels and reference values for the tests of gray-level matrices."""

import json
from importlib.resources import files

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
IBSI = json.loads(files("featbus").joinpath("ibsi.json").read_text(encoding="utf-8"))


def small_images(shortest=1):
    sides = st.integers(shortest, 9)
    return arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 255))


@st.composite
def level_maps(draw):
    """Draw a few gray levels, with some pixels outside the region."""
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    levels = draw(arrays(np.int64, shape, elements=st.integers(1, 3)))
    outside = draw(arrays(bool, shape))
    outside.flat[draw(st.integers(0, outside.size - 1))] = False
    return np.ma.MaskedArray(levels, outside)


def neighbors_of(levels, distance):
    """Yield the level of each pixel of the region, and those of its neighbors, one by one."""
    inside = {
        pixel: int(level)
        for pixel, level in np.ndenumerate(np.ma.getdata(levels))
        if not np.ma.getmaskarray(levels)[pixel]
    }
    reach = range(-distance, distance + 1)
    for (row, column), level in inside.items():
        around = [(row + down, column + right) for down in reach for right in reach]
        yield level, [inside[at] for at in around if at in inside and at != (row, column)]


def zones_one_by_one(levels):
    """Return level and pixels of each zone, filled pixel by pixel."""
    left = {
        pixel: int(level)
        for pixel, level in np.ndenumerate(np.ma.getdata(levels))
        if not np.ma.getmaskarray(levels)[pixel]
    }
    zones = []
    while left:
        pixel, level = left.popitem()
        front, filled = [pixel], []
        while front:
            row, column = front.pop()
            filled.append((row, column))
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    neighbor = row + down, column + right
                    if left.get(neighbor) == level:
                        del left[neighbor]
                        front.append(neighbor)
        zones.append((level, filled))
    return zones


def row_of(extractor, image, **parameters):
    """Return the features of one image, by name without the prefix."""
    extractor = extractor(dtype=np.float64, **parameters)
    prefix = "glcm_d1_" if type(extractor).__name__ == "GLCM" else f"{extractor._family}_"
    names = [name.removeprefix(prefix) for name in extractor.get_feature_names_out()]
    return dict(zip(names, extractor.transform([image])[0]))


def features_of_parts(parts, n_pixels):
    """Compute IBSI's 16 features of runs or zones, given as (level, size), by definition."""
    level, size = np.array(parts, float).T
    n = len(parts)
    pairs, of_level, of_size = (
        np.unique(values, axis=0, return_counts=True)[1] for values in (parts, level, size)
    )
    share = pairs / n
    return [
        np.mean(1 / size**2),
        np.mean(size**2),
        np.mean(1 / level**2),
        np.mean(level**2),
        np.mean(1 / (level * size) ** 2),
        np.mean((level / size) ** 2),
        np.mean((size / level) ** 2),
        np.mean((level * size) ** 2),
        np.sum(of_level**2) / n,
        np.sum(of_level**2) / n**2,
        np.sum(of_size**2) / n,
        np.sum(of_size**2) / n**2,
        n / n_pixels,
        level.var(),
        size.var(),
        -np.sum(share * np.log2(share)),
    ]
