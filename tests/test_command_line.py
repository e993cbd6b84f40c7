"""The commands that the guide prints, as a user would paste them."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from test_workflow import texture, write_image, write_scans

from featbus.cli import main
from featbus.cli._parser import make_parser

PAGE = Path(__file__).resolve().parents[1] / "docs" / "user_guide" / "command_line.rst"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ +\$ featbus (.+)$", TEXT, flags=re.MULTILINE)
WEIGHTS = "mobilenet.weights.h5"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the files that the page speaks of, and go there."""
    write_scans(tmp_path / "scans", 40).to_csv(tmp_path / "groups.csv", index=False)
    for path in (tmp_path / "scans").rglob("*.png"):
        inside = np.zeros((40 + int(path.stem.split()[1]), 48), np.uint8)
        inside[5:20, 5:20] = 255
        write_image(tmp_path / "outlines" / path.relative_to(tmp_path / "scans"), inside)
    for index in range(4):
        write_image(tmp_path / "new" / f"paciente {index}" / "año 1.png", texture(index, index % 2))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(commands):
    for command in commands:
        assert main(shlex.split(command)) == 0, command


def test_the_page_prints_all_commands():
    assert len(COMMANDS) == 8
    assert {command.split()[0] for command in COMMANDS} == {
        "extract",
        "train",
        "predict",
        "evaluate",
        "honesty",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command):
    assert vars(make_parser().parse_args(shlex.split(command)))["output"]


def test_the_commands_that_extract_run(folder):
    run(one for one in COMMANDS if one.startswith("extract") and WEIGHTS not in one)
    assert list(pd.read_csv("features.csv"))[:4] == ["path", "group", "class", "error"]
    assert pd.read_csv("lesions.csv")["shape_area"].tolist() == [225] * 40


@pytest.mark.slow
def test_the_commands_run(folder, capsys):
    run(command for command in COMMANDS if WEIGHTS not in command)
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written == {
        "features.csv",
        "groups.csv",
        "lesions.csv",
        "model.report.html",
        "model.scores.csv",
        "model.skops",
        "predictions.csv",
        "report.html",
    }
    predictions = pd.read_csv("predictions.csv")
    assert predictions["path"].tolist() == [f"paciente {index}/año 1.png" for index in range(4)]
    assert predictions["predicted"].tolist() == ["benign", "malignant"] * 2
    assert "scans: 40 images in 20 groups (benign 20, malignant 20)" in capsys.readouterr().out
    (folder / "elsewhere").mkdir()
    shutil.move("model.skops", "elsewhere")
    shutil.move("new", "elsewhere")
    shutil.rmtree("scans")
    os.chdir("elsewhere")
    run(command for command in COMMANDS if command.startswith("predict"))
    pd.testing.assert_frame_equal(pd.read_csv("predictions.csv"), predictions)


@pytest.mark.slow
@pytest.mark.network
def test_the_commands_with_a_network_run(folder):
    shutil.copy(data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5", WEIGHTS)
    run(command for command in COMMANDS if WEIGHTS in command)
    assert pd.read_parquet("features.parquet").shape == (40, 3 + 1280)
    os.remove(WEIGHTS)
    assert main(["predict", "deep.skops", "new", "-o", "deep.csv"]) == 0
    assert pd.read_csv("deep.csv")["error"].isna().all()


@pytest.mark.parametrize("command", ["extract", "train", "evaluate", "honesty", "predict"])
def test_the_page_names_every_option(command):
    (commands,) = [action for action in make_parser()._actions if action.choices]
    options = commands.choices[command]._option_string_actions
    assert not [name for name in options if name not in TEXT and name not in ("-h", "--help")]
