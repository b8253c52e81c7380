"""The bell protocol as a state machine, and a search through every interleaving of it.

One direction of a connection: producers on one side, consumers on the other.  A step is one access
to a word of shared memory or to the kernel socket, exactly as csrc/wsd_bell.c and wsd_stream.c make
them; steps of different threads mix in every order (sequentially consistent; the fences in the C
code are there to make that the truth).  Bytes are counted, not carried: the ring has `capacity`
units, every unit is published and consumed by itself, as the C code does with its pieces.

    python -m tests.bell.model            what is proven, over a table of situations
    python -m tests.bell.model --large    the same with bigger bounds

Wherever nobody holds either lock the following has to be true:

* readable means data, end or death, and data, end or death mean readable.  One hole is allowed in
  hybrid mode: after a blocking recv that left data unread the word stays QUIET;
* nobody sleeps in poll() while what it waits for is there, hole or not;
* a socket that polls writable has room, as long as all producers are non-blocking; one that does
  not poll writable is more than half full;
* the tokens in the socket are [rx = RUNG] + 2 x tx, and what the consumer owes itself (debt).

Besides, in every state: a thread inside a call can go on, or waits for one that can.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

QUIET, ARMED, RUNG = range(3)
FIN_BIT, RESET_BIT, CLOSED_BIT = 1, 2, 4

# A state is one flat tuple.  First what all threads see ...
(
    USED,  # head - tail
    PENDING,  # head's top bit
    RX,
    TX,
    SOCKET,  # tokens unread in the consumer's socket
    FIN,  # the producer's half close, in shared memory
    DOWN,  # the same in the kernel: the consumer's socket is at its end
    DEBT,
    SLEEPERS,
    GONE,  # the consumer believes that the other side has died
    BACK,  # fin bits of the other direction: the consumer has closed
    RESET,  # the kernel told the producer ECONNRESET
    PRODUCER_LOCK,  # 1 + number of the thread that holds it
    CONSUMER_LOCK,
    LOOSE,  # somebody died while it held a lock: tokens may be missing or too many for a while
    SHARED,  # how many these are
) = range(16)
# ... then this much for each thread.
PC, MODE, LEFT, GOT, OLD, EAT, THEN, AFTER, LOCALS = range(9)

NOW, BLOCK = range(2)  # MODE: non-blocking (WSD_EXACT) or blocking call

#: Where a thread is between calls, asleep in poll(), or no more.
AT_REST = frozenset({"idle", "poll_r", "poll_w", "done", "dead"})

State = tuple
Step = Callable[[list, int], "str | None"]  # new place, or None: cannot move now

#: What can be taken out of the protocol, to see that the search notices.
MUTATIONS = (
    "no pending bit",
    "no look at tail before ringing",
    "no second look after arming",
    "no way back after arming",
    "one token for a full ring",
    "no look at tail after announcing a full ring",
    "no second look after clearing tx",
    "eat before looking",
    "eat and forget",
    "quiet although others sleep",
    "sleep without arming",
    "end of the socket taken for death",
    "no repair of a dead producer's bell",
    "no repair of a dead consumer's bell",
)


@dataclass
class Situation:
    """Who takes part, and what they may do."""

    capacity: int
    producers: tuple[str, ...] = ("now",)  # each "now", "block" or "both"
    consumers: tuple[str, ...] = ("now",)
    sends: tuple[int, ...] = (1,)
    receives: tuple[int, ...] = (1,)
    strict: bool = False
    half_close: bool = False  # a producer may shut down its sending
    close: bool = False  # a consumer may close the whole connection
    give_up: bool = False  # bounded waits may end before what they wait for has come
    death: str = ""  # "peer": all producers at once; "producer", "consumer": the first of several
    mutation: str = ""
    limit: int = 10_000_000


@dataclass
class Finding:
    states: int = 0
    most_tokens: int = 0
    hole: int = 0  # states with data that nothing announces, as hybrid mode permits
    stale: int = 0  # steps that removed a token that stood for nothing
    violations: dict[str, list[str]] = field(default_factory=dict)  # kind -> how to get there


class Model:
    def __init__(self, situation: Situation):
        self.situation = situation
        self.capacity = situation.capacity
        self.half = situation.capacity // 2
        assert situation.mutation in ("", *MUTATIONS), situation.mutation
        count_p = len(situation.producers)
        self.threads = [SHARED + i * LOCALS for i in range(count_p + len(situation.consumers))]
        self.producers = self.threads[:count_p]
        self.consumers = self.threads[count_p:]
        self.exact_producers = all(kind == "now" for kind in situation.producers)
        self.may_be_quiet = not situation.strict and any(k != "now" for k in situation.consumers)
        self.stale = 0
        producing, consuming = self._producer_steps(), self._consumer_steps()
        self.steps: dict[int, dict[str, tuple[Step, ...]]] = {}
        for base, kind in zip(self.threads, situation.producers + situation.consumers, strict=True):
            if base in self.producers:
                self.steps[base] = {**producing, "idle": self._producer_calls(kind)}
            else:
                self.steps[base] = {**consuming, "idle": self._consumer_calls(kind)}

    def without(self, mutation: str) -> bool:
        return self.situation.mutation == mutation

    def initial(self) -> State:
        shared = [0] * SHARED
        shared[RX] = ARMED
        thread = [0] * LOCALS
        thread[PC] = "idle"
        thread[THEN] = thread[AFTER] = ""
        return tuple(shared + thread * len(self.threads))

    # ---- locks -----------------------------------------------------------------------------------
    # Taken with the first access under it and dropped with the last: nobody can tell the difference.

    def _lock(self, v: list, word: int, t: int) -> bool:
        holder = v[word]
        if holder == t:
            return True
        if holder == 0:
            v[word] = t
            return True
        return False

    def _idle(self, v: list, t: int) -> str:
        v[t + MODE] = v[t + LEFT] = v[t + GOT] = v[t + OLD] = v[t + EAT] = 0
        v[t + THEN] = v[t + AFTER] = ""
        return "idle"

    # ---- producer: wsd_stream_send, wsd_bell_published, wsd_bell_full, sleep_writable ------------

    def _producer_calls(self, kind: str) -> tuple[Step, ...]:
        def send(size: int, mode: int) -> Step:
            def step(v: list, t: int) -> str | None:
                if v[FIN] or v[BACK] or v[RESET]:
                    return None
                v[t + MODE], v[t + LEFT] = mode, size
                return "put"

            return step

        modes = {"now": (NOW,), "block": (BLOCK,), "both": (NOW, BLOCK)}[kind]
        calls = [send(size, mode) for size in self.situation.sends for mode in modes]
        if self.situation.half_close:
            calls.append(lambda v, t: None if v[FIN] else "fin")
        return tuple(calls)

    def _send_tokens(self, v: list, count: int) -> None:
        if v[BACK] & CLOSED_BIT and v[RESET] is not None and v[DOWN]:
            return  # EPIPE
        v[SOCKET] += count

    def _producer_steps(self) -> dict[str, tuple[Step, ...]]:
        capacity, half = self.capacity, self.half
        no_pending = self.without("no pending bit")

        def done(v: list, t: int) -> str:
            v[PRODUCER_LOCK] = 0
            return self._idle(v, t)

        def put(v: list, t: int) -> str | None:
            """put_bytes: look at tail."""
            if not self._lock(v, PRODUCER_LOCK, t):
                return None
            if v[TX + 0] is None:
                raise AssertionError
            return "short" if v[USED] == capacity else "publish"

        def publish(v: list, t: int) -> str:
            v[USED] += 1
            v[PENDING] = 0
            v[t + LEFT] -= 1
            v[t + GOT] = 1
            return "look_rx"

        def next_piece(v: list, t: int) -> str:
            if v[t + LEFT]:
                return "put"
            return "short" if v[t + MODE] == NOW else done(v, t)

        def look_rx(v: list, t: int) -> str:
            return "mark" if v[RX] == ARMED else next_piece(v, t)

        def mark(v: list, t: int) -> str:
            v[PENDING] = 0 if no_pending else 1
            return "cas_rx" if self.without("no look at tail before ringing") else "look_tail"

        def look_tail(v: list, t: int) -> str:
            return "cas_rx" if v[USED] else "unmark"

        def cas_rx(v: list, t: int) -> str:
            if v[RX] != ARMED:
                return "unmark"
            v[RX] = RUNG
            return "ring"

        def ring(v: list, t: int) -> str:
            self._send_tokens(v, 1)
            return "unmark"

        def unmark(v: list, t: int) -> str:
            v[PENDING] = 0
            return next_piece(v, t)

        def short(v: list, t: int) -> str:
            """The call's end: a non-blocking one must leave a full ring announced."""
            if v[t + MODE] == NOW:
                return "full_seen" if v[USED] == capacity else done(v, t)
            if v[t + GOT]:
                return done(v, t)
            v[PRODUCER_LOCK] = 0
            return "spin_w"

        def spin_w(v: list, t: int) -> str | None:
            return "put" if v[USED] < capacity or v[BACK] else None

        def sleep_w(v: list, t: int) -> str | None:
            if not self._lock(v, PRODUCER_LOCK, t):
                return None
            if v[USED] < capacity:
                v[PRODUCER_LOCK] = 0
                return "put"
            return "full_seen"

        def poll_w(v: list, t: int) -> str | None:
            return "spin_w" if v[SOCKET] <= 1 else None

        def poll_w_ends(v: list, t: int) -> str | None:
            """Time-out, or the other side has closed."""
            return self._idle(v, t)

        def full_ends(v: list, t: int, room: bool) -> str:
            if room and v[t + LEFT]:
                if v[t + MODE] == BLOCK:
                    v[PRODUCER_LOCK] = 0
                return "put"
            if v[t + MODE] == NOW:
                return done(v, t)
            v[PRODUCER_LOCK] = 0
            return "poll_w"

        def full_seen(v: list, t: int) -> str:
            """wsd_bell_full: announced already?"""
            return full_ends(v, t, False) if v[TX] == 1 else "full_mark"

        def full_mark(v: list, t: int) -> str:
            v[PENDING] = 0 if no_pending else 1
            return "full_set"

        def full_set(v: list, t: int) -> str:
            v[TX] = 1
            if self.without("no look at tail after announcing a full ring"):
                return "full_send"
            return "full_look"

        def full_look(v: list, t: int) -> str:
            return "full_back" if v[USED] <= half else "full_send"

        def full_back(v: list, t: int) -> str:
            if v[TX] != 1:
                return "full_send"
            v[TX] = 0
            return "full_room"

        def full_room(v: list, t: int) -> str:
            v[PENDING] = 0
            return full_ends(v, t, True)

        def full_send(v: list, t: int) -> str:
            self._send_tokens(v, 1)
            return "full_unmark" if self.without("one token for a full ring") else "full_send_2"

        def full_send_2(v: list, t: int) -> str:
            self._send_tokens(v, 1)
            return "full_unmark"

        def full_unmark(v: list, t: int) -> str:
            v[PENDING] = 0
            return full_ends(v, t, False)

        def fin(v: list, t: int) -> str | None:
            """wsd_stream_shutdown: the flag first, under the lock ..."""
            if not self._lock(v, PRODUCER_LOCK, t):
                return None
            v[FIN] = FIN_BIT
            v[PRODUCER_LOCK] = 0
            return "fin_kernel"

        def fin_kernel(v: list, t: int) -> str:
            """... then the kernel's half close."""
            v[DOWN] = 1
            self._idle(v, t)
            return "done"

        return {
            "put": (put,),
            "publish": (publish,),
            "look_rx": (look_rx,),
            "mark": (mark,),
            "look_tail": (look_tail,),
            "cas_rx": (cas_rx,),
            "ring": (ring,),
            "unmark": (unmark,),
            "short": (short,),
            "spin_w": (spin_w, lambda v, t: "sleep_w"),
            "sleep_w": (sleep_w,),
            "poll_w": (poll_w, poll_w_ends),
            "full_seen": (full_seen,),
            "full_mark": (full_mark,),
            "full_set": (full_set,),
            "full_look": (full_look,),
            "full_back": (full_back,),
            "full_room": (full_room,),
            "full_send": (full_send,),
            "full_send_2": (full_send_2,),
            "full_unmark": (full_unmark,),
            "fin": (fin,),
            "fin_kernel": (fin_kernel,),
            "done": (),
            "dead": (),
        }
