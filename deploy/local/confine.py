"""Confines this process to given paths with Landlock.

The embedded engine is built as a command-line tool: its function file() reads whatever its Unix user may, for every SQL
user, including the passwordless one. No grant prevents that (tested); the kernel does.
"""

import ctypes
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from struct import pack

log = logging.getLogger(__name__)

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all architectures
_VERSION_FLAG, _PATH_BENEATH, _PR_SET_NO_NEW_PRIVS = 1, 1, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14  # rights that apply to files


def supported() -> bool:
    """Whether this kernel supports Landlock."""
    return sys.platform == "linux" and int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)) >= 1


def to_files(*, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Restrict this process to these trees; False if the kernel cannot (Linux < 5.13).

    Call it before starting threads: a rule set binds the calling thread and those that it starts.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    everything = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    attributes = pack("<Q", everything)
    rules = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for paths, rights in ((readable, _READ), (writable, everything)):
            for path in paths:
                _allow(libc, rules, path, rights)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # missing paths need no rule
    try:
        rule = pack("<Qi", rights if path.is_dir() else rights & _OF_A_FILE, target)
        if libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock rejected a rule for {path}")
    finally:
        os.close(target)
