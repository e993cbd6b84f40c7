"""Parameters are declared, and checked before an image is read."""

import inspect
from itertools import product
from numbers import Integral
from textwrap import shorten

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.svm import SVC
from sklearn.utils import get_tags

import featbus
from featbus import GLCM, HOG, LBP, ThresholdSegmenter
from featbus.parameters import (
    FLOAT_DTYPE,
    Interval,
    InvalidParameterError,
    LowHigh,
    PairOf,
    SequenceOf,
    StrOptions,
    check_parameters,
    constraints_of,
)

# Nobody has such a file: whoever reads it raises an ImageReadError.
UNREADABLE = ["no/such/image.png"] * 4
CLASSES = ["a", "b", "a", "b"]

# What may be wrong with a value, whatever it is for.
VALUES = {
    "an object": object(),
    "a word": "wrong",
    "-1": -1,
    "0": 0,
    "nan": np.nan,
    "True": True,
    "beyond float": 10**400,
    "None": None,
    "an empty list": [],
    "three numbers": (1, 2, 3),
    "a word in a list": ["wrong"],
    "an empty dict": {},
}

# Parameters that no list of alternatives describes. The estimator checks these in its
# `_check_parameters`; an object is wrong for any of them.
FREE = {
    ("DeepFeatures", "backbone"): "a name of Keras, a model, or a file: one class each",
    ("FineTunedFeatures", "backbone"): "a name of Keras, a model, or a file: one class each",
}

REQUIRED = {
    "FeatureBus": {"transformer": HOG()},
    "ImageFunction": {"func": np.fliplr},
    "ROICropper": {"segmenter": ThresholdSegmenter()},
    "SelectRobust": {"extractor": HOG()},
    "StreamingClassifier": {"estimator": SGDClassifier()},
    "TestTimeAugmentation": {"estimator": SVC()},
}

ESTIMATORS = {
    name: getattr(featbus, name)
    for name in featbus.__all__
    if isinstance(getattr(featbus, name), type)
    and issubclass(getattr(featbus, name), BaseEstimator)
}


def build(name, **parameters):
    return ESTIMATORS[name](**REQUIRED.get(name, {}) | parameters)


def parameters_of(name):
    return list(inspect.signature(ESTIMATORS[name]).parameters)


def calls_of(name):
    """Return the methods that have to check the parameters, as functions of an estimator."""
    cls = ESTIMATORS[name]
    if hasattr(cls, "fit_resample"):
        return [lambda estimator: estimator.fit_resample(UNREADABLE, CLASSES)]
    calls = [lambda estimator: estimator.fit(UNREADABLE, CLASSES)]
    if hasattr(cls, "transform") and not get_tags(build(name)).requires_fit:
        calls.append(lambda estimator: estimator.transform(UNREADABLE))
    return calls


def is_allowed(constraints, value):
    try:
        check_parameters({"value": constraints}, {"value": value})
    except InvalidParameterError:
        return False
    return True


def wrong_values(name, parameter):
    """Return the values that the parameter's constraints forbid."""
    if (name, parameter) in FREE:
        return [VALUES["an object"]]
    constraints = constraints_of(ESTIMATORS[name])[parameter]
    return [value for value in VALUES.values() if not is_allowed(constraints, value)]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_parameter_is_declared(name):
    free = {parameter for owner, parameter in FREE if owner == name}
    assert free <= set(parameters_of(name))
    constraints = constraints_of(ESTIMATORS[name])
    assert set(parameters_of(name)) == set(constraints) | free
    for parameter in set(parameters_of(name)) - free:
        assert is_allowed(constraints[parameter], getattr(build(name), parameter))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_wrong_value_is_named_before_an_image_is_read(name):
    for parameter in parameters_of(name):
        wrong = wrong_values(name, parameter)
        # A constraint that lets everything pass would make this test an empty one.
        assert any(value is VALUES["an object"] for value in wrong)
        assert (name, parameter) in FREE or len(wrong) >= 6
        for value, call in product(wrong, calls_of(name)):
            with pytest.raises(InvalidParameterError) as caught:
                call(build(name, **{parameter: value}))
            assert parameter in str(caught.value)
            assert shorten(repr(value), 200) in str(caught.value)


@pytest.mark.parametrize(
    ("estimator", "facts"),
    [
        (HOG(pixels_per_cell=(8, 0)), r"pixels_per_cell is \(8, 0\)"),
        (LBP(n_points=24, method="ror"), "n_points is 24, expected at most 16"),
        (LBP(n_points=(8, 16), radius=(1, 2, 3)), r"n_points is \(8, 16\), .*radius=\(1, 2, 3"),
        (GLCM(intensity_range=(1, 0)), r"intensity_range is \(1, 0\), expected .* low < high"),
    ],
)
def test_known_mistakes(estimator, facts):
    for method in (estimator.fit, estimator.transform):
        with pytest.raises(InvalidParameterError, match=facts):
            method(UNREADABLE)


@pytest.mark.parametrize(
    ("constraint", "right", "wrong"),
    [
        (Interval(Integral, 1, None, closed="left"), [1, np.int8(3)], [0, np.True_, 1.0, "1"]),
        (SequenceOf(str), [["a"], ("a", "b"), np.array(["a"])], ["a", [], [1], ["a", 1], {"a"}]),
        (SequenceOf(str, length=2), [["a", "b"]], [["a"], ["a", "b", "c"]]),
        (
            PairOf(Interval(Integral, 0, None, closed="left")),
            [0, (1, 2), [1, 2], np.array([1, 2])],
            [-1, (1,), (1, 2, 3), (1, -1), (1, True), True, "12"],
        ),
        (
            LowHigh(-1, 2),
            [(0, 1), [-0.5, 1.2]],
            [(0, 255), (1, 0), (1, 1), (0, np.inf), (np.nan, 1), 1],
        ),
        (FLOAT_DTYPE, [np.float32, "float64", np.dtype(float)], [int, None, "f2", 4, {"a": 1}]),
    ],
)
def test_constraints(constraint, right, wrong):
    assert all(is_allowed([constraint], value) for value in right)
    assert not any(is_allowed([constraint], value) for value in wrong)


def test_options_in_a_sequence_are_sorted():
    with pytest.raises(InvalidParameterError, match="each a str among {'a', 'b', 'c', 'd', 'e'}"):
        check_parameters({"x": [SequenceOf(StrOptions(set("edcba")))]}, {"x": []})


def test_a_subclass_overrides_the_constraints_of_its_ancestors():
    class Coarse(HOG):
        _parameter_constraints = {"orientations": [Interval(Integral, 1, 4, closed="both")]}

    for parameters in ({}, {"orientations": 4, "signed": 1}):
        with pytest.raises(InvalidParameterError, match="signed" if parameters else "9.*4"):
            Coarse(**parameters).fit(UNREADABLE)
