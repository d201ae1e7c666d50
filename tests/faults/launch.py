"""Becomes another program under other circumstances: `launch.py [option...] -- program argument...`

    --user N                 as this user and group, with no others
    --limit NAME SOFT HARD   a limit, as `--limit NOFILE 1024 4096`
    --refuse CALL ERROR      a system call fails: `--refuse io_uring_setup EPERM`, as containers' profiles have it
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys

CALLS = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SECCOMP_MODE_FILTER, SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 2, 0x00050000, 0x7FFF0000
BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def prctl(*arguments):
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def refuse(calls):
    """A seccomp filter under which each of `calls` (number, error) fails."""
    def statement(code, value, true=0, false=0):
        return struct.pack("=HBBI", code, true, false, value)

    program = [statement(BPF_LOAD_WORD, 4),  # the architecture
               statement(BPF_JUMP_EQUAL, ARCHITECTURES[platform.machine()], 1, 0),
               statement(BPF_RETURN, SECCOMP_RET_ALLOW),
               statement(BPF_LOAD_WORD, 0)]  # the call's number
    for number, error in calls:
        program += [statement(BPF_JUMP_EQUAL, number, 0, 1), statement(BPF_RETURN, SECCOMP_RET_ERRNO | error)]
    program.append(statement(BPF_RETURN, SECCOMP_RET_ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    filter_program = Program(len(program), ctypes.addressof(code))
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filter_program))


def main():
    arguments = sys.argv[1:]
    user, refused = None, []
    while (option := arguments.pop(0)) != "--":
        if option == "--user":
            user = int(arguments.pop(0))
        elif option == "--limit":
            name, soft, hard = arguments.pop(0), int(arguments.pop(0)), int(arguments.pop(0))
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, hard))
        elif option == "--refuse":
            refused.append((CALLS[arguments.pop(0)], getattr(errno, arguments.pop(0))))
        else:
            raise SystemExit(f"launch.py: no option {option}")
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        # The kernel forgets this with the old user.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if refused:
        refuse(refused)
    os.execv(arguments[0], arguments)


main()
