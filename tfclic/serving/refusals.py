"""What a client is told when it does not get an answer."""

from __future__ import annotations

import grpc

from tfclic import errors

StatusCode = grpc.StatusCode

# As TensorFlow Serving's REST interface has them.
HTTP_STATUSES = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.NOT_FOUND: 404,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.INTERNAL: 500,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


class Refusal(errors.TfclicError):
    """A request is not answered: one sentence without anything of the server's or of others.

    Attributes:
      code: grpc.StatusCode, one of HTTP_STATUSES.
    """

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def invalid(sentence: str) -> Refusal:
    """A `Refusal` of what a client has to change."""
    return Refusal(StatusCode.INVALID_ARGUMENT, sentence)
