"use strict";
// Everything that came over the wire is escaped before any markup is added to it.
const KEPT_PER_PHONE = 120;
const phones = new Map();
const shown = new Map(); // number, or kf and a chat line's number -> element
const $ = (id) => document.getElementById(id);
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const esc = (text) => String(text ?? "").replace(/[&<>"']/g, (c) => ESCAPES[c]);
const at = (who) => `<span class="at">@${who === "@all" ? "所有人" : esc(who)}</span>`;
// Takes escaped text: a link stays a link only when it leads to the web.
const link = (label, url) => /^https?:\/\//.test(url) ? `<a href="${url}" rel="noreferrer noopener" target="_blank">${label}</a>` : label;

function inline(escaped) {
  return escaped
    .replace(/&lt;font color=&quot;(info|comment|warning)&quot;&gt;(.*?)&lt;\/font&gt;/g, '<span class="$1">$2</span>')
    .replace(/&lt;@([^&\s]{1,64})&gt;/g, (_, who) => `<span class="at">@${who}</span>`)
    .replace(/`([^`]+)`/g, "<code>$1</code>")
    .replace(/\*\*(.+?)\*\*/g, "<b>$1</b>")
    .replace(/\[([^\]]+)\]\(([^)\s]+)\)/g, (_, label, url) => link(label, url));
}
function markdown(text) {
  const out = [];
  for (const line of esc(text).split("\n")) {
    const heading = /^(#{1,6}) (.*)$/.exec(line);
    const quote = /^&gt; ?(.*)$/.exec(line);
    const item = /^[-*] (.*)$/.exec(line);
    if (heading) out.push(`<h4 class="h${heading[1].length}">${inline(heading[2])}</h4>`);
    else if (quote) out.push(`<blockquote>${inline(quote[1])}</blockquote>`);
    else if (item) out.push(`<ul><li>${inline(item[1])}</li></ul>`);
    else if (line.trim()) out.push(`<p>${inline(line)}</p>`);
  }
  return out.join("").replaceAll("</blockquote><blockquote>", "<br>").replaceAll("</ul><ul>", "");
}
function plain(text) {
  const linked = esc(text)
    .replace(/&lt;a href=&quot;(.+?)&quot;&gt;(.*?)&lt;\/a&gt;/g, (_, url, label) => link(label, url))
    .replace(/&lt;@([^&\s]{1,64})&gt;/g, (_, who) => `<span class="at">@${who}</span>`);
  return `<div class="plain">${linked}</div>`;
}
const described = (text) => esc(text).replace(/&lt;div class=&quot;(gray|normal|highlight)&quot;&gt;(.*?)&lt;\/div&gt;/gs, '<div class="$1">$2</div>').replaceAll("&lt;br&gt;", "\n");
const article = (a) => `<div class="title">${a.url ? link(esc(a.title), esc(a.url)) : esc(a.title)}</div>${a.description || a.digest ? `<div class="desc">${esc(a.description || a.digest)}</div>` : ""}`;
const pairs = (list, key, value) => list && list.length ? `<dl class="kv">${list.map((i) => `<dt>${esc(i[key])}</dt><dd>${esc(i[value])}</dd>`).join("")}</dl>` : "";
const LABELS = { image: "图片", voice: "语音", video: "视频", file: "文件" };
function item(i) {
  const of = i[i.type] || {};
  if (i.type === "click") return `<button data-menu="${esc(of.id)}" data-text="${esc(of.content)}">${esc(of.content)}</button>`;
  if (i.type === "view") return `<div>${link(esc(of.content), esc(of.url))}</div>`;
  return `<div>${i.type === "miniprogram" ? "［小程序］" : ""}${esc(of.content)}</div>`;
}
const RENDER = {
  msgmenu: (c) => `${plain(c.head_content)}<div class="buttons">${(c.list || []).map(item).join("")}</div>${plain(c.tail_content)}`,
  link: (c) => article({ ...c, description: c.desc }),
  location: (c) => `<div class="title">［位置］${esc(c.name)}</div><div class="desc">${esc(c.address)} ${esc(c.latitude)}, ${esc(c.longitude)}</div>`,
  miniprogram: (c) => `<div class="title">［小程序］${esc(c.title)}</div><div class="desc">${esc(c.pagepath)}</div>`,
  text: (c) => plain(c.content),
  mass_send: (c) => (c.text ? plain(c.text) : "") + c.attachments.map((a) => {
    const of = a[a.msgtype];
    if (a.msgtype === "link") return `<hr>${article({ ...of, description: of.desc })}`;
    return `<hr><div class="title">［${esc(LABELS[a.msgtype] || "小程序")}］${esc(of.title)}</div><div class="desc">${esc(of.pic_url || of.media_id || of.page)}</div>`;
  }).join(""),
  markdown: (c) => markdown(c.content),
  markdown_v2: (c) => markdown(c.content),
  textcard: (c) => `<div class="title">${esc(c.title)}</div><div class="desc">${described(c.description)}</div><div class="more">${link(esc(c.btntxt), esc(c.url))}</div>`,
  news: (c) => c.articles.map(article).join("<hr>"),
  mpnews: (c) => c.articles.map(article).join("<hr>"),
  miniprogram_notice: (c) => `<div class="title">${esc(c.title)}</div><div class="desc">${esc(c.description)}</div>${pairs(c.content_item, "key", "value")}`,
  template_card(c, m) {
    const main = c.main_title || {};
    const buttons = (c.button_list || []).map((b) => b.disabled || !b.key ? `<button disabled>${esc(b.text)}</button>` : `<button data-press="${esc(b.key)}" data-task="${esc(c.task_id)}" data-who="${esc(m.kind === "user" ? m.to : "")}">${esc(b.text)}</button>`).join(" ");
    return `${c.source && c.source.desc ? `<div class="desc">${esc(c.source.desc)}</div>` : ""}<div class="title">${esc(main.title)}</div><div class="desc">${esc(main.desc)}</div>${c.sub_title_text ? `<p>${esc(c.sub_title_text)}</p>` : ""}${pairs(c.horizontal_content_list, "keyname", "value")}${buttons ? `<div class="buttons">${buttons}</div>` : ""}`;
  },
};
function content(m) {
  if (RENDER[m.msgtype]) return RENDER[m.msgtype](m.content, m);
  const size = m.content.bytes ? `${(m.content.bytes / 1024).toFixed(1)} KB` : "";
  return `<div class="title">［${esc(LABELS[m.msgtype] || m.msgtype)}］${esc(m.content.title || m.content.filename)}</div><div class="desc">${esc(size)}</div>`;
}
function hue(text) { let h = 7; for (const c of text) h = (h * 31 + c.codePointAt(0)) % 360; return h; }
const SUBTITLE = { user: "成员", robot: "群机器人", party: "部门（成员未登记）", tag: "标签（成员未登记）", all: "全体（成员未登记）", group: "客户群" };

function phone(m) {
  const id = m.id || `${m.kind}/${m.to.toLowerCase()}`;
  if (phones.has(id)) return phones.get(id);
  const box = document.createElement("article");
  box.className = m.kind === "user" || m.kind === "customer" ? "phone" : "phone group";
  const sub = m.kind === "customer" ? m.account : m.kind === "robot" ? `群机器人 ${m.to.slice(0, 4)}…` : m.kind === "user" && m.name !== m.to ? m.to : SUBTITLE[m.kind];
  box.innerHTML = `<h3><span class="face" aria-hidden="true">${esc([...m.name].slice(-1)[0])}</span><span class="who">${esc(m.name)}<small>${esc(sub)}</small></span><span class="n">0</span></h3><div class="chat" tabindex="0" aria-label="${esc(m.name)} 收到的消息"></div>`;
  box.querySelector(".face").style.setProperty("--hue", hue(m.name));
  if (m.kind === "customer") {
    box.dataset.customer = m.external_userid;
    box.dataset.account = m.open_kfid;
    box.insertAdjacentHTML("beforeend", `<form class="write"><input name="text" autocomplete="off" placeholder="以客户身份说…" aria-label="${esc(m.name)} 要说的话"><button>发送</button><button type="button" data-enter="1" title="打开会话（enter_session）">进入</button></form>`);
  }
  const entry = { box, chat: box.querySelector(".chat"), count: box.querySelector(".n"), n: 0 };
  phones.set(id, entry);
  $("phones").append(box);
  return entry;
}
function add(m) {
  if (m.kind === "customer" || shown.has(String(m.number))) return; // customers' phones show whole chats: say
  const item = document.createElement("div");
  item.className = `msg fresh${m.dropped ? " ghost" : ""}${m.recalled_at ? " gone" : ""}`;
  const time = new Date(m.received_at).toLocaleTimeString("zh-CN", { hour12: false });
  const listed = [...(m.content.mentioned_list || []), ...(m.content.mentioned_mobile_list || [])];
  const extra = listed.length ? `<div class="ats">${m.mentions.map(at).join("")}</div>` : "";
  item.innerHTML = `<div class="from"><span>${esc(m.sender)}</span><time title="第 ${m.number} 条 · ${esc(m.received_at)}">${esc(time)}</time></div><div class="bubble">${content(m)}${extra}</div>`;
  item.dataset.msgid = m.msgid;
  put(phone(m), String(m.number), item);
}
const BY = { customer: "我", api: "客服应用", event_reply: "客服应用（事件回复）", servicer: "接待人员" };
const chatOf = (s) => `kf/${s.open_kfid}/${s.external_userid}`;
function say(l) {
  const key = `kf${l.number}`;
  if (shown.has(key)) return;
  const item = document.createElement("div");
  item.className = `msg fresh${l.by === "customer" ? " mine" : ""}${l.fail_type === null ? "" : " ghost failed"}${l.recalled ? " gone" : ""}`;
  const time = new Date(l.at).toLocaleTimeString("zh-CN", { hour12: false });
  const failed = l.fail_type === null ? "" : `<span class="warning">发送失败 fail_type ${esc(l.fail_type)}</span>`;
  item.innerHTML = `<div class="from"><span>${BY[l.by]}${l.servicer_userid ? ` ${esc(l.servicer_userid)}` : ""}</span><time title="${esc(l.msgid)} · ${esc(l.at)}">${esc(time)}</time>${failed}</div><div class="bubble">${content(l)}</div>`;
  put(phone({ ...l, kind: "customer", id: chatOf(l), to: l.external_userid }), key, item);
}
function put(p, key, item) {
  item.dataset.key = key;
  shown.set(key, item);
  const atEnd = p.chat.scrollHeight - p.chat.scrollTop - p.chat.clientHeight < 60;
  p.chat.append(item);
  while (p.chat.childElementCount > KEPT_PER_PHONE) { shown.delete(p.chat.firstChild.dataset.key); p.chat.firstChild.remove(); }
  p.n += 1;
  p.count.textContent = `${p.n} 条`;
  if (atEnd) p.chat.scrollTop = p.chat.scrollHeight;
}
function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  for (const p of phones.values()) p.box.hidden = Boolean(wanted) && !p.box.textContent.toLowerCase().includes(wanted);
}
let base = null; // the sandbox clock at a moment of ours
function tick() {
  if (!base) return;
  const now = new Date(base.at + (base.frozen ? 0 : Date.now() - base.seen));
  $("clock").textContent = now.toLocaleString("zh-CN", { hour12: false });
}
function describe(f) {
  const what = f.errcode !== undefined ? `errcode ${f.errcode}` : f.http_status ? `HTTP ${f.http_status}` : f.drop ? `断线 ${f.drop}` : f.malformed ? `坏应答 ${f.malformed}` : f.spoil ? `坏回答 ${f.spoil}` : f.hang ? "不应答" : f.drip_ms ? "逐字应答" : f.short ? "半截应答" : `延迟 ${f.latency_ms} ms`;
  return `${what} · ${f.path === "*" ? "全部接口" : f.path} · ${f.applied}${f.count ? `/${f.count}` : ""} 次 ✕`;
}
function state(s) {
  base = { at: Date.parse(s.clock.now), seen: Date.now(), frozen: s.clock.frozen };
  $("clock").classList.toggle("moved", s.clock.frozen || Math.abs(s.clock.offset_seconds) > 1);
  $("freeze").textContent = s.clock.frozen ? "继续走" : "冻结";
  $("t-requests").textContent = s.requests;
  for (const name of ["delivered", "dropped", "suppressed"]) $(`t-${name}`).textContent = s.totals[name];
  const list = s.faults.map((f) => `<button class="fault${f.count && f.applied >= f.count ? " spent" : ""}" data-fault="${esc(f.id)}" title="撤除">${esc(describe(f))}</button>`);
  $("faults").innerHTML = list.join("") || '<span class="none">无</span>';
  for (const msgid of s.recalled) for (const item of document.querySelectorAll(`[data-msgid="${CSS.escape(msgid)}"]`)) item.classList.add("gone");
  for (const m of s.updated) { const item = shown.get(String(m.number)); if (item) item.querySelector(".bubble").innerHTML = content(m); }
  kf(s.kf);
  owners(s.owners);
  ai(s.ai, s.ai_tokens);
  tick();
}
const MANNERS = { at_once: "自动发送", late: "晚些发送", never: "从不发送", by_hand: "手动发送" };
function owners(list) {
  const prompts = list.flatMap((o) => o.prompts.map((p) => ({ ...p, owner: o })));
  $("owners").hidden = prompts.length === 0;
  $("owners-n").textContent = prompts.length;
  $("prompts").innerHTML = prompts.map((p) => {
    const press = p.owner.behaviour === "never" ? "" : `<button data-owner="${esc(p.owner.userid)}" data-confirm="${esc(p.msgid)}">发送</button>`;
    const about = `${MANNERS[p.owner.behaviour]} · ${p.groups === null ? "自选群" : `${p.groups} 个群`} · 附件 ${p.attachments}${p.reminded ? ` · 已提醒 ${p.reminded} 次` : ""}`;
    return `<article><h4>${esc(p.owner.name)} <small>${esc(new Date(p.created_at).toLocaleString("zh-CN", { hour12: false }))} · ${esc(about)}</small> ${press}</h4><pre>${esc(p.text)}</pre></article>`;
  }).join("");
}
function ai(calls, tokens) {
  $("ai").hidden = calls.length === 0;
  $("ai-n").textContent = calls.length;
  $("ai-tokens").textContent = tokens;
  $("ai-calls").innerHTML = calls.map((c) => {
    const end = c.http_status === null ? "未应答" : c.code || `HTTP ${c.http_status}`;
    return `<article><h4>${esc(c.app_id)} <small>${esc(new Date(c.at).toLocaleTimeString("zh-CN", { hour12: false }))} · ${esc(end)} · ${c.input_tokens}+${c.output_tokens} tokens</small></h4><pre>${esc(c.prompt)}</pre>${c.reply === null ? "" : `<pre class="reply">${esc(c.reply)}</pre>`}</article>`;
  }).join("");
}
const STATES = ["未处理", "智能助手", "待接入池", "人工接待", "已结束"];
function kf(s) {
  $("accounts").innerHTML = s.accounts.map((a) => `<option value="${esc(a.open_kfid)}">${esc(a.name)}</option>`).join("");
  for (const one of s.sessions) {
    const p = phones.get(chatOf(one));
    if (!p) continue;
    const name = (s.accounts.find((a) => a.open_kfid === one.open_kfid) || { name: one.open_kfid }).name;
    p.box.querySelector("small").textContent = `${name} · ${STATES[one.state]}${one.servicer_userid ? ` ${one.servicer_userid}` : ""} · 已收 ${one.accepted} 条`;
  }
  for (const number of s.recalled) { const item = shown.get(`kf${number}`); if (item) item.classList.add("gone"); }
}
function openPhone() {
  const external_userid = $("kf-customer").value.trim() || "wm1", open_kfid = $("kf-account").value.trim() || "wk1";
  const who = { external_userid, open_kfid };
  const p = phone({ ...who, id: chatOf(who), kind: "customer", to: external_userid, name: external_userid, account: open_kfid });
  $("empty").hidden = true;
  p.box.querySelector("input").focus();
}
const write = (box, words) => send("POST", "/sandbox/kf/messages", { external_userid: box.dataset.customer, open_kfid: box.dataset.account, ...words });
function clear() { phones.clear(); shown.clear(); $("phones").replaceChildren(); $("empty").hidden = false; }
async function send(method, path, body) {
  const answer = await fetch(path, { method, headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
  if (!answer.ok) $("live").textContent = (await answer.json()).error;
}
document.addEventListener("submit", (event) => {
  const form = event.target.closest(".write");
  if (!form) return;
  event.preventDefault();
  const text = form.elements.text.value.trim();
  if (text) write(form.closest(".phone"), { text });
  form.reset();
});
document.addEventListener("click", (event) => {
  const b = event.target.closest("button");
  if (!b) return;
  if (b.dataset.advance) send("POST", "/sandbox/clock", { advance_seconds: Number(b.dataset.advance) });
  else if (b.dataset.press) send("POST", "/sandbox/clicks", { userid: b.dataset.who || prompt("谁点击？（userid）") || "", task_id: b.dataset.task, key: b.dataset.press });
  else if (b.dataset.text) write(b.closest(".phone"), { text: b.dataset.text, menu_id: b.dataset.menu });
  else if (b.dataset.enter) { const box = b.closest(".phone"); send("POST", "/sandbox/kf/enter", { external_userid: box.dataset.customer, open_kfid: box.dataset.account }); }
  else if (b.dataset.confirm) send("POST", `/sandbox/owners/${encodeURIComponent(b.dataset.owner)}/confirm`, { msgid: b.dataset.confirm });
  else if (b.id === "kf-open") openPhone();
  else if (b.id === "freeze") send("POST", "/sandbox/clock", { freeze: !(base && base.frozen) });
  else if (b.dataset.tokens) send("POST", "/sandbox/tokens/expire", { mode: b.dataset.tokens });
  else if (b.id === "fault-add") send("POST", "/sandbox/faults", { path: "/cgi-bin/*/send", ...JSON.parse($("fault-kind").value) });
  else if (b.id === "fault-clear") send("DELETE", "/sandbox/faults");
  else if (b.dataset.fault) send("DELETE", `/sandbox/faults/${encodeURIComponent(b.dataset.fault)}`);
  else if (b.id === "reset" && confirm("清空消息、请求、故障、令牌与名单，时钟复原？")) send("POST", "/sandbox/reset", {});
});
$("filter").addEventListener("input", filter);
setInterval(tick, 500);
const source = new EventSource("/sandbox/stream");
source.addEventListener("open", () => { $("live").textContent = "实时"; $("live").classList.add("on"); });
source.addEventListener("error", () => { $("live").textContent = "连接断开，重试中…"; $("live").classList.remove("on"); });
source.addEventListener("reset", clear);
source.addEventListener("state", (event) => state(JSON.parse(event.data)));
source.addEventListener("kf", (event) => { JSON.parse(event.data).forEach(say); $("empty").hidden = phones.size > 0; filter(); });
source.addEventListener("messages", (event) => { JSON.parse(event.data).forEach(add); $("empty").hidden = phones.size > 0; filter(); });
