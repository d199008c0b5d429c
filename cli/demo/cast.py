"""Who works at the restaurant and at the club beside it, and what happens there in one evening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from shared.values import value_class

STORE: Final = "xiaoman"
STORE_NAME: Final = "小满食堂"

ROBOT: Final = "default"
GROUP: Final = "小满食堂·值班群"

Door = Literal["bus", "rpc"]
"""``bus``: EventService/PublishEvent, then outbox and bus; ``rpc``: NotifierService/TriggerPush."""


@value_class
class Person:
    """Somebody with a WeCom account."""

    userid: str
    name: str


@value_class
class Guest:
    """A customer, as WeChat KF knows them."""

    external_userid: str
    name: str


STAFF: Final[Mapping[str, tuple[Person, ...]]] = {
    "kitchen_staff": (Person("wangdachu", "王大厨"), Person("liqiang", "李强")),
    "manager": (Person("chenjing", "陈静"),),
    "front_desk": (Person("linxiaoyu", "林小雨"), Person("zhoumin", "周敏")),
    "service_staff": (Person("zhaolei", "赵磊"), Person("sunyue", "孙悦")),
    "member_manager": (Person("wufang", "吴芳"),),
    "cashier": (Person("zhengli", "郑丽"),),
    "inventory_manager": (Person("heping", "何平"),),
    "tech_support": (Person("qianfeng", "钱峰"),),
}
"""By role."""

ASSISTANT: Final = Person("wenjing", "文静")
"""Of the club; she looks after members."""

PEOPLE: Final[Mapping[str, Person]] = {
    person.userid: person for holders in (*STAFF.values(), (ASSISTANT,)) for person in holders
}


WRITER: Final = "linxiaoyu"
APPROVER: Final = "chenjing"
OFFICE: Final[Mapping[str, tuple[str, ...]]] = {
    WRITER: ("campaign.read", "campaign.write", "campaign.approve", "campaign.operate"),
    APPROVER: ("campaign.read", "campaign.approve"),
}
"""Who makes campaigns and who approves them, with the scopes of their tokens; who writes may approve others' only."""

GROUP_OWNERS: Final[Mapping[str, str]] = {"zhoumin": "at_once", "zhaolei": "at_once", "sunyue": "never"}
"""Owners of customer groups, and when they press send."""
GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "wr-pudong-1": ("zhoumin", "小满食堂·浦东老客"),
    "wr-pudong-2": ("zhoumin", "小满食堂·浦东午餐"),
    "wr-jingan-1": ("zhaolei", "小满食堂·静安老客"),
    "wr-jingan-2": ("zhaolei", "小满食堂·静安家庭"),
    "wr-wine": ("sunyue", "小满食堂·品酒会"),
}
"""Customer groups by their ids: whose they are, and their names."""
BLOCK_WORDS: Final = "返现,保本,医疗治愈"
THEME: Final = "周五午市上新清蒸鲈鱼，到店说“群里看到的”送时蔬一份"
BLOCKED: Final = "周五上新清蒸鲈鱼，满200返　现30！"
"""What somebody writes first; the space in it is a full-width one."""
CANDIDATES: Final = (
    "周五中午，清蒸鲈鱼上新啦。到店说一声“群里看到的”，送您一份时蔬。",
    "这周五午市有新菜：清蒸鲈鱼，现点现蒸。报“群里看到的”，时蔬我们请。",
)
"""What the application writes."""


@value_class
class Moment:
    """Something that happens; its data are the example of the type's preset rule."""

    at: str
    event_type: str
    door: Door
    line: str

    @property
    def event_id(self) -> str:
        """The publisher's id of it."""
        return f"evening-{self.event_type}"


EVENING: Final = (
    Moment("16:30", "reservation.confirmed", "bus", "张三 books a table for four"),
    Moment("16:45", "reservation.cancelled", "rpc", "another guest calls off"),
    Moment("17:55", "guest.arrived", "bus", "张三 is at the door"),
    Moment("18:05", "order.created", "bus", "table A01 orders"),
    Moment("18:06", "system.error", "rpc", "the kitchen printer is offline"),
    Moment("18:10", "order.cancelled", "bus", "a guest changes his mind"),
    Moment("18:40", "service.quality_issue", "rpc", "forty minutes without a dish"),
    Moment("19:00", "inventory.low_stock", "bus", "宫保鸡丁 runs low"),
    Moment("19:20", "inventory.out_of_stock", "rpc", "and is gone"),
    Moment("19:44", "payment.failed", "bus", "the first payment does not go through"),
    Moment("19:45", "payment.completed", "rpc", "the second does"),
    Moment("19:46", "order.completed", "bus", "table A01 is done"),
    Moment("19:47", "member.points_changed", "rpc", "李四 spends points"),
    Moment("19:48", "member.upgraded", "bus", "and becomes a gold member"),
)

