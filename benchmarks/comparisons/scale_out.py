"""FeatureBus.to_parquet against Ray Data, Dask and a pool of processes with functions by hand.

python benchmarks/comparisons/scale_out.py DATA [--images N] [--turns N] [--only NAME] [--gpu SPEED]

DATA has the folders ``busi`` and ``weights``. The images of BUSI, repeated, are read from files,
reduced to rows by the same extractor on every side (VGG16 on 112 x 112 pixels, to save time), and
written as Parquet by two processes:

- featbus on loky, Dask and Ray;
- a `multiprocessing.Pool` whose function reads, computes and writes a chunk of the images;
- ``ray.data``: `map_batches` with a class, then `write_parquet`;
- ``dask.delayed`` functions that read, compute and write a chunk.

All pools exist and all networks are built before the first turn that counts. Each turn runs all
sides, in alternating order; printed are images a second and core, and the ratio of the times.

Then one and two processes write three numbers of images; the seconds of a run are described by
``start + images x (read + compute + write) / processes``, whose parts are timed alone as well. The
prediction for other numbers of processes is that of this line: it knows nothing of a disk or a
network that many processes share. That for eight GPUs takes the time of reading and writing from
here, on 64 cores, and the speed of a GPU from ``--gpu``, which is assumed and not measured.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from itertools import count
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from _interleaved import _machine
from sklearn.pipeline import FeatureUnion, make_pipeline

from featbus import HOG, LBP, DeepFeatures, FeatureBus, IntensityStatistics, Resize, load_busi
from featbus.io import read_image

N_PROCESSES = 2
N_CHUNKS = 8  # partitions of a run
TRANSFORMER = None  # of a process of the pool


def make_extractors(weights):
    def network(name, file, **options):
        return DeepFeatures(name, weights=weights / file, **options)

    hog = HOG(pixels_per_cell=(32, 32))
    fast = [("hog", hog), ("lbp", LBP()), ("intensity", IntensityStatistics())]
    small = {"backbone_options": {"alpha": 0.35}}
    return {
        "HOG, LBP, intensity": make_pipeline(Resize(256), FeatureUnion(fast)),
        "MobileNetV2": network("mobilenet_v2", "mobilenet_v2_0.35_224_no_top.weights.h5", **small),
        "VGG16": network("vgg16", "vgg16_224_no_top.weights.h5", input_size=112),
    }


def compute_and_write(transformer, paths, file):
    """Do what a user would write: a chunk of images to a file."""
    rows = transformer.fit_transform([read_image(path) for path in paths])
    names = [f"feature{index}" for index in range(rows.shape[1])]
    pd.DataFrame(rows, columns=names).assign(path=paths).to_parquet(file, index=False)


def work(task):
    paths, file = task
    compute_and_write(TRANSFORMER, paths, file)


def set_transformer(transformer):
    global TRANSFORMER
    TRANSFORMER = transformer


def chunks(paths, folder):
    folder.mkdir()
    size = -(-len(paths) // N_CHUNKS)
    return [
        (paths[start : start + size], folder / f"{start:08d}.parquet")
        for start in range(0, len(paths), size)
    ]


class Sides:
    """The ways of writing the rows of images, with their pools."""

    def __init__(self, transformer, client, ray, folder):
        self.transformer, self.client, self.ray = transformer, client, ray
        self.folders = (folder / str(number) for number in count())
        spawn = multiprocessing.get_context("spawn")
        self.pool = spawn.Pool(N_PROCESSES, set_transformer, [transformer])

        class Rows:
            def __call__(self, batch):
                rows = transformer.fit_transform([read_image(path) for path in batch["path"]])
                columns = {f"feature{index}": column for index, column in enumerate(rows.T)}
                return {"path": batch["path"], **columns}

        self.rows = Rows

    def featbus(self, paths, executor, n_jobs=N_PROCESSES):
        bus = FeatureBus(self.transformer, n_jobs=n_jobs)
        n_bytes = sum(os.path.getsize(path) for path in paths) // N_CHUNKS
        bus.to_parquet(paths, next(self.folders), executor=executor, partition_bytes=n_bytes)

    def multiprocessing(self, paths):
        for _ in self.pool.imap_unordered(work, chunks(paths, next(self.folders))):
            pass

    def dask(self, paths):
        import dask

        tasks = chunks(paths, next(self.folders))
        run = dask.delayed(compute_and_write, pure=False)
        self.client.gather(self.client.compute([run(self.transformer, *task) for task in tasks]))

    def ray_data(self, paths):
        # Not `repartition`, whose tasks need a core: the actors take all, and both would wait.
        rows = [{"path": path} for path in paths]
        rows = self.ray.data.from_items(rows, override_num_blocks=N_CHUNKS)
        actors = self.ray.data.ActorPoolStrategy(size=N_PROCESSES)
        rows = rows.map_batches(self.rows, batch_size=None, compute=actors)
        rows.write_parquet(str(next(self.folders)), ray_remote_args={"num_cpus": 0})

    def all(self, paths):
        return {
            "featbus, loky": lambda: self.featbus(paths, "loky"),
            "featbus, Dask": lambda: self.featbus(paths, self.client),
            "featbus, Ray": lambda: self.featbus(paths, "ray"),
            "multiprocessing": lambda: self.multiprocessing(paths),
            "Dask by hand": lambda: self.dask(paths),
            "Ray Data by hand": lambda: self.ray_data(paths),
        }


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(sides, paths, n_turns):
    sides = sides.all(paths)
    for side in sides.values():
        side()
    times = {name: [] for name in sides}
    for turn in range(n_turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            times[name].append(seconds(sides[name]))
    best = min(times, key=lambda name: np.median(times[name]))
    for name, some in times.items():
        ratios = np.divide(some, times[best])
        speed = len(paths) / np.median(some) / N_PROCESSES
        print(
            f"  {name:18} {speed:7.1f} images a second and core   {np.median(ratios):5.2f} x "
            f"({ratios.min():.2f} to {ratios.max():.2f})",
            flush=True,
        )


def model_cost(sides, paths, n_turns, gpu):
    """Fit seconds = start + images x each / processes; print it, its parts, and predictions."""
    sizes = [len(paths) // 4, len(paths) // 2, len(paths)]
    lines = []
    for _ in range(n_turns):
        for n_jobs in (1, 2):
            sides.featbus(paths[:16], "loky", n_jobs)  # starts the processes
            for size in sizes:
                taken = seconds(sides.featbus, paths[:size], "loky", n_jobs)
                lines.append((1, size / n_jobs, taken))
    start, share, taken = np.array(lines).T
    (first, each), *_ = np.linalg.lstsq(np.column_stack([start, share]), taken, rcond=None)
    error = np.abs(first + each * share - taken) / taken
    chunk = paths[: len(paths) // N_CHUNKS]
    images = [read_image(path) for path in chunk]
    read = seconds(lambda: [read_image(path) for path in chunk]) / len(chunk)
    compute = seconds(sides.transformer.fit_transform, images) / len(chunk)
    rows = sides.transformer.fit_transform(images)
    file = next(sides.folders)
    write = seconds(pd.DataFrame(rows).rename(columns=str).to_parquet, file) / len(chunk)
    print(
        f"  seconds = {first:.2f} + images x {1000 * each:.2f} ms / processes, off by "
        f"{100 * np.median(error):.0f} % (median); alone: read {1000 * read:.2f}, compute "
        f"{1000 * compute:.2f}, write {1000 * write:.2f} ms"
    )
    n_bytes = sum(os.path.getsize(path) for path in chunk) / len(chunk)
    minutes = (first + 1e6 * each / 64) / 60
    fed = 1e6 * max((read + write) / 64, 1 / (8 * gpu)) / 60
    print(
        f"  {n_bytes / 1000:.0f} kB of files and {file.stat().st_size / len(chunk):.0f} bytes of "
        f"Parquet an image; predictions for a million images: {minutes:.1f} minutes on 64 such "
        f"cores; {fed:.1f} on them with 8 GPUs, each of which computes {gpu} images a second",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", help="one kind of features, such as VGG16")
    parser.add_argument("--gpu", type=float, default=1000, help="images a second of a GPU")
    options = parser.parse_args()
    import distributed
    import ray

    files = load_busi(options.data / "busi", groups=options.data / "busi" / "groups.csv").images
    paths = np.resize(np.random.default_rng(0).permutation(files), options.images).tolist()
    ray.init(num_cpus=N_PROCESSES, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers = {"n_workers": N_PROCESSES, "threads_per_worker": 1, "dashboard_address": ":0"}
    print(_machine(["featbus", "tensorflow", "dask", "ray", "joblib"], f"{joblib.cpu_count()}"))
    with (
        distributed.LocalCluster(**workers) as cluster,
        distributed.Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name, transformer in make_extractors(options.data / "weights").items():
            if options.only not in (None, name):
                continue
            print(f"{name}, {len(paths)} images, {N_PROCESSES} processes", flush=True)
            sides = Sides(transformer, client, ray, Path(folder, name))
            Path(folder, name).mkdir()
            compare(sides, paths, options.turns)
            model_cost(sides, paths, options.turns, options.gpu)
            sides.pool.terminate()
    ray.shutdown()


if __name__ == "__main__":
    main()
