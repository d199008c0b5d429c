"""Customer groups behind the scenes: groups and their members, the ways in, mass sends and the owners who confirm them.

The API's side is `sandbox.wecom.groups_*`; here is the state, and what owners and customers do on their phones.
"""
