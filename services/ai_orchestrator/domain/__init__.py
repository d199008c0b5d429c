"""What ai_orchestrator decides: which steps a run has, whether a call may leave, what a reply is worth.

Everything here is a function of its arguments: the instant, the zone and the jitter are handed in.
"""
