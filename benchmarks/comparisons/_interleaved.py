"""Time several ways of doing one job in one process, turn by turn."""

import platform
import time
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np


def compare(
    sides,
    repeats=15,
    *,
    packages=("featbus", "numpy"),
    threads="default",
    clock=time.perf_counter,
):
    """Time each side once a turn, in alternating order, and print what came of it.

    A machine that slows down, or a neighbour that wakes up, meets all sides alike, and the ratio of
    one turn is of two times measured a moment apart.

    Parameters
    ----------
    sides : dict of str to callable
        What to call, without arguments, by name. The first is what the others are divided by.
    repeats : int, default=15
        Number of turns that are timed; one more, untimed, comes first.
    packages : sequence of str, default=("featbus", "numpy")
        Distributions whose versions are printed.
    threads : str, default="default"
        What to print of the number of threads that the sides may use.
    clock : callable, default=time.perf_counter
        `time.process_time` counts the processor's time, which a busy machine disturbs least; a side
        returns, as a float, what other processes used for it.

    Returns
    -------
    dict of str to ndarray of shape (repeats,)
        Times in seconds.
    """
    for side in sides.values():
        side()
    times = {name: np.empty(repeats) for name in sides}
    for turn in range(repeats):
        # Every other turn runs backwards: nobody always works in the other's warm cache.
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            start = clock()
            result = sides[name]()
            times[name][turn] = clock() - start
            if clock is time.process_time and isinstance(result, float):
                times[name][turn] += result
    print(_machine(packages, threads))
    print(_table(times))
    return times


def _table(times):
    """Return a line for each side: median time, and median and quartiles of its ratio."""
    first = next(iter(times.values()))
    width = max(map(len, times))
    lines = []
    for name, values in times.items():
        low, ratio, high = np.percentile(values / first, [25, 50, 75])
        lines.append(
            f"{name:{width}}  {1e3 * np.median(values):10.2f} ms   "
            f"{ratio:6.2f} x  (quartiles {low:.2f} to {high:.2f})"
        )
    return "\n".join([*lines, f"{len(first)} interleaved turns"])


def _machine(packages, threads):
    """Say what the times were measured on."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{_processor()}, {joblib.cpu_count()} cores usable, threads: {threads}\n"
        f"{platform.system()}, Python {platform.python_version()}, {versions}"
    )


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
