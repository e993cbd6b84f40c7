import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from numpy.testing import assert_array_equal
from skimage.draw import disk
from skimage.io import imread

from featbus.datasets import load_mini_mias

INFO = """\
       A DATABASE

1st column: MIAS database reference number.
                CALC - Calcification
================
mdb001 G CIRC B 535 425 197
mdb002 D NORM\x20
mdb003 F MISC B 233 994 29
mdb003 F MISC M 313 540 27
mdb004 F CIRC B
mdb005 D CALC M *NOTE 3*\x20
mdb006 G CIRC M 10 20 30
mdb006 G CALC B 11 21 31
mdb211 G CALC M 680 327 13
mdb212 G CALC B 687 882 3
mdb214 G CALC B 582 916 11

================
mdb is short for MIAS database.
"""
FILES = ["mdb001.pgm", "mdb002.pgm", "mdb003.pgm", "mdb004.pgm", "mdb005.pgm", "MDB006.PGM"]


def write_release(folder, files=FILES, info=INFO):
    folder.mkdir(parents=True)
    (folder / "Info.txt").write_text(info)
    for file in files:
        (folder / file).touch()
    return folder


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "all-mias")


def test_one_row_per_image(release):
    mias = load_mini_mias(release)
    expected = pd.DataFrame(
        {
            "file": FILES,
            "id": [1, 2, 3, 4, 5, 6],
            "side": ["right", "left"] * 3,
            "view": "MLO",
            "tissue": [
                *("fatty-glandular", "dense-glandular", "fatty"),
                *("fatty", "dense-glandular", "fatty-glandular"),
            ],
            "class": ["CIRC", "NORM", "MISC", "CIRC", "CALC", "CIRC;CALC"],
            "abnormality": ["abnormal", "normal"] + ["abnormal"] * 4,
            "severity": ["benign", "normal", "malignant", "benign", "malignant", "malignant"],
            "findings": [1, 0, 2, 1, 1, 2],
            "group": [0, 0, 1, 1, 2, 2],
        }
    )
    pd.testing.assert_frame_equal(mias.frame, expected)
    assert mias.images.tolist() == [str(release / file) for file in FILES]
    assert_array_equal(mias.groups, [0, 0, 1, 1, 2, 2])
    assert mias.masks.tolist() == [None] * 6
    assert "Suckling" in mias.DESCR


def test_one_row_per_finding_with_rows_from_the_top(release):
    findings = load_mini_mias(release).findings
    assert findings["image"].tolist() == [0, 2, 2, 3, 4, 5, 5]
    assert findings["severity"].tolist()[1:3] == ["benign", "malignant"]
    assert findings.loc[0, ["x", "y", "radius", "row", "column"]].tolist() == [
        *(535, 425, 197),
        *(1023 - 425, 535),
    ]
    unplaced = findings.index[findings["row"].isna()].tolist()
    assert findings.loc[unplaced, "file"].tolist() == ["mdb004.pgm", "mdb005.pgm"]
    assert findings[["row", "column", "radius"]].to_numpy().dtype == np.float64


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        ("abnormality", ["normal", "abnormal"], [1, 0, 1, 1, 1, 1]),
        ("severity", ["normal", "benign", "malignant"], [1, 0, 2, 1, 2, 2]),
        ("tissue", ["fatty", "fatty-glandular", "dense-glandular"], [1, 2, 0, 0, 2, 1]),
    ],
)
def test_targets(release, target, names, expected):
    mias = load_mini_mias(release, target=target)
    assert mias.target_names == names
    assert_array_equal(mias.target, expected)
    assert mias.target.dtype == np.intp


def test_normal_images_alone(tmp_path):
    mias = load_mini_mias(write_release(tmp_path / "mias", ["mdb002.pgm"]))
    assert mias.frame[["class", "severity", "findings"]].to_numpy().tolist() == [
        ["NORM", "normal", 0]
    ]
    assert len(mias.findings) == 0


def test_folder_one_level_down_and_upper_case_table(release):
    (release / "Info.txt").rename(release / "INFO.TXT")
    (release / "._mdb001.pgm").touch()
    assert len(load_mini_mias(release.parent).images) == 6


