"""The metadata of featbus-slim: those of featbus, without some dependencies."""

import re
from pathlib import Path

from hatchling.metadata.core import ProjectMetadata
from hatchling.metadata.plugin.interface import MetadataHookInterface
from hatchling.plugin.manager import PluginManager


class SlimMetadata(MetadataHookInterface):
    """Metadata of the project two folders above."""

    def update(self, metadata):
        """Set the fields that `pyproject.toml` lists as dynamic."""
        root = Path(self.root).parents[1]
        project = ProjectMetadata(str(root), PluginManager())
        readme = (root / "README.md").read_text(encoding="utf-8")
        fields = {
            **project.core_raw_metadata,
            "version": project.version,
            "readme": {"content-type": "text/markdown", "text": readme},
            "dependencies": [
                line
                for line in project.core.dependencies
                if re.match(r"[\w.-]+", line)[0] not in self.config["without"]
            ],
        }
        metadata |= {name: fields[name] for name in metadata["dynamic"]}
