"""The inside of the sandbox: locks this process down, runs one program, then its tests. `bbjspec.sandbox` starts it.

It is a script for a bare interpreter and imports nothing of this package. Arguments: memory in bytes, CPU time in
seconds, the descriptor that answers are asked from, the descriptor that is reported to. The program comes on stdin.
Reports are lines of `kind TAB detail`; they start with `ready` and the names of the layers, or `lacks` and the reason.
"""

from __future__ import annotations

import ast
import builtins
import collections
import ctypes
import datetime
import decimal
import fractions
import os
import resource
import struct
import sys
import types
from collections.abc import Callable
from os import _exit, dup2, fsencode, path, read, write
from typing import Any, NoReturn

# Every function below keeps these builtins, whatever the program does to its own.
BUILTINS: dict[str, Any] = dict(vars(builtins))
globals()["__builtins__"] = BUILTINS

LONGEST = 300  # characters of a detail
KILL, REFUSE, ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # seccomp: kill the process; fail with EPERM; allow
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# System calls by number, (x86-64, AArch64), from the kernel's unistd.h; - where one has no such call. What is not
# listed fails with EPERM, sockets too: the C library tries one to look up a user's name, and goes on without. `open`
# and `openat` are allowed for reading alone.
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOWED = """
    read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, lseek 8 62, close 3 57, dup 32 23, fstat 5 80,
    newfstatat 262 79, statx 332 291, stat 4 -, lstat 6 -, access 21 -, readlink 89 -, readlinkat 267 78, faccessat
    269 48, faccessat2 439 439, getcwd 79 17, getdents64 217 61, mmap 9 222, mprotect 10 226, munmap 11 215, mremap
    25 216, madvise 28 233, brk 12 214, futex 202 98, set_robust_list 273 99, rseq 334 293, rt_sigaction 13 134,
    rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, restart_syscall 219 128, exit 60 93, exit_group
    231 94, sched_yield 24 124, getpid 39 172, gettid 186 178, getppid 110 173, sched_getaffinity 204 123, getuid
    102 174, geteuid 107 175, getgid 104 176, getegid 108 177, clock_gettime 228 113, clock_getres 229 114,
    gettimeofday 96 169, time 201 -, nanosleep 35 101, clock_nanosleep 230 115, times 100 153, getrusage 98 165,
    poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, getrandom 318 278, uname 63 160, sysinfo 99 179
"""
KILLED = """
    fork 57 -, vfork 58 -, clone 56 220, clone3 435 435, execve 59 221, execveat 322 281, kill 62 129, tkill 200
    130, ptrace 101 117, creat 85 -, process_vm_writev 311 271, io_uring_setup 425 425, bpf 321 280, unshare 272 97
"""
OPENING = "open 2 -, openat 257 56"

