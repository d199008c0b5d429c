"""WeChat KF behind the scenes: accounts, customers, sessions, what was said, and what the platform tells the app.

The API's side is `sandbox.wecom.kf_*`; here is the state, and what customers and servicers do on their phones.
"""
