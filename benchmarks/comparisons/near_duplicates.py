"""find_near_duplicates: against a loop over all pairs, and how it grows with the number of images.

python benchmarks/comparisons/near_duplicates.py
"""

import resource
import time

import numpy as np
from _interleaved import compare
from scipy import fft

from featbus.groups import unite
from featbus.model_selection import find_near_duplicates
from featbus.model_selection._duplicates import Sketches, near_duplicates


def make_thumbnails(n_images):
    """Return noise of which one in ten is a changed copy of another one."""
    rng = np.random.default_rng(0)
    small = rng.random((n_images, 32, 32), dtype=np.float32)
    copies = n_images // 10
    small[-copies:] = small[:copies] + 0.02 * rng.random((copies, 32, 32), dtype=np.float32)
    return small


def loop(small):
    """Compare every pair on its own, with hashes as integers."""
    hashes, normed = [], []
    for image in small:
        low = fft.dctn(image, norm="ortho")[:8, :8].ravel()
        hashes.append(int("".join("01"[bit] for bit in (low > np.median(low)).astype(int)), 2))
        centred = image.ravel() - image.mean()
        normed.append(centred / np.linalg.norm(centred))
    parent = np.arange(len(small))
    for i in range(len(small)):
        for j in range(i + 1, len(small)):
            if (hashes[i] ^ hashes[j]).bit_count() <= 8 or normed[i] @ normed[j] >= 0.97:
                parent[parent == parent[j]] = parent[i]
    return unite(parent)


def blocks(small):
    return near_duplicates(Sketches.of(small))


def main():
    small = make_thumbnails(1000)
    np.testing.assert_array_equal(loop(small), blocks(small))
    sides = {"featbus": lambda: blocks(small), "loop over pairs": lambda: loop(small)}
    print("1,000 thumbnails")
    compare(sides, repeats=5, packages=["featbus", "numpy", "scipy"])

    images = np.random.default_rng(0).integers(0, 256, (1000, 256, 256), np.uint8)
    start = time.perf_counter()
    find_near_duplicates(images)
    print(f"\n1,000 images of 256 x 256 from memory: {time.perf_counter() - start:.1f} s")

    for n_images in (5_000, 20_000):
        small = make_thumbnails(n_images)
        start = time.perf_counter()
        groups = blocks(small)
        seconds = time.perf_counter() - start
        assert groups.max() + 1 == n_images - n_images // 10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{n_images:6,} thumbnails: {seconds:.1f} s, peak {peak:.2f} GB of the process")
    # Every pair costs the same, and memory is a few times that of the thumbnails.
    factor = 100_000 / n_images
    print(f"100,000, extrapolated: {seconds * factor**2 / 60:.0f} min, {peak * factor:.1f} GB")


if __name__ == "__main__":
    main()
