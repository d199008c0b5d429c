"""From an event to facts and a run, and from a step to a recorded result.

event ── facts ──▶ run ── its steps ──▶ claim ── material, prompt ──▶ gates ──▶ attempt ──▶ call ──▶ result, next steps
"""
