"""How messages name parameters."""

import re

import pytest

from featbus import evaluate
from featbus.cli import main
from featbus.groups import check_folds
from featbus.wording import argument, either, flags_in_messages, named


def test_python_and_the_command_line_have_their_own_words():
    assert (named("cv"), argument("cv", 5), argument("groups")) == ("cv", "cv=5", "groups=")
    assert argument("masks", "_mask") == "masks='_mask'"
    with flags_in_messages():
        assert (named("cv"), argument("cv", 5), argument("groups")) == (
            "--folds",
            "--folds 5",
            "--groups",
        )
        assert argument("masks", "_mask") == "--masks _mask"
        assert argument("n_levels", 8) == "n_levels=8"  # has no flag
        assert either("Python", "command line") == "command line"
    assert either("Python", "command line") == "Python"


def test_an_error_ends_the_words_of_the_command_line():
    with pytest.raises(ValueError, match="--folds is 3, .* Pass --folds 2"), flags_in_messages():
        check_folds(["a", "a", "b", "b"], None, 3)
    with pytest.raises(ValueError, match="cv is 3, .* Pass cv=2"):
        check_folds(["a", "a", "b", "b"], None, 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("audit nowhere", "Found no folder 'nowhere'"),
        ("audit . --folds 1", "--folds is 1, expected"),
        ("audit scans --groups nope.csv", "Found no file 'nope.csv', expected a table of groups."),
        ("audit scans --masks _mask", "Found no masks for --masks _mask"),
        ("audit scans --folds 30", "--folds is 30, .* Pass --folds 4, or leave out the class."),
        ("extract scans --features fusion -o a.csv", "pass --recipe fusion instead"),
        ("extract scans --features shape -o a.csv", "such as --masks _mask"),
        ("evaluate scans --recipe nope", "--recipe is 'nope', expected one of"),
        ("evaluate scans --recipe fusion --option backbone=none", "Pass --folds 4"),
        ("demo --data scans --positive x", "--positive is 'x'"),
        ("extract scans --features deep:nope -o a.csv", "error: backbone is 'nope', expected"),
        ("predict nope.skops scans -o a.csv", "Found no file 'nope.skops', .*`featbus train`"),
    ],
)
def test_errors_at_the_command_line(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    for kind in ("benign", "malignant"):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "scans" / kind / f"{number}.png").touch()
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(expected, error)
    assert not re.search(r"\b(groups|masks|cv|pos_label|pipeline|strict|on_error)=", error)


@pytest.mark.filterwarnings("ignore::featbus.datasets.GroupsWarning")
def test_each_fit_has_a_line_where_there_is_no_terminal(capsys):
    from sklearn.dummy import DummyClassifier

    X, y = [[0.0]] * 8, ["benign", "malignant"] * 4
    evaluate({"dummy": DummyClassifier()}, X, y, cv=2, verbose=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(",")[0] for line in lines[-2:]] == [
        "Fit 1 of 2: dummy, fold 1",
        "Fit 2 of 2: dummy, fold 2",
    ]
    evaluate(DummyClassifier(), X, y, cv=2)
    assert not capsys.readouterr().err


def test_only_flags_that_the_command_has():
    with flags_in_messages({"--option", "--folds"}):
        assert (named("cv"), named("backbone"), named("input_size")) == (
            "--folds",
            "backbone",
            "input_size",
        )
        assert argument("input_size", 224) == "input_size=224"
        assert either("p", "c") == "c"
    with flags_in_messages(set()):
        assert either("p", "c") == "c"


def test_a_value_that_begins_as_a_flag_does_is_none():
    with flags_in_messages():
        assert argument("masks", "-mask") == "--masks=-mask"
        assert argument("masks", "_mask") == "--masks _mask"
