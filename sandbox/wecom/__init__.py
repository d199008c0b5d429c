"""WeCom's API, one module per family; each offers a table ENDPOINTS from path to endpoint."""

from collections.abc import Mapping

from sandbox.call import Endpoint
from sandbox.wecom import (
    access,
    groups,
    groups_join_ways,
    groups_sends,
    groups_statistics,
    kf_accounts,
    kf_sending,
    kf_sessions,
    kf_sync,
    media,
    members,
    messages,
    robots,
    updates,
)

ENDPOINTS: Mapping[str, Endpoint] = {
    **access.ENDPOINTS,
    **groups.ENDPOINTS,
    **groups_join_ways.ENDPOINTS,
    **groups_sends.ENDPOINTS,
    **groups_statistics.ENDPOINTS,
    **kf_accounts.ENDPOINTS,
    **kf_sending.ENDPOINTS,
    **kf_sessions.ENDPOINTS,
    **kf_sync.ENDPOINTS,
    **media.ENDPOINTS,
    **members.ENDPOINTS,
    **messages.ENDPOINTS,
    **robots.ENDPOINTS,
    **updates.ENDPOINTS,
}
