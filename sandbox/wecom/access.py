"""Getting in: tokens, and the addresses to let through."""

from collections.abc import Mapping

from sandbox.answers import Refused
from sandbox.call import ANY_SECRET, Answer, Call, Endpoint


def _gettoken(call: Call) -> Answer:
    corp_id, secret = call.query.get("corpid", ""), call.query.get("corpsecret", "")
    if not corp_id:
        raise Refused(41002)
    if not secret:
        raise Refused(41004)
    token, seconds = call.world.tokens.issue(corp_id, secret, call.client, call.now)
    return {"errcode": 0, "errmsg": "ok", "access_token": token.value, "expires_in": seconds}


def _addresses(call: Call) -> Answer:
    return {"errcode": 0, "errmsg": "ok", "ip_list": ["127.0.0.1"]}


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/gettoken": Endpoint("GET", _gettoken, kinds=None),
    "/cgi-bin/getcallbackip": Endpoint("GET", _addresses, kinds=ANY_SECRET),
    "/cgi-bin/get_api_domain_ip": Endpoint("GET", _addresses, kinds=ANY_SECRET),
}