def test_labels_are_those_of_the_table_that_is_there(tmp_path):
    variant = INFO.replace("mdb212 G CALC B 687 882 3", "mdb212 G NORM")
    release = write_release(tmp_path / "mias", ["mdb211.pgm", "mdb212.pgm", "mdb214.pgm"], variant)
    mias = load_mini_mias(release)
    assert_array_equal(mias.target, [1, 0, 1])
    assert "mdb212" in mias.DESCR


def test_images_without_a_row_are_refused(release):
    (release / "mdb007.pgm").touch()
    (release / "mdb001 (copy).pgm").touch()
    with pytest.raises(ValueError, match=r"no row for 'mdb001 \(copy\).pgm', 'mdb007.pgm'"):
        load_mini_mias(release)


@pytest.mark.parametrize(
    "row", ["mdb006 G CIRC", "mdb006 X NORM", "mdb006 G NORM B", "mdb006 G CIRC B 10 20"]
)
def test_unreadable_rows_are_refused(tmp_path, row):
    info = INFO.replace("mdb006 G CIRC M 10 20 30", row)
    with pytest.raises(ValueError, match=f"Line 12 .*'{row}', expected a row like"):
        load_mini_mias(write_release(tmp_path / "mias", info=info))


def test_what_is_missing_is_named(release):
    with pytest.raises(
        ValueError, match="target is 'density', expected a str among .*'abnormality'"
    ):
        load_mini_mias(release, target="density")
    for path in release.glob("*.[pP]*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"0 \.pgm images"):
        load_mini_mias(release)
    (release / "mdb001.pgm").touch()
    (release / "Info.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no Info\.txt"):
        load_mini_mias(release)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load_mini_mias(release / "nowhere")


@pytest.fixture(scope="module")
def real():
    return load_mini_mias(data_dir("mini-mias"), target="severity")


def test_real_counts(real):
    assert len(real.images) == 90
    assert_array_equal(np.unique(real.groups, return_counts=True)[1], [2] * 45)
    # mdb144 has a benign and a malignant finding, and counts as malignant.
    counts = pd.crosstab(real.frame["class"], real.frame["severity"])
    assert counts.loc["NORM"].tolist() == [0, 0, 58]
    assert counts.drop(index="NORM")[["benign", "malignant"]].T.to_dict("list") == {
        "ARCH": [2, 2],
        "ASYM": [2, 2],
        "CALC": [4, 5],
        "CIRC": [4, 2],
        "MISC": [1, 3],
        "SPIC": [3, 2],
    }
    assert_array_equal(np.bincount(real.target), [58, 16, 16])


def brightness(image, row, column, radius):
    """Return the mean inside a circle, and how much darker the ring around it is."""
    inside, around = np.zeros((2, *image.shape), dtype=bool)
    inside[disk((row, column), radius, shape=image.shape)] = True
    around[disk((row, column), 2 * radius, shape=image.shape)] = True
    return image[inside].mean(), image[inside].mean() - image[around & ~inside].mean()


def test_real_centers_count_from_the_bottom(real):
    placed = real.findings.dropna()
    flipped, as_written = [
        np.array(
            [
                brightness(imread(real.images[image]), *circle)
                for image, *circle in placed[["image", row, "column", "radius"]].itertuples(
                    index=False
                )
            ]
        )
        for row in ("row", "y")
    ]
    # Circles lie on tissue; only two benign calcifications are marked where the film is black.
    assert placed.loc[flipped[:, 0] < 50, "file"].tolist() == ["mdb212.pgm", "mdb214.pgm"]
    assert (as_written[:, 0] < 50).sum() == 5
    # Masses are brighter than what is around them, if one looks in the right place.
    mass = placed["class"].isin(["CIRC", "SPIC"]).to_numpy()
    assert mass.sum() == 12
    assert flipped[mass, 1].mean() > 25
    assert as_written[mass, 1].mean() < 10
    assert (flipped[mass, 1] > as_written[mass, 1]).sum() >= 10
