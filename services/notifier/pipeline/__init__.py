"""From an event to a recorded outcome, in three stages that each take what has gathered.

    admission ── one transaction: inbox, deliveries, recipients, started attempts ──┐
    dispatch ─── claims what became due, or whose sender died ──────────────────────┤
                                                                                     ▼
                                                               sending (a fixed set of senders)
                                                                                     │
    recording ◀── outcomes of many attempts in one transaction ──────────────────────┘

What is due now and finds a free sender is admitted already claimed, so the common case costs two
transactions a batch: one before the requests leave, one after.
"""
