"""The reference provider: a SAN within one process, and the worked example of a provider.

It implements the whole contract in plain Python.  Nothing in it depends on time or chance: what
happens, happens in one queue of actions, one after the other.

Where to read what:

| module        | job                                                                            |
| ------------- | ------------------------------------------------------------------------------ |
| `provider`    | each WSP function by its name: checks the arguments, says who does the rest    |
| `engine`      | the queue of actions, the thread that works on it, the one lock                |
| `sockets`     | the record of one socket                                                       |
| `network`     | who listens where; connection requests, and what becomes of them               |
| `connecting`  | WSPConnect, before the request sets out                                        |
| `accepting`   | WSPAccept and the condition function                                           |
| `transfers`   | WSPSend, WSPRecv and RDMA, before a request begins                             |
| `connections` | two ends of a connection: messages, RDMA, how it ends                          |
| `requests`    | one overlapped request, from its record to its announcement                    |
| `memory`      | registered memory, RDMA descriptors, the registration cache                    |
| `events`      | WSPEventSelect and its record                                                  |
| `options`     | socket options and control codes                                               |
| `handover`    | WSPDuplicateSocket                                                             |
| `faults`      | fault injection, for the rules about failures                                  |
| `forking`     | what a fork does to it                                                         |
| `limits`      | the numbers                                                                    |
"""

from __future__ import annotations

from wsdirect.testing.loopback.provider import LoopbackProvider

__all__ = ["LoopbackProvider"]
