"""Who matches whom: conditions on a profile, a score between 0 and 1, and its reasons in words.

text ──▶ folded once (width, case, script), then only compared and cut into terms
intent ──▶ anchors: terms of which a profile that matches has at least one
profile ──▶ terms: all that an anchor may be
"""
