"""Text from outside (models, files, boards, labels) as identifiers and as comments: nothing but a safe alphabet.

Every writer of C, build files and Markdown takes names through these functions; pages and pictures escape instead.
"""

from __future__ import annotations

import re

LONGEST_NAME = 63
"""Characters of an identifier; C11 section 5.2.4.1 lets compilers ignore what follows."""

_LONGEST_TEXT = 160
_UNSAFE = re.compile(r"[^A-Za-z0-9 _.,:;/()\[\]+=-]")
_NOT_OF_NAMES = re.compile(r"[^0-9a-z]+")

_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof
alignas alignof bool catch class concept constexpr delete explicit export false friend module mutable namespace new
noexcept nullptr operator private protected public requires template this throw true try typeid typename using
virtual and bitand bitor compl not or xor
"""
"""Keywords of C11, C++20 and GCC."""

_HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype aio
aliases alloca ar argp argz byteswap cpio crypt curses devctl dirent dlfcn elf endian envlock envz err error
execinfo fastmath fcntl features fmtmsg fnmatch fstab fts ftw getopt glob grp iconv ieeefp ifaddrs langinfo libgen
libintl link magic malloc mcheck memory menu mntent monetary mqueue ncurses ndbm netdb newlib nl_types nss
obstack omp openacc panel paths picolibc picotls poll printf pthread pty pwd reent regdef regex regexp resolv sched
search semaphore semihost sgtty shadow spawn strings stropts syscall sysexits syslimits syslog tar term termcap
termio termios thread_db tic trace ttyent ucontext ulimit unctrl unistd unwind utime utmp utmpx values varargs wait
wordexp png zlib lzma expat sqlite3 yaml curl lastlog stab stdfix form eti re_comp backtrace_supported
unwind_arm_common features_time64 quadmath_weak gconv acc_prof backtrace cet cpuid cross_stdarg gcov mm3dnow
mm_malloc quadmath tsxldtrkintrin x86gprintrin avr util compat pgmspace ansi
"""
"""Headers of C, POSIX, the usual C libraries and GCC."""

_OTHERS = """
main app board config core device hal gpio uart usart usb spi i2c can adc dac dma timer pwm flash rtc crc rng wdt
arduino wire serial ethernet wifi bluetooth pgmspace freertos task semphr portmacro zephyr kernel kconfig toolchain
soc syscalls system startup sdkconfig pico stm32 hardware interrupt irq mpu nvic systick scb itm dwt e esp all any
check clean dist distclean edit_cache experimental help install lib library manifest ninja nightly package
package_source phony project rebuild_cache src test tests include cmake makefile examples con prn aux nul com1 com2
com3 com4 lpt1 lpt2 lpt3
"""
"""Files that programs and their platforms have, targets that build systems reserve, and file names of Windows."""

RESERVED = frozenset(f"{_WORDS} {_HEADERS} {_OTHERS}".split())
"""Names that no library may have: its header, target or macros would stand where others are looked for."""

_KINDS = re.compile(r"utvm.*|.*intrin|arm_[a-z0-9_]{2,9}|std(?:int|io|fix|c)_.*|(?:core|cmsis)_[a-z0-9_]*|crt\d.*")
"""Names of kinds that clash: our own files, headers of compilers and of CMSIS."""

_ENDINGS = ("_weights", "_portable")
"""Ends of names of files that stand beside a library's own."""


def plain(text: str) -> str:
    """Return text for a comment or a line of a build file: one line of letters, digits and `_.,:;/()[]+=-`.

    Other characters become `_`; no comment, string, code span or line can be ended by it.
    """
    one_line = _UNSAFE.sub("_", text)
    return one_line if len(one_line) <= _LONGEST_TEXT else f"{one_line[: _LONGEST_TEXT - 3]}..."


def identifier(text: str, otherwise: str) -> str:
    """Return text as a lower-case C identifier of at most `LONGEST_NAME` characters.

    Args:
        text: any.
        otherwise: what stands before digits, and in place of a text without a letter or digit.
    """
    cleaned = _cleaned(text)
    if not cleaned or cleaned[0].isdigit():
        cleaned = f"{otherwise}_{cleaned}"
    return cleaned[:LONGEST_NAME].rstrip("_")


def library_name(text: str) -> str:
    """Return text as the prefix of a model's public names and the name of its files, which clashes with no header.

    A name that would clash gets `model_` in front of it; one that ends like a file of a library, `_model` behind it.
    """
    name = identifier(text, "model")
    if name in RESERVED or _KINDS.fullmatch(name):
        name = f"model_{name}"
    if name.endswith(_ENDINGS):
        name = f"{name[: LONGEST_NAME - len('_model')]}_model"
    return name[:LONGEST_NAME].rstrip("_")


def renaming(asked: str) -> str | None:
    """Return one line on why a library is not named as asked, None if it is but for case and other characters."""
    name, wanted = library_name(asked), _cleaned(asked)
    if not wanted or wanted[0].isdigit():
        return f"{name}: names in C begin with a letter of a to z"
    if name == wanted[:LONGEST_NAME].rstrip("_"):
        return None
    return f"{name}: files and symbols named {wanted} would clash with those of others"


def _cleaned(text: str) -> str:
    return _NOT_OF_NAMES.sub("_", text.lower()).strip("_")
