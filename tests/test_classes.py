"""Which class is looked for."""

import numpy as np
import pytest

from featbus.classes import find_positive, positive_class


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["benign", "malignant"], "malignant"),
        (["ABNORMAL", "NORMAL"], "ABNORMAL"),
        (["cancer", "healthy"], "cancer"),
        (["cancer", "cancer-free"], "cancer"),
        (["malignant", "non_malignant"], "malignant"),
        (["normal adjacent to tumor", "tumor"], "tumor"),
        (["0_neg", "1_pos"], "1_pos"),
        # A positive word, and not its opposite.
        (["fibrocystic disease", "DCIS"], None),
        (["ER positive", "triple negative"], None),
        # No word, two of them, or none without a negation.
        (["left", "right"], None),
        (["cancer", "tumor"], None),
        (["benign tumor", "normal"], None),
        (["benign", "malignant", "normal"], None),
        (["malignant"], None),
    ],
)
def test_a_class_is_guessed_from_its_name(names, expected):
    assert positive_class(names) == positive_class(names[::-1]) == expected


@pytest.mark.parametrize(
    ("labels", "names", "pos_label", "expected"),
    [
        ([0, 1], None, None, (1, "convention")),
        ([-1, 1], None, None, (1, "convention")),
        ([1, 2], None, None, (None, None)),
        (["cancer", "healthy"], None, None, (0, "name")),
        (["a", "b"], None, None, (None, None)),
        ([0, 1], ["malignant", "benign"], None, (0, "name")),
        ([0, 1], ["malignant", "benign"], "benign", (1, "given")),
        ([0, 1], ["malignant", "benign"], 1, (1, "given")),
        ([0, 1], None, "0", (0, "given")),
        ([0, 1, 2], ["benign", "malignant", "normal"], None, (None, None)),
        ([0, 1, 2], ["benign", "malignant", "normal"], "malignant", (1, "given")),
    ],
)
def test_the_positive_class_of_labels(labels, names, pos_label, expected):
    assert find_positive(np.array(labels), names, pos_label) == expected


def test_what_is_no_class_or_two_is_refused():
    labels, names = np.array([0, 1]), ["1", "2"]
    with pytest.raises(ValueError, match=r"pos_label is 'cyst', expected .* \['1', '2'\]"):
        find_positive(labels, names, "cyst")
    with pytest.raises(ValueError, match="1, the label of the class '2' and the name of another"):
        find_positive(labels, names, 1)
    assert find_positive(labels, names, "1") == (0, "given")
    assert find_positive(labels, ["0", "1"], 1) == (1, "given")
