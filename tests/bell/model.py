"""The bell protocol as a state machine, and a search through every interleaving of it.

One direction of a connection: producers on one side, consumers on the other.  A step is one access
to a word of shared memory or to the kernel socket, as csrc/wsd_bell.c and csrc/wsd_transfer.c make
them; steps of different threads mix in every order (sequentially consistent: the fences in the C
code are there to make that true).  Bytes are counted, not carried: the ring has `capacity` units,
each published and consumed by itself, as the C code does with its pieces.

    python -m tests.bell.model            what is proven, over a table of situations
    python -m tests.bell.model --large    the same with bigger bounds

Wherever nobody holds a lock, the following has to hold:

* readable means data, end or death, and data, end or death mean readable.  One hole is allowed in
  hybrid mode: a blocking recv leaves rx QUIET, as long as nobody is known to poll; but not for what
  a producer sent that insists (wsd_bell_insist);
* nobody sleeps in poll() while what it waits for is there, hole or not;
* a socket that polls writable has room, as long as all producers are non-blocking; one that does
  not poll writable is more than half full;
* the tokens in the socket are [rx = RUNG] + 2 x tx, plus what the consumer still owes (debt).

In every state a thread inside a call can go on, or waits for one that can.  Where somebody may die
or a bounded wait may give up, the first four may fail for a moment; then the protocol has to find
back: once the living have come to rest, a few more calls must make the bell exact again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

QUIET, ARMED, RUNG = range(3)
FIN, CLOSED, CLOSED_IN_KERNEL = 1, 4, 8

# A state is one flat tuple.  First what all threads see ...
(
    USED,  # head - tail
    PENDING,  # head's top bits
    RX,
    TX,
    SOCKET,  # tokens unread in the consumer's socket
    ENDED,  # the producer's FIN, in shared memory
    DOWN,  # the same in the kernel: the consumer's socket is at its end
    DEBT,
    SLEEPERS,
    GONE,  # the consumer believes that the other side has died
    BACK,  # fin of the other direction: the consumer is closing
    KILLED,  # a death has happened
    HOLE,  # rx left QUIET with data unread: what is in the ring now may be unannounced
    LATE,  # FIN came over unread data: the kernel is told by whoever reads the last of them
    PRODUCER_LOCK,  # the thread that holds it
    CONSUMER_LOCK,
    GROWN,  # the ring has its larger capacity
    SHARED,
) = range(18)
# ... then this much for each thread.
(
    PC,
    MODE,
    LEFT,  # units still wanted or to be sent
    GOT,  # something was moved in this call
    BEFORE,  # what rx was before it was armed
    EAT,
    THEN,  # where to go after eating
    AFTER,  # where to go after coming to rest
    RESUME,  # where to go after repairing what a dead holder left
    INSIST,  # the bell has to ring even if the consumer has silenced it
    LOCALS,
) = range(11)

KERNEL_TAKES = 6  # a socket with the least SO_SNDBUF takes no more unread tokens than this

UNDECIDED, RINGING = 1, 2  # of PENDING: tokens may be sent; they will be, or have been
NOW, BLOCK = range(2)  # MODE: a non-blocking call (WSD_EXACT) or a blocking one

#: Where a thread is between calls, asleep in poll(), or no more.
AT_REST = frozenset({"idle", "poll_r", "poll_w", "done", "dead"})

State = tuple
Step = Callable[[list, int], "str | None"]  # (state to change, thread) -> next place; None: cannot

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
    "quiet before a sleep while there are data",
    "end of the socket taken for death",
    "no repair after a dead producer",
    "no repair after a dead consumer",
    "a producer insists once only",
    "a late end is not told",
    "no second look after a late end",
    "a late end does not ring",
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
    close: bool = False  # the consumer may close the whole connection
    give_up: bool = False  # bounded waits may end before what they wait for has come
    death: str = ""  # "peer": all producers at once; "producer", "consumer": the first of several
    grows: int = 0  # the capacity of a ring that was found full once (wsd_grow.h); 0: it does not
    insist: tuple[int, ...] = (0,)  # whether sends are such that ring a silenced bell, too
    mutation: str = ""


@dataclass
class Finding:
    states: int = 0
    most_tokens: int = 0
    hole: int = 0  # states with data that nothing announces, as hybrid mode permits
    stale: int = 0  # steps that removed a token that stood for nothing
    violations: dict[str, list[str]] = field(default_factory=dict)  # what -> how to get there


class Model:
    def __init__(self, situation: Situation):
        assert situation.mutation in ("", *MUTATIONS), situation.mutation
        self.situation = situation
        self.capacity = situation.capacity
        self.half = situation.capacity // 2
        self.largest = max(situation.capacity, situation.grows)
        kinds = situation.producers + situation.consumers
        self.threads = [SHARED + i * LOCALS for i in range(len(kinds))]
        self.producers = self.threads[: len(situation.producers)]
        self.consumers = self.threads[len(situation.producers) :]
        self.exact_producers = all(kind == "now" for kind in situation.producers)
        self.may_be_quiet = (
            not situation.strict
            and situation.insist != (1,)
            and any(k != "now" for k in situation.consumers)
        )
        self.loose = bool(situation.death) or situation.give_up
        self.stale = 0
        self.notes: set[str] = set()  # violations seen inside a step
        producing, consuming = self._producer_steps(), self._consumer_steps()
        self.steps = {}
        for t, kind in zip(self.threads, kinds, strict=True):
            calls = self._sends(kind) if t in self.producers else self._receives(kind)
            table = producing if t in self.producers else consuming
            self.steps[t] = {**table, "idle": calls}

    def room(self, v: Sequence[Any]) -> int:
        """wsd_room."""
        return self.situation.grows if v[GROWN] else self.capacity

    def without(self, mutation: str) -> bool:
        return self.situation.mutation == mutation

    def initial(self) -> State:
        shared = [0] * SHARED
        shared[RX] = ARMED
        thread = ["idle", 0, 0, 0, 0, 0, "", "", "", 0]
        return tuple(shared + thread * len(self.threads))

    # ---- what all calls share --------------------------------------------------------------------

    @staticmethod
    def _idle(v: list, t: int) -> str:
        v[t : t + LOCALS] = ["idle", 0, 0, 0, 0, 0, "", "", "", 0]
        return "idle"

    def _lock(self, v: list, word: int, t: int, here: str) -> str | None:
        """Take a lock together with the first access under it; nobody can tell the difference.

        "": have it.  A place: have it from a dead thread, go there first.  None: wait.
        """
        holder = v[word]
        if holder in (0, t):
            v[word] = t
            return ""
        if v[holder + PC] != "dead":
            return None
        v[word] = t
        if word == PRODUCER_LOCK:
            if self.without("no repair after a dead producer"):
                return ""
            return "repair_p"
        if self.without("no repair after a dead consumer"):
            return ""
        v[DEBT] = 0  # too many tokens are removed sooner or later, too few would be missed
        v[t + RESUME] = here
        return "look_tx"

    # ---- producer: wsd_stream_send, wsd_bell_published, wsd_bell_full, sleep_writable ------------

    def _sends(self, kind: str) -> tuple[Step, ...]:
        def send(size: int, mode: int, insist: int) -> Step:
            def step(v: list, t: int) -> str | None:
                if v[ENDED] or v[BACK]:
                    return None  # would fail at once
                v[t + MODE], v[t + LEFT], v[t + INSIST] = mode, size, insist
                return "put"

            return step

        modes = {"now": (NOW,), "block": (BLOCK,), "both": (NOW, BLOCK)}[kind]
        calls = [
            send(size, mode, insist)
            for size in self.situation.sends
            for mode in modes
            for insist in self.situation.insist
        ]
        if self.situation.half_close:
            calls.append(lambda v, t: None if v[ENDED] else "fin")
        return tuple(calls)

    def _send_token(self, v: list) -> bool:
        """False: the socket takes no more at the moment."""
        if v[BACK] & CLOSED_IN_KERNEL or (v[LATE] and v[DOWN]):
            return True  # to nowhere: the other half of the socket is shut
        if v[SOCKET] >= KERNEL_TAKES:
            # A living consumer inside a call makes room in a moment; otherwise patience ends.
            return not v[CONSUMER_LOCK] or v[v[CONSUMER_LOCK] + PC] == "dead"
        v[SOCKET] += 1
        return True

    def _producer_steps(self) -> dict[str, tuple[Step, ...]]:
        room, grows = self.room, self.situation.grows
        pending = 0 if self.without("no pending bit") else UNDECIDED

        def unlock(v: list, t: int, place: str) -> str:
            v[PRODUCER_LOCK] = 0
            return self._idle(v, t) if place == "idle" else place

        def put(v: list, t: int) -> str | None:
            """put_bytes looks at tail."""
            first = self._lock(v, PRODUCER_LOCK, t, "put")
            if first != "":
                return first
            if v[USED] == room(v) and grows and not v[GROWN]:
                v[GROWN] = 1  # wsd_grow
            return "short" if v[USED] >= room(v) else "publish"

        def publish(v: list, t: int) -> str:
            v[USED] += 1
            v[PENDING] = 0
            v[t + LEFT] -= 1
            v[t + GOT] = 1
            return "look_rx"

        def next_piece(v: list, t: int) -> str:
            if v[t + LEFT]:
                return "put"
            return "short" if v[t + MODE] == NOW else unlock(v, t, "idle")

        def look_rx(v: list, t: int) -> str:
            if v[RX] == ARMED:
                return "mark"
            return "insist" if v[t + INSIST] else next_piece(v, t)

        def insist(v: list, t: int) -> str:
            """wsd_bell_insist."""
            if v[RX] == RUNG or not v[USED]:
                return next_piece(v, t)
            if v[RX] == ARMED:
                again = not self.without("a producer insists once only")
                return "look_rx" if again else next_piece(v, t)
            v[RX] = RUNG
            v[HOLE] = 0
            return "insist_ring"

        def insist_ring(v: list, t: int) -> str | None:
            return next_piece(v, t) if self._send_token(v) else None

        def mark(v: list, t: int) -> str:
            v[PENDING] = pending
            return "cas_rx" if self.without("no look at tail before ringing") else "look_tail"

        def look_tail(v: list, t: int) -> str:
            return "cas_rx" if v[USED] else "unmark"

        def cas_rx(v: list, t: int) -> str:
            if v[RX] != ARMED:
                return "unmark"
            v[RX] = RUNG
            return "decide"

        def decide(v: list, t: int) -> str:
            v[PENDING] = RINGING
            return "ring"

        def ring(v: list, t: int) -> str | None:
            return "unmark" if self._send_token(v) else None

        def unmark(v: list, t: int) -> str:
            v[PENDING] = 0
            return "insist" if v[t + INSIST] else next_piece(v, t)

        def short(v: list, t: int) -> str:
            """The end of a call; a non-blocking one must leave a full ring announced."""
            if v[t + MODE] == NOW:
                return "full_seen" if v[USED] >= room(v) else unlock(v, t, "idle")
            return unlock(v, t, "idle" if v[t + GOT] else "spin_w")

        def spin_w(v: list, t: int) -> str | None:
            if v[BACK]:
                return self._idle(v, t)
            return "put" if v[USED] < room(v) else None

        def sleep_w(v: list, t: int) -> str | None:
            first = self._lock(v, PRODUCER_LOCK, t, "sleep_w")
            if first != "":
                return first
            return unlock(v, t, "put") if v[USED] < room(v) else "full_seen"

        def poll_w(v: list, t: int) -> str | None:
            return "spin_w" if v[SOCKET] <= 1 or v[BACK] & CLOSED_IN_KERNEL else None

        def full_ends(v: list, t: int, room: bool) -> str:
            if v[t + MODE] == BLOCK:
                return unlock(v, t, "put" if room else "poll_w")
            return "put" if room and v[t + LEFT] else unlock(v, t, "idle")

        def full_seen(v: list, t: int) -> str:
            return full_ends(v, t, False) if v[TX] else "full_mark"  # announced already

        def full_mark(v: list, t: int) -> str:
            v[PENDING] = pending
            return "full_set"

        def full_set(v: list, t: int) -> str:
            was, v[TX] = v[TX], 1
            if was:
                return "full_unmark"  # the consumer took its clearing back: still announced
            careless = self.without("no look at tail after announcing a full ring")
            return "full_decide" if careless else "full_look"

        def full_look(v: list, t: int) -> str:
            return "full_back" if v[USED] <= room(v) // 2 else "full_decide"

        def full_back(v: list, t: int) -> str:
            if not v[TX]:
                return "full_decide"
            v[TX] = 0
            return "full_room"

        def full_room(v: list, t: int) -> str:
            v[PENDING] = 0
            return full_ends(v, t, True)

        def full_decide(v: list, t: int) -> str:
            v[PENDING] = RINGING
            return "full_send"

        def full_send(v: list, t: int) -> str | None:
            if not self._send_token(v):
                return None
            return "full_unmark" if self.without("one token for a full ring") else "full_send_2"

        def full_send_2(v: list, t: int) -> str | None:
            return "full_unmark" if self._send_token(v) else None

        def full_unmark(v: list, t: int) -> str:
            v[PENDING] = 0
            return full_ends(v, t, False)

        def repair_p(v: list, t: int) -> str:
            """A holder died.  With the pending bit set it may owe all tokens there can be."""
            return "repair_tokens" if v[PENDING] else "look_rx"

        def repair_tokens(v: list, t: int) -> str:
            for _ in range(3 + v[DEBT]):
                self._send_token(v)
            return "repair_unmark"

        def repair_unmark(v: list, t: int) -> str:
            v[PENDING] = 0
            return "look_rx"  # it may also have published without having looked whom to wake

        def fin(v: list, t: int) -> str | None:
            """publish_end: the flag first, under the lock ..."""
            if self._lock(v, PRODUCER_LOCK, t, "fin") != "":
                return None
            v[t + GOT] = 1 if v[USED] else 0
            return "fin_set"

        def fin_set(v: list, t: int) -> str:
            v[ENDED] = FIN
            v[LATE] = v[t + GOT]
            return "fin_look" if v[LATE] else unlock(v, t, "fin_kernel")

        def fin_look(v: list, t: int) -> str:
            """The last unit may have been read by one who did not see the flag yet."""
            if not v[USED] and not self.without("no second look after a late end"):
                return unlock(v, t, "fin_kernel")
            if self.without("a late end does not ring"):
                return unlock(v, t, "idle")
            v[t + MODE], v[t + INSIST], v[t + GOT] = BLOCK, 1, 1
            return "look_rx"

        def fin_kernel(v: list, t: int) -> str:
            """... then the kernel's half close, unless data stand unread."""
            v[DOWN] = 1
            self._idle(v, t)
            return "done"

        places = (
            put,
            publish,
            look_rx,
            insist,
            insist_ring,
            mark,
            look_tail,
            cas_rx,
            decide,
            ring,
            unmark,
            short,
            sleep_w,
        )
        places += (full_seen, full_mark, full_set, full_look, full_back, full_room)
        places += (full_decide, full_send)
        places += (full_send_2, full_unmark, repair_p, repair_tokens, repair_unmark)
        places += (fin, fin_set, fin_look, fin_kernel)
        steps: dict[str, tuple[Step, ...]] = {f.__name__: (f,) for f in places}
        steps["spin_w"] = (spin_w, lambda v, t: "sleep_w")
        steps["poll_w"] = (poll_w, self._idle)  # woken, or a time-out
        steps["done"] = steps["dead"] = ()
        return steps

    # ---- consumer: wsd_stream_recv, wsd_bell_consumed, _rest, _check, the waits, close -----------

    def _receives(self, kind: str) -> tuple[Step, ...]:
        def recv(size: int, mode: int) -> Step:
            def step(v: list, t: int) -> str | None:
                if v[BACK] or (not v[USED] and (v[ENDED] or v[GONE])):
                    return None  # would return the end of the stream; nothing can change any more
                v[t + MODE], v[t + LEFT] = mode, size
                return "take"

            return step

        modes = {"now": (NOW,), "block": (BLOCK,), "both": (NOW, BLOCK)}[kind]
        calls = [recv(size, mode) for size in self.situation.receives for mode in modes]
        if self.situation.close:
            calls.append(lambda v, t: None if v[BACK] else "close_look")
        return tuple(calls)

    def _consumer_steps(self) -> dict[str, tuple[Step, ...]]:
        room = self.room
        impatient = self.situation.give_up
        strict = self.situation.strict

        def unlock(v: list, t: int, place: str) -> str:
            v[CONSUMER_LOCK] = 0
            return self._idle(v, t) if place == "idle" else place

        def take(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "take")
            if first != "":
                return first
            if v[DEBT] and not v[t + GOT]:
                return eat(v, t, 0, "paid")
            return look_head(v, t)

        def paid(v: list, t: int) -> str:
            return "look_head"

        def look_head(v: list, t: int) -> str:
            if v[USED]:
                return "consume"
            v[t + AFTER] = "recv"
            return "rest"

        def consume(v: list, t: int) -> str:
            v[USED] -= 1
            if not v[USED]:
                v[HOLE] = 0
            v[t + LEFT] -= 1
            v[t + GOT] = 1
            return "look_tx"

        def consumed(v: list, t: int) -> str:
            """wsd_bell_consumed returns."""
            if v[t + RESUME]:
                place, v[t + RESUME] = v[t + RESUME], ""
                return place
            if v[t + LEFT]:
                return "take"
            v[t + AFTER] = "recv"
            return "rest"

        def look_tx(v: list, t: int) -> str:
            return "look_half" if v[TX] else consumed(v, t)

        def look_half(v: list, t: int) -> str:
            return "clear_tx" if v[USED] <= room(v) // 2 else consumed(v, t)

        def clear_tx(v: list, t: int) -> str:
            was, v[TX] = v[TX], 0
            if not was:
                return consumed(v, t)
            if self.without("no second look after clearing tx"):
                return eat(v, t, 2, "consumed")
            return "half_again"

        def half_again(v: list, t: int) -> str:
            return eat(v, t, 2, "consumed") if v[USED] <= room(v) // 2 else "tx_back"

        def tx_back(v: list, t: int) -> str:
            if v[TX]:
                return eat(v, t, 2, "consumed")  # announced anew, with two tokens of its own
            v[TX] = 1
            return consumed(v, t)

        # eating: `count` tokens and the debt; they are there or under way

        def eat(v: list, t: int, count: int, then: str) -> str:
            if count + v[DEBT] == 0:
                return eaten(v, t, then)
            v[t + EAT], v[t + THEN] = count + v[DEBT], then
            return "eat"

        def eaten(v: list, t: int, then: str) -> str:
            v[t + EAT], v[t + THEN] = 0, ""
            ends = {"consumed": consumed, "rested": rested, "checked": checked, "paid": paid}
            return ends[then](v, t)

        def eat_step(v: list, t: int) -> str | None:
            if v[SOCKET]:
                v[SOCKET] -= 1
                v[t + EAT] -= 1
                if v[t + EAT]:
                    return "eat"
            elif v[DOWN]:
                if not v[ENDED]:
                    v[GONE] = 1
            elif not self.without("eat and forget"):
                return None
            v[DEBT] = 0
            return eaten(v, t, v[t + THEN])

        def eat_gives_up(v: list, t: int) -> str | None:
            if v[SOCKET] or v[DOWN] or not (impatient or v[KILLED]):
                return None
            v[DEBT] = v[t + EAT]
            return eaten(v, t, v[t + THEN])

        # coming to rest

        def rest(v: list, t: int) -> str:
            if v[RX] == QUIET:
                if silent(v, t):
                    return "silent_end"
                if not self.without("quiet before a sleep while there are data"):
                    v[RX] = ARMED  # even with data: somebody is going to sleep on what comes next
                    v[HOLE] = 1 if v[USED] else 0
            return "rest_look"

        def silent(v: list, t: int) -> bool:
            """wsd_bell_rest without `exact`: a blocking recv, and nobody else who may sleep."""
            others = v[SLEEPERS] and not self.without("quiet although others sleep")
            return v[t + MODE] == BLOCK and v[t + AFTER] == "recv" and not strict and not others

        def silent_end(v: list, t: int) -> str:
            return "silent_look" if v[ENDED] else rested(v, t)

        def silent_look(v: list, t: int) -> str:
            if v[LATE] and not v[USED] and not self.without("a late end is not told"):
                v[DOWN] = 1
            return rested(v, t)

        def rest_look(v: list, t: int) -> str:
            return rested(v, t) if v[USED] else "rest_pending"

        def rest_pending(v: list, t: int) -> str | None:
            """The words tell of tokens that were decided on; these are eaten wherever they are."""
            return None if v[PENDING] == UNDECIDED else "rest_again"

        def rest_gives_up(v: list, t: int) -> str | None:
            late = v[PENDING] == UNDECIDED and (impatient or v[KILLED])
            return "rest_again" if late else None

        def rest_again(v: list, t: int) -> str:
            return rested(v, t) if v[USED] else "rest_end"

        def rest_end(v: list, t: int) -> str:
            if v[LATE] and not self.without("a late end is not told"):
                v[DOWN] = 1  # our own half of the socket
            return "rest_rx"

        def rest_rx(v: list, t: int) -> str:
            if v[RX] == ARMED:
                return rested(v, t)
            return "arm"

        def arm(v: list, t: int) -> str:
            v[t + BEFORE] = v[RX]
            v[RX] = QUIET if silent(v, t) else ARMED
            if self.without("no second look after arming"):
                return eat_old(v, t)
            if self.without("eat before looking") and v[t + BEFORE] == RUNG:
                return "eat_early"
            return "look_again"

        def eat_early(v: list, t: int) -> str | None:
            if not v[SOCKET]:
                return None
            v[SOCKET] -= 1
            v[t + BEFORE] = QUIET
            return "look_again"

        def look_again(v: list, t: int) -> str:
            if not v[USED]:
                return eat_old(v, t)
            return eat_old(v, t) if self.without("no way back after arming") else "unarm_rest"

        def unarm_rest(v: list, t: int) -> str:
            if v[RX] != (QUIET if silent(v, t) else ARMED):
                return eat_old(v, t)  # rung for the new data: the older token is one too many
            v[RX] = v[t + BEFORE]
            return rested(v, t)

        def eat_old(v: list, t: int) -> str:
            return eat(v, t, 1, "rested") if v[t + BEFORE] == RUNG else rested(v, t)

        def rested(v: list, t: int) -> str:
            v[t + BEFORE] = 0
            after, v[t + AFTER] = v[t + AFTER], ""
            if after == "sleep":
                return unlock(v, t, "look_before_poll")
            if after == "interrupted" or v[t + GOT]:
                return unlock(v, t, "idle")
            if v[t + MODE] == NOW:
                return "check_fin"
            return unlock(v, t, "ending")

        # nothing to read: gone?

        def check_fin(v: list, t: int) -> str:
            return checked(v, t) if v[ENDED] else "check"

        def check(v: list, t: int) -> str:
            if v[SOCKET] == 0:
                if v[DOWN]:
                    return "check_end"
                return checked(v, t)
            return eat(v, t, 0, "checked") if v[DEBT] else "check_head"

        def check_end(v: list, t: int) -> str:
            if not v[ENDED] or self.without("end of the socket taken for death"):
                v[GONE] = 1
            return checked(v, t)

        def check_head(v: list, t: int) -> str:
            return checked(v, t) if v[PENDING] or v[USED] else "check_rx"

        def check_rx(v: list, t: int) -> str:
            return "check_tx" if v[RX] == ARMED else checked(v, t)

        def check_tx(v: list, t: int) -> str:
            if v[TX]:
                return checked(v, t)
            self.stale += 1
            if not self.loose:
                self.notes.add("a stale token")
            return eat(v, t, 1, "checked")

        def checked(v: list, t: int) -> str:
            return unlock(v, t, "watch" if v[t + MODE] == BLOCK else "idle")

        # the blocking recv waits

        def ending(v: list, t: int) -> str:
            return self._idle(v, t) if v[ENDED] or v[GONE] else "watch"

        def watch(v: list, t: int) -> str:
            return "take" if v[USED] or v[ENDED] or v[GONE] else "unarm"

        def unarm(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "unarm")
            if first != "":
                return first
            others = v[SLEEPERS] and not self.without("quiet although others sleep")
            if not strict and not others and v[RX] == ARMED:
                v[RX] = QUIET
            return unlock(v, t, "spin")

        def spin(v: list, t: int) -> str | None:
            return "take" if v[USED] or v[ENDED] else None

        def interrupted(v: list, t: int) -> str | None:
            """A signal handler raises: arm, and leave."""
            first = self._lock(v, CONSUMER_LOCK, t, "interrupted")
            if first != "":
                return first
            v[t + AFTER] = "interrupted"
            return "rest"

        def sleep(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "sleep")
            if first != "":
                return first
            v[SLEEPERS] += 1
            v[t + AFTER] = "sleep"
            return rested(v, t) if self.without("sleep without arming") else "rest"

        def look_before_poll(v: list, t: int) -> str:
            return "wake" if v[USED] or v[ENDED] or v[GONE] else "poll_r"

        def poll_r(v: list, t: int) -> str | None:
            return "woken" if v[SOCKET] or v[DOWN] else None

        def woken(v: list, t: int) -> str:
            if v[USED] or v[ENDED]:
                return "wake"
            if v[DOWN]:
                v[GONE] = 1
                return "wake"
            return "wake_for_nothing"

        def wake(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "wake")
            if first != "":
                return first
            v[SLEEPERS] -= 1
            return unlock(v, t, "take")

        def wake_for_nothing(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "wake_for_nothing")
            if first != "":
                return first
            v[SLEEPERS] -= 1
            return "check"

        def wake_late(v: list, t: int) -> str | None:
            first = self._lock(v, CONSUMER_LOCK, t, "wake_late")
            if first != "":
                return first
            v[SLEEPERS] -= 1
            return unlock(v, t, "idle")

        # close

        def close_look(v: list, t: int) -> str:
            v[t + GOT] = 1 if v[USED] else 0
            return "close_fin"

        def close_fin(v: list, t: int) -> str:
            v[BACK] = CLOSED
            return "close_kernel" if v[t + GOT] else "close_settle"

        def close_settle(v: list, t: int) -> str | None:
            if self._lock(v, CONSUMER_LOCK, t, "close_settle") != "":
                return None
            v[SOCKET] = v[DEBT] = 0
            return unlock(v, t, "close_kernel")

        def close_kernel(v: list, t: int) -> str:
            v[BACK] |= CLOSED_IN_KERNEL
            if v[SOCKET] and not v[USED]:
                self.notes.add("a reset although everything was read")
            self._idle(v, t)
            return "done"

        places = (take, look_head, consume, look_tx, look_half, clear_tx, half_again, tx_back)
        places += (
            rest,
            rest_look,
            rest_again,
            rest_end,
            rest_rx,
            silent_end,
            silent_look,
            arm,
            eat_early,
            look_again,
            unarm_rest,
        )
        places += (check_fin, check, check_end, check_head, check_rx, check_tx)
        places += (ending, watch, unarm, interrupted, sleep, look_before_poll)
        places += (woken, wake, wake_for_nothing, wake_late)
        places += (close_look, close_fin, close_settle, close_kernel)
        steps: dict[str, tuple[Step, ...]] = {f.__name__: (f,) for f in places}
        steps["spin"] = (spin, lambda v, t: "sleep", lambda v, t: "interrupted")
        steps["poll_r"] = (poll_r, lambda v, t: "wake_late")
        steps["eat"] = (eat_step, eat_gives_up)
        steps["rest_pending"] = (rest_pending, rest_gives_up)
        steps["done"] = steps["dead"] = ()
        return steps

    # ---- death -----------------------------------------------------------------------------------

    def deaths(self, state: State) -> Iterable[State]:
        death = self.situation.death
        if not death or state[KILLED]:
            return
        victims = {
            "peer": self.producers,
            "producer": self.producers[:1],
            "consumer": self.consumers[:1],
        }[death]
        v = list(state)
        v[KILLED] = 1
        for t in victims:
            v[t : t + LOCALS] = ["dead", 0, 0, 0, 0, 0, "", "", "", 0]
        if death == "peer":
            v[DOWN] = 1  # the kernel closes the last descriptor
        yield tuple(v)

    # ---- the search ------------------------------------------------------------------------------

    def moves(self, state: State, t: int) -> list[State]:
        out = []
        for step in self.steps[t][state[t + PC]]:
            v = list(state)
            place = step(v, t)
            if place is not None:
                v[t + PC] = place
                out.append(tuple(v))
        return out

    def explore(self) -> Finding:
        finding = Finding()
        start = self.initial()
        came_from: dict[State, State | None] = {start: None}
        todo = deque([start])  # breadth first: the stories of violations are short
        while todo and not finding.violations:
            state = todo.popleft()
            if state[SOCKET] > finding.most_tokens:
                finding.most_tokens = state[SOCKET]
            inside = moved = False
            following: list[State] = []
            for t in self.threads:
                own = self.moves(state, t)
                if state[t + PC] not in AT_REST:
                    inside = True
                    moved = moved or bool(own)
                following += own
            problems = list(self.notes)
            self.notes.clear()
            following += self.deaths(state)
            if inside and not moved:
                problems.append("stuck inside a call")
            problems += self.untruths(state, finding)
            for problem in problems:
                if problem not in finding.violations:
                    finding.violations[problem] = self.story(came_from, state)
            for new in following:
                if new not in came_from:
                    came_from[new] = state
                    todo.append(new)
        finding.states = len(came_from)
        finding.stale = self.stale
        return finding

    def untruths(self, state: State, finding: Finding) -> list[str]:
        if state[BACK]:
            return []  # closing: nobody polls this any more
        if state[GONE] and state[ENDED]:
            return ["a half close was taken for death"]
        if state[ENDED] and not state[DOWN]:
            telling = any(state[t + PC].startswith("fin") for t in self.producers)
            held = state[PRODUCER_LOCK] or state[CONSUMER_LOCK]
            if telling or held or (state[USED] and state[SOCKET]):
                return []  # between the flag and the kernel's half close, or late
            return ["an end without a bell"]
        if self.loose:
            if self.all_at_rest(state) and not self.finds_back(state):
                return ["the bell stays wrong"]
            return []
        if state[PRODUCER_LOCK] or state[CONSUMER_LOCK]:
            return []
        used, tokens = state[USED], state[SOCKET]
        problems = []
        nowhere = state[LATE] and state[DOWN]  # see _send_token
        if tokens != (state[RX] == RUNG) + 2 * state[TX] + state[DEBT] and not nowhere:
            problems.append("tokens do not match the words")
        if used and not tokens and not state[DOWN]:
            if self.may_be_quiet and (state[RX] == QUIET or state[HOLE]):
                finding.hole += 1
            else:
                problems.append("data without a bell")
            if any(state[t + PC] == "poll_r" for t in self.consumers):
                problems.append("asleep although there are data")
        if tokens and not used and not state[DOWN]:
            problems.append("a bell without data")
        if tokens <= 1 and used == self.room(state) and self.exact_producers:
            problems.append("writable although full")
        if tokens >= 2 and used <= self.half:
            problems.append("not writable although there is room")
        return problems

    def all_at_rest(self, state: State) -> bool:
        return all(state[t + PC] in ("idle", "dead", "done") for t in self.threads)

    def alone(self, state: State, t: int) -> State:
        """One non-blocking call of one unit by one thread, the others standing still."""
        state = next((s for s in self.moves(state, t) if s[t + MODE] == NOW), state)
        while state[t + PC] != "idle":
            state = self.moves(state, t)[0]  # giving up is the second choice
        return state

    def until_quiet(self, state: State, t: int) -> State:
        for _ in range(4 * self.largest + 12):
            before, state = state, self.alone(state, t)
            if state == before:
                return state
        return state

    def finds_back(self, state: State) -> bool:
        producer = next((t for t in self.producers if state[t + PC] == "idle"), None)
        consumer = next(t for t in self.consumers if state[t + PC] == "idle")
        if producer is None:  # the peer is dead: a polling reader must come to the end
            state = self.until_quiet(state, consumer)
            return bool(not state[USED] and (state[GONE] or state[ENDED]))
        state = self.until_quiet(state, consumer)
        if state[SOCKET] > 1:
            return False  # all is read, and a producer that polls never hears of it
        state = self.until_quiet(self.alone(state, producer), consumer)
        if state[USED] or state[SOCKET] or state[TX] or state[DEBT] or state[PENDING]:
            return False
        state = self.alone(state, producer)  # from here on exact again
        if not (state[USED] == 1 and state[SOCKET] == 1 + 2 * state[TX]):
            return False
        state = self.alone(state, consumer)
        return not state[USED] and not state[SOCKET]

    def story(self, came_from: dict[State, State | None], state: State) -> list[str]:
        lines: list[str] = []
        at: State | None = state
        while at is not None and len(lines) < 60:
            words = "used {} pending {} rx {} tx {} tokens {} fin {} down {} debt {} sleepers {}"
            places = " ".join(str(at[t + PC]) for t in self.threads)
            lines.append(f"{words.format(*at[: SLEEPERS + 1])} | {places}")
            at = came_from[at]
        return lines[::-1]


