"""The IBSI certificate."""

import json

import numpy as np
import pytest
from _data import data_dir

from featbus import verify as module
from featbus.verify import verify


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
    assert lines[0].split() == ["image", "family", "feature", "value", "reference", "agrees"]
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
    published = {key: row for family in ibsi["families"].values() for key, row in family.items()}
    table = verify(verbose=False)
    for family, rows in table.groupby("family"):
        prefix, suffix, _ = module._FAMILIES[family]
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
def ct_table():
    data_dir("ibsi2")
    table = verify(data_dir("ibsi").parent, verbose=False)
    return table[table["image"] != "digital phantom"]


@pytest.mark.slow
@pytest.mark.parametrize("configuration", "AB")
def test_the_ct_phantom(ct_table, configuration):
    """All published values but those of three dimensions and the area under the IVH."""
    rows = ct_table[ct_table["image"] == f"CT phantom, {configuration}"]
    assert rows["passed"].all(), rows[~rows["passed"]]
    published = module._read_references(
        data_dir("ibsi") / f"chest_config_{configuration.lower()}.csv"
    )
    families = {"stat", "ih", "ivh", "cm", "rlm", "szm", "dzm", "ngt", "ngl"}
    expected = [value for tag, value in published.items() if tag.split("_")[0] in families]
    assert len(rows) == len(expected) == 319
    found = set(zip(rows["reference"], rows["tolerance"]))
    assert found == set(expected)


@pytest.mark.slow
def test_filters(ct_table):
    """All response maps that are made in the plane, and all values of tests 1.A to 9.A."""
    rows = ct_table[ct_table["family"].str.startswith("filter")]
    assert rows["passed"].all(), rows[~rows["passed"]]
    maps = rows["tolerance"].eq(0.01) & rows["reference"].eq(0)
    assert (maps.sum(), len(rows)) == (9, 9 + 9 * 18)


def test_a_value_beyond_its_tolerance_is_a_miss():
    assert module._passes(1.0299, 1, 0.03)
    assert not module._passes(1.036, 1, 0.03)


def test_data_without_the_phantom_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="ct_phantom"):
        verify(tmp_path)
