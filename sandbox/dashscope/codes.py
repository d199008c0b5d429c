"""DashScope's error codes: the HTTP status each comes with, and its words. Statuses of real ones vary with their age."""

from collections.abc import Mapping

CODES: Mapping[str, tuple[int, str]] = {
    "Throttling": (429, "Requests throttling triggered."),
    "Throttling.RateQuota": (429, "Requests rate limit exceeded, please try again later."),
    "Throttling.BurstRate": (429, "Request rate increased too quickly, please adjust your client logic."),
    "Throttling.AllocationQuota": (429, "Allocated quota exceeded, please increase your quota limit."),
    "CommodityNotPurchased": (429, "Commodity has not purchased yet."),
    "PrepaidBillOverdue": (429, "The prepaid bill is overdue."),
    "PostpaidBillOverdue": (429, "The postpaid bill is overdue."),
    "Arrearage": (400, "Access denied, please make sure your account is in good standing."),
    "InvalidApiKey": (401, "Invalid API-key provided."),
    "NOT AUTHORIZED": (401, "Access denied: Workspace.AccessDenied"),
    "AccessDenied": (403, "Access denied."),
    "AccessDenied.Unpurchased": (
        403,
        "Access to model denied. Please make sure you are eligible for using it.",
    ),
    "Model.AccessDenied": (403, "Model access denied."),
    "App.AccessDenied": (403, "App access denied."),
    "Workspace.AccessDenied": (403, "Workspace access denied."),
    "AllocationQuota.FreeTierOnly": (403, "The free tier of the model has been exhausted."),
    "BailianGateway.Workspace.NotAuthorised": (200, "The workspace is not authorised."),
    "ModelNotFound": (404, "Model not exist."),
    "NotFound": (404, "Not found."),
    "WorkSpaceNotFound": (404, "WorkSpace can not be found."),
    "FlowNotPublished": (400, "Flow has not published yet, please publish flow and try again."),
    "InvalidParameter": (
        400,
        "Required parameter(s) missing or invalid, please check the request parameters.",
    ),
    "InvalidURL": (400, "The request URL is invalid."),
    "UnsupportedOperation": (400, "The operation is unsupported on the referee object."),
    "BadRequest.IllegalInput": (400, "The input parameter requires json format."),
    "BadRequest.EmptyInput": (400, "Required input parameter missing from request."),
    "BadRequest.TooLarge": (413, "Payload Too Large"),
    "DataInspectionFailed": (400, "Input or output data may contain inappropriate content."),
    "FaqRuleBlocked": (400, "Input or output data is blocked by faq rule."),
    "CustomRoleBlocked": (400, "Input or output data may contain inappropriate content with custom rule."),
    "IPInfringementSuspect": (400, "Input data is suspected of being involved in IP infringement."),
    "InternalError": (
        500,
        "An internal error has occured, please try again later or contact service support.",
    ),
    "InternalError.Algo": (500, "An internal error has occured during algorithm execution."),
    "InternalError.Timeout": (500, "An internal timeout error has occured during execution."),
    "SystemError": (500, "An system error has occured, please try again later."),
    "ModelServiceFailed": (500, "Failed to request model service."),
    "RequestTimeOut": (408, "Request timed out, please try again later."),
    "ResponseTimeout": (500, "Response timeout."),
    "AppProcessFailed": (500, "Failed to proceed application request."),
    "InvokePluginFailed": (500, "Failed to invoke plugin."),
    "RewriteFailed": (500, "Failed to rewrite content for prompt."),
    "RetrievalFailed": (500, "Failed to retrieve data from documents."),
    "ModelServingError": (
        503,
        "Too many requests. Your requests are being throttled due to system capacity limits.",
    ),
    "ModelUnavailable": (503, "Model is unavailable, please try again later."),
    "ServiceUnavailable": (503, "Service temporarily unavailable."),
    "GatewayTimeout": (504, "Gateway timed out."),
}

LOWER: Mapping[str, str] = {
    "Throttling.RateQuota": "limit_requests",
    "Throttling.BurstRate": "limit_burst_rate",
    "Throttling.AllocationQuota": "insufficient_quota",
    "InvalidApiKey": "invalid_api_key",
    "DataInspectionFailed": "data_inspection_failed",
}
"""How the OpenAI-compatible path writes them."""


class Declined(Exception):
    """A call that is answered with a code."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.status, words = CODES[code]
        self.message = words if message is None else message
        super().__init__(f"{code} {self.message}")
