"""Build hook: the stubs are generated from the repository's contracts on the way into the wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ContractHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves its config type open
    """Put reach/ and buf/ beside reach_client/."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate and collect for a wheel; an sdist could not be built from, since the contracts lie outside."""
        if self.target_name != "wheel":
            raise RuntimeError("reach-client is built as a wheel only, in a checkout of the repository")
        repository = Path(self.root).parents[1]
        sys.path.insert(0, str(repository / "tools"))
        import genprotos  # type: ignore[import-not-found,unused-ignore]  # found through the line above

        genprotos.generate()
        build_data["force_include"] |= {
            str(genprotos.GEN / "reach"): "reach",
            str(genprotos.GEN / "buf"): "buf",
            str(genprotos.GEN / "reach" / "py.typed"): "buf/py.typed",
        }
