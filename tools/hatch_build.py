"""Build hooks: the stubs are generated on the way into a wheel, the dependencies are read from requirements.in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProtoBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves its config type open
    """Compile protos/ into gen/ before files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate for a wheel; an sdist carries the contracts, not what is made from them."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, str(Path(self.root, "tools")))
        import genprotos  # type: ignore[import-not-found]  # found through the line above

        genprotos.generate()


class RequirementsHook(MetadataHookInterface):
    """One list of dependencies: requirements.in."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the dependencies of the project table."""
        lines = Path(self.root, "requirements.in").read_text(encoding="utf-8").splitlines()
        metadata["dependencies"] = [line for line in lines if line and not line.startswith("#")]
