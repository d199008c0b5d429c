"""One process: opens what services stand on, serves the services it is given, and stops in order.

``reach serve notifier`` hosts one service, ``reach up`` all of them; nothing else differs.

    resources ── what a process has and lends to its services
    service ──── what a service gives back to be served
    host ─────── opens, serves, closes
"""
