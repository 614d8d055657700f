"""Answers of a server to many requests, a few threads ahead of whoever reads them and no further."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_AHEAD_OF_EACH_THREAD: Final = 2


def answers(
    ask: Callable[[Request], tuple[Answer, list[Request]]], requests: Iterable[Request], threads: int
) -> Generator[Answer, None, None]:
    """Ask by several threads; give the answers in the order of the requests, save those that an answer leads to.

    At most two answers a thread are held at a time. Closing the generator makes no more requests, and waits for those
    under way.

    Parameters
    ----------
    ask
        Makes one request: the answer, and further requests that it leads to, which come next.
    requests
        Read only as far as needed.
    threads
        At least 1.
    """
    coming, further = iter(requests), deque[Request]()
    asked = deque[Future[tuple[Answer, list[Request]]]]()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="asking")
    try:
        while True:
            while len(asked) < _AHEAD_OF_EACH_THREAD * threads:
                try:
                    request = further.popleft() if further else next(coming)
                except StopIteration:
                    break
                asked.append(executor.submit(ask, request))
            if not asked:
                return
            answer, rest = asked.popleft().result()
            further.extend(rest)
            yield answer
    finally:
        executor.shutdown(cancel_futures=True)
