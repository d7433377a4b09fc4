"""Nearest neighbours between whole dictionaries, against a plain `torch.mm` of their size.

    python benchmarks/matching.py [--rows 24576] [--width 768] [--repeats 3] [--threads 2]

Each in turn, in one run: the product as one writes it (`torch.mm(first, second.T)`, all cosines at
once), the same into memory that is there already, mutual neighbours, the ten nearest one way. Prints
medians, how fast each is beside the product of the same turn (aim: 0.8 or more), by the clock and by
processor time, which other work on the machine disturbs less, and how much memory it adds (aim: under
2 GiB). On a GPU too, where there is one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tl_ext.analysis.matching import mutual, nearest

GIB = 2**30


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def added_memory(task: Callable[[], object], device: str) -> float:
    """GiB that a task holds at its peak beyond what was held before it, its result included."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        task()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / GIB
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        task()
    finally:
        done.set()
        watcher.join()
    return max(0, max(peak) - before) / GIB


def seconds(task: Callable[[], object], device: str) -> tuple[float, float]:
    """How long one call takes, by the clock and in processor time of all threads."""
    begin, busy = time.perf_counter(), time.process_time()
    task()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, time.process_time() - busy


def measure(device: str, rows: int, width: int, repeats: int) -> None:
    """Print a table for one device."""
    source = torch.Generator(device).manual_seed(0)
    first = torch.randn(rows, width, generator=source, device=device)
    second = torch.randn(rows, width, generator=source, device=device)

    tasks: dict[str, Callable[[], object]] = {
        "torch.mm": lambda: torch.mm(first, second.T),
        "mutual neighbours": lambda: mutual(first, second),
        "10 nearest, one way": lambda: nearest(first, second, 10),
    }
    few = first[:256].clone()
    mutual(few, few)  # loads what is loaded at first use
    nearest(few, few, 10)
    torch.mm(few, few.T)
    memory = {name: added_memory(task, device) for name, task in tasks.items()}  # warms up, too
    into = torch.empty(rows, rows, device=device)
    tasks["torch.mm, into memory there"] = lambda: torch.mm(first, second.T, out=into)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            times[name].append(seconds(task, device))
    named = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} threads"
    print(f"{rows} x {rows} rows of width {width}, {named}{threads}; medians of {repeats}")
    for name, taken in times.items():
        added = f"{memory[name]:5.2f} GiB" if name in memory else " " * 9
        said = f"{name:<28} {statistics.median(clock for clock, _ in taken):8.3f} s {added}"
        for product in ("torch.mm", "torch.mm, into memory there"):
            clock, busy = (
                statistics.median(
                    theirs[kind] / own[kind]
                    for theirs, own in zip(times[product], taken, strict=True)
                )
                for kind in range(2)
            )
            said += f"   {clock:.2f} x {product}" + ("" if device == "cuda" else f" ({busy:.2f})")
        print(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=24576)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        measure(device, options.rows, options.width, options.repeats)


if __name__ == "__main__":
    main()
