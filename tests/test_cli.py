"""The command line, and the commands that the guide prints, as a user would paste them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from functools import wraps
from importlib import import_module
from inspect import signature
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from test_commands import texture, write_image, write_scans

import featbus
from featbus.cli import _COMMANDS, _GROUP_OF, main
from featbus.commands._data import show
from featbus.persistence import read_card

PAGES = Path(__file__).resolve().parents[1] / "docs" / "user_guide"
TEXT = "".join(path.read_text("utf-8") for path in sorted(PAGES.glob("command_line*.rst")))
PRINTED = re.findall(r"^ +\$ featbus (.+)$", TEXT, flags=re.MULTILINE)
WITH_NETWORK = [line for line in PRINTED if "weights" in line or "run.yaml" in line]
CONFIG = re.search(r"code-block:: yaml\n\n((?:   .*\n|\n)+)", TEXT)[1]
WEIGHTS = "mobilenet.weights.h5"
NEEDS_MORE = ("app", "weights fetch", "weights list")  # a server, a network, or its bundle
TABLE = pd.DataFrame({"path": ["a.png", "b.png"], "error": [None, None]})


def call(line):
    return main(shlex.split(line))


def replace(monkeypatch, path, function):
    """Have a command call another function in the place of its own."""
    module, _, name = f"featbus.{path}".rpartition(".")
    real = getattr(import_module(module), name)
    monkeypatch.setattr(f"{module}.{name}", wraps(real)(function))
    return {name: one.default for name, one in signature(real).parameters.items()}


@pytest.fixture
def spy(monkeypatch):
    """Return a function that runs a line, and returns what differs from the defaults."""

    def run(path, line, result=TABLE):
        calls = []
        defaults = replace(monkeypatch, path, lambda **given: calls.append(given) or result)
        assert call(line) == 0
        assert calls[0].keys() == defaults.keys()
        assert calls[0].pop("verbose", True) is True
        return {name: value for name, value in calls[0].items() if value != defaults[name]}

    return run


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        (
            "demo.run_demo",
            "demo --data 2024 --layers '[C4, top]' --backbone_options '{alpha: 0.5, m: fast=1}'",
            {
                "data": "2024",
                "layers": ["C4", "top"],
                "backbone_options": {"alpha": 0.5, "m": "fast=1"},
            },
        ),
        (
            "commands.extract",
            "extract a.png b.png --features glcm --options '{bin_width: 0.1}'",
            {"data": ["a.png", "b.png"], "features": "glcm", "options": {"bin_width": 0.1}},
        ),
        (
            "commands.train",
            "train scans --recipe fusion --options.classifier knn --options.backbone null"
            " --pos_label 1 --strict --on_error skip -o m.skops --embed false",
            {
                **{"data": "scans", "recipe": "fusion", "output": "m.skops", "pos_label": "1"},
                **{"strict": True, "on_error": "skip", "embed": False},
                "options": {"classifier": "knn", "backbone": None},
            },
        ),
        ("commands.train", "train scans -o m.skops", {"data": "scans", "output": "m.skops"}),
        ("commands.honesty", "honesty scans --dihedral 6", {"data": "scans", "dihedral": 6}),
        ("app.run_app", "app m.skops --browser false", {"model": "m.skops", "browser": False}),
        (
            "networks.fetch_weights",
            "weights fetch vgg16 --out dir --options.alpha 0.35 --input_size 96",
            {"name": "vgg16", "out": "dir", "options": {"alpha": 0.35}, "input_size": 96},
        ),
    ],
)
def test_commands_pass_every_argument_on(spy, path, line, expected):
    assert spy(path, line) == expected


def test_a_file_of_arguments(spy, tmp_path):
    (tmp_path / "run.yaml").write_text(CONFIG)
    backbone = [
        {"backbone": "vgg16", "weights": "vgg16.weights.h5"},
        {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": WEIGHTS},
    ]
    expected = {"data": "scans", "output": "m.skops", "cv": "3"}
    expected |= {"recipe": "fusion", "options": {"backbone": backbone}}
    assert spy("commands.train", f"train scans --config {tmp_path}/run.yaml --cv 3") == expected


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("demo --n_jobs two", "n_jobs"),
        ("demo --backbone_options alpha", "backbone_options"),
        ("extract -o f.csv", "data"),
        ("extract scans --features deep:nope -o a.csv", "backbone is 'nope'"),
        ("train scans --recipe fusion", "output"),
        pytest.param(
            *("train scans --recipe fusion -o m.skops", "The recipe handcrafted needs no network"),
            marks=pytest.mark.network,
        ),
        ("train scans --recipe fusion --weights x.h5 -o m.skops", "'x.h5'"),
        ("train scans --recipe fuson -o m.skops", "Did you mean 'fusion'?"),
        ("train --config none.yaml", "none.yaml"),
        ("evaluate none", "Found no folder 'none'"),
        ("train none --recipe fusion --options.backbone null -o m.skops", "Found no folder 'none'"),
        ("evaluate scans --recipe fusion --options.backbone null", "Pass cv=4"),
        ("predict none.skops . -o p.csv", "'none.skops'"),
        ("honesty scans --dihedral 3", "dihedral"),
        ("audit . --cv 1", "cv is 1"),
        ("audit scans --groups nope.csv", "'nope.csv'"),
        ("audit scans --on_error never", "on_error"),
        ("weights list", "FEATBUS_WEIGHTS"),
    ],
)
def test_errors_of_the_user_are_one_line(tmp_path, monkeypatch, capsys, line, fact):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("featbus.networks._applications._DOWNLOADS", "http://127.0.0.1:9/")
    for kind in ("benign", "malignant"):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "scans" / kind / f"{number}.png").touch()
    assert call(line) == 2
    (error,) = [text for text in capsys.readouterr().err.splitlines() if "warning: " not in text]
    assert error.startswith("featbus: error: ")
    assert fact in error
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("fly", "found no command 'fly'."),
        ("trainn scans", "Did you mean 'train'?"),
        ("weights lost", "'weights list'"),
        ("--fly", "required: COMMAND"),
    ],
)
def test_unknown_commands(capsys, line, hint):
    with pytest.raises(SystemExit) as exit_:
        call(line)
    assert exit_.value.code == 2
    assert hint in capsys.readouterr().err


def raise_(error):
    def fail(**options):
        raise error

    return fail


def test_messages_are_joined_to_one_line(monkeypatch, capsys):
    replace(monkeypatch, "demo.run_demo", raise_(OSError("the file is\n  no image")))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "featbus: error: the file is no image\n"
    replace(monkeypatch, "demo.run_demo", lambda **given: warnings.warn("a\n b", stacklevel=1))
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == "featbus: warning: a b\n"


def test_interruption_is_an_exit_status(monkeypatch, capsys):
    replace(monkeypatch, "commands.extract", raise_(KeyboardInterrupt))
    assert call("extract scans -o f.csv") == 130
    assert capsys.readouterr().err == "featbus: stopped\n"


@pytest.mark.parametrize(
    ("path", "line", "result"),
    [
        ("commands.predict", "predict m scans", TABLE.assign(error=[None, "found no image"])),
        ("verify.verify", "verify", pd.DataFrame({"passed": [True, False]})),
        ("networks.list_weights", "weights list", pd.DataFrame({"state": ["damaged"]})),
    ],
)
def test_a_result_that_is_not_all_well_is_an_exit_status(monkeypatch, path, line, result):
    replace(monkeypatch, path, lambda **given: result)
    assert call(line) == 1


def test_a_leak_is_an_exit_status(tmp_path, capsys):
    write_scans(tmp_path / "scans", 12)
    write_image(tmp_path / "scans" / "benign" / "a.png", texture(0, False))
    write_image(tmp_path / "scans" / "benign" / "b.png", texture(0, False))
    line = f"audit {tmp_path / 'scans'} --cv 3"
    assert call(f"{line} -o {tmp_path / 'groups.csv'}") == 1
    printed = capsys.readouterr()
    assert "Leak, exact copies across folds: 'benign/a.png', 'benign/b.png'" in printed.out
    assert printed.err.startswith("featbus: warning: It is unknown which images belong together.")
    assert call(f"{line} --groups {tmp_path / 'groups.csv'}") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Audit incomplete: leaks: 0" in printed
    assert "groups are near-duplicates found in the images, not patients" in printed
    assert call(f"{line} --max_images 8") in (0, 1)
    assert "Pixels: 8 of 14 images, single images" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_does_not_wait_for_the_output():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "featbus", "recipes"]
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (run.returncode, run.stderr) == (141, "")


STOPPED_COMMAND = """
import functools, os, signal, sys, tempfile, time

