"""Files that appear whole, or not at all."""

import pytest

from featbus.files import escape_formula, written_whole


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("old", "new"):
        with written_whole(str(path)) as hidden:
            hidden.write_text(text)
            assert hidden.name.startswith(".table.csv.")
            assert not path.exists() or path.read_text() == "old"
        assert names_in(tmp_path) == ["table.csv"]
        assert path.read_text() == text


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail():
        with written_whole(path) as hidden:
            hidden.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names_in(tmp_path) == ["table.csv"]
    assert path.read_text() == "old"


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "table.csv"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("=1+1", "'=1+1"), ("\tx", "'\tx"), ("-5", "'-5"), ("a=1", "a=1"), (-5, -5), (None, None)],
)
def test_spreadsheets_take_no_text_for_a_formula(cell, expected):
    assert escape_formula(cell) == expected
