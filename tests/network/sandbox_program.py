"""`sandbox_program.py WHAT COMMAND...`: run a command that may not make one kind of system call.

As services are run by container engines and systemd (SystemCallFilter=, RestrictAddressFamilies=).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of the classic packet filter machine
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
AF_UNIX, AF_NETLINK = 1, 16

X86 = platform.machine() == "x86_64"
SOCKET, SOCKETPAIR = (41, 53) if X86 else (198, 199)
MEMFD_CREATE = 319 if X86 else 279
WHAT = {  # (system call, its first argument or None, the error)
    "memfd": [(MEMFD_CREATE, None, errno.EPERM)],
    "unix": [(SOCKET, AF_UNIX, errno.EAFNOSUPPORT), (SOCKETPAIR, AF_UNIX, errno.EAFNOSUPPORT)],
    "netlink": [(SOCKET, AF_NETLINK, errno.EAFNOSUPPORT)],
}


def instruction(code, operand, if_true=0, if_false=0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def forbid(calls) -> None:
    program = b""
    for number, argument, error in calls:
        refuse = instruction(RETURN, ERRNO | error)
        if argument is not None:
            refuse = (
                instruction(LOAD, FIRST_ARGUMENT)
                + instruction(EQUAL, argument, 0, 1)
                + refuse
                + instruction(LOAD, NUMBER)
            )
        program += instruction(EQUAL, number, 0, len(refuse) // 8) + refuse
    program = instruction(LOAD, NUMBER) + program + instruction(RETURN, ALLOW)
    kept = ctypes.create_string_buffer(program)
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, description, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")


forbid(WHAT[sys.argv[1]])
os.execvp(sys.argv[2], sys.argv[2:])