import featbus.commands
from featbus.cli import main


@functools.wraps(featbus.commands.train)
def wait(**options):
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


featbus.commands.train = wait
before = signal.getsignal(signal.SIGTERM)
status = main("train scans --recipe fusion -o m.skops".split())
assert signal.getsignal(signal.SIGTERM) is before
sys.exit(status)
"""


# In a process of its own: where TensorFlow has been used, its stack for signals is too small for
# the registers of a processor with AMX.
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_is_an_exit_status_and_removes_temporary_files(tmp_path):
    command = [sys.executable, "-c", STOPPED_COMMAND, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (143, "featbus: stopped\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ["backbones", "recipes"])
def test_lists(capsys, line):
    assert main([line]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "name"
    assert {row.split()[0] for row in rows} & {"mobilenet_v2", "mobilenet_intensity"}


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


@pytest.mark.slow
@pytest.mark.network
def test_tensorflow_is_quiet_unless_asked(monkeypatch):
    code = "from featbus.cli import main; main(['recipes']);"
    code += "from featbus.networks import import_keras; import_keras().random.normal((1,))"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert run("-c", code).stderr == ""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert "tensorflow" in run("-c", code).stderr.lower()


def test_help_imports_nothing_heavy():
    assert run("-m", "featbus", "--version").stdout == f"featbus {featbus.__version__}\n"
    heavy = {"numpy", "sklearn", "cv2", "pandas", "tensorflow", "matplotlib", "xgboost"}
    code = """
