"""``reach health``: one question to one process, for containers and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.common import fail, refuse

SECONDS: Final = 4.0


def health(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="A gRPC port of Reach.")],
    service: Annotated[str, typer.Option(help="Ask about one service; empty asks about all of it.")] = "",
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, help="PEM of the authority, for TLS.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, help="PEM of our certificate, for mTLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, help="PEM of its key.")] = None,
) -> None:
    """Ask once whether a process is ready; exit 0 when it is, 1 when not."""
    if (cert is None) != (key is None) or (cert is not None and ca is None):
        refuse("--cert and --key go together, and with --ca")
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    # A health check asks the address it was given, whatever proxy the environment names.
    options = [("grpc.enable_http_proxy", 0)]
    channel = (
        grpc.insecure_channel(target, options)
        if ca is None
        else grpc.secure_channel(
            target, grpc.ssl_channel_credentials(*map(_content, (ca, key, cert))), options
        )
    )
    with channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are set at run time
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        except grpc.RpcError as error:
            call: grpc.Call = error  # type: ignore[assignment]  # every RpcError of the library is one
            fail(f"{target}: {call.code().name}: {call.details()}")
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(1)


def _content(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None
