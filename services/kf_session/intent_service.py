"""The RPCs about profiles, intents and matches: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reach.kf_session.v1 import intent_pb2 as pb
from reach.kf_session.v1 import kf_session_service_pb2_grpc

from services.kf_session.intent_wire import from_profile, from_spec, to_intent, to_match, to_profile
from services.kf_session.session_service import SERVICE
from services.kf_session.usecases.intents import Intents
from services.kf_session.usecases.profiles import Profiles
from shared.clock import Clock
from shared.errors import Invalid
from shared.ids import new_id
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "UpsertProfile": "kf.write",
        "ListProfiles": "kf.read",
        "DeleteProfile": "kf.write",
        "CreateIntent": "kf.write",
        "UpdateIntent": "kf.write",
        "ListIntents": "kf.read",
        "DeleteIntent": "kf.write",
        "MatchIntent": "kf.write",
        "PushMatches": "kf.send",
    }.items()
}
"""The scope that each of these methods needs."""

_MATCHES: Final = 50
_PUSHES: Final = 3


class IntentMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _profiles: Profiles
    _intents: Intents
    _tokens: PageTokens
    _clock: Clock
    _default_store: str | None

    async def UpsertProfile(self, request: pb.UpsertProfileRequest, context: Any) -> pb.UpsertProfileResponse:
        """Write profiles."""
        store = self._store_of(request)
        given = [from_profile(one, f"profiles[{at}]") for at, one in enumerate(request.profiles)]
        changed = await self._profiles.upsert(
            store, given, once=once_of(SERVICE, "UpsertProfile", request, store)
        )
        return pb.UpsertProfileResponse(changed_profile_ids=changed)

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        """Profiles, by id."""
        store, size = self._store_of(request), page_size(request.page_size)
        rows = await self._profiles.page(store, self._after(request), size + 1)
        token = self._token(request, [row.profile.id for row in rows], size)
        return pb.ListProfilesResponse(profiles=map(to_profile, rows[:size]), next_page_token=token)

    async def DeleteProfile(self, request: pb.DeleteProfileRequest, context: Any) -> pb.DeleteProfileResponse:
        """Take a profile away."""
        store = self._store_of(request)
        await self._profiles.delete(
            store, request.profile_id, once=once_of(SERVICE, "DeleteProfile", request, store)
        )
        return pb.DeleteProfileResponse()

    async def CreateIntent(self, request: pb.CreateIntentRequest, context: Any) -> pb.CreateIntentResponse:
        """Add an intent."""
        store = self._store_of(request)
        given = from_spec(store, request.intent_id or new_id(), request.spec, self._clock)
        kept = await self._intents.create(given, once=once_of(SERVICE, "CreateIntent", request, store))
        return pb.CreateIntentResponse(intent=to_intent(kept))

    async def UpdateIntent(self, request: pb.UpdateIntentRequest, context: Any) -> pb.UpdateIntentResponse:
        """Change an intent."""
        store = self._store_of(request)
        given = from_spec(store, request.intent_id, request.spec, self._clock)
        once = once_of(SERVICE, "UpdateIntent", request, store)
        kept = await self._intents.update(given, request.expected_version, once=once)
        return pb.UpdateIntentResponse(intent=to_intent(kept))

    async def ListIntents(self, request: pb.ListIntentsRequest, context: Any) -> pb.ListIntentsResponse:
        """Intents, by id."""
        store, size = self._store_of(request), page_size(request.page_size)
        rows = await self._intents.page(store, request.external_userid, self._after(request), size + 1)
        token = self._token(request, [row.intent.id for row in rows], size)
        return pb.ListIntentsResponse(intents=map(to_intent, rows[:size]), next_page_token=token)

    async def DeleteIntent(self, request: pb.DeleteIntentRequest, context: Any) -> pb.DeleteIntentResponse:
        """Take an intent away."""
        store = self._store_of(request)
        await self._intents.delete(
            store, request.intent_id, once=once_of(SERVICE, "DeleteIntent", request, store)
        )
        return pb.DeleteIntentResponse()

    async def MatchIntent(self, request: pb.MatchIntentRequest, context: Any) -> pb.MatchIntentResponse:
        """Compare an intent with the profiles."""
        store, most = self._store_of(request), request.max_matches or _MATCHES
        ask = self._intents.preview if request.preview_only else self._intents.match
        found = await ask(store, request.intent_id, most)
        return pb.MatchIntentResponse(matches=map(to_match, found.matches), complete=found.complete)

    async def PushMatches(self, request: pb.PushMatchesRequest, context: Any) -> pb.PushMatchesResponse:
        """Tell a customer of matches."""
        store = self._store_of(request)
        told = await self._intents.push(
            store,
            request.max_matches or _PUSHES,
            intent_id=request.intent_id,
            customer=request.external_userid,
            once=once_of(SERVICE, "PushMatches", request, store),
        )
        return pb.PushMatchesResponse(matches=map(to_match, told))

    def _store_of(self, request: Any) -> str:
        """The store that *request* is about, which must be the caller's."""
        store = request.store_id or self._default_store
        if not store:
            raise Invalid.field("store_id", "name a store: there is no default one", reason="STORE_MISSING")
        authorise_store(store)
        return str(store)

    def _after(self, request: Any) -> str:
        cursor = self._tokens.read(request)
        return "" if cursor is None else str(cursor[0])

    def _token(self, request: Any, ids: Sequence[str], size: int) -> str:
        return self._tokens.issue(request, [ids[size - 1]]) if len(ids) > size else ""
