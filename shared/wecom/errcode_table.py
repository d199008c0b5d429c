"""The platform's error codes as data: codes, class, meaning, advice (English, Chinese), seconds to wait.

Meanings follow the platform's global list; classes are ours. Codes are given singly, or as
``first-last`` where the list holds one code per field of the same object.
"""

from __future__ import annotations

Row = tuple[str, str, str, str, str, int | None]


def _row(
    codes: str, retry_class: str, meaning: str, advice: str = "", zh: str = "", wait: int | None = None
) -> Row:
    return codes, retry_class, meaning, advice, zh, wait


_GENERAL: tuple[Row, ...] = (
    _row(
        "-1",
        "retry",
        "system busy",
        "Wait; it is retried at most three times.",
        "系统繁忙，系统会自动重试，最多三次。",
        1,
    ),
    _row("0", "none", "success"),
    _row("6000", "retry", "data version conflict", wait=1),
    _row(
        "40001",
        "perm_config",
        "invalid secret, or the app is disabled",
        "Copy the app's secret again and check that the app is enabled.",
        "请重新复制应用的 Secret，并确认应用未被停用。",
    ),
    _row("40003", "perm_target", "invalid userid", "Check the member's userid.", "请核对成员的 userid。"),
    _row("40004 40005 40006", "perm_input", "media type or size invalid"),
    _row(
        "40007",
        "perm_input",
        "media_id invalid, expired or of another kind",
        "Upload the file again.",
        "请重新上传素材。",
    ),
    _row("40008", "perm_input", "message type invalid"),
    _row("40009 40011", "perm_input", "image or video size invalid"),
    _row("40013", "perm_config", "invalid corpid", "Correct the corp id.", "请更正企业 ID（corpid）。"),
    _row("40014", "refresh", "invalid access token"),
    _row(
        "40031 40032",
        "perm_input",
        "userid list invalid or too long",
        "At most 1000 members a message.",
        "每条消息最多 1000 名成员。",
    ),
    _row(
        "40033",
        "perm_input",
        "illegal characters",
        "Send raw UTF-8, no escapes.",
        "请直接发送 UTF-8 文本，不要转义。",
    ),
    _row("40035", "perm_input", "invalid parameter"),
    _row("40039", "perm_input", "URL too long"),
    _row("40050", "perm_target", "chat does not exist"),
    _row("40056", "perm_config", "invalid agentid", "Correct the app's agent id.", "请更正应用的 AgentId。"),
    _row("40058", "perm_input", "invalid parameter: form, length or a field missing"),
    _row("40063", "perm_input", "empty parameter"),
    _row("40066 60123", "perm_target", "invalid department"),
    _row("40068", "perm_target", "invalid tag"),
    _row("40074", "perm_input", "news cannot be confidential", "Use mpnews.", "保密图文请使用 mpnews。"),
    _row(
        "40091",
        "perm_config",
        "the secret is another corp's",
        "Use a secret of this corp id.",
        "Secret 与企业 ID 不匹配，请使用本企业的 Secret。",
    ),
    _row("40094 45034", "perm_input", "invalid URL", "Begin it with https://.", "链接需以 https:// 开头。"),
    _row("40096", "perm_target", "external user invalid or outside the app's range"),
    _row("40123", "perm_input", "not an image"),
    _row("40201 40204", "perm_input", "blocked as spam", "Reword the text.", "内容被判为骚扰信息，请修改。"),
    _row("40206", "perm_input", "request too large"),
    _row("41001", "refresh", "access token missing"),
    _row(
        "41002 41004 41011",
        "perm_config",
        "corpid, secret or agentid missing",
        "Complete the credentials.",
        "请补全应用凭证。",
    ),
    _row("41006", "perm_input", "media_id missing"),
    _row("41016 41033", "perm_input", "title or description missing"),
    _row("42001", "refresh", "access token expired"),
    # Platform's class: refresh of a suite token, which only ISVs hold; for us a wrong kind of app.
    _row("42009", "perm_config", "suite token expired", "Use a self-built app.", "请使用企业自建应用。"),
    _row("43009", "perm_config", "corp not verified", "Have the corp verified.", "请先完成企业认证。"),
    _row(
        "43012",
        "perm_config",
        "the app needs a callback URL first",
        "Set the app's callback URL, token and key.",
        "请先为应用设置接收消息的回调 URL。",
    ),
    _row("44001", "perm_input", "empty media"),
    _row("44004", "perm_input", "empty text"),
    _row("45001", "perm_input", "media too large"),
    _row("45002", "perm_input", "content too large", "Shorten the text.", "请缩短正文。"),
    _row("45007", "perm_input", "voice longer than 60 s"),
    _row("45008", "perm_input", "more than 8 articles"),
    _row(
        "45009",
        "rest",
        "frequency limit",
        "Wait for the window to pass; spread the messages.",
        "发送过于频繁，请等待限频窗口结束并分散发送。",
        60,
    ),
    _row("45029", "perm_input", "answer would be too large"),
    _row(
        "45031", "perm_config", "secret judged insecure", "Reset the app's secret.", "Secret 不安全，请重置。"
    ),
    _row("45032", "perm_input", "author too long"),
    _row("45033", "rest", "concurrency limit", "Fewer calls at once.", "并发过高，请降低并发。", 60),
    _row("46004", "perm_target", "user does not exist"),
    _row(
        "48001 48002 48004",
        "perm_config",
        "not authorised for this API",
        "Allow the app to call this API; check which secret is used.",
        "请在管理后台授权该应用调用此接口，并核对使用的 Secret。",
    ),
    _row("48005", "perm_config", "API retired"),
    _row(
        "48006",
        "perm_config",
        "permission reclaimed after long disuse",
        "Grant it again.",
        "接口权限已回收，请重新申请。",
    ),
    _row(
        "50001", "perm_config", "redirect domain not trusted", "Add the trusted domain.", "请配置可信域名。"
    ),
    _row("50002", "perm_target", "member outside the permitted range"),
    _row("50003", "perm_config", "app disabled", "Enable the app.", "请启用该应用。"),
    _row("50100", "perm_input", "page cursor invalid", "Restart the listing.", "请从头重新拉取列表。"),
    _row(
        "60011",
        "perm_target",
        "no permission for this member, party or tag",
        "Widen the visible range.",
        "请扩大应用可见范围。",
    ),
    _row(
        "60020",
        "perm_config",
        "this server's IP is not trusted",
        "Add the address after 'from ip' to the app's trusted IPs; it takes about a minute.",
        "请将 “from ip” 后的地址加入应用的企业可信 IP，约一分钟后生效。",
    ),
    _row(
        "60021",
        "perm_target",
        "userid outside the app's range",
        "Widen the visible range.",
        "请扩大应用可见范围。",
    ),
    _row("60031", "perm_config", "app barred from the API"),
    _row("60111", "perm_target", "userid does not exist, left, or is outside the range"),
    _row("81012", "perm_input", "no receiver given"),
    _row(
        "81013",
        "perm_target",
        "every receiver is invalid or not permitted",
        "Check the visible range.",
        "请检查接收人及应用可见范围。",
    ),
    _row("81017", "perm_input", "too many objects asked for"),
    _row("81026", "retry", "function under maintenance", "Wait some minutes.", "功能维护中，请稍后。", 300),
    _row("82001", "perm_input", "user, party and tag all empty"),
    _row("82002 82003", "perm_input", "more than 100 parties or tags"),
    _row("82004", "perm_input", "content that could crash clients"),
    _row(
        "301002",
        "perm_config",
        "the agentid is not this secret's",
        "Match agent id and secret.",
        "AgentId 与 Secret 不属于同一应用，请核对。",
    ),
    _row("301015 301016 301017", "perm_input", "media or voice invalid"),
    _row("301019", "perm_input", "file md5 wrong"),
    _row("830001 830002", "perm_input", "upload by URL: no Range support, or too large"),
    _row("830003", "retry", "upload by URL: download failed", wait=60),
)

