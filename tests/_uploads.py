"""Files that readers upload: images with planted names, and hostile ones."""

import io

import numpy as np
import pydicom
import tifffile
from _image_files import LARGE, dicom, png
from PIL import Image

from featbus import make_breast_ultrasound

PATIENT, PATIENT_ID = "ROSSI^MARIA", "ID-4711-0815"
SECRETS = [PATIENT, PATIENT_ID, "ROSSI", "4711"]
IMAGES = make_breast_ultrasound(4, image_shape=(192, 256), random_state=7).images


def upload(name, content):
    """Return a file as Playwright uploads it."""
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def encode_png(pixels):
    """Encode an image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def encode_tiff(pixels):
    """Encode an image without compression."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack")
    return file.getvalue()


def make_planted():
    """Return images, with names in their file names and headers, and the bytes to search for."""
    # A TIFF above one megabyte: servers tend to put larger uploads into temporary files.
    large = np.kron(IMAGES[2], np.ones((5, 5), np.uint8))
    header = {"PatientName": PATIENT, "PatientID": PATIENT_ID, "PatientBirthDate": "19570321"}
    files = [
        upload("ROSSI_MARIA_1957.png", encode_png(IMAGES[0])),
        upload("ROSSI_4711.dcm", dicom(IMAGES[1], **header)),
        upload("scan 4711 left.tif", encode_tiff(large)),
        upload("ROSSI_cut.dcm", dicom(IMAGES[1], **header)[:-999]),
    ]
    rows = [image[image.shape[0] // 2].tobytes() for image in (*IMAGES[:2], large)]
    return files, [*SECRETS, *rows]


def remove_pixels(data):
    """Return a DICOM file without its image."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def make_bomb(side):
    """Return a black PNG of one bit a pixel: a few kilobytes."""
    return png(side, side, bytes((side // 8 + 1) * side), depth=1)


def make_hostile():
    """Return files without a result, by name."""
    return {
        "truncated.png": encode_png(IMAGES[0])[:-999],
        "text.png": b"The patient is well. " * 99,
        "bomb.png": make_bomb(20_000),
        "large bomb.png": make_bomb(13_200),  # below the limit of the readers
        "empty.png": b"",
        "report.dcm": remove_pixels(dicom(IMAGES[0])),
        "huge.tif": LARGE["tiff"],
        "<img src=x onerror=alert(1)>.png": b"\x89PNG",
    }
