"""WeCom's API, one module per family; each offers a table ENDPOINTS from path to endpoint."""

from collections.abc import Mapping

from sandbox.call import Endpoint
from sandbox.wecom import access, media, members, messages, robots

ENDPOINTS: Mapping[str, Endpoint] = {
    **access.ENDPOINTS,
    **media.ENDPOINTS,
    **members.ENDPOINTS,
    **messages.ENDPOINTS,
    **robots.ENDPOINTS,
}
