"""A monitor's report: what it says, how that reads in each form, and the cheapest calls that carry it.

monitor ── the facts, checked
outline ── the facts as blocks, worst first, what repeats collapsed
render  ── blocks in text, markdown or markdown_v2
planner ── the form, the pages, and who is mentioned where
"""