# A value of the answer is compared only where one of these methods does it: none that the answer wrote itself.
_KNOWN = (
    *(object, type, bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, range),
    *(type(None), datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal),
    *(fractions.Fraction, collections.Counter, collections.OrderedDict, collections.deque),
)
COMPARE = frozenset(id(kind.__dict__["__eq__"]) for kind in _KNOWN if "__eq__" in kind.__dict__)
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Lock, run, test, report."""
    memory, cpu, asked, told = map(int, sys.argv[1:])
    source = b"".join(iter(lambda: read(0, 1 << 20), b"")).decode("utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    dup2(nothing, 0)

    def say(kind: str, detail: str = "") -> None:
        clean = " ".join(detail.split())[:LONGEST]
        write(told, f"{kind}\t{clean}\n".encode("utf-8", "replace"))

    def ask() -> str:
        size = int.from_bytes(exactly(asked, 4), "big")
        return exactly(asked, size).decode("utf-8")

    def stop(kind: str, detail: str) -> NoReturn:
        say(kind, detail)
        _exit(1)

    try:
        layers = lock(memory, cpu)
    except OSError as error:
        stop("lacks", f"{error.filename or 'setting it up'}: {error.strerror}")
    say("ready", " ".join(layers))
    module = types.ModuleType("answer")
    sys.modules["answer"] = sys.modules["__main__"] = module
    sys.argv[:] = [""]
    sys.orig_argv[:] = [""]
    sys.addaudithook(watch(stop))
    try:
        exec(compile(source, "answer.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        stop(*told_of(error, "", ""))
    say("ran")
    tests, entry = ask(), ask()
    sys.settrace(None)
    sys.setprofile(None)
    vars(builtins).clear()
    vars(builtins).update(BUILTINS)
    try:
        run_tests(tests, entry, module)
    except BaseException as error:
        stop(*told_of(error, tests, entry))
    say("tested")
    stop("passed", ask())


def exactly(descriptor: int, size: int) -> bytes:
    """`size` bytes of a pipe, or what came before its end."""
    data = b""
    while len(data) < size and (more := read(descriptor, size - len(data))):
        data += more
    return data


def run_tests(tests: str, entry: str, module: types.ModuleType) -> None:
    """The assertions, in a namespace that has nothing of the answer but `entry`, and builtins of its own."""
    names: dict[str, object] = {"__builtins__": dict(BUILTINS), "__name__": "tests", "_plain": plain}
    if entry:
        if entry not in module.__dict__:
            raise NameError(f"no {entry} is defined")
        names[entry] = module.__dict__[entry]
    tree = ast.fix_missing_locations(PlainOperands().visit(ast.parse(tests)))
    exec(compile(tree, "tests.py", "exec", dont_inherit=True), names)


class PlainOperands(ast.NodeTransformer):
    """Each side of a comparison goes through `plain`: what claims to equal everything equals nothing."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """`a == b` as `_plain(a) == _plain(b)`."""
        self.generic_visit(node)
        given = (node.left, *node.comparators)
        sides: list[ast.expr] = [ast.Call(ast.Name("_plain", ast.Load()), [side], []) for side in given]
        return ast.Compare(sides[0], node.ops, sides[1:])


def plain(value: object) -> object:
    """The value, if no method that a program wrote decides what it equals. Raises AssertionError."""
    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)
        for base in type.__getattribute__(kind, "__mro__"):
            if "__eq__" in type.__getattribute__(base, "__dict__"):
                if id(type.__getattribute__(base, "__dict__")["__eq__"]) not in COMPARE:
                    raise AssertionError(
                        f"a result of the type {type.__getattribute__(kind, '__name__')} has its own =="
                    )
                break
        if isinstance(one, dict):
            todo += [*dict.keys(one), *dict.values(one)]
        elif isinstance(one, list | tuple | set | frozenset | collections.deque):
            todo += list(one)
    return value


def told_of(error: BaseException, tests: str, entry: str) -> tuple[str, str]:
    """Kind and detail of what a program or its tests raised."""
    if isinstance(error, MemoryError):
        return "memory", "out of memory"
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    except BaseException:
        text = "an exception that cannot be shown"
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "tests.py" else line
        trace = trace.tb_next
    if isinstance(error, SystemExit):
        text = "it exits before its tests have run"
    where = tests.split("\n")[line - 1].strip() if line else ""
    return "failed", f"{text} at {where}" if where else text


def watch(stop: Callable[[str, str], NoReturn]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that ends the process at what it may not do, before the kernel does: it knows a name for it."""
    roots = (*readable(), os.getcwd())
    separator, real = os.sep, (path.join, path.normpath, os.getcwd, os.fsdecode)
    starts = ("socket.", "subprocess.", "ctypes.", "os.exec", "os.fork", "os.posix_spawn", "gc.get_")
    events = frozenset(["os.system", "os.kill", "os.killpg", "sys._current_frames", "_thread.start_new_thread"])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" or event in ("os.listdir", "os.scandir"):
            name = arguments[0]
            if isinstance(name, int):
                return
            mode, flags = arguments[1:3] if event == "open" else (None, 0)
            join, normal, folder, decode = real
            place = normal(join(folder(), "." if name is None else decode(name)))
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITING):
                stop("forbidden", "it writes to a file")
            if not any(place == root or place.startswith(root + separator) for root in roots):
                stop("forbidden", "it reads a file outside its directory")
        elif event in events or event.startswith(starts):
            stop("forbidden", f"it does what is not allowed: {event}")

    return hook


