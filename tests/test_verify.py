"""The IBSI certificate."""

import csv
import json

import numpy as np
import pytest
from _data import data_dir

from featbus import verify as module
from featbus.feature_extraction._gldzm import distance_zone_features, distance_zone_matrix
from featbus.feature_extraction._ivh import volume_histogram_features
from featbus.verify import verify

# What the names of IBSI's reference values begin and end with.
ENDS = {
    "intensity-based statistics": ("stat_", ""),
    "intensity histogram": ("ih_", ""),
    "intensity-volume histogram": ("ivh_", ""),
    "co-occurrence, 2D averaged": ("cm_", "_2D_avg"),
    "co-occurrence, 2D merged": ("cm_", "_2D_comb"),
    "run length, 2D averaged": ("rlm_", "_2D_avg"),
    "run length, 2D merged": ("rlm_", "_2D_comb"),
    "size zone, 2D": ("szm_", "_2D"),
    "distance zone, 2D": ("dzm_", "_2D"),
    "gray-tone difference, 2D": ("ngt_", "_2D"),
    "gray-level dependence, 2D": ("ngl_", "_2D"),
}


@pytest.fixture(scope="module")
def ibsi():
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        return json.load(file)


def test_all_reference_values_are_met():
    table = verify(verbose=False)
    assert table["passed"].all(), table[~table["passed"]]
    assert table["family"].value_counts().to_dict() == {
        "intensity-based statistics": 18,
        "intensity histogram": 23,
        "intensity-volume histogram": 6,
        "co-occurrence, 2D averaged": 25,
        "co-occurrence, 2D merged": 25,
        "run length, 2D averaged": 16,
        "run length, 2D merged": 16,
        "size zone, 2D": 16,
        "distance zone, 2D": 16,
        "gray-tone difference, 2D": 5,
        "gray-level dependence, 2D": 17,
    }


def test_what_is_printed(capsys):
    verify()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["family", "feature", "value", "reference", "agrees"]
    assert all(line.endswith("to the 3 digits given") for line in lines[1:])
    assert lines[-1] == "183 of 183 IBSI reference values met, rounded to the 3 digits given"


def test_a_miss_is_found(monkeypatch):
    phantom, references = module._load_ibsi()
    references["intensity-based statistics"]["kurtosis"] = 2.65
    monkeypatch.setattr(module, "_load_ibsi", lambda: (phantom, references))
    table = verify(verbose=False)
    assert table.loc[~table["passed"], "feature"].tolist() == ["kurtosis"]


def test_the_phantom_is_ibsis(ibsi):
    phantom, _ = module._load_ibsi()
    inside = np.array(ibsi["mask"], bool)
    np.testing.assert_array_equal(~phantom.mask, inside)
    np.testing.assert_array_equal(phantom.compressed(), np.array(ibsi["phantom"])[inside])


def test_the_references_are_ibsis(ibsi):
    """Names differ, order does not."""
    published = {
        key: entry for family in ibsi["families"].values() for key, entry in family.items()
    }
    table = verify(verbose=False)
    for family, rows in table.groupby("family"):
        prefix, suffix = ENDS[family]
        entries = [
            entry
            for key, entry in published.items()
            if key.startswith(prefix) and key.endswith(suffix)
        ]
        assert rows["reference"].tolist() == [entry["value"] for entry in entries]
        assert rows["tolerance"].tolist() == [entry["tolerance"] for entry in entries]
        if "recomputed_full_precision" in entries[0]:
            exact = [entry["recomputed_full_precision"] for entry in entries]
            np.testing.assert_allclose(rows["value"], exact, rtol=1e-12, atol=1e-14)
        else:
            assert prefix in ("ivh_", "rlm_", "szm_", "dzm_", "ngt_", "ngl_")


@pytest.fixture(scope="module")
def ct_phantom():
    """Return the CT phantom and its mask, the slices of the region."""
    phantom = np.load(data_dir("ibsi2") / "ct_phantom.npz")
    mask = phantom["mask"] > 0
    used = mask.any(axis=(1, 2))
    return phantom["image"][used].astype(int), mask[used]


@pytest.fixture(scope="module")
def configuration_a():
    with open(data_dir("ibsi") / "chest_config_a.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))[1:]
    return {name: (float(value), float(tolerance)) for value, tolerance, name in rows if value}


@pytest.mark.parametrize("family", ENDS)
def test_the_ct_phantom_in_configuration_a(family, ct_phantom, configuration_a):
    image, mask = ct_phantom
    # Voxels of -500 to 400 HU, in bins of 25 HU.
    outside = ~mask | (image < -500) | (image > 400)
    levels = np.ma.MaskedArray((image + 500).clip(0) // 25 + 1, outside)
    if family == "intensity-based statistics":
        values = module._FAMILIES[family](np.ma.MaskedArray(image, outside))
    elif family == "intensity-volume histogram":
        values = volume_histogram_features(np.where(outside, 0, image + 501), 901)
        values = {
            name: value - 501 if name.startswith("intensity_at") else value
            for name, value in values.items()
        }
    elif family == "distance zone, 2D":
        values = module._mean(
            [
                distance_zone_features(distance_zone_matrix(slice_, inside), slice_.count())
                for slice_, inside in zip(levels, mask)
            ]
        )
    else:
        values = module._FAMILIES[family](levels)
    prefix, suffix = ENDS[family]
    published = {
        name: entry
        for name, entry in configuration_a.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }
    names = module._load_ibsi()[1][family]
    assert len(names) == len(published)
    for name, (reference, tolerance) in zip(names, published.values()):
        found = float(f"{values[name]:.3g}")
        assert abs(found - reference) <= tolerance * (1 + 1e-9), name
