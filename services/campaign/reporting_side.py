"""Where the parts that tell of campaigns meet: groups and figures of runs, top-ups, stories."""

from __future__ import annotations

from collections.abc import Mapping

from services.campaign import explain_service, report_service, target_service
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.usecases.explaining import Consent, Explaining
from services.campaign.usecases.reporting import Reporting
from services.campaign.usecases.topping_up import ToppingUp
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Customer
from shared.values import value_class

SCOPES: Mapping[str, str] = {
    **target_service.SCOPES,
    **report_service.SCOPES,
    **explain_service.SCOPES,
}
"""The scope each of its methods needs."""


@value_class
class ReportingSide:
    """The parts that others hold on to."""

    reporting: Reporting
    topping_up: ToppingUp
    explaining: Explaining


def reporting_side(
    database: Database,
    writing: Campaigns,
    consent: Consent,
    audit: AuditLog,
    clock: Clock,
    customer: Customer,
) -> ReportingSide:
    """Wire it."""
    return ReportingSide(
        Reporting(database, clock, qps=customer.send_qps),
        ToppingUp(database, writing, audit, clock),
        Explaining(database, consent, clock),
    )
