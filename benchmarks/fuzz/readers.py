"""Read damaged and hostile files, and count what happens.

    python benchmarks/fuzz/readers.py            # 200,000 mutants: hours
    python benchmarks/fuzz/readers.py 20000      # fewer, with `--seed` other ones
    python benchmarks/fuzz/readers.py --jobs 4   # in 4 child processes

Each mutant is one of some small files, which this script makes, with changed, inserted, doubled or
removed bytes. A child process reads it. The child is replaced if it dies, takes more than 5 seconds
or more than 2 GB. The seeds contain the name of a patient, which no error may quote. The table so
far is printed every 10,000 mutants. The exit status is 1 unless all of these are 0: other
exceptions, deaths, hangs, gigabytes and leaks.
"""

import argparse
import io
import os
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

import numpy as np

SECRETS = ("ROSSI", "MARIA", "19570321", "ID-4711")
SECONDS, GIGABYTES = 5, 2
BAD = ("exception", "died", "hang", "memory", "leak")
REPORTED_AFTER = 10_000
REPLACED_AFTER = 500  # mutants, so that the peak memory is that of few


def make_seeds():
    """Return the content of a small valid file by name."""
    rng = np.random.default_rng(0)
    gray = np.add.outer(3 * np.arange(24), np.arange(40)).astype(np.uint8)
    rgb = np.dstack([gray, 200 - gray, gray // 2])
    noise = rng.integers(0, 65536, gray.shape, dtype=np.uint16)
    return {
        **_pillow_seeds(gray, rgb),
        **_tiff_seeds(gray, rgb, noise),
        **_pnm_seeds(gray, rgb, noise),
        **_dicom_seeds(gray, rgb, noise),
    }


def _pillow_seeds(gray, rgb):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    def save(pixels, kind, **options):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return file.getvalue()

    text = PngInfo()
    text.add_text("Patient", "ROSSI^MARIA")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "ROSSI^MARIA"
    palette = io.BytesIO()
    Image.fromarray(rgb).quantize(16).save(palette, "PNG", transparency=3)
    return {
        "png gray": save(gray, "PNG", pnginfo=text),
        "png rgb": save(rgb, "PNG", icc_profile=b"ROSSI^MARIA" * 9),
        "png 1": save(gray > 60, "PNG", transparency=1),
        "png palette": palette.getvalue(),
        "jpeg gray": save(gray, "JPEG", comment=b"ROSSI^MARIA"),
        "jpeg rgb": save(rgb, "JPEG", exif=exif),
        "jpeg progressive": save(rgb, "JPEG", progressive=True),
        "bmp gray": save(gray, "BMP"),
        "bmp 1": save(gray > 60, "BMP"),
        "bmp rgb": save(rgb, "BMP"),
        "tiff lzw": save(gray, "TIFF", compression="tiff_lzw"),
        "tiff packbits": save(rgb, "TIFF", compression="packbits"),
        "tiff jpeg": save(rgb, "TIFF", compression="jpeg"),
        "tiff 1": save(gray > 60, "TIFF"),
    }


def _tiff_seeds(gray, rgb, noise):
    import tifffile

    def save(pixels, photometric="minisblack", **options):
        file = io.BytesIO()
        options = {"description": "ROSSI^MARIA", "metadata": None, **options}
        tifffile.imwrite(file, pixels, photometric=photometric, **options)
        return file.getvalue()

    return {
        "tiff 16": save(noise, byteorder=">", rowsperstrip=5),
        "tiff float": save(noise / np.float32(65535)),
        "tiff white": save(gray, "miniswhite"),
        "tiff deflate": save(rgb, "rgb", compression="zlib", predictor=True),
        "tiff tiles": save(gray, tile=(16, 16)),
        "tiff big": save(gray, bigtiff=True),
    }


def _pnm_seeds(gray, rgb, noise):
    size = b" 40 24 "
    return {
        "pgm": b"P5 # ROSSI^MARIA\n" + size + b"255\n" + gray.tobytes(),
        "pgm 16": b"P5" + size + b"65535\n" + noise.astype(">u2").tobytes(),
        "ppm": b"P6" + size + b"255\n" + rgb.tobytes(),
    }


def _dicom_seeds(gray, rgb, noise):
    from PIL import Image
    from pydicom import uid

    jpeg, jpeg_2000 = io.BytesIO(), io.BytesIO()
    Image.fromarray(gray).save(jpeg, "JPEG")
    Image.fromarray(gray).save(jpeg_2000, "JPEG2000", no_jp2=True)
    window = {"WindowCenter": 300, "WindowWidth": 401, "RescaleSlope": 2, "RescaleIntercept": -9}
    return {
        "dicom": _make_dicom(noise, uid.ExplicitVRLittleEndian, **window),
        "dicom implicit": _make_dicom(noise, uid.ImplicitVRLittleEndian, **window),
        "dicom big": _make_dicom(noise, uid.ExplicitVRBigEndian),
        "dicom rgb": _make_dicom(rgb, uid.ExplicitVRLittleEndian),
        "dicom rle": _make_dicom(gray, uid.RLELossless),
        "dicom jpeg": _make_dicom(gray, uid.JPEGBaseline8Bit, frame=jpeg.getvalue()),
        "dicom jpeg 2000": _make_dicom(gray, uid.JPEG2000Lossless, frame=jpeg_2000.getvalue()),
    }


def _make_dicom(pixels, syntax, frame=None, **elements):
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
    dataset.PatientName, dataset.PatientID = "ROSSI^MARIA", "ID-4711"
    dataset.PatientBirthDate, dataset.InsurancePlanIdentification = "19570321", "ROSSI^MARIA"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    if syntax == uid.RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom")
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def mutate(data, rng):
    """Return a file with a few changes; the checksums of a PNG file are often right again."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        # Headers, where the size is, come first in most files.
        reach = len(data) if rng.random() < 0.6 else min(len(data), 220)
        place, size = int(rng.integers(max(1, reach))), int(rng.choice([1, 2, 4, 8, 40]))
        data[place : place + size] = _change(bytes(data[place : place + size]), data, rng)
    return _fix_checksums(bytes(data)) if rng.random() < 0.5 else bytes(data)


def _change(part, data, rng):
    place = int(rng.integers(max(1, len(data))))
    changes = [
        lambda: bytes(byte ^ 1 << int(rng.integers(8)) for byte in part[:1]) + part[1:],
        lambda: rng.bytes(len(part)),
        lambda: bytes(len(part)),
        lambda: b"\xff" * len(part),
        lambda: b"\x7f" * len(part),
        lambda: b"",
        lambda: part + part,
        lambda: bytes(data[place : place + len(part)]),
        lambda: part + bytes(data[place : place + 200]),
        lambda: part[::-1],
    ]
    return changes[rng.integers(len(changes))]()


def _fix_checksums(data):
    """Return a PNG file with right checksums, as long as its chunks can be followed."""
    start, fixed = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and start + 12 <= len(data):
        end = start + 12 + struct.unpack_from(">I", data, start)[0]
        if end > len(data):
            break
        struct.pack_into(">I", fixed, end - 4, zlib.crc32(data[start + 4 : end - 4]))
        start = end
    return bytes(fixed)


def read_quietly(path, read):
    """Read a file; return the outcome, the error, and what was written to standard error."""
    stream = os.dup(2)
    with tempfile.TemporaryFile() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(captured.fileno(), 2)
        outcome, said = "accepted", ""
        try:
            read(path)
        except OSError as error:
            outcome = "refused" if type(error).__name__ == "ImageReadError" else "exception"
            said = "".join(traceback.format_exception(error)).replace(str(path), "")
        except BaseException as error:
            outcome, said = "exception", "".join(traceback.format_exception(error))
        finally:
            os.dup2(stream, 2)
            os.close(stream)
        captured.seek(0)
        printed = captured.read().decode(errors="replace")
    return outcome, said, printed


def work(connection, folder):
    """Read what the guard asks for, in a process of its own."""
    from featbus.io import read_image

    read_image(folder / "warm up.dcm")
    path = folder / f"mutant {os.getpid()}.dcm"
    while (data := connection.recv()) is not None:
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        outcome, said, printed = read_quietly(path, read_image)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        leak = any(secret in said for secret in SECRETS)
        large = peak > before and peak * 1024 > GIGABYTES << 30
        connection.send(
            {
                "outcome": "leak" if leak else "memory" if large else outcome,
                "printed": bool(printed) and outcome == "accepted",
                "said": said[-2000:] + printed[-500:],
                "peak": peak,
                "seconds": seconds,
            }
        )


class Guard:
    """A child process that reads, and is replaced when it dies or hangs."""

    def __init__(self, folder):
        self.folder = folder
        self.child = None

    def read(self, data):
        """Have the child read a file; return what it says, or how it ended."""
        if self.child is None:
            self._start()
        self.connection.send(data)
        try:
            if self.connection.poll(SECONDS):
                result = self.connection.recv()
                self.count += 1
                if self.count >= REPLACED_AFTER or result["outcome"] == "memory":
                    self.stop()
                return result
            outcome = "hang"
        except EOFError:
            outcome = "died"
        self.stop()
        return {
            "outcome": outcome,
            "printed": False,
            "said": "",
            "peak": 0,
            "seconds": SECONDS,
        }

    def _start(self):
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.child = context.Process(target=work, args=(other, self.folder), daemon=True)
        self.child.start()
        other.close()
        self.count = 0
        self.connection.send(b"")  # imports take longer than a mutant may
        if self.connection.poll(120):
            self.connection.recv()

    def stop(self):
        """End the child."""
        if self.child is not None:
            self.child.kill()
            self.child.join()
            self.child = None


def fuzz(count, seed=0, keep=None, jobs=1):
    """Read mutants of all seeds, and yield the number of each outcome by format now and then.

    Parameters
    ----------
    count : int
        Number of mutants.
    seed : int, default=0
        Seed of the mutations.
    keep : path or None, default=None
        Folder for the mutants with a bad outcome.
    jobs : int, default=1
        Number of child processes.

    Yields
    ------
    dict of str to Counter
        By format: the outcomes, and accepted files that printed. After 10,000
        mutants, and so on, and at the end.
    """
    seeds, table = make_seeds(), {}
    names = list(seeds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        folder = Path(folder)
        (folder / "warm up.dcm").write_bytes(seeds["dicom"])
        guards = SimpleQueue()
        for _ in range(jobs):
            guards.put(Guard(folder))

        def read(number):
            name = names[number % len(names)]
            data = mutate(seeds[name], np.random.default_rng([seed, number]))
            guard = guards.get()
            try:
                return number, name, data, guard.read(data)
            finally:
                guards.put(guard)

        for start in range(0, count, REPORTED_AFTER):
            part = range(start, min(count, start + REPORTED_AFTER))
            for number, name, data, result in pool.map(read, part):
                _count(table.setdefault(name.split()[0], Counter()), result)
                if keep and result["outcome"] in BAD:
                    label = f"{number} {result['outcome']} {name}".replace(" ", "_")
                    Path(keep, label).write_bytes(data)
                    Path(keep, f"{label}.txt").write_text(result["said"])
            yield table
        for _ in range(jobs):
            guards.get().stop()


def _count(counts, result):
    counts[result["outcome"]] += 1
    counts["printed"] += result["printed"]
    counts["slowest ms"] = max(counts["slowest ms"], round(1000 * result["seconds"]))
    counts["peak MB"] = max(counts["peak MB"], result["peak"] >> 10)


def show(table):
    """Print the outcomes by format."""
    columns = ["accepted", "refused", *BAD, "printed", "slowest ms", "peak MB"]
    print(f"{'format':8}" + "".join(f"{column:>11}" for column in columns))
    for kind, counts in table.items():
        print(f"{kind:8}" + "".join(f"{counts[column]:>11}" for column in columns))
    print(flush=True)


def main():
    """Fuzz as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="number of child processes")
    parser.add_argument("--keep", metavar="DIR", help="folder for mutants with a bad outcome")
    options = parser.parse_args()
    if options.keep:
        Path(options.keep).mkdir(parents=True, exist_ok=True)
    for table in fuzz(options.count, options.seed, options.keep, options.jobs):
        show(table)
    total = sum(table.values(), Counter())
    return int(any(total[outcome] for outcome in BAD))


if __name__ == "__main__":
    sys.exit(main())
