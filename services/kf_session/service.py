"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.kf_session import (
    effect_service,
    intent_service,
    picture_service,
    push_service,
    session_service,
    template_service,
)
from services.kf_session.effect_service import EffectMethods
from services.kf_session.intent_service import IntentMethods
from services.kf_session.learning import Learning
from services.kf_session.picture_service import PictureMethods
from services.kf_session.push_service import PushMethods
from services.kf_session.session_service import SERVICE, SessionMethods
from services.kf_session.template_service import TemplateMethods
from services.kf_session.usecases.intents import Intents
from services.kf_session.usecases.pictures import Pictures
from services.kf_session.usecases.preferences import Preferences
from services.kf_session.usecases.profiles import Profiles
from services.kf_session.usecases.pushes import Pushes
from services.kf_session.usecases.sessions import Sessions
from services.kf_session.usecases.stories import Stories
from shared.clock import Clock
from shared.rpc.paging import PageTokens

__all__ = ["SCOPES", "SERVICE", "KfSessionServicer"]

SCOPES: Final[Mapping[str, str]] = {
    **session_service.SCOPES,
    **push_service.SCOPES,
    **picture_service.SCOPES,
    **intent_service.SCOPES,
    **template_service.SCOPES,
    **effect_service.SCOPES,
}
"""The scope each method needs; one that is missing here is denied."""


class KfSessionServicer(
    SessionMethods, PushMethods, PictureMethods, IntentMethods, TemplateMethods, EffectMethods
):
    """See kf_session_service.proto."""

    def __init__(
        self,
        sessions: Sessions,
        pushes: Pushes,
        preferences: Preferences,
        pictures: Pictures,
        stories: Stories,
        profiles: Profiles,
        intents: Intents,
        learning: Learning,
        tokens: PageTokens,
        clock: Clock,
        default_store: str | None,
    ) -> None:
        self._sessions = sessions
        self._pushes = pushes
        self._preferences = preferences
        self._pictures = pictures
        self._stories = stories
        self._profiles = profiles
        self._intents = intents
        self._templates = learning.templates
        self._effect_stats = learning.effect_stats
        self._tokens = tokens
        self._clock = clock
        self._default_store = default_store
