"""The whole sandbox as one ASGI application.

One router module per API family: WeCom's are in `sandbox.wecom`; a further family adds its own table of endpoints
(mass send under /cgi-bin) or a gateway of its own (DashScope under /api/v1).
"""

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from sandbox import control, page
from sandbox.gateway import Gateway
from sandbox.profile import Profile
from sandbox.wecom import ENDPOINTS
from sandbox.world import World


class Sandbox(Starlette):
    """Calls to the simulated API go straight to their gateway; inspection and the page are ordinary routes."""

    def __init__(self, profile: Profile | None = None) -> None:
        self.world = World(profile or Profile())
        self._wecom = Gateway(self.world, ENDPOINTS)
        super().__init__(routes=[*control.routes(self.world), *page.routes(self.world)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith("/cgi-bin/"):
            await self._wecom(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(profile: Profile | None = None) -> Sandbox:
    """A sandbox with a state of its own. Dropped connections need the protocol of `sandbox.server`."""
    return Sandbox(profile)
