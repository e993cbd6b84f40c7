"""Read TIFF images.

OpenCV returns a picture even where libtiff reports damage, so strips and tiles are decoded in
`_tiff_codecs` and put together here.
"""

import math
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

import numpy as np

from featbus.io._errors import AGAIN, ImageReadError, cut_off, several
from featbus.io._jpeg import read_jpeg
from featbus.io._limits import check_size
from featbus.io._tags import read_directories, turn_upright
from featbus.io._tiff_codecs import CODECS, JPEG


class _Tag(IntEnum):
    NEW_SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347


_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_SAMPLES = {_WHITE_IS_ZERO: (1,), _BLACK_IS_ZERO: (1,), _RGB: (3, 4), _PALETTE: (1,)}
# Sample format (1 unsigned integer, 3 floating point) and bits per sample.
_DEPTHS = {(1, 1), (1, 8), (1, 16), (3, 32), (3, 64)}
_HORIZONTAL, _FLOATING_POINT = 2, 3  # predictors
_PAGES = 1000  # that are looked at
# Markers whose colors or orientation would count instead of the tags.
_MARKERS = re.compile(rb"(\xff[\xe0\xe1\xee]..)(?:JFIF|Exif|Adob)", re.DOTALL)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Page:
    """A directory of a TIFF file, and the shape of its strips or tiles."""

    tags: dict
    order: str
    height: int
    width: int
    samples: int
    bits: int
    block: tuple[int, int]

    def get(self, tag, default=1):
        """Return the first value of a tag."""
        return int(self.tags[tag][0]) if tag in self.tags else default

    @property
    def reduced(self):
        return self.get(_Tag.NEW_SUBFILE_TYPE, 0) & 1

    @property
    def tiled(self):
        return _Tag.TILE_WIDTH in self.tags

    @property
    def grid(self):
        """Number of blocks below, and beside, each other."""
        return -(-self.height // self.block[0]), -(-self.width // self.block[1])

    @property
    def row(self):
        """Bytes of a row of a block."""
        return -(-self.block[1] * self.samples * self.bits // 8)


def read_tiff(data, limit):
    """Decode a TIFF file of one page after checking that all strips or tiles are complete.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray
        Grayscale, RGB or RGBA; a `uint8`, `uint16`, `float32` or `float64` as in the file.

    Raises
    ------
    ImageReadError
        If the file is damaged, of a kind that is not supported, or contains several pictures.
    """
    try:
        page = _read_page(data, limit)
        _check_kind(page)
        image = _read_blocks(data, page, limit)
        return turn_upright(_show(image, page), page.get(_Tag.ORIENTATION))
    except (ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(
            f"the tags of the TIFF file are incomplete or contradict each other. {AGAIN}"
        ) from error


def _read_page(data, limit):
    """Return the only page of a file, apart from smaller versions of it that are marked as such."""
    directories = list(islice(read_directories(data, set(_Tag)), _PAGES))
    pages = [page for tags in directories if not (page := _as_page(tags, data)).reduced]
    count = len(directories) if len(directories) == _PAGES else len(pages)
    if not pages:
        raise ImageReadError(
            "the TIFF file has only a reduced version of a picture. Save the picture itself as PNG."
        )
    check_size("TIFF", pages[0].height, pages[0].width, limit)
    count = max(count, _count_planes(pages[0]))
    if count > 1:
        raise several(count, "pages", "tifffile.imread")
    rows, columns = pages[0].block
    # Tiles may be larger than the image.
    down, across = pages[0].grid
    check_size("TIFF", rows * down, columns * across, limit)
    return pages[0]


def _as_page(tags, data):
    height, width = int(tags[_Tag.HEIGHT][0]), int(tags[_Tag.WIDTH][0])
    bits = set(map(int, tags.get(_Tag.BITS, [1])))
    if _Tag.TILE_WIDTH in tags:
        block = int(tags[_Tag.TILE_HEIGHT][0]), int(tags[_Tag.TILE_WIDTH][0])
    else:
        block = min(height, int(tags.get(_Tag.ROWS_PER_STRIP, [height])[0])), width
    if min(height, width, *block) < 1:
        raise ValueError("an image, a strip or a tile without pixels")
    return _Page(
        tags,
        order="<" if data[:2] == b"II" else ">",
        height=height,
        width=width,
        samples=int(tags.get(_Tag.SAMPLES, [1])[0]),
        bits=bits.pop() if len(bits) == 1 else 0,
        block=block,
    )


def _count_planes(page):
    """Return how many pictures the software that wrote a directory put into it."""
    text = bytes(page.tags.get(_Tag.DESCRIPTION, np.zeros(0, "u1"))).rstrip(b"\0")
    if text.startswith(b"ImageJ=") and (match := re.search(rb"\nimages=(\d{1,9})", text)):
        return int(match[1])
    shape = re.search(rb'"shape": \[([\d, ]{1,99})\]', text)
    if text.startswith(b"{") and b'"truncated": true' in text and shape:  # by tifffile
        samples = math.prod(int(size) for size in shape[1].split(b",") if size.strip())
        return min(samples // (page.height * page.width * max(1, page.samples)), 10**9)
    return 1


def _check_kind(page):
    """Refuse files whose pixels are not gray or colors as `read_image` returns them."""
    depth = page.get(_Tag.SAMPLE_FORMAT), page.bits
    photometric = page.get(_Tag.PHOTOMETRIC, -1)
    compression = page.get(_Tag.COMPRESSION)
    interleaved = page.get(_Tag.PLANAR) == 1 or page.samples == 1
    jpeg = compression == JPEG
    samples = (3,) if jpeg and photometric == _YCBCR else _SAMPLES.get(photometric, ())
    if not (
        interleaved
        and depth in _DEPTHS
        and page.samples in samples
        and ((photometric != _PALETTE and not jpeg) or depth == (1, 8))
    ):
        raise ImageReadError(
            f"the TIFF file has {page.samples} {'interleaved' if interleaved else 'planar'} "
            f"sample(s) per pixel, {page.bits} bits, sample format {depth[0]}, photometric "
            f"interpretation {photometric}; expected grayscale, RGB or RGBA, interleaved, unsigned "
            "8 or 16 bits or floating point of 32 or 64 bits. Convert it to one of these."
        )
    if compression not in {*CODECS, JPEG}:
        raise ImageReadError(
            f"the TIFF file has compression {compression}, expected none (1), LZW (5), JPEG (7), "
            "Deflate (8) or PackBits (32773). Save it as PNG."
        )


def _read_blocks(data, page, limit):
    """Return the stored samples, of shape (height, width, samples)."""
    segments, (down, across) = _read_segments(data, page), page.grid
    height, width = page.block
    heights = [height] * (down * across)
    if not page.tiled:
        heights[-1] = page.height - (down - 1) * height
    if page.get(_Tag.COMPRESSION) == JPEG:
        parts = zip(segments, heights)
        rows = np.concatenate([_decode_jpeg(part, page, least, limit) for part, least in parts])
    else:
        codec = CODECS[page.get(_Tag.COMPRESSION)]
        rows = _as_samples(codec(segments, page.row, heights, height), page)
    if page.tiled:
        rows = rows.reshape(down, across, height, width, page.samples).swapaxes(1, 2)
        rows = rows.reshape(down * height, across * width, page.samples)
    return rows[: page.height, : page.width]


def _read_segments(data, page):
    """Return the bytes of each strip or tile."""
    tiles = _Tag.TILE_OFFSETS, _Tag.TILE_BYTES
    offsets, counts = (
        page.tags[tag] for tag in (tiles if page.tiled else (_Tag.STRIP_OFFSETS, _Tag.STRIP_BYTES))
    )
    number = page.grid[0] * page.grid[1]
    if {len(offsets), len(counts)} != {number}:
        raise ImageReadError(
            f"the TIFF file has {len(offsets)} strips or tiles, expected {number}. {AGAIN}"
        )
    view, segments, total = memoryview(data), [], 0
    for offset, count in zip(offsets.tolist(), counts.tolist()):
        total += count
        if offset < 8:
            raise ImageReadError(
                f"the TIFF file has a strip or tile at byte {offset}, inside its header. {AGAIN}"
            )
        if not 0 < count <= len(data) - offset:
            where = f"but its pixels need bytes {offset} to {offset + count}"
            raise cut_off("TIFF", len(data), where)
        segments.append(view[offset : offset + count])
    if total > 2 * len(data):  # the same bytes, again and again
        raise ImageReadError(f"the strips or tiles of the TIFF file overlap. {AGAIN}")
    if page.get(_Tag.FILL_ORDER) == 2 and page.get(_Tag.COMPRESSION) != JPEG:
        segments = [bytes(segment).translate(_REVERSED) for segment in segments]
    return segments


def _decode_jpeg(segment, page, rows, limit):
    """Decode a strip or tile; the tables are shared, and the color transform is a tag."""
    transform = page.get(_Tag.PHOTOMETRIC) == _YCBCR
    adobe = struct.pack(">4sH5sHHHB", b"\xff\xd8\xff\xee", 14, b"Adobe", 100, 0, 0, transform)
    tables = bytes(page.tags.get(_Tag.JPEG_TABLES, np.zeros(0, "u1")))[2:-2]
    content = _MARKERS.sub(rb"\1none", tables + bytes(segment[2:]))
    image = read_jpeg(adobe + content, limit)
    height, width = page.block
    sizes = [(least, width, page.samples) for least in (rows, height)]
    image = image.reshape(*image.shape[:2], -1)
    if image.shape not in sizes:
        raise ImageReadError(f"the TIFF file has JPEG data of another size. {AGAIN}")
    return image[:rows]


def _as_samples(data, page):
    """Return the samples of all rows, of shape (rows, width, samples), in native byte order."""
    rows, width = np.frombuffer(data, np.uint8).reshape(-1, page.row), page.block[1]
    if page.bits == 1:
        return 255 * np.unpackbits(rows, axis=1)[:, :width, np.newaxis]
    kind = "f" if page.get(_Tag.SAMPLE_FORMAT) == 3 else "u"
    dtype = np.dtype(f"{page.order}{kind}{page.bits // 8}")
    predictor = page.get(_Tag.PREDICTOR) if page.get(_Tag.COMPRESSION) in (5, 8, 32946) else 1
    if predictor == _FLOATING_POINT and kind == "f":
        # Differences of bytes; first the highest bytes of a row, and so on (TIFF Technote 3).
        rows = np.cumsum(rows.reshape(len(rows), -1, page.samples), axis=1, dtype=np.uint8)
        rows = rows.reshape(len(rows), dtype.itemsize, -1).swapaxes(1, 2)
        rows, dtype = np.ascontiguousarray(rows), dtype.newbyteorder(">")
    samples = rows.view(dtype).reshape(len(rows), width, page.samples)
    samples = np.require(samples, dtype.newbyteorder("="), "W")
    if predictor == _HORIZONTAL and kind == "u":
        for channel in np.moveaxis(samples, 2, 0):
            np.cumsum(channel, axis=1, out=channel)
        return samples
    if predictor not in (1, _FLOATING_POINT) or (predictor == _FLOATING_POINT and kind == "u"):
        raise ImageReadError(
            f"the TIFF file has predictor {predictor} for samples of type {samples.dtype}, "
            "expected none (1), 2 for integers or 3 for floating point. Save it as PNG."
        )
    return samples


def _show(image, page):
    """Return gray levels and colors."""
    photometric = page.get(_Tag.PHOTOMETRIC)
    if photometric == _PALETTE:
        colors = page.tags[_Tag.COLOR_MAP][: 3 * 256].reshape(3, 256).T
        # Some programs write 8 of the 16 bits.
        colors = colors if colors.max() < 256 else colors >> 8
        return colors.astype(np.uint8)[image[..., 0]]
    image = image[..., 0] if page.samples == 1 else image
    if photometric == _WHITE_IS_ZERO:
        return 1 - image if image.dtype.kind == "f" else ~image
    return image
