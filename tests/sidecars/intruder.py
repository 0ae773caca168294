"""A daemon in an attacker's hands: ends the others, and tries to get hold of their processes from the first moment on.

Runs until stdin ends. Prints the command line of each process whose memory or descriptors it could open, or that it could trace.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

PTRACE_SEIZE = 0x4206
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def processes():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name), command_line(name)


def is_open(pid):
    for path, flags in (("mem", os.O_RDONLY), ("mem", os.O_RDWR), ("fd/0", os.O_RDONLY)):
        try:
            os.close(os.open(f"/proc/{pid}/{path}", flags | os.O_NONBLOCK))
            return True
        except OSError:
            pass
    return ptrace(PTRACE_SEIZE, pid, None, None) == 0


with subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) as own:
    for pid, line in list(processes()):
        if "egress.py" in line or "git-gate" in line:
            # What follows another one into its death may be gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    found = set()
    while not select.select([sys.stdin], [], [], 0)[0]:
        for pid, line in processes():
            # A child that was another program when it was opened than when it was named is of neither name.
            if line and line not in found and is_open(pid) and command_line(pid) == line:
                found.add(line)
    own.kill()
print("\n".join(sorted(found)))
