"""The notifier: a business event becomes messages to the staff who must act on it.

Serves    reach.notifier.v1.NotifierService
Announces notifier.delivery.*
Hears     every event type a rule listens to
Keeps     rules, role bindings, deliveries, recipients, attempts
"""
