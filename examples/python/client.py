"""Call Reach by gRPC with its stubs alone: ``python client.py HOST:PORT USERID TEXT``.

Needs grpcio, protobuf, protovalidate and the ``reach`` stubs; nothing else of Reach. REACH_TOKEN is the bearer token, if
the server asks for one. Shows what every caller should have: a deadline, an idempotency key that makes the repeat of
an unclear call safe, and errors read by their reason.
"""

from __future__ import annotations

import os
import sys
import time
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from reach.notifier.v1 import delivery_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub

TRIES = 3


def reason(error: grpc.RpcError) -> str:
    """The stable word of a refusal, such as STORE_FORBIDDEN; the status code where there is none."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return str(error.code().name)  # type: ignore[attr-defined]


def send(stub: NotifierServiceStub, userid: str, text: str) -> pb.SendMessageResponse:
    """Send *text*, once, however often the call has to be repeated."""
    request = pb.SendMessageRequest(
        store_id="s1",
        targets=[target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=userid)],
        text=text,
        wait=Duration(seconds=5),
        idempotency_key=str(uuid.uuid4()),
    )
    token = os.environ.get("REACH_TOKEN")
    metadata = [("authorization", f"Bearer {token}")] if token else []
    for attempt in range(1, TRIES + 1):
        try:
            return stub.SendMessage(request, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            unclear = error.code() in (  # type: ignore[attr-defined]
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            if not unclear or attempt == TRIES:
                raise
            time.sleep(attempt)
    raise AssertionError("the loop returns or raises")


def main(target: str, userid: str, text: str) -> int:
    """Send and say what became of it; the exit code."""
    with grpc.insecure_channel(target) as channel:
        try:
            answer = send(NotifierServiceStub(channel), userid, text)
        except grpc.RpcError as error:
            print(f"refused: {reason(error)}", file=sys.stderr)
            return 1
    for delivery in answer.deliveries:
        print(answer.message_id, delivery_pb2.DeliveryStatus.Name(delivery.status))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
