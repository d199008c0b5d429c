"""Reports to test with: one that has everything, one that is nothing but good news, one that is long."""

from __future__ import annotations

from datetime import timedelta

from services.notifier.domain.report.monitor import (
    CheckStatus,
    CodeBlock,
    Item,
    MonitorReport,
    Statistic,
    Table,
    Totals,
)
from tests.notifier.domain.builders import NOW


def ms(value: float) -> timedelta:
    return timedelta(milliseconds=value)


FULL = MonitorReport(
    "接口监控告警",
    observed_at=NOW,
    totals=Totals(20, 14, 6),
    items=(
        Item("GET /members/{id}", CheckStatus.OK, ms(48)),
        Item(
            "POST /orders", CheckStatus.FAILED, ms(812), 502, "E_UPSTREAM", "上游 <kitchen> 无响应 | 已重试"
        ),
        Item(
            "POST /orders", CheckStatus.FAILED, ms(1204), 502, "E_UPSTREAM", "上游 <kitchen> 无响应 | 已重试"
        ),
        Item("GET /stock", CheckStatus.TIMEOUT, error="10 s 内没有应答"),
        Item("GET /menu", CheckStatus.SLOW, ms(3200.4), 200),
        Item("<@all> **点我** [赢奖](https://evil.example)", CheckStatus.FAILED, error="# 大字\n<@lisi>"),
        Item("GET /legacy", CheckStatus.SKIPPED),
    ),
    statistics=(Statistic("平均耗时", "182 ms"), Statistic("P95", "1.2 s"), Statistic("连续失败", "3 次")),
    tables=(
        Table(
            "按门店",
            ("门店", "失败", "备注"),
            (("南山店", "4", "_专线_"), ("福田店", "1"), ("福田店", "1"), ("---", "0", "a|b")),
        ),
    ),
    code_blocks=(
        CodeBlock("应答", "json", '{\n    "code": 502,\n    "html": "<b>```</b>"\n}'),
        CodeBlock("", "", "Traceback:\n\tFile `a.py`, line 3\n\nOSError"),
    ),
    footer="由接口监控系统自动发送",
)

QUIET = MonitorReport("夜间巡检", observed_at=NOW, totals=Totals(12, 12, 0), footer="无需处理")


def long_report(rows: int = 60) -> MonitorReport:
    items = tuple(
        Item(
            f"GET /shops/{at:03}/orders",
            CheckStatus.FAILED if at % 3 else CheckStatus.TIMEOUT,
            ms(100 + 7 * at) if at % 3 else None,
            500 + at % 4 if at % 3 else 0,
            error=f"第 {at:03} 家门店的订单接口连续失败，请检查专线与收银机的网络",
        )
        for at in range(rows)
    )
    table = Table("明细", ("序号", "门店"), tuple((f"{at:03}", f"门店 {at:03} 号") for at in range(rows)))
    return MonitorReport("全量巡检", totals=Totals(rows, 0, rows), items=items, tables=(table,))


REPORTS = {"full": FULL, "quiet": QUIET, "long": long_report()}
