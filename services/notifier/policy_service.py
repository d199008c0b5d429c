"""The RPCs about policies: from the wire to one use case and back."""

from __future__ import annotations

from typing import Any

from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import notifier_service_pb2_grpc

from services.notifier.policy_wire import from_policy, from_subject, kept_under, to_stored
from services.notifier.rule_service import SERVICE
from services.notifier.usecases.policies import Policies
from services.notifier.wire import role_named
from shared.errors import Invalid
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, authorise_store_or_every


class PolicyMethods(notifier_service_pb2_grpc.NotifierServiceServicer):
    """See notifier_service.proto."""

    _policies: Policies
    _tokens: PageTokens

    async def SetPolicy(self, request: pb.SetPolicyRequest, context: Any) -> pb.SetPolicyResponse:
        """Replace a policy."""
        authorise_store_or_every(request.store_id)
        subject = kept_under(from_subject(request.subject))
        policy = from_policy(request.store_id, subject, request.policy)
        return pb.SetPolicyResponse(
            stored=to_stored(
                await self._policies.set(
                    policy, once=once_of(SERVICE, "SetPolicy", request, request.store_id)
                )
            )
        )

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        """One policy, and what counts for its subject."""
        if request.store_id:
            authorise_store(request.store_id)
        who = from_subject(request.subject)
        role = role_named(request.role, "role") if request.role else None
        if role is not None and request.subject.WhichOneof("who") != "target":
            raise Invalid.field("role", "only beside an address; leave it out")
        found = await self._policies.counting(request.store_id, who, role)
        answer = pb.GetPolicyResponse()
        for name, row in (
            ("stored", found.own),
            ("quiet_hours_from", found.quiet),
            ("budgets_from", found.budgets),
            ("merging_from", found.merging),
        ):
            if row is not None:
                getattr(answer, name).CopyFrom(to_stored(row))
        return answer

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Any) -> pb.ListPoliciesResponse:
        """Policies, by subject and store."""
        if request.store_id:
            authorise_store(request.store_id)
        rows = await self._policies.list(request.store_id)
        cursor = self._tokens.read(request)
        if cursor is not None:
            last = (str(cursor[0]), str(cursor[1]))
            rows = [row for row in rows if (row.policy.subject, row.policy.store_id) > last]
        size = page_size(request.page_size)
        more = len(rows) > size
        token = ""
        if more:
            policy = rows[size - 1].policy
            token = self._tokens.issue(request, [policy.subject, policy.store_id])
        return pb.ListPoliciesResponse(
            policies=[to_stored(row) for row in rows[:size]], next_page_token=token
        )
