"""The RPCs that change rules: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import notifier_service_pb2_grpc

from services.notifier.domain.rules import Rule
from services.notifier.rule_wire import from_spec, to_check, to_rule, to_version
from services.notifier.usecases.rules import Rules
from shared.clock import Clock
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store, authorise_store

SERVICE: Final = "reach.notifier.v1.NotifierService"


class RuleMethods(notifier_service_pb2_grpc.NotifierServiceServicer):
    """See notifier_service.proto."""

    _rules: Rules
    _tokens: PageTokens
    _clock: Clock

    async def CreateRule(self, request: pb.CreateRuleRequest, context: Any) -> pb.CreateRuleResponse:
        """Add a rule."""
        rule = from_spec(request.rule_id, request.spec)
        _may_change(rule)
        saved = await self._rules.create(
            rule, draft=request.draft, comment=request.comment, once=once_of(SERVICE, "CreateRule", request)
        )
        return pb.CreateRuleResponse(rule=to_rule(saved.rule, self._clock.now()), check=to_check(saved))

    async def UpdateRule(self, request: pb.UpdateRuleRequest, context: Any) -> pb.UpdateRuleResponse:
        """Add a version of a rule."""
        rule = from_spec(request.rule_id, request.spec)
        _may_change(rule, await self._rules.latest(request.rule_id))
        saved = await self._rules.update(
            rule,
            expected=request.expected_version,
            draft=request.draft,
            comment=request.comment,
            once=once_of(SERVICE, "UpdateRule", request),
        )
        return pb.UpdateRuleResponse(rule=to_rule(saved.rule, self._clock.now()), check=to_check(saved))

    async def UpdateTemplate(
        self, request: pb.UpdateTemplateRequest, context: Any
    ) -> pb.UpdateTemplateResponse:
        """Change a rule's words alone."""
        before = await self._rules.latest(request.rule_id)
        _may_change(before)
        saved = await self._rules.update(
            replace(before, template=request.template),
            # What else the rule says is that of the version read just now: another one in between must not be lost.
            expected=request.expected_version or before.version,
            draft=request.draft,
            comment=request.comment,
            once=once_of(SERVICE, "UpdateTemplate", request),
        )
        return pb.UpdateTemplateResponse(rule=to_rule(saved.rule, self._clock.now()), check=to_check(saved))

    async def PublishRule(self, request: pb.PublishRuleRequest, context: Any) -> pb.PublishRuleResponse:
        """Let a draft act."""
        _may_change(*await self._every_version(request.rule_id))
        rule = await self._rules.publish(
            request.rule_id, request.version, once=once_of(SERVICE, "PublishRule", request)
        )
        return pb.PublishRuleResponse(rule=to_rule(rule, self._clock.now()))

    async def RollbackRule(self, request: pb.RollbackRuleRequest, context: Any) -> pb.RollbackRuleResponse:
        """Let an earlier version act again."""
        _may_change(*await self._every_version(request.rule_id))
        rule = await self._rules.roll_back(
            request.rule_id, request.version, once=once_of(SERVICE, "RollbackRule", request)
        )
        return pb.RollbackRuleResponse(rule=to_rule(rule, self._clock.now()))

    async def DeleteRule(self, request: pb.DeleteRuleRequest, context: Any) -> pb.DeleteRuleResponse:
        """Let a rule act no more."""
        _may_change(*await self._every_version(request.rule_id))
        await self._rules.delete(request.rule_id, once=once_of(SERVICE, "DeleteRule", request))
        return pb.DeleteRuleResponse()

    async def RestorePresets(
        self, request: pb.RestorePresetsRequest, context: Any
    ) -> pb.RestorePresetsResponse:
        """Publish presets as they ship."""
        authorise_every_store()
        restored = await self._rules.restore_presets(
            list(request.rule_ids), once=once_of(SERVICE, "RestorePresets", request)
        )
        now = self._clock.now()
        return pb.RestorePresetsResponse(rules=[to_rule(rule, now) for rule in restored])

    async def ListRuleVersions(
        self, request: pb.ListRuleVersionsRequest, context: Any
    ) -> pb.ListRuleVersionsResponse:
        """The versions of a rule, the newest first."""
        versions, acting = (
            await self._rules.versions(request.rule_id),
            await self._rules.acting(request.rule_id),
        )
        cursor = self._tokens.read(request)
        rest = [one for one in versions if cursor is None or one.rule.version < int(str(cursor[0]))]
        size, now = page_size(request.page_size), self._clock.now()
        more = [rest[size - 1].rule.version] if len(rest) > size else None
        return pb.ListRuleVersionsResponse(
            versions=[to_version(one, acting, now) for one in rest[:size]],
            next_page_token=self._tokens.issue(request, more) if more else "",
        )

    async def _every_version(self, rule_id: str) -> Sequence[Rule]:
        return [one.rule for one in await self._rules.versions(rule_id)]


def _may_change(*rules: Rule) -> None:
    """Raise Denied unless the caller may decide for every store that *rules* act in."""
    for rule in rules:
        for store_id in rule.stores:
            authorise_store(store_id)
        if not rule.stores:
            authorise_every_store()