_CARDS: tuple[Row, ...] = (
    _row("42014-42020", "perm_input", "task card: a field is missing or invalid"),
    _row("42027-42051", "perm_input", "template card: a field is missing or out of range"),
    _row("42052", "perm_target", "too old to recall"),
    _row("90200-90204", "perm_input", "mini-program notice: a field is missing or invalid"),
    _row(
        "90206",
        "perm_config",
        "mini-program not linked to the app",
        "Link it to the app.",
        "请将小程序关联到应用。",
    ),
    _row("90207 90208", "perm_input", "mini-program appid invalid or mismatched"),
)

_ROBOTS: tuple[Row, ...] = (
    _row(
        "93000",
        "perm_config",
        "robot key invalid, or the robot was removed",
        "Add the robot to the group again and store its new key.",
        "机器人 key 无效或已被移出群聊，请重新添加并更新 key。",
    ),
    _row(
        "93004", "perm_config", "robot disabled", "Enable the robot in its group.", "请在群内启用该机器人。"
    ),
    _row("93006 93008", "perm_target", "group invalid, or not in the group"),
    _row("86001 86003", "perm_target", "app chat invalid or unknown"),
    _row("86008", "perm_config", "chat not created by this app"),
    _row("86101", "perm_config", "only the group owner may"),
    _row("86224", "perm_input", "not a restricted group"),
    _row("49008", "perm_target", "group dissolved"),
)

