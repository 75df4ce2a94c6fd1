"""Load a library twice, patch one of the two with jumps at thousands of places, compare the work.

Usage: patched_library.py LIBRARY SEED SHARE. Of all instructions, SHARE per cent (at most 20,000)
are taken for sites. Each jump leads to a trampoline that counts, gives random values to what is
dead before the site, runs the displaced instructions and goes back. Prints one JSON document: how
many jumps of each form were written and hit, and whether both copies of the library gave the same
results.
"""

import ctypes
import json
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

import numpy as np

import insn
from insn import JumpForm
from insn.window import JUMP_FORMS, Windows

READ, WRITE, EXECUTE = 1, 2, 4
PRIVATE, ANONYMOUS, NO_REPLACE = 0x02, 0x20, 0x100000
PAGE = 4096
FLAGS = frozenset({"cf", "pf", "af", "zf", "sf", "of"})
MOST_SITES, MOST_PUNNED = 20_000, 300
"""A punned one may need a page of its own."""
TEXT = b"".join(b"%d line %d\n" % (n * 7919 % 10007, n) for n in range(3000))

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def map_at(address, size):
    """Map memory right there; False when something is there already."""
    flags = PRIVATE | ANONYMOUS | NO_REPLACE
    if not 0x10000 <= address < 1 << 47:
        return False
    found = libc.mmap(address, size, READ | WRITE | EXECUTE, flags, -1, 0)
    return found == address