import atexit, sys; import featbus.commands; from featbus.cli import main
atexit.register(lambda: print(*sys.modules)); main(["--help"])"""
    *text, modules = run("-c", code).stdout.splitlines()
    assert not {name.partition(".")[0] for name in modules.split()} & heavy
    assert {line.strip().partition("  ")[0] for line in text} >= _COMMANDS.keys()


def find_example(command, capsys):
    """Return the help of a command and, without "featbus", its example."""
    with pytest.raises(SystemExit):
        call(f"{command} --help")
    text = capsys.readouterr().out
    return text, text.rpartition("example: featbus ")[2].strip()


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_has_an_example_and_groups(monkeypatch, capsys, command):
    monkeypatch.setenv("COLUMNS", "100")
    text, example = find_example(command, capsys)
    assert example.startswith(command)
    assert "``" not in text
    assert "type: " not in text
    defaults = replace(monkeypatch, _COMMANDS[command][0], raise_(KeyboardInterrupt))
    assert call(example) == 130  # understood, and called
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    known = [_GROUP_OF.get(name, "how it runs") for name in (*defaults, "help")]
    assert sorted(titles) == sorted(set(known))
    for name in defaults:
        assert len(re.findall(rf"^  (--)?{name}\b", text, re.MULTILINE | re.IGNORECASE)) == 1


def test_a_first_session(monkeypatch, capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    lines = re.findall(r"^  featbus (.+?)  +# ", text, re.MULTILINE)
    assert len(lines) == 4
    assert max(map(len, text.splitlines())) <= 60
    for line in lines:
        replace(monkeypatch, _COMMANDS[line.split()[0]][0], raise_(KeyboardInterrupt))
        assert call(line) == 130


class Terminal(TextIOWrapper):
    """A terminal of 60 columns."""

    def __init__(self, encoding="utf-8"):
        super().__init__(BytesIO(), encoding, newline="")

    def isatty(self):
        return True

    def read_text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes a stream a terminal of 60 columns."""
    for name, value in (("COLUMNS", "60"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def make(name="stdout", **options):
        monkeypatch.setattr(sys, name, stream := Terminal(**options))
        return stream

    return make


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_shows_tables_in_its_width(terminal, encoding):
    screen = terminal(encoding=encoding)
    assert main(["recipes"]) == 0
    text = re.sub("\x1b\\[[0-9;]*m", "", screen.read_text())
    assert max(map(len, text.splitlines())) <= 60
    assert "breast_ultrasound_features" in text  # a name that can be copied
    assert ("─" in text) == (encoding == "utf-8")


def test_a_terminal_shows_leaks_in_color(terminal, monkeypatch):
    screen, table = terminal(), pd.DataFrame({"[red]file": ["a\x1b.png", None], "p": [0.5, np.nan]})
    show("leak     copies", table)
    assert "\x1b[31mleak     copies\x1b[0m" in screen.read_text()
    assert "[red]file" in screen.read_text()
    assert r"a\x1b.png" in screen.read_text()
    assert "nan" not in screen.read_text().lower()
    monkeypatch.setenv("NO_COLOR", "1")
    show("leak", pd.DataFrame(0, [0], range(20)))  # too many columns to draw
    assert "\x1b[31m" not in screen.read_text().partition("copies")[2]


def test_a_terminal_shows_errors_in_color(terminal):
    screen = terminal("stderr")
    assert call("audit /none") == 2
    assert screen.read_text().startswith("\x1b[31mfeatbus: error: Found no folder '/none'")


@pytest.mark.parametrize("line", PRINTED)
def test_the_commands_of_the_page_are_understood(spy, tmp_path, monkeypatch, line):
    (tmp_path / "run.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    assert spy(_COMMANDS[line.split()[0]][0], line)["output"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the files that the page speaks of, and go there."""
    write_scans(tmp_path / "scans", 24).to_csv(tmp_path / "groups.csv", index=False)
    for path in (tmp_path / "scans").rglob("*.png"):
        inside = np.zeros((40 + int(path.stem.split()[1]), 48), np.uint8)
        inside[5:20, 5:20] = 255
        write_image(tmp_path / "outlines" / path.relative_to(tmp_path / "scans"), inside)
    for index in range(4):
        write_image(tmp_path / "new" / f"paciente {index}" / "año 1.png", texture(index, index % 2))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_that_extract_run(folder):
    for line in PRINTED:
        if line.startswith("extract") and line not in WITH_NETWORK:
            assert call(line) == 0
    assert list(pd.read_csv("features.csv"))[:4] == ["path", "group", "class", "error"]
    assert pd.read_csv("lesions.csv")["shape_area"].tolist() == [225] * 24


@pytest.mark.slow
def test_the_commands_run(folder, capsys):
    examples = [find_example(name, capsys)[1] for name in _COMMANDS if name not in NEEDS_MORE]
    for line in dict.fromkeys(PRINTED + examples):
        assert line in WITH_NETWORK or call(line) == 0
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *("model.report.html", "model.scores.csv", "model.skops", "report.html"),
        *("features.csv", "groups.csv", "lesions.csv", "predictions.csv"),
    }
    predictions = pd.read_csv("predictions.csv")
    assert predictions["path"].tolist() == [f"paciente {index}/año 1.png" for index in range(4)]
    assert predictions["predicted"].tolist() == ["benign", "malignant"] * 2
    assert "scans: 24 images in 12 groups (benign 12, malignant 12)" in capsys.readouterr().out
    shutil.rmtree("scans")
    shutil.move("model.skops", "moved.skops")
    assert call("predict moved.skops new -o predictions.csv") == 0
    pd.testing.assert_frame_equal(pd.read_csv("predictions.csv"), predictions)


@pytest.mark.slow
@pytest.mark.network
def test_the_commands_with_a_network_run(folder):
    shutil.copy(data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5", WEIGHTS)
    shutil.copy(data_dir("weights") / "vgg16_224_no_top.weights.h5", "vgg16.weights.h5")
    Path("run.yaml").write_text(CONFIG)
    for line in WITH_NETWORK:
        assert call(line) == 0
    networks = [line["network"] for line in read_card("m.skops")["networks"]]
    assert sorted(networks) == [
        "mobilenet_v2(alpha=0.35), 224 x 224 pixels",
        "vgg16, 224 x 224 pixels",
    ]
    assert all(name in Path("m.report.html").read_text() for name in networks)
    assert pd.read_parquet("features.parquet").shape == (24, 3 + 1280)
    os.remove(WEIGHTS)
    assert main(["predict", "deep.skops", "new", "-o", "deep.csv"]) == 0
    assert pd.read_csv("deep.csv")["error"].isna().all()
