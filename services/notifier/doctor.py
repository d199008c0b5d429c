"""What the notifier checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence

from services.notifier.checks.book import BookChecks
from services.notifier.checks.platform import PlatformChecks
from services.notifier.checks.process import ProcessChecks
from services.notifier.pipeline.books import Books
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.hosting.resources import Resources
from shared.ops.part import Check
from shared.wecom.client import WeComClient


class Doctor:
    """The notifier's checks."""

    def __init__(
        self,
        resources: Resources,
        database: Database,
        locations: Sequence[Location],
        credentials: Credentials,
        wecom: WeComClient,
        books: Books,
    ) -> None:
        self._process = ProcessChecks(resources, database, locations, credentials)
        self._platform = PlatformChecks(credentials, wecom, books, resources.clock)
        self._book = BookChecks(books, credentials, database, resources.clock)

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        process, platform, book = self._process, self._platform, self._book
        return (
            process.database,
            process.secret_key,
            process.credentials,
            process.broker,
            process.clock,
            platform.wecom_apps,
            platform.wecom_robots,
            process.wecom_callback,
            book.roles,
            book.rules,
            book.recipients,
            process.backlog,
        )
