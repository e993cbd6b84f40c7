"""Model files that are not what `featbus.save` wrote."""

import json
import zipfile

from featbus.persistence._archive import write


def read_members(path):
    """Return the contents of the members of a model file, by their names."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_manifest(path):
    """Return the manifest of a model file."""
    return json.loads(read_members(path)["featbus.json"])


def rewrite(path, *, schema=None, arrays=None, manifest=None):
    """Write a file again, with a valid digest and other content.

    `schema` takes and returns text, `arrays` takes and returns the bytes of an array or a
    booster; `manifest` are new entries.
    """
    members, content = read_members(path), path.with_suffix(".zip")
    told = json.loads(members.pop("featbus.json")) | (manifest or {})
    card = json.loads(members.pop("card.json"))
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            if schema and name == "schema.json":
                data = schema(data.decode()).encode()
            if arrays and name.endswith((".npy", ".bin")):
                data = arrays(data)
            archive.writestr(name, data)
    del told["digest"]
    write(path, content.read_bytes(), card=card, files={}, manifest=told)
