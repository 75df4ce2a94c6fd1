"""A stand-in for what is installed in a process: the test plays the process."""

import mmap
from dataclasses import dataclass, field

import numpy as np
from rings import Writer

from insn import Method
from ubp.programs.cells import cells_of, initial
from uprobes.location import Location

PAGE = 4096


@dataclass
class FakeSite:
    """A place at which nothing is installed."""

    number: int
    location: Location
    cells: int
    method: Method = Method.JUMP
    why_not: dict = field(default_factory=dict)


class FakeInstalled:
    """Shared memory as the installer lays it out, for `functions` of one program."""

    def __init__(self, plan, program, registers, functions=("f",), pid=17):
        self.pid, self.program, self.plan = pid, program, plan
        self.refused, self.done = [], []
        self.cells = cells_of(program, returns=plan.returns)
        self.sites = [
            FakeSite(n, Location(0x1000 * (n + 1), f"x:{name}", "x.so", "", name), self._at(n))
            for n, name in enumerate(functions)
        ]
        self.layout = plan.layout(registers)
        self.ring_at = -(-self._at(len(functions)) // PAGE) * PAGE
        size = self.ring_at + (self.layout.size if self.layout else 0)
        self.memory = mmap.mmap(-1, max(size, PAGE))
        for site in self.sites:
            begin = initial(program, returns=plan.returns)
            self.memory[site.cells : site.cells + len(begin)] = begin
        self.words = np.frombuffer(self.memory, np.uint64)
        self.writers = []
        if self.layout is not None:
            view = memoryview(self.memory)[self.ring_at :]
            self.writers = [Writer(view, self.layout, ring) for ring in range(self.layout.rings)]

    def _at(self, number):
        return PAGE + number * self.cells.size

    def hit(self, number, times=1):
        """Count hits of a site."""
        self.words[self.sites[number].cells // 8] += np.uint64(times)

    def remove(self):
        self.done.append("remove")

    def detach(self):
        self.done.append("detach")
