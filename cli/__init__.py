"""The ``reach`` command: the only place that knows every service's wiring.

``main`` declares the commands; each module holds one group of them. A module imports at its head only
what ``--help`` needs; what a command works with is imported when the command runs.
"""
