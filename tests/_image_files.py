"""Image files of every kind, as bytes."""

import io
import struct
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)
RGBA8 = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
FLOAT = RNG.random((13, 17), dtype=np.float32)
BITS = GRAY8 > 127
# JPEG keeps what is smooth: a picture without symmetry, so that every orientation shows.
SMOOTH = np.add.outer(3 * np.arange(24), np.arange(40)).astype(np.uint8)
SMOOTH_RGB = np.dstack([SMOOTH, 200 - SMOOTH, SMOOTH // 2])


def pil(pixels, kind, **options):
    """Encode with Pillow."""
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, photometric="minisblack", **options):
    """Encode with tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric=photometric, **options)
    return file.getvalue()


def tiff_tag(data, tag, value):
    """Return a TIFF file with another value of a tag."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        opened.pages[0].tags[tag].overwrite(value)
    return file.getvalue()


def opencv(pixels, suffix):
    """Encode with OpenCV."""
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else ...
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[..., order]))[1].tobytes()


def png(width, height, rows, *chunks, depth=8, color=0):
    """Encode rows of bytes, each after its filter."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    chunks = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    for kind, content in chunks:
        checksum = zlib.crc32(kind + content)
        data += struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", checksum)
    return data


def dicom(pixels, syntax=uid.ExplicitVRLittleEndian, *, frame=None, **elements):
    """Encode a DICOM file; `frame` takes the place of the pixels in compressed syntaxes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.HighBit = dataset.BitsStored - 1
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    if syntax == uid.RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom")  # not GDCM, which may abort
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame is not None:
        frames = frame if isinstance(frame, list) else [frame]
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def without_preamble(data):
    """Return the data set alone, without preamble and file meta information."""
    length = struct.unpack_from("<I", data, 140)[0]
    return data[144 + length :]


LARGE = {
    "png": png(20000, 20000, bytes(100)),
    "jpeg": pil(SMOOTH, "JPEG").replace(b"\0\x18\0\x28", struct.pack(">HH", 20000, 20000)),
    "bmp": pil(GRAY8, "BMP").replace(struct.pack("<ii", 17, 13), struct.pack("<ii", 20000, -20000)),
    "pgm": b"P5 20000 20000 255\n" + bytes(100),
    "tiff": tiff_tag(tiff_tag(tiff(GRAY8), "ImageWidth", 20000), "ImageLength", 20000),
    "dicom": dicom(GRAY16, Rows=20000, Columns=20000),
    "jpeg 2000": dicom(GRAY16, uid.JPEG2000Lossless, Rows=20000, Columns=20000, frame=bytes(64)),
}
