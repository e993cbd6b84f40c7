"""Which class is looked for."""

import numpy as np
import pytest

from featbus.classes import describe_positive, find_positive, positive_class


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["benign", "malignant"], "malignant"),
        (["ABNORMAL", "NORMAL"], "ABNORMAL"),
        (["cancer", "healthy"], "cancer"),
        (["cancer", "cancer-free"], "cancer"),
        (["malignant", "non_malignant"], "malignant"),
        (["Malignant", "NonMalignant"], "Malignant"),
        (["nonmalignant", "malignant"], "malignant"),
        (["normal adjacent to tumor", "tumor"], "tumor"),
        (["0_neg", "1_pos"], "1_pos"),
        # A positive word, and not its opposite.
        (["fibrocystic disease", "DCIS"], None),
        (["stable disease", "progression"], None),
        (["ER positive", "triple negative"], None),
        # No word, two of them, or none without a negation.
        (["left", "right"], None),
        (["cancer", "tumor"], None),
        (["benign tumor", "normal"], None),
        (["cancerology", "dermatology"], None),
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


def test_a_class_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"pos_label is 'cyst', expected .* \['a', 'b'\]"):
        find_positive(np.array([0, 1]), ["a", "b"], "cyst")


def test_a_number_that_is_a_label_and_the_name_of_another_class_is_refused():
    labels, names = np.array([0, 1]), ["1", "2"]
    with pytest.raises(ValueError, match="1, the label of the class '2' and the name of another"):
        find_positive(labels, names, 1)
    assert find_positive(labels, names, "1") == (0, "given")
    assert find_positive(labels, ["0", "1"], 1) == (1, "given")


def test_a_sentence_says_how_the_class_is_known():
    assert describe_positive("cancer", "given") == "Positive class: cancer."
    guessed = "Positive class: cancer, guessed from its name; pass pos_label= to choose."
    assert describe_positive("cancer", "name") == guessed
    assert "scikit-learn's convention" in describe_positive("1", "convention")
    assert describe_positive(None, None).startswith("Positive class: unknown")
