"""find_near_duplicates: how it grows with the number of images, in time and memory.

python benchmarks/comparisons/near_duplicates.py [N_IMAGES ...]

Images are synthetic textures of 192 x 256 pixels from memory, of which one in ten is a changed copy
of another one. Times are CPU times of all threads: those of two cores are half as long.
"""

import resource
import sys
import time

import cv2
import numpy as np

from featbus.groups import merge_labelings
from featbus.model_selection._copies import find_matches
from featbus.model_selection._near_duplicates import map_images
from featbus.model_selection._scenes import describe_scene


def make_texture(seed):
    """Return an image with structures of several sizes."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (192, 256)).astype(np.float32)
    for size in (4, 8, 16, 32):
        coarse = rng.normal(0, np.sqrt(size), (192 // size + 1, 256 // size + 1))
        image += cv2.resize(coarse.astype(np.float32), (256, 192), interpolation=cv2.INTER_CUBIC)
    return np.clip(110 + 12 * image, 0, 255).astype(np.uint8)


def measure(n_images):
    """Print the seconds that n_images take, and the memory of what is kept of them."""
    n_copies = n_images // 10
    images = [make_texture(seed) for seed in range(n_images - n_copies)]
    images += [np.ascontiguousarray(image[10:, 15:]) for image in images[:n_copies]]
    start = time.process_time()
    scenes = map_images(describe_scene, images, n_jobs=2)
    described = time.process_time()
    groups = merge_labelings(*find_matches(scenes, n_jobs=2))
    matched = time.process_time()
    found = np.mean(groups[-n_copies:] == groups[:n_copies])
    kept = sum(field.nbytes for scene in scenes for field in scene) / n_images
    print(
        f"{n_images:7,} images: CPU {described - start:.1f} s to describe, "
        f"{matched - described:.1f} s to match; {groups.max() + 1:,} groups, {found:.1%} of the "
        f"copies found; {kept / 1000:.0f} kB an image; peak of the process {peak():.1f} GB"
    )
    return described - start, matched - described, kept


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(*sizes):
    sizes = [int(size) for size in sizes] or [1_000, 5_000, 10_000]
    results = [measure(size) for size in sizes]
    describe, match, kept = results[-1]
    factor = 100_000 / sizes[-1]
    # Descriptions are linear. Of the rest, the comparison of whole textures is quadratic.
    print(
        f"100,000 images, extrapolated: CPU {factor * describe / 60:.0f} min to describe, "
        f"{factor * match / 60:.0f} (linear) to {factor**2 * match / 60:.0f} min (quadratic) to "
        f"match, {kept / 1e4:.1f} GB of descriptions"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
