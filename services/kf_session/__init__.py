"""KF sessions: a customer's message opens 48 hours in which at most five messages may go out to them.

Serves    reach.kf_session.v1.KfSessionService
Announces kf.message.received, kf.session.*, kf.push.*, intent.matched
Hears     intent.matched
Keeps     accounts, sessions, their messages and allowances, pushes, preferences, profiles, intents, matches
"""
