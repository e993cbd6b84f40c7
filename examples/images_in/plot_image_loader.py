"""
ImageLoader: read images from files
===================================

Every featbus estimator accepts paths in place of images. :class:`~featbus.ImageLoader` is the
explicit step, with control over how files are read.
"""

# %%
# A few files
# -----------
# An 8-bit color PNG, a photograph of a retina (scikit-image, CC0); a 16-bit TIFF; and a DICOM file
# whose zero is white (MONOCHROME1) and whose window selects a part of its 4096 levels.

import tempfile
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.data import retina

from featbus import ImageLoader, make_mammograms

folder = Path(tempfile.mkdtemp())
mammogram = make_mammograms(2, random_state=6).images[0]

cv2.imwrite(str(folder / "retina.png"), cv2.cvtColor(retina(), cv2.COLOR_RGB2BGR))
cv2.imwrite(str(folder / "mammogram.tif"), mammogram.astype(np.uint16) * 257)


def write_dicom(path, image):
    """Write a grayscale image as a 12-bit DICOM file whose zero is white."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.Rows, file.Columns = image.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME1"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.WindowCenter, file.WindowWidth = 3200, 1400
    file.PixelData = (4095 - image.astype(np.uint16) * 6).tobytes()
    file.save_as(path, enforce_file_format=True)


write_dicom(folder / "mammogram.dcm", mammogram)
paths = sorted(folder.iterdir())
print([path.name for path in paths])

# %%
# The images
# ----------
# Formats are identified by the content of the files. Pixels keep their type: 8 and 16 bits stay
# integers; DICOM becomes floating point from 0, black, to 1, white. The reader inverts MONOCHROME1.

images = ImageLoader().transform(paths)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained", width_ratios=[3, 3, 4.6])
for axis, path, image in zip(axes, paths, images):
    axis.imshow(image, cmap="gray")
    axis.set_title(f"{path.name}\n{image.dtype}, {image.shape}", fontsize="medium")
    axis.set(xticks=[], yticks=[])

# %%
# Options
# -------
# ``color_mode="gray"`` converts all images to one channel, the luma; ``"rgb"`` converts to three.
# With ``voi_lut=False`` the window of a DICOM file is ignored, and the whole range of its bits
# kept.

dicom = folder / "mammogram.dcm"
figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained", width_ratios=[4.6, 3, 3])
shown = {
    'color_mode="gray"': ImageLoader(color_mode="gray").transform([folder / "retina.png"]),
    "voi_lut=True": ImageLoader().transform([dicom]),
    "voi_lut=False": ImageLoader(voi_lut=False).transform([dicom]),
}
for axis, (title, batch) in zip(axes, shown.items()):
    axis.imshow(batch[0], cmap="gray", vmin=0, vmax=255 if batch.dtype == np.uint8 else 1)
    axis.set_title(title, fontsize="medium")
    axis.set(xticks=[], yticks=[])
