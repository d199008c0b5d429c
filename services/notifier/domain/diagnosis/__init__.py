"""What the doctor makes of what it saw: each finding with the fix, and where in the admin console the fix is.

Nothing here asks anybody; ``services.notifier.checks`` does.
"""
