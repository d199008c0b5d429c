"""Calls to other people's HTTP services, told apart by whether the request may have been read."""

from shared.http.caller import Caller, Reply
from shared.http.failures import HttpFailure, Kind, NotSent, Unclear

__all__ = ["Caller", "HttpFailure", "Kind", "NotSent", "Reply", "Unclear"]
