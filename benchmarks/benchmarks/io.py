"""Reading of image files."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from featbus.io import read_image

from .common import speckle


def write_dicom(path, image):
    """Write a 16-bit grey image as an uncompressed DICOM file."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = image.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.PixelData = image.tobytes()
    file.save_as(path, enforce_file_format=True)


class ReadImageSuite:
    """One image of 1024 x 1024 pixels."""

    params = ("png", "jpg", "tif", "pgm", "dcm")
    param_names = ("format",)

    def setup(self, extension):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, f"image.{extension}")
        image = speckle(1, (1024, 1024), np.uint8 if extension == "jpg" else np.uint16)[0]
        if extension == "dcm":
            write_dicom(self.path, image)
        else:
            cv2.imwrite(str(self.path), image)

    def teardown(self, extension):
        self.folder.cleanup()

    def time_read(self, extension):
        read_image(self.path)

    def peakmem_read(self, extension):
        read_image(self.path)