_CUSTOMERS: tuple[Row, ...] = (
    _row("41035", "perm_input", "external userid missing"),
    _row("41046 41047", "perm_input", "mass-send msgid missing or invalid"),
    _row("41048", "perm_target", "no customer to send to"),
    _row("41049", "perm_input", "welcome code missing"),
    _row("41050", "state", "welcome code invalid or older than 20 s"),
    _row("41051", "state", "the conversation has already begun"),
    _row("41052", "perm_input", "invalid send time"),
    _row("41053", "state", "the customer did not agree to archiving"),
    _row("41055 41058", "perm_config", "welcome template cap, or no right to edit it"),
    _row("41056", "perm_input", "external id of the wrong type"),
    _row("41063", "retry", "mass message still being dispatched", wait=5),
    _row("41064 41065 41088", "perm_input", "attachments: too many, bad type or none"),
    _row("41091", "perm_input", "join way names more than 5 groups"),
    _row("41093", "state", "mass-send task was cancelled"),
    _row(
        "41094",
        "retry",
        "reminders too frequent",
        "Three reminders in 24 hours.",
        "24 小时内最多提醒三次。",
        86_400,
    ),
    _row("41096", "retry", "another app is sending the welcome message", wait=2),
    _row("84061", "perm_target", "member and external user have no relation"),
    _row(
        "84074",
        "perm_config",
        "member lacks the external-contact permission",
        "Grant the member customer contact.",
        "请为该成员开启客户联系功能。",
    ),
    _row("84083 84084", "perm_target", "not a service member, or not the follower"),
    _row("90500", "perm_input", "the group's owner has not resigned"),
    _row("90501 90509", "perm_target", "not a customer group"),
    _row("90502", "perm_target", "the group's owner has resigned"),
    _row("90507 90508", "state", "inheritance running or done"),
    _row("90511", "perm_target", "opengid unknown"),
    _row("92000 92002 92003", "perm_config", "outside range, cross-corp or cross-app call"),
    _row("610004", "perm_target", "not a customer of the corp"),
    _row("701008", "perm_config", "no interop licence"),
)

_KF: tuple[Row, ...] = (
    _row(
        "48007",
        "perm_config",
        "KF account not authorised to this app",
        "Hand the KF account to the app.",
        "请将客服账号授权给该应用。",
    ),
    _row(
        "60251 60252 60253", "perm_input", "open_kfid missing or illegal, or member not among the servicers"
    ),
    _row("95000", "perm_input", "open_kfid invalid"),
    _row("95001", "state", "five messages since the customer's last one"),
    _row("95002", "state", "48 hours since the customer's last message"),
    _row("95003", "perm_config", "cap of customers served", "Have the corp verified.", "请先完成企业认证。"),
    _row("95004", "perm_input", "open_kfid unknown, deleted or another corp's"),
    _row("95005", "perm_config", "number of KF accounts"),
    _row("95006", "perm_input", "KF account name"),
    # The request must change: the cursor alone, without the callback's token.
    _row("95007", "perm_input", "callback token illegal or expired"),
    _row("95008 95009", "perm_input", "menu items: too many or of a bad type"),
    _row(
        "95011 95012",
        "perm_config",
        "secret of the other KF mode",
        "Use the secret of the KF mode in use.",
        "请使用当前客服模式对应的 Secret。",
    ),
    _row("95013", "state", "session already ended"),
    _row("95014", "perm_target", "not a servicer, or not activated"),
    _row("95015", "perm_config", "exclusive service already configured by the admin"),
    _row("95016", "state", "this session transition is not allowed"),
    _row(
        "95017",
        "perm_config",
        "KF API switched off",
        "Switch it on in the KF settings.",
        "请在微信客服设置中开启 API。",
    ),
    _row("95018", "state", "session state does not allow sending"),
    _row("95019", "state", "servicer stopped reception"),
    _row("95022", "perm_input", "location type illegal"),
    _row("95023", "perm_config", "KF API handed to another app"),
    _row("95026 95027", "perm_config", "KF accounts under-used, or corp unverified"),
    _row("95030", "perm_input", "message type barred by the KF component"),
    _row("95031", "state", "customer has not consulted within 48 hours"),
    _row("95032", "perm_config", "right to read the history lapsed"),
)

ROWS: tuple[Row, ...] = _GENERAL + _CARDS + _ROBOTS + _CUSTOMERS + _KF
