"""How far the pixels of a DICOM file are apart."""

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from featbus.io import ImageReadError, read_spacing


def write(path, **elements):
    dataset = Dataset()
    dataset.PatientName = "Doe^Jane"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def region(unit=3, down=0.01, across=0.02):
    found = Dataset()
    found.PhysicalUnitsXDirection = found.PhysicalUnitsYDirection = unit
    found.PhysicalDeltaX, found.PhysicalDeltaY = across, down
    return found


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": ["0.1", "0.2"]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.07, 0.07]}, (0.07, 0.07)),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [3, 3]}, (0.1, 0.2)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"SequenceOfUltrasoundRegions": [region()]}, (0.1, 0.2)),
        ({"SequenceOfUltrasoundRegions": [region(), region()]}, (0.1, 0.2)),
        ({"SequenceOfUltrasoundRegions": [region(), region(down=0.02)]}, None),
        ({"SequenceOfUltrasoundRegions": [region(unit=4)]}, None),
        ({"SequenceOfUltrasoundRegions": [region(), region(unit=4)]}, None),
        ({}, None),
    ],
)
def test_spacing(tmp_path, elements, expected):
    found = read_spacing(write(tmp_path / "scan.dcm", **elements))
    assert found is None if expected is None else np.allclose(found, expected)


def test_files_that_are_not_dicom_have_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert read_spacing(tmp_path / "a.png") is None


def test_errors(tmp_path):
    with pytest.raises(ImageReadError, match=r"none\.dcm.*there is no such file"):
        read_spacing(tmp_path / "none.dcm")
    path = write(tmp_path / "scan.dcm", PixelSpacing=[0.1, 0.2])
    path.write_bytes(path.read_bytes().replace(b"0.1\\0.2", b"?.1\\Doe"))
    with pytest.raises(ImageReadError, match="found no valid spacing") as caught:
        read_spacing(path)
    assert "Doe" not in str(caught.value)