MUTED: Final = "member.points_changed"
"""The rule that somebody switches off before the same thing happens again."""

MUTED_AGAIN: Final = "evening-points-again"

BUSY: Final = "payment.failed"
"""The event whose first send WeCom answers with −1."""

REPORT_TITLE: Final = "小满食堂 今日小结"
REPORT: Final = "\n\n".join(
    [
        "一、营业概况\n"
        + "\n".join(
            f"{hour}:00 上座 {seats} 位，翻台 {turns} 次，营业额 ¥{sales}.00"
            for hour, seats, turns, sales in (
                (17, 12, 1, 1680),
                (18, 46, 2, 6320),
                (19, 58, 3, 8950),
                (20, 40, 2, 6110),
                (21, 15, 1, 2240),
            )
        ),
        "二、出品与服务\n"
        + "\n".join(
            f"第 {at} 桌：{note}"
            for at, note in enumerate(
                (
                    "上菜用时二十二分钟，客人满意，加点一份宫保鸡丁，离店时办理了会员。",
                    "上菜用时四十三分钟，客人催单两次，店长到桌致歉并赠送果盘。",
                    "上菜用时十八分钟，客人带老人和孩子，服务员主动提供儿童椅和热水。",
                    "上菜用时二十五分钟，客人退换一道菜，后厨当场重做，结账时已致歉。",
                )
                * 6,
                start=1,
            )
        ),
        "三、库存\n"
        + "\n".join(
            f"{item}：余 {left} 份，低于 {limit} 份，明早九点前补货。"
            for item, left, limit in (
                ("宫保鸡丁", 0, 10),
                ("清蒸鲈鱼", 3, 8),
                ("糖醋里脊", 4, 10),
                ("米饭", 30, 60),
            )
        ),
    ]
)
"""Longer than one message may be."""

REVIEWS: Final = tuple(
    (dish, words)
    for dish in ("宫保鸡丁", "清蒸鲈鱼", "糖醋里脊")
    for words in ("味道很好", "上菜有点慢", "分量足", "下次还来")
)
"""Dishes and what guests write about them."""

POST: Final = "**打烊提醒**\n> 今晚共接待 171 位客人\n> 宫保鸡丁售罄，明早补货\n> 请值班同事确认燃气已关闭"
POST_MARK: Final = "打烊提醒"

CLUB: Final = "xingyao"
CLUB_NAME: Final = "星耀台球俱乐部"
MEMBER: Final = Person("M10086", "李四")
"""Of the club; known by a number there."""
AREAS: Final = ("hallA", "hallB", "hallC", "vip", "snooker", "mahjong", "ktv")
VISIT: Final[Mapping[str, object]] = {
    "member_id": MEMBER.userid,
    "has_assistant": True,
    "assistant_id": ASSISTANT.userid,
    "amount": "280.00",
    "area": "vip",
    "duration_minutes": 150,
    "items": ["斯诺克台费", "龙井茶"],
}
NOTE: Final[Mapping[str, object]] = {
    "member_id": MEMBER.userid,
    "note_content": "下月想学斯诺克，周五晚上有空，爱喝龙井",
    "noted_by_name": ASSISTANT.name,
}
TACTIC: Final = {
    "tactics": [
        {"scenario": "打完球之后", "script": "四哥，今晚手感真好。下周五想不想试试斯诺克？龙井给您备着。"},
    ]
}
"""What the application says that writes for assistants."""

KF_ACCOUNT: Final = "wkxiaoman"
CUSTOMER: Final = Guest("wmzhangsan", "张三")
LOOKED_FOR: Final = "寻找餐饮合伙人"
PROFILES: Final = (
    ("周岚", "做餐饮十二年，在北京创业，想开第二家店"),
    ("马骁", "餐饮供应链，常驻北京"),
    ("许宁", "餐饮品牌设计，人在成都"),
)
"""Who matches, the best first, and what is known of them."""
