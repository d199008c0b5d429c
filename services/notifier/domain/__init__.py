"""What the notifier decides: who is told what, in which words, and what happens after an answer.

Everything here is a function of its arguments: the instant, the zone and the jitter are handed in.

    content · paging             ── words that fit a channel, as the exact bytes it is sent (on ``shared.text``)
    report                       ── a monitor's report, in the cheapest calls that carry it
    rules · routing · planning   ── who listens, who is meant, in how few calls
    decide · decision            ── one event's outcome, as a value that is stored and explained
    lifecycle · retry · recipients ── what an answer of the platform means
    explain                      ── the whole story, in sentences
"""
