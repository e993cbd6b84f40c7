"""find_near_duplicates and audit: how they grow with the number of images, in time and memory.

python benchmarks/comparisons/near_duplicates.py [N_IMAGES ...]

Images are files: synthetic textures of 192 x 256 pixels, of which one in ten is a changed copy of
another one. Each size runs in a process of its own. CPU times are those of all threads: two cores
take half as long. Memory is sampled every 10 ms from /proc (Linux). The process allocates what is
"private"; "mapped" pages of files, temporary ones among them, are dropped when memory is short. The
growth per image is that between the last two sizes. 1,000 and 4,000 images take 5 minutes of CPU.
"""

import multiprocessing
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import cv2
import numpy as np

from featbus import audit
from featbus.groups import merge_labelings
from featbus.model_selection._copies import find_matches
from featbus.model_selection._near_duplicates import map_images
from featbus.model_selection._scenes import describe_scene

_TARGET = 100_000


def make_texture(seed):
    """Return an image with structures of several sizes."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (192, 256)).astype(np.float32)
    for size in (4, 8, 16, 32):
        coarse = rng.normal(0, np.sqrt(size), (192 // size + 1, 256 // size + 1))
        image += cv2.resize(coarse.astype(np.float32), (256, 192), interpolation=cv2.INTER_CUBIC)
    return np.clip(110 + 12 * image, 0, 255).astype(np.uint8)


class PeakMemory:
    """The largest private and mapped memory while a block runs, in bytes."""

    def __enter__(self):
        self.private = self.mapped = 0
        self._done, self._thread = Event(), Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.01):
            lines = Path("/proc/self/status").read_text().splitlines()
            values = dict(line.split(":", 1) for line in lines)
            private, mapped = (
                1024 * int(values[name].split()[0]) for name in ("RssAnon", "RssFile")
            )
            self.private, self.mapped = max(self.private, private), max(self.mapped, mapped)

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def measure(n_images):
    """Print what n_images take; return CPU seconds, and bytes of private memory."""
    n_copies = n_images // 10
    with TemporaryDirectory() as folder:
        paths = [f"{folder}/{index}.png" for index in range(n_images)]
        for index, path in enumerate(paths):
            copied = index - (n_images - n_copies)
            cv2.imwrite(
                path, make_texture(copied)[10:, 15:] if copied >= 0 else make_texture(index)
            )
        described = []

        def describe():
            yield from map_images(describe_scene, paths, n_jobs=2)
            described.append(time.process_time())

        with PeakMemory() as matching:
            start = time.process_time()
            groups = merge_labelings(*find_matches(describe(), n_jobs=2))
            matched = time.process_time()
        with PeakMemory() as auditing:
            audit(paths, np.arange(n_images) % 2, n_jobs=2)
        audited = time.process_time()
    found = np.mean(groups[-n_copies:] == groups[:n_copies])
    seconds = described[0] - start, matched - described[0], audited - matched
    print(
        f"{n_images:7,} images: CPU {seconds[0]:.1f} s to describe, {seconds[1]:.1f} s to match, "
        f"{seconds[2]:.1f} s to audit; {groups.max() + 1:,} groups, {found:.1%} of the copies "
        f"found; peak memory: {matching.private / 1e6:.0f} MB private and "
        f"{matching.mapped / 1e6:.0f} MB mapped, the audit {auditing.private / 1e6:.0f} MB and "
        f"{auditing.mapped / 1e6:.0f} MB",
        flush=True,
    )
    return *seconds, matching.private, auditing.private


def main(*sizes):
    """Measure each size in a process of its own, and extrapolate the last two."""
    sizes = [int(size) for size in sizes] or [1_000, 4_000]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        results = np.array(pool.map(measure, sizes, chunksize=1))
    describe, match, *_ = results[-1]
    factor = _TARGET / sizes[-1]
    # Descriptions are linear. Of the rest, the comparison of whole textures is quadratic.
    print(
        f"{_TARGET:,} images, extrapolated: CPU {factor * describe / 60:.0f} min to describe, "
        f"{factor * match / 60:.0f} (linear) to {factor**2 * match / 60:.0f} min (quadratic) to "
        "match"
    )
    if len(sizes) > 1:
        growth = (results[-1] - results[-2])[-2:] / (sizes[-1] - sizes[-2])
        for name, bytes_each, peak in zip(("Groups", "The audit"), growth, results[-1][-2:]):
            total = peak + (_TARGET - sizes[-1]) * bytes_each
            print(
                f"{name}: {bytes_each / 1000:.1f} kB of private memory an image, "
                f"{total / 1e9:.2f} GB for {_TARGET:,} (extrapolated)"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
