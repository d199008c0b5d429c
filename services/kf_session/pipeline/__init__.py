"""From a callback to a committed page of messages, and from a push to a recorded outcome.

callback ── rings ──▶ doorbell ──▶ puller (one per account, under a lease) ──▶ taking (one transaction a page)
                                                                                   │ a customer wrote
push (a due row) ──▶ gates, a credit reserved ──▶ the call ──▶ settled  ◀───────────┘
"""