def readable() -> list[str]:
    """Folders and files that a program may read: the interpreter's own library and what it loads."""
    return [*sys.path, "/usr/share/zoneinfo", "/dev/null", "/dev/urandom"]


def lock(memory: int, cpu: int) -> list[str]:
    """Every limit that this kernel offers, for good. The names of the layers that hold. Raises OSError."""
    where = os.uname().machine
    if where not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(0, f"{where} is not known, only 64-bit x86-64 and AArch64 are", "seccomp")
    os.environ.clear()
    for limit, (soft, hard) in {
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NPROC: (0, 0),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
    }.items():
        ceiling = resource.getrlimit(limit)[1]
        fits = (soft, hard) if ceiling == resource.RLIM_INFINITY else (min(soft, ceiling), min(hard, ceiling))
        resource.setrlimit(limit, fits)
    done("prctl", LIBC.prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL: who waits for it is gone, so is it
    done("prctl", LIBC.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS, which what follows needs
    landlock = restrict_files()
    program = seccomp_program(*ARCHITECTURES[where])
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    done("seccomp", LIBC.prctl(22, 2, ctypes.c_char_p(head), 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    return ["session", "rlimits", "seccomp", *(["landlock"] if landlock else []), "audit"]


def done(what: str, result: int) -> int:
    """The result, if it is none of failure. Raises OSError."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def seccomp_program(column: int, architecture: int) -> bytes:
    """The filter, in classic BPF (linux/filter.h): eight bytes an instruction, jumps counted from the next one."""
    load, equal, some, give = 0x20, 0x15, 0x45, 0x06
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, KILL), (load, 0, 0, 0)]
    for table, result in ((ALLOWED, ALLOW), (KILLED, KILL)):
        for number in numbers(table, column).values():
            code += [(equal, 0, 1, number), (give, 0, 0, result)]
    for name, number in numbers(OPENING, column).items():
        flags = 16 + 8 * (1 if name == "open" else 2)  # where struct seccomp_data has the argument, its low half
        code += [(equal, 0, 4, number), (load, 0, 0, flags), (some, 0, 1, WRITING), (give, 0, 0, KILL)]
        code += [(give, 0, 0, ALLOW)]
    code += [(give, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def numbers(table: str, column: int) -> dict[str, int]:
    """The system calls of a table by name, as one architecture numbers them."""
    rows = [entry.split() for entry in table.split(",")]
    return {name: int(found[column]) for name, *found in rows if found[column] != "-"}


def restrict_files() -> bool:
    """Landlock: nothing is written, and nothing read but the libraries. False where the kernel has it not."""
    create, add, restrict = 444, 445, 446  # the same on all architectures
    version = LIBC.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = (1 << (16 if version >= 5 else 15 if version >= 3 else 14 if version == 2 else 13)) - 1
    rules = done("landlock", LIBC.syscall(create, struct.pack("Q", handled), ctypes.c_size_t(8), 0))
    libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", f"{sys.base_prefix}/lib"]
    for place in [*readable(), *libraries, os.getcwd(), "/etc/ld.so.cache"]:
        if path.exists(place):
            reads = 4 | (8 if path.isdir(place) else 0)  # READ_FILE, READ_DIR
            descriptor = os.open(fsencode(place), os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", reads, descriptor)
            done("landlock", LIBC.syscall(add, rules, 1, rule, 0))
            os.close(descriptor)
    done("landlock", LIBC.syscall(restrict, rules, 0))
    os.close(rules)
    return True


if __name__ == "__main__":
    main()