class Room:
    """Memory for trampolines: an arena near the library, and single pages where they must be."""

    def __init__(self, near):
        self.size = 1 << 23
        self.arena = near - 0x200_0000 & -PAGE
        while not map_at(self.arena, self.size):
            self.arena -= self.size
        self.used = self.arena
        self.pages = set()
        self.taken = []

    def near(self, size):
        at, self.used = self.used, self.used + size
        assert self.used <= self.arena + self.size
        return at

    def inside(self, low, high, size):
        """Find room that begins in a range, or give None."""
        for at in (low, (low + high) // 2, high - 1):
            pages = {at & -PAGE, at + size & -PAGE}
            if any(at < end and start < at + size for start, end in self.taken):
                continue
            if all(page in self.pages or map_at(page, PAGE) for page in pages):
                self.pages |= pages
                self.taken.append((at, at + size))
                return at
        return None


def trampoline(windows, row, bias, at, counter, dead, random):
    """Make the code: count, spoil what is dead, do what was displaced."""
    code = bytearray()

    def count():
        code.extend(b"\xf0\x48\xff\x05")
        code.extend((counter - (at + len(code) + 4)).to_bytes(4, "little", signed=True))

    if dead.flags == FLAGS:
        count()
        code.extend(b"\x48\x81\xfc" + random.randbytes(4))  # cmp rsp, imm32
    else:
        code.extend(b"\x48\x8d\x64\x24\x80\x9c")  # lea rsp, [rsp-128]; pushfq
        count()
        code.extend(b"\x9d\x48\x8d\xa4\x24\x80\0\0\0")  # popfq; lea rsp, [rsp+128]
    for name in dead.registers:
        number = insn.X86_64.registers.index(name)
        code.extend(bytes((0x48 | number >> 3, 0xB8 | number & 7)) + random.randbytes(8))
    run, address = [], int(row["address"])
    content = windows.map.image.read(address, int(row["end"]) - address)
    while content:
        run.append(insn.X86_64.decode(content, address + bias))
        content, address = content[run[-1].length :], address + run[-1].length
    copy = insn.relocate(
        run, at + len(code), back=run[-1].end, expand_calls=True, balanced=random.random() < 0.5
    )
    return bytes(code) + copy.code


def sites_of(windows, share, seed):
    """Choose instructions inside of functions whose extent is known."""
    code = windows.map
    records = code.instructions
    every = records["address"][records["length"] > 0]
    frames = code.image.frames
    inside = np.searchsorted(frames.starts, every, side="right").astype(np.intp) - 1
    every = every[(inside >= 0) & (every < frames.ends[inside])]
    generator = np.random.default_rng(seed)
    count = min(len(every) * share // 100, MOST_SITES)
    return generator.choice(every, count, replace=False)


def patch(path, bias, seed, share):
    """Write the jumps; give for each form the counters of those written."""
    windows, random = Windows(insn.open_image(path)), Random(seed)
    rows = windows.plan(sites_of(windows, share, seed))
    rows = rows[rows["form"] > 0]
    deads = windows.dead(rows["address"])
    room = Room(bias)
    counters = {form: [] for form in JumpForm}
    refused, writes = 0, []
    for index, (row, dead) in enumerate(zip(rows, deads, strict=True)):
        form = JUMP_FORMS[row["form"]]
        counter = room.near(8)
        size = 256
        if form is JumpForm.PUNNED:
            low, high = ((int(row[name]) + bias) % (1 << 64) for name in ("low", "high"))
            few = len(counters[form]) < MOST_PUNNED
            at = room.inside(low, high, size) if few and low < high else None
        else:
            at = room.near(size)
        if at is None:
            refused += 1
            continue
        try:
            code = trampoline(windows, row, bias, at, counter, dead, random)
        except (insn.NotRelocatable, OverflowError):  # out of reach, or the counter is
            refused += 1
            continue
        assert len(code) <= size
        ctypes.memmove(at, code, len(code))
        (written,) = windows.jump_bytes(rows[index : index + 1], [(at - bias) % (1 << 64)])
        writes += written
        counters[form].append(counter)
    for segment in windows.map.image.segments:
        if segment.executable:
            start, end = segment.address & -PAGE, segment.file_end + PAGE - 1 & -PAGE
            assert not libc.mprotect(start + bias, end - start, READ | WRITE | EXECUTE)
    for address, code in writes:
        ctypes.memmove(address + bias, code, len(code))
    return counters, refused


def bias_of(path):
    """Say where the library was loaded."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            return int(line.split("-")[0], 16)
    raise AssertionError(f"{path} is not mapped")


def zlib_work(library):
    results = [library.crc32(0, TEXT, len(TEXT)), library.adler32(1, TEXT, len(TEXT))]
    for level in (1, 6, 9):
        size = ctypes.c_ulong(len(TEXT) + 1000)
        packed = ctypes.create_string_buffer(size.value)
        results.append(library.compress2(packed, ctypes.byref(size), TEXT, len(TEXT), level))
        results.append(packed.raw[: size.value])
        room = ctypes.c_ulong(len(TEXT))
        back = ctypes.create_string_buffer(room.value)
        results.append(library.uncompress(back, ctypes.byref(room), packed, size))
        results.append(back.raw == TEXT)
    return results


def crypto_work(library):
    results = []
    for name, size in (("MD5", 16), ("SHA1", 20), ("SHA256", 32), ("SHA512", 64)):
        digest = ctypes.create_string_buffer(size)
        getattr(library, name)(TEXT, len(TEXT), digest)
        results.append(digest.raw)
    pointer = ctypes.c_void_p
    for name in ("BN_CTX_new", "BN_new", "BN_bn2hex"):
        getattr(library, name).restype = pointer
    numbers = [pointer(library.BN_new()) for _ in range(4)]
    for bits in (512, 1024, 2048):
        for number, start in zip(numbers, (3, 5, 7), strict=False):
            digits = "".join(f"{(start * n * n + 11) % 251:02x}" for n in range(bits // 8 - 1))
            library.BN_hex2bn(ctypes.byref(number), f"c{start}{digits}1".encode())
        context = pointer(library.BN_CTX_new())
        answer, base, power, modulus = numbers[3], *numbers[:3]
        results.append(library.BN_mod_exp(answer, base, power, modulus, context))
        results.append(ctypes.string_at(library.BN_bn2hex(answer)))
        results.append(library.BN_div(base, answer, power, modulus, context))
        results.append(ctypes.string_at(library.BN_bn2hex(base)))
    key, vector = bytes(range(32)), bytes(16)
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_cbc", "EVP_chacha20", "EVP_aes_128_gcm"):
        getattr(library, name).restype = pointer
    for name in ("EVP_aes_256_cbc", "EVP_chacha20", "EVP_aes_128_gcm"):
        cipher = pointer(library.EVP_CIPHER_CTX_new())
        kind = pointer(getattr(library, name)())
        results.append(library.EVP_EncryptInit_ex(cipher, kind, None, key, vector))
        out, size = ctypes.create_string_buffer(len(TEXT) + 64), ctypes.c_int()
        library.EVP_EncryptUpdate(cipher, out, ctypes.byref(size), TEXT, len(TEXT))
        results.append(out.raw[: size.value])
    return results


def sqlite_work(library):
    database = ctypes.c_void_p()
    results = [library.sqlite3_open(b":memory:", ctypes.byref(database))]
    row_of = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_int, *[ctypes.POINTER(ctypes.c_char_p)] * 2
    )

    def row(_, count, values, names):
        results.append([values[n] for n in range(count)])
        return 0

    receiver = row_of(row)
    for statement in (
        "create table t(a integer primary key, b text, c real)",
        "with recursive n(i) as (select 1 union all select i+1 from n where i<2000)"
        " insert into t select i, printf('%05d-%s', i*7919%10007, hex(i)), i/7.0 from n",
        "create index k on t(b)",
        "select count(*), sum(c), max(b), min(b), total(length(b)) from t where b like '0%'",
        "select substr(b,1,2) x, count(*), avg(c) from t group by x having count(*)>5 order by 2,1",
        "update t set c=c*2 where a%3=0; delete from t where a%7=0; vacuum",
        "select a, b, round(c,3) from t where b glob '*1A*' or c>550 order by c desc limit 40",
        "select json_group_array(a) from (select a from t order by b limit 30)",
        "select nonsense from nowhere",
    ):
        code = library.sqlite3_exec(database, statement.encode(), receiver, None, None)
        results.append(code)
    results.append(library.sqlite3_close(database))
    return results


def math_work(library):
    results = []
    for name in ("sin", "cos", "tan", "exp", "log", "atan", "cbrt", "lgamma", "erf", "asinh"):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
        results += [
            function(n * 0.37 + 0.1).hex() for n in range(-40, 90) if n > 0 or name != "log"
        ]
    library.pow.restype, library.pow.argtypes = ctypes.c_double, [ctypes.c_double] * 2
    results += [library.pow(1.0 + n / 9, n / 3 - 4).hex() for n in range(60)]
    return [result if "nan" not in result else "nan" for result in results]


def gmp_work(library):
    class Number(ctypes.Structure):
        _fields_ = (("room", ctypes.c_int), ("size", ctypes.c_int), ("limbs", ctypes.c_void_p))

    def called(name, *arguments):
        return getattr(library, f"__gmpz_{name}")(*arguments)

    results = []
    library.__gmpz_get_str.restype = ctypes.c_void_p
    a, b, c, d = (Number() for _ in range(4))
    for number in (a, b, c, d):
        called("init", ctypes.byref(number))
    for size in (1, 3, 17, 60, 200, 700):
        for number, seed in ((a, 3), (b, 7), (c, 11)):
            digits = "".join(f"{(seed * n * n + size) % 97:02d}" for n in range(size * 9))
            called("set_str", ctypes.byref(number), f"9{digits}7".encode(), 10)
        at, bt, ct, dt = (ctypes.byref(number) for number in (a, b, c, d))
        steps = [("mul", dt, at, bt), ("gcd", dt, dt, ct), ("mul", dt, at, at)]
        steps += [
            ("tdiv_q", dt, dt, ct),
            ("sqrt", dt, dt),
            ("sub", dt, bt, dt),
            ("and", dt, dt, at),
        ]
        steps += [("mul_2exp", dt, dt, 77), ("tdiv_q_2exp", dt, dt, 13), ("xor", dt, dt, bt)]
        steps += [("powm", dt, dt, bt, ct)] if size < 100 else [("fac_ui", dt, size)]
        for name, *arguments in steps:
            called(name, *arguments)
            results.append(ctypes.string_at(called("get_str", None, 36, dt)))
    return results


WORK = {
    "libgmp": gmp_work,
    "libz": zlib_work,
    "libcrypto": crypto_work,
    "libsqlite3": sqlite_work,
    "libm": math_work,
}


def main():
    """Do it; the results of the library that was not patched come first."""
    library, seed, share = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    work = WORK[library.name.split(".so")[0]]
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / f"copy-{library.name}"
        shutil.copy(library, copy)
        expected = work(ctypes.CDLL(str(library)))
        patched = ctypes.CDLL(str(copy))
        counters, refused = patch(copy, bias_of(copy), seed, share)
        same = all(work(patched) == expected for _ in range(2))
        hits = {
            form.value: [ctypes.c_uint64.from_address(at).value for at in places]
            for form, places in counters.items()
        }
    print(
        json.dumps(
            {
                "same": same,
                "refused": refused,
                "written": {form: len(found) for form, found in hits.items()},
                "hit": {form: sum(n > 0 for n in found) for form, found in hits.items()},
                "hits": sum(sum(found) for found in hits.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
