"""Wiring of the way out: DashScope, as the settings say."""

from __future__ import annotations

from services.ai_orchestrator.dashscope import DashScope
from shared.hosting.resources import Resources


async def provider_side(resources: Resources) -> DashScope:
    """DashScope, closed with the process; without a key every call is refused before it leaves."""
    settings = resources.settings
    key = settings.dashscope.api_key
    provider = await DashScope.open(
        settings.dashscope_url,
        key.get_secret_value() if key is not None else "",
        resources.clock,
        resources.numbers,
        allowed_hosts=settings.allowed_hosts,
        connect_timeout=settings.limits.http_connect.total_seconds(),
        content=settings.dashscope.trace_content,
    )
    resources.stack.push_async_callback(provider.close)
    return provider
