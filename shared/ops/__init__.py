"""What operators ask of every process: ``reach.ops.v1.OpsService`` and ``reach.events.v1.EventService``.

A service hands in a ``Part`` saying how its own things are checked, replayed and resolved; the servicers here
ask every part of the process.
"""
