"""Call Reach: channels with a token, deadlines and retries, and the reason when a call fails.

The stubs themselves are under ``reach``; they take these channels as any other.
"""

from reach_client.channels import channel, sync_channel
from reach_client.failure import Failure, FieldViolation, reason

__all__ = ["Failure", "FieldViolation", "channel", "reason", "sync_channel"]
