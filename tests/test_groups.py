"""Samples in groups."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import _safe_indexing
from sklearn.utils.fixes import parse_version

from featbus import audit, evaluate, find_near_duplicates, make_breast_ultrasound
from featbus.groups import (
    GROUPS_FOUND,
    GROUPS_UNKNOWN,
    Groups,
    check_groups,
    check_target,
    find_doubt,
    merge_labelings,
    merge_pairs,
    stratified_folds,
)


@pytest.mark.parametrize(
    "y",
    [
        *(["b", "a", "b"], np.array([7, 3, 7]), pd.Series([True, False, True]), (1.0, 0.0, 1.0)),
        *(pd.Series([1, 0, 1], dtype=kind) for kind in ("boolean", "Int8", object)),
        *(pd.Series(["1", "0", "1"], dtype=kind) for kind in ("string", "category")),
    ],
    ids=lambda y: str(getattr(y, "dtype", type(y).__name__)),
)
def test_classes_are_sorted_and_coded(y):
    target, labels, codes = check_target(y)
    assert isinstance(target, np.ndarray)
    assert labels.dtype.kind in "biUf"
    assert labels.tolist() == sorted(set(y))
    assert codes.tolist() == [1, 0, 1]
    assert labels[codes].tolist() == target.tolist() == list(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None"),
        ([0, 1, np.nan], r"y is NaN or None for 1 sample\(s\), the first at 2"),
        ([0.5, 1.5, 0.25], "Unknown label type"),
        ([1, 1, 1], "1 class, 1, expected at least two"),
        ([[0, 1], [1, 0]], "1d array"),
        ([1, "1", 0], "int and str"),
    ],
)
def test_what_is_no_target(y, message):
    with pytest.raises(ValueError, match=message):
        check_target(y)


def test_groups_may_be_anything():
    assert check_groups(None) is None
    assert check_groups([7, "p7", "7"]).tolist() == ["7", "p7", "7"]
    assert check_groups(pd.Series([3, 1, 3], index=[9, 8, 7])).tolist() == [3, 1, 3]
    with pytest.raises(ValueError, match=r"groups is NaN or None for 1 .* gets a group of its own"):
        check_groups([0, 1, None])


def test_groups_of_pandas_types_stay_what_they_are():
    identifiers = pd.Series(2**53 + np.arange(4), dtype="Int64")
    assert check_groups(identifiers).tolist() == (2**53 + np.arange(4)).tolist()
    assert check_groups(identifiers.to_frame()).tolist() == identifiers.tolist()
    for kind in ("string", "category"):
        assert check_groups(pd.Series(["a", "b", "a"], dtype=kind)).tolist() == ["a", "b", "a"]
    with pytest.raises(ValueError, match=r"groups is NaN or None for 1 .*, the first at 1"):
        check_groups(pd.Series([1, None], dtype="Int64"))


def data(seed, n=60, n_groups=20):
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    y = (rng.random(n_groups)[groups] + rng.normal(0, 0.2, n) > 0.6).astype(int)
    return y, groups


def assert_same_folds(found, expected):
    assert len(found) == len(expected)
    for split, (train, test) in zip(found, expected):
        np.testing.assert_array_equal(split[0], train)
        np.testing.assert_array_equal(split[1], test)


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="shuffling undid the stratification before scikit-learn 1.8",
)
@pytest.mark.parametrize(("seed", "n_folds"), [(0, 2), (1, 5)])
def test_grouped_folds_equal_scikit_learn(seed, n_folds):
    y, groups = data(seed)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    expected = list(splitter.split(y, y, groups))
    for labels in (groups, np.array([f"p{group:02}" for group in groups])):
        assert_same_folds(stratified_folds(y, labels, n_folds, seed), expected)


def test_folds_keep_groups_together_and_classes_apart_evenly():
    y = np.repeat([0, 0, 1], 20)
    groups = np.arange(60) // 2
    folds = stratified_folds(y, groups, 5, 0)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert y[test].sum() == 4
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), range(60))


def test_folds_without_groups_are_those_of_scikit_learn():
    y, _ = data(0)
    expected = StratifiedKFold(4, shuffle=True, random_state=7).split(y, y)
    assert_same_folds(stratified_folds(y, None, 4, 7), list(expected))


@pytest.mark.parametrize("seed", range(3))
def test_merged_groups(seed):
    rng = np.random.default_rng(seed)
    labelings = rng.integers(15, size=(3, 20))
    # By brute force: the matrix of what is reachable.
    reachable = (labelings[:, :, None] == labelings[:, None]).any(axis=0)
    reachable = np.linalg.matrix_power(reachable.astype(float), 20) > 0
    expected = pd.factorize(reachable.argmax(axis=1))[0]
    np.testing.assert_array_equal(merge_labelings(*labelings), expected)
    first = pd.factorize(labelings[0])[0]
    left, right = np.nonzero((labelings[1:, :, None] == labelings[1:, None]).any(axis=0))
    np.testing.assert_array_equal(merge_pairs(first, left, right), expected)


def test_a_note_on_groups_stays_with_selections_and_copies():
    groups = Groups([0, 1, 1, 2], GROUPS_FOUND)
    selected = groups[1:], groups[[0, 2]], groups[groups > 0], _safe_indexing(groups, [3])
    copied = copy.deepcopy(groups), pickle.loads(pickle.dumps(groups)), *selected
    assert {(type(found), find_doubt(found)) for found in copied} == {(Groups, GROUPS_FOUND)}
    assert copied[1].tolist() == [0, 1, 1, 2]
    assert type(groups == 1) is type(check_groups(groups)) is np.ndarray
    assert (type(groups.max()), find_doubt(groups.tolist())) == (np.int64, "")
    assert find_doubt(None) == GROUPS_UNKNOWN


@pytest.mark.filterwarnings("ignore:Only .* groups")
def test_results_say_that_groups_are_near_duplicates():
    data = make_breast_ultrasound(30, image_shape=(48, 60), weights=[1, 1, 0], random_state=0)
    groups = Groups(data.groups, GROUPS_FOUND)
    X = np.random.default_rng(0).normal(size=(30, 2))
    options = {"groups": groups[2:], "cv": 3}
    report = audit(data.images[2:], data.target[2:], **options)
    results = evaluate(DummyClassifier(), X[2:], data.target[2:], **options), report
    for result in results:
        assert result.groups_note == GROUPS_FOUND
        assert result.protocol.startswith("Groups are near-duplicates found in the images, not")
    assert report.outcome == "incomplete"
    assert find_near_duplicates(data.images[:3]).note == report.suggested_groups.note
    assert audit(data.images, data.target, groups=data.groups, cv=3).suggested_groups.note == ""
