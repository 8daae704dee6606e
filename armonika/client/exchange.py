"""The course of one call, without input or output: what is sent, when it is sent again, and what comes out.

A driver takes each step, a call to send or a number of seconds to wait, and gives back the answer, or the error that stood in its place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

from armonika.client.answers import Answer, media_type, problem
from armonika.client.bounds import private_of
from armonika.client.calls import Call
from armonika.client.errors import ArmonikaError, ConnectionFailed, Problem, UnexpectedAnswer
from armonika.client.retry import Retry

T = TypeVar("T")
Course = Generator[Call[T] | float, Answer | ConnectionFailed | None, T]


def course(call: Call[T], retry: Retry, secret: str | None = None) -> Course[T]:
    """Returns what the call means. `secret` is the token, which no message repeats. Raises ArmonikaError: the last error, when sending again did not help
    or is not safe."""
    sent = 0
    while True:
        reply = yield call
        sent += 1
        if isinstance(reply, Answer):
            reply = replace(reply, private=lambda: private_of(call.body) | ({secret} if secret else set()))
            if reply.status == call.status:
                if media_type(reply.headers) != call.media:
                    raise UnexpectedAnswer(f"status {reply.status} of another media type than {call.media}", reply.status)
                return call.parse(reply)
        error = problem(reply) if isinstance(reply, Answer) else reply
        assert error is not None
        pause = retry.pause(sent, error.retry_after) if call.repeatable and passing(error) else None
        if pause is None:
            raise error
        yield pause


def passing(error: ArmonikaError) -> bool:
    """Whether the same call may go well in a moment: a broken connection, or 503 (RFC 9110 §15.6.4)."""
    return isinstance(error, ConnectionFailed) or (isinstance(error, Problem | UnexpectedAnswer) and error.status == 503)
