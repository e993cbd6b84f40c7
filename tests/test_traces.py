"""The detector of what a process leaves behind finds what was planted."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _traces import find_changes, find_secrets, find_secrets_in_files, take_snapshot

from featbus import HOG, FeatureBus

NAME = "ROSSI^MARIA"
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
SECRETS = [NAME, PIXELS[32].tobytes()]


def test_a_cache_is_found(tmp_path):
    (tmp_path / "old").write_text("was there")
    before = take_snapshot([tmp_path])
    assert find_changes(before, take_snapshot([tmp_path])) == []
    FeatureBus(HOG(), memory=tmp_path / "store").fit_transform(PIXELS[np.newaxis])
    assert find_changes(before, take_snapshot([tmp_path])) == [tmp_path / "store"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"nothing", []),
        (f"read {NAME}.png".encode(), [NAME]),
        (NAME.encode("utf-16"), [NAME]),
        (pickle.dumps((NAME, PIXELS)), SECRETS),
    ],
)
def test_secrets_are_found_in_contents_and_names(content, found, tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(content)
    (tmp_path / f"{NAME}.csv").touch()
    assert find_secrets(content, SECRETS) == found
    pairs = find_secrets_in_files([tmp_path], SECRETS)
    assert pairs == [(tmp_path / f"{NAME}.csv", NAME), *((path, secret) for secret in found)]


@pytest.mark.parametrize(
    "writes",
    [
        "open('named', 'w').close(); os.remove('named')",
        "tempfile.TemporaryFile().close()",
        "np.save('rows.npy', np.zeros(3))",
    ],
)
def test_files_that_are_gone_again_are_found(writes, tmp_path):
    opened, folder = tmp_path / "opened", tmp_path / "empty"
    folder.mkdir()
    # Otherwise, tempfile looks for a folder by writing files.
    code = f"import os, tempfile, numpy as np; tempfile.tempdir = os.getcwd(); {writes}"
    watched = str(Path(__file__).parent / "_watched")
    search = os.pathsep.join([watched, os.environ.get("PYTHONPATH", "")])
    environ = os.environ | {"FEATBUS_OPENED": str(opened), "PYTHONPATH": search}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, cwd=folder)
    paths = map(Path, opened.read_text().splitlines())
    assert any(folder in [path, *path.parents] for path in paths)
