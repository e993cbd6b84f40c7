"""Which breast a DICOM file shows."""

import warnings

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from test_io import without_preamble

from featbus.io import ImageReadError, read_laterality


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


def enhanced(side):
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = [anatomy]
    return [group]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"ImageLaterality": "L"}, "left"),
        ({"ImageLaterality": "R"}, "right"),
        ({"ImageLaterality": "B"}, None),
        ({"Laterality": "R"}, "right"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "left"),
        ({"ImageLaterality": "", "Laterality": "R"}, "right"),
        ({"SharedFunctionalGroupsSequence": enhanced("L")}, "left"),
        ({"SharedFunctionalGroupsSequence": enhanced("U")}, None),
        ({}, None),
    ],
)
def test_laterality(tmp_path, elements, expected):
    assert read_laterality(write(tmp_path / "film.dcm", **elements)) == expected


def test_pixels_may_be_missing_or_cut_off(tmp_path):
    path = write(tmp_path / "film.dcm", ImageLaterality="L", Rows=4)
    with open(path, "ab") as file:
        file.write(b"\xe0\x7f\x10\x00OW\x00\x00\x00\x01\x00\x00")
    assert read_laterality(str(path)) == "left"


def test_a_file_without_preamble_is_known_by_its_name(tmp_path):
    path = write(tmp_path / "film.dcm", ImageLaterality="L", Rows=4)
    path.write_bytes(without_preamble(path.read_bytes()))
    assert read_laterality(path) == "left"


@pytest.mark.parametrize("content", [None, b"", b"no DICOM file at all", bytes(200)])
def test_bad_files(tmp_path, content):
    path = tmp_path / "film.dcm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"film\.dcm'") as caught:
        read_laterality(path)
    assert caught.value.path == str(path)


def told(path):
    """Return all text that comes back from reading a file."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            return f"{read_laterality(path)}{caught}"
        except ImageReadError as error:
            return f"{error!r}{error.__cause__!r}{caught}"


def test_nothing_of_a_patient_is_told(tmp_path):
    path = write(tmp_path / "film.dcm", ImageLaterality="L")
    assert told(path) == "left[]"
    content = path.read_bytes()
    for position in range(132, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        assert "Doe" not in told(path)
        assert "Warning" not in told(path)


@pytest.mark.parametrize("value", [["L", "R"], " R", "r"])
def test_unusual_values(tmp_path, value):
    path = write(tmp_path / "film.dcm", ImageLaterality=value)
    assert read_laterality(path) == ("right" if value == " R" else None)


def test_no_path():
    with pytest.raises(TypeError, match="expected str, bytes or os.PathLike object, not NoneType"):
        read_laterality(None)
