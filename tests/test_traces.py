"""The detector of what a process leaves behind finds what was planted."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from _traces import find_changes, find_secrets, find_secrets_in_files, take_snapshot

from featbus import HOG, FeatureBus

NAME = "ROSSI^MARIA"
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
SECRETS = [NAME, PIXELS[32].tobytes()]


def keep_rows(folder):
    FeatureBus(HOG(), memory=folder / "store").fit_transform(PIXELS[np.newaxis])


def keep_call(folder):
    joblib.Memory(folder, verbose=0).cache(np.mean)(PIXELS)


@pytest.mark.parametrize("keep", [keep_rows, keep_call])
def test_a_cache_is_found(keep, tmp_path):
    (tmp_path / "old").write_text("was there")
    before = take_snapshot([tmp_path])
    assert find_changes(before, take_snapshot([tmp_path])) == []
    keep(tmp_path)
    changes = find_changes(before, take_snapshot([tmp_path]))
    assert changes
    assert tmp_path / "old" not in changes


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"nothing", []),
        (f"read {NAME}.png".encode(), [NAME]),
        (NAME.encode("utf-16"), [NAME]),
        (pickle.dumps({"image": PIXELS}), SECRETS[1:]),
        (pickle.dumps((NAME, PIXELS)), SECRETS),
    ],
)
def test_secrets_are_found(content, found, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(content)
    assert find_secrets(content, SECRETS) == found
    pairs = [(tmp_path / "folder" / "file", secret) for secret in found]
    assert find_secrets_in_files([tmp_path], SECRETS) == pairs


def test_names_of_files_and_folders_are_searched(tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / f"{NAME}.csv").touch()
    paths = [path for path, _ in find_secrets_in_files([tmp_path], SECRETS)]
    assert paths == [tmp_path / NAME, tmp_path / f"{NAME}.csv"]


@pytest.mark.parametrize(
    "writes",
    [
        "open('named', 'w').close(); os.remove('named')",
        "tempfile.TemporaryFile().close()",
        "tempfile.SpooledTemporaryFile(max_size=1).write(b'12')",
        "np.save('rows.npy', np.zeros(3))",
    ],
)
def test_files_that_are_gone_again_are_found(writes, tmp_path):
    opened = tmp_path / "opened"
    # Otherwise, tempfile looks for a folder by writing files.
    code = f"import os, tempfile, numpy as np; tempfile.tempdir = os.getcwd(); {writes}"
    (tmp_path / "empty").mkdir()
    folder = str(Path(__file__).parent / "_watched")
    environ = os.environ | {
        "FEATBUS_OPENED": str(opened),
        "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env=environ, cwd=tmp_path / "empty")
    paths = {Path(line) for line in opened.read_text().splitlines()}
    assert [path for path in paths if tmp_path / "empty" in [path, *path.parents]]
