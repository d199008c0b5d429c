"""A faithful local WeCom and DashScope server: what the platform documents, faults on request, and a page that shows the phones.

Point any client's base URL at it. It stands alone: nothing here imports the rest of the suite.
"""
