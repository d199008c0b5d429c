"""The whole sandbox as one ASGI application.

One package per platform: `sandbox.wecom`, whose families of endpoints are a module each, and `sandbox.dashscope`.
"""

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from sandbox import control, page
from sandbox.dashscope.platform import DashScope
from sandbox.gateway import Gateway
from sandbox.profile import Profile
from sandbox.wecom import ENDPOINTS
from sandbox.wecom.platform import WeCom
from sandbox.world import World


class Sandbox(Starlette):
    """Calls to a simulated API go straight to its gateway; inspection and the page are ordinary routes."""

    def __init__(self, profile: Profile | None = None) -> None:
        self.world = World(profile or Profile())
        self._wecom = Gateway(self.world, WeCom(self.world, ENDPOINTS))
        self._dashscope = Gateway(self.world, DashScope(self.world))
        super().__init__(routes=[*control.routes(self.world), *page.routes(self.world)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path.startswith("/cgi-bin/"):
            await self._wecom(scope, receive, send)
        elif path.startswith(("/api/v1/", "/compatible-mode/v1/")):
            await self._dashscope(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(profile: Profile | None = None) -> Sandbox:
    """A sandbox with a state of its own. Dropped connections need the protocol of `sandbox.server`."""
    return Sandbox(profile)
