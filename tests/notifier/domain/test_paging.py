"""Pages: each fits, nothing is lost, and what is open is carried over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.paging import paginate
from shared.text.cutting import size

LIMIT = 420
LINK = "[链接](https://example.com/orders/1)"


def solid(text: str) -> str:
    return "".join(text.split())


BLOCKS = st.lists(
    st.one_of(
        st.text(alphabet="ab字👍 |#`-", max_size=60),
        st.sampled_from(
            [
                "",
                "",
                "# 标题",
                "```",
                "```py",
                "~~~",
                "| a | b |",
                "|---|---|",
                "| 1 | 2 |",
                LINK * 3,
                "x" * 900,
                LINK * 20,
            ]
        ),
    ),
    max_size=60,
).map("\n".join)


@pytest.mark.parametrize("markdown", [True, False])
@given(text=BLOCKS, title=st.sampled_from(["", "日报"]))
def test_every_page_fits_and_nothing_is_lost(markdown, text, title):
    pages = paginate(text, LIMIT, markdown=markdown, title=title)
    assert all(size(page.text) <= LIMIT for page in pages)
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    assert {page.total for page in pages} <= {len(pages)}
    assert solid("".join(page.body for page in pages)) == solid(text)
    assert all(page.body.strip("\n") in page.text for page in pages)


@given(
    st.lists(st.sampled_from(["字" * 7, "word ", LINK, "<@lisi>", "`code`"]), min_size=1, max_size=200).map(
        "".join
    )
)
def test_no_link_or_mention_is_cut_that_fits_a_page(line):
    pages = paginate(line, LIMIT, markdown=True)
    for whole in (LINK, "<@lisi>", "`code`"):
        assert sum(page.body.count(whole) for page in pages) == line.count(whole)


def test_a_text_that_fits_is_one_page_without_a_number():
    assert [page.text for page in paginate("你好", LIMIT, markdown=False)] == ["你好"]
    assert [page.text for page in paginate("你好", LIMIT, markdown=False, title="日报")] == ["日报\n你好"]


def test_several_pages_are_headed_by_title_and_number():
    pages = paginate("\n".join(["行" * 20] * 30), LIMIT, markdown=False, title="日报")
    assert [page.text.split("\n")[0] for page in pages] == [
        f"日报 ({n}/{len(pages)})" for n in range(1, len(pages) + 1)
    ]


def test_more_than_nine_pages_leave_room_for_their_numbers():
    pages = paginate("\n".join(["行" * 120] * 120), LIMIT, markdown=False)
    assert len(pages) > 99
    assert pages[-1].text.startswith(f"({len(pages)}/{len(pages)})\n")


def test_a_page_ends_between_blocks_where_it_can():
    block = "\n".join(["内容内容内容"] * 8)
    pages = paginate("\n\n".join([block] * 6), LIMIT, markdown=False)
    assert all(page.body.strip("\n").count("内容内容内容") % 8 == 0 for page in pages)


def test_a_heading_stays_with_what_follows_it():
    text = "\n".join(f"## 第 {n} 节\n" + "\n".join(["内容" * 6] * 5) for n in range(12))
    assert not any(
        page.body.rstrip().splitlines()[-1].startswith("##") for page in paginate(text, LIMIT, markdown=True)
    )


def test_a_fence_is_closed_and_reopened_with_its_language():
    pages = paginate("```py\n" + "\n".join(f"row {n}" for n in range(120)) + "\n```", LIMIT, markdown=True)
    assert len(pages) > 2
    for page in pages:
        body = page.text.split("\n", 1)[1]
        assert body.startswith("```py\n")
        assert body.endswith("\n```")
        assert body.count("```") == 2


def test_a_table_repeats_its_head_and_no_row_is_cut():
    rows = [f"| {n} | 值 {n} |" for n in range(80)]
    pages = paginate("\n".join(["| 号 | 值 |", "|---|---|", *rows]), LIMIT, markdown=True)
    assert len(pages) > 2
    for page in pages:
        assert page.text.split("\n")[1:3] == ["| 号 | 值 |", "|---|---|"]
    assert [row for page in pages for row in page.body.splitlines() if row in rows] == rows


def test_a_limit_too_small_for_a_page_is_refused():
    with pytest.raises(ValueError, match="too few"):
        paginate("x" * 1000, 250, markdown=False)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["|a|\n" + " " * 90_000 + "|x\n", "[" * 100, "<font ", "`" * 7, "**", "[a](", "|-" * 50 + "x\n", "\n"],
)
def test_a_text_made_to_be_slow_is_not(piece):
    text = (piece * (200_000 // len(piece) + 1))[:200_000]
    pages = paginate(text, 2000, markdown=True)
    assert solid("".join(page.body for page in pages)) == solid(text)
