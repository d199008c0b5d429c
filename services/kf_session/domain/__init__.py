"""What kf_session decides: who may be written to, when, with what, and who matches whom.

Everything here is a function of its arguments: the instant, the zone and the jitter are handed in.
"""
