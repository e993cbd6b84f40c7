"""The container of a model: a zip file of bounded members, and one digest over all of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import textwrap
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featbus.files import escape

if TYPE_CHECKING:
    from typing import Any

FORMAT = 1  # goes up whenever older releases of featbus cannot read what is written
MANIFEST, CARD, SCHEMA = "featbus.json", "card.json", "schema.json"
# The digest of a network's file, and the name that it gets where a model is loaded.
NETWORK = re.compile(
    r"networks/([0-9a-f]{64})/([^\W_][\w .()+-]{0,100}\.(?:weights\.h5|h5|keras|onnx))", re.ASCII
)
_MEMBER = re.compile(
    rf"{MANIFEST}|{CARD}|{SCHEMA}|[0-9]{{1,20}}\.npy|[0-9a-f-]{{36}}\.bin|{NETWORK.pattern}",
    re.ASCII,
)
_ENCRYPTED = 1
# Bytes of JSON, which takes many times its size in memory; a forest of a thousand trees has
# some two million in its schema.
_LONGEST = {MANIFEST: 1 << 20, CARD: 1 << 20, SCHEMA: 1 << 26}
_LONGEST_MESSAGE = 2000


class ModelFileError(ValueError):
    """A pipeline that cannot be saved, or a file that is refused.

    Read more in the :ref:`User Guide <models>`.
    """

    def __init__(self, message: Any) -> None:
        # Names in a file are anybody's text, and a message is printed on a terminal.
        super().__init__(escape(message[:_LONGEST_MESSAGE]))


@contextmanager
def opened(path):
    """Open a model file, after a check of its members, its format and its digest.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Yields
    ------
    archive : zipfile.ZipFile
        The members. Nothing of them has been loaded.
    manifest : dict
        What `write` was told, verified.

    Raises
    ------
    ModelFileError
        If the file is refused; or instead of any other error of the code inside the context.
    ImportError
        If a package of the model, such as XGBoost or Keras, is not installed.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist(), os.path.getsize(path))
                manifest = read_json(archive, MANIFEST)
                _check_format(manifest)
                _check_digest(archive, manifest)
                yield archive, manifest
        except ModelFileError as error:
            raise ModelFileError(f"{path!r}: {error}") from error
        except ImportError as error:
            raise ImportError(f"{path!r} needs a package that is missing: {error}.") from error
        except Exception as error:  # what zipfile, skops and Keras raise depends on the damage
            raise ModelFileError(
                f"{path!r} cannot be read ({textwrap.shorten(repr(error), 300)}), expected a file "
                "that featbus.save wrote."
            ) from error


def _check_members(members, size):
    """Refuse what `write` never writes, before any member is read."""
    names = [member.filename for member in members]
    foreign = [name for name in names if not _MEMBER.fullmatch(name)]
    if foreign:
        raise ModelFileError(f"found a member {foreign[0][:100]!r}, which featbus.save never has.")
    if len(set(names)) < len(names):
        raise ModelFileError("found two members of one name, expected one of each.")
    if any(
        member.compress_type != zipfile.ZIP_STORED
        or member.compress_size != member.file_size
        or member.flag_bits & _ENCRYPTED
        for member in members
    ):
        raise ModelFileError("found compressed or encrypted members, expected plain ones.")
    total = sum(member.file_size for member in members)
    if total > size:
        raise ModelFileError(f"found members of {total} bytes in a file of {size}.")
    missing = {MANIFEST, CARD, SCHEMA} - set(names)
    if missing:
        raise ModelFileError(f"{min(missing)} is missing, expected a file that featbus.save wrote.")


def read_json(archive, name):
    """Read a member that is JSON.

    Parameters
    ----------
    archive : zipfile.ZipFile
        The archive.
    name : {"featbus.json", "card.json", "schema.json"}
        The member.

    Returns
    -------
    dict
        Its content.
    """
    size = archive.getinfo(name).file_size
    if size > _LONGEST[name]:
        raise ModelFileError(f"{name} has {size} bytes, expected at most {_LONGEST[name]}.")
    found = json.loads(archive.read(name))
    if not isinstance(found, dict):
        raise ModelFileError(f"{name} is a {type(found).__name__}, expected an object.")
    return found


def _check_format(manifest):
    number = manifest.get("format")
    if type(number) is not int or number < 1:
        raise ModelFileError(f"its format is {number!r}, expected {FORMAT}.")
    if number > FORMAT:
        raise ModelFileError(
            f"its format is {number}, and this release of featbus reads up to {FORMAT}: it was "
            f"written by featbus {manifest.get('featbus')}. Install that, or a later one."
        )


def _check_digest(archive, manifest):
    found = _digest(archive, manifest)
    if found != manifest.get("digest"):
        raise ModelFileError(
            f"its digest is {found}, expected {manifest.get('digest')}: it was changed after it "
            "was saved, or damaged. Copy it again."
        )


def _digest(archive, manifest):
    """Return one digest over the manifest, and the names and contents of all other members."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(set(archive.namelist()) - {MANIFEST}):
        digest.update(f"\n{name}\n".encode())
        with archive.open(name) as member:
            digest.update(hashlib.file_digest(member, "sha256").digest())
    return digest.hexdigest()


def write(path, schema, *, card, files, manifest):
    """Write a model file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    schema : buffer
        The zip file that skops made of the pipeline.
    card : dict
        The card.
    files : dict of str to str
        Other members, and the files that have their content.
    manifest : dict
        What `opened` will return; the format and the digest are added.
    """
    path.write_bytes(schema)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, json.dumps(card, indent=1))
        for name, source in files.items():
            archive.write(source, name)
    manifest = {"format": FORMAT, **manifest}
    with zipfile.ZipFile(path) as archive:
        digest = _digest(archive, manifest)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MANIFEST, json.dumps({**manifest, "digest": digest}, indent=1))
