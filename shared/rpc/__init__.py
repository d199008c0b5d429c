"""gRPC, once for all services: how calls come in, go out and fail."""
