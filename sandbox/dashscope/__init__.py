"""DashScope (百炼) to test against: applications and plain models, what they bill, and how they fail.

`account` is the state; `platform` serves the API; `making` writes answers that meet a schema, the same for the same prompt.
"""
