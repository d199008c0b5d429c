"""What campaigns are written with.

material ── material_part          pictures, videos, files; their bytes never change
tone                               how a brand sounds
candidate_set ── candidate         what an application was asked for, and what it wrote
"""

from __future__ import annotations

import sqlalchemy as sa

from services.campaign.store.tables import metadata
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

ASKING = "asking"
"""The running state of a candidate set."""

material = sa.Table(
    "material",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),  # image, video, file
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("received", sa.Integer, nullable=False),
    sa.Column("digest", Id, nullable=False),  # SHA-256; '' until all is there
    sa.Column("created_by", Id, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("media_id", Id, nullable=False),  # the platform's, '' while it has none
    sa.Column("expires_at", Instant),
    sa.Column("failure", Id, nullable=False),  # of the last upload
    sa.Column("upload_epoch", sa.BigInteger, nullable=False),
    sa.Column("upload_until", Instant),  # somebody uploads it until then
)
sa.Index("material_of_store", material.c.store_id, material.c.name, unique=True)
_unfinished = sa.text("digest = ''")
sa.Index(
    "material_unfinished",
    material.c.updated_at,
    material.c.id,
    sqlite_where=_unfinished,
    postgresql_where=_unfinished,
)

material_part = sa.Table(
    "material_part",
    metadata,
    sa.Column("material_id", Id, primary_key=True),
    sa.Column("start", sa.Integer, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

tone = sa.Table(
    "tone",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is every store
    sa.Column("name", Id, primary_key=True),
    sa.Column("said", Json, nullable=False),  # domain.tone.Tone
    sa.Column("updated_by", Id, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

candidate_set = sa.Table(
    "candidate_set",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("asked", Json, nullable=False),  # domain.candidates.Asked
    sa.Column("asked_by", Id, nullable=False),
    sa.Column(
        "generation", sa.Integer, nullable=False
    ),  # of the key, raised where one has ended without words
    sa.Column("reason", Id, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("app_version", Id, nullable=False),
    sa.Column("prompt_hash", Id, nullable=False),
    sa.Column("models", Json, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("total_tokens", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    *due_columns(),
    *due_indexes("candidate_set", running=ASKING),
)
sa.Index(
    "candidate_set_of_campaign",
    candidate_set.c.campaign_id,
    candidate_set.c.created_at,
    candidate_set.c.id,
)

candidate = sa.Table(
    "candidate",
    metadata,
    sa.Column("set_id", Id, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # 1 is the best
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("angle", sa.Text, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("hits", Json, nullable=False),
    sa.Column("used_version", sa.Integer, nullable=False),  # 0: it became none
)