BOTH = ("both",)
#: What `tests/bell/test_model.py` proves by default.
SITUATIONS: dict[str, Situation] = {
    "non-blocking, ring of 1": Situation(1),
    "non-blocking, ring of 2": Situation(2, sends=(1, 2), receives=(1, 2)),
    "non-blocking, ring of 3": Situation(3, sends=(1, 3), receives=(1, 2)),
    "non-blocking, ring of 4": Situation(4, sends=(1, 3), receives=(1, 4)),
    "hybrid, ring of 1": Situation(1, BOTH, BOTH),
    "hybrid, ring of 2": Situation(2, BOTH, BOTH, sends=(1, 2), receives=(1, 2)),
    "hybrid, ring of 4": Situation(4, BOTH, BOTH, sends=(1, 3), receives=(1, 2)),
    "growing, non-blocking": Situation(1, sends=(1, 3), receives=(1, 2), grows=4),
    "growing, hybrid": Situation(2, BOTH, BOTH, sends=(1, 3), receives=(1, 2), grows=4),
    "growing, two producers": Situation(1, ("now", "block"), ("both",), grows=2),
    "strict, ring of 2": Situation(2, BOTH, BOTH, sends=(1, 2), receives=(1, 2), strict=True),
    "half close": Situation(2, BOTH, BOTH, half_close=True),
    "close": Situation(2, BOTH, BOTH, receives=(1, 2), close=True),
    "insisting, ring of 1": Situation(1, BOTH, BOTH, insist=(1,)),
    "insisting, ring of 2": Situation(2, BOTH, BOTH, receives=(1, 2), insist=(1,)),
    "insisting or not": Situation(2, ("now",), BOTH, insist=(0, 1)),
    "two producers": Situation(2, ("now", "block"), ("both",)),
    "two non-blocking producers": Situation(2, ("now", "now"), sends=(1, 2)),
    "two consumers": Situation(2, ("now",), ("now", "block")),
    "two blocking consumers": Situation(2, ("now",), ("block", "block")),
    "impatient": Situation(2, give_up=True),
    "peer dies": Situation(2, death="peer"),
    "one of two producers dies": Situation(2, ("now", "now"), death="producer"),
    "one of two consumers dies": Situation(1, ("now",), ("now", "now"), death="consumer"),
    "one of two consumers dies, ring of 2": Situation(
        2, ("now",), ("now", "now"), death="consumer"
    ),
}
#: More of the same; minutes to hours.
LARGE: dict[str, Situation] = {
    "two consumers, all calls": Situation(2, BOTH, ("both", "both")),
    "two producers, all calls": Situation(2, ("both", "both"), BOTH, sends=(1, 2)),
    "two of each": Situation(2, ("now", "block"), ("now", "block")),
    "two consumers, half close": Situation(1, ("now",), ("now", "block"), half_close=True),
    "hybrid, ring of 8": Situation(8, BOTH, BOTH, sends=(1, 5, 8), receives=(1, 3, 8)),
    "impatient hybrid": Situation(2, BOTH, BOTH, sends=(1, 2), receives=(1, 2), give_up=True),
    "hybrid peer dies": Situation(2, BOTH, BOTH, death="peer", give_up=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default="", help="situations with this in their name")
    parser.add_argument("--mutation", default="", choices=("", *MUTATIONS))
    parser.add_argument("--story", action="store_true", help="print how to get to each violation")
    options = parser.parse_args()
    good = True
    for name, situation in {**SITUATIONS, **(LARGE if options.large else {})}.items():
        if options.only not in name:
            continue
        started = time.monotonic()
        finding = Model(replace(situation, mutation=options.mutation)).explore()
        good = good and not finding.violations
        print(
            f"{name:28} {finding.states:9} states {time.monotonic() - started:6.1f} s, "
            f"at most {finding.most_tokens} tokens, {finding.hole} unannounced, "
            f"{finding.stale} stale; {', '.join(finding.violations) or 'true'}",
            flush=True,
        )
        for problem, story in finding.violations.items() if options.story else ():
            print(f"  {problem}:", *story, sep="\n    ")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
