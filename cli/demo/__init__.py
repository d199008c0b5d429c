"""``reach demo``: a restaurant's evening, for people to see and for checks to trust.

cast ──── who works there, and what happens when
stage ─── the suite and the sandbox, in this process, in a directory that goes away
evening ─ plays the evening
scenes ── what else it holds; customer ─ the one in WeChat; club ─ AI applications;
          campaign ─ customer groups
verdict ─ compares what arrived with what the rules say; pure
show ──── progress and the table
"""
