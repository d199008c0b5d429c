"""WeCom as a service of this process calls it: one HTTP caller, its tokens in the service's own database."""

from __future__ import annotations

from shared.db.engine import Database
from shared.hosting.resources import Resources
from shared.http import Caller
from shared.wecom.client import WeComClient
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority


def wecom_client(resources: Resources, database: Database, *, reply_bytes: int = 0) -> WeComClient:
    """Open it; closed with the process. *reply_bytes* is the most that has to be read of a reply, where that is more than
    the setting allows."""
    settings = resources.settings
    caller = Caller(
        settings.wecom_url,
        allowed_hosts=settings.allowed_hosts,
        max_reply_bytes=max(settings.limits.http_reply_bytes, reply_bytes),
        connect_timeout=settings.limits.http_connect.total_seconds(),
    )
    resources.stack.push_async_callback(caller.close)
    store = SqlTokenStore(database, resources.key)
    tokens = TokenAuthority(caller, store, resources.clock, owner=resources.owner)
    resources.stack.push_async_callback(tokens.close)
    return WeComClient(caller, tokens, resources.clock)
