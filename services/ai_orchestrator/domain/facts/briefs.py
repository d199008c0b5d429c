"""What a campaign's copy is to be about, as material: the one that comes from a caller and not from facts."""

from __future__ import annotations

from collections.abc import Sequence

from services.ai_orchestrator.domain.facts.showing import text
from services.ai_orchestrator.domain.material import Material


def campaign_brief(
    *,
    theme: str,
    audience: str = "",
    tone: str = "",
    banned_words: Sequence[str] = (),
    candidates: int = 3,
    longest: int = 300,
) -> Material:
    """For `customer_campaign`: *candidates* texts of at most *longest* characters; all words are people's, so data."""
    brief = {
        "主题": text(theme),
        "对象": text(audience) or "客户群里的所有客人",
        "语气": text(tone) or "亲切自然",
        "禁用词": [text(word) for word in banned_words],
        "候选数": candidates,
        "每条字数上限": longest,
    }
    return Material({"brief": brief}, references=(), empty=not theme.strip())
