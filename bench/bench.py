#!/usr/bin/env python3
"""Measures kiln beside the tools that are installed, and writes the table to bench/RESULTS.md.

    bench.py --kiln PATH [w1 w2 … growth rungs] [--runs N] [--dir DIR] [--docker 'CMD'] [--out FILE]

Pairs are measured in turn in one run, for machines are noisy; figures are medians. Wall and CPU seconds and the peak
of resident memory are those of the command and its children, as wait4 tells (a daemon's are not among them).
"""
import argparse
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
from growth import growth, rungs
from tools import Buildah, Crun, Docker, Kiln, Registry, busybox, debian, sweep

HERE = os.path.dirname(os.path.abspath(__file__))
WORKLOADS = os.path.join(HERE, "../../shared/bench/workloads.py")


class Table:
    """Runs, gathered by row and tool."""

    def __init__(self, runs):
        self.runs, self.rows = runs, {}

    def measure(self, row, tools, action, runs=None, before=None):
        """Measures action(tool) for all tools in turn. An action gives a Run, or None where a tool cannot."""
        got = self.rows.setdefault(row, {})
        for turn in range(runs or self.runs):
            for tool in tools:
                if before:
                    before(tool, turn)
                run = action(tool)
                if run is None:
                    continue
                if run.code != 0:
                    print(f"  {row}: {tool.name} failed: {run.error.strip()[-300:]}", file=sys.stderr)
                    continue
                got.setdefault(tool.name, []).append(run)
        print("  " + self.line(row), file=sys.stderr)

    def median(self, row, tool, what="wall"):
        runs = self.rows[row].get(tool)
        return statistics.median(getattr(run, what) for run in runs) if runs else None

    def line(self, row):
        kiln = self.median(row, "kiln")
        cells = [row]
        if kiln is None:
            cells.append("failed")
        else:
            cpu, rss = self.median(row, "kiln", "cpu"), max(run.rss for run in self.rows[row]["kiln"])
            cells.append(f"{kiln:.3f} / {cpu:.3f} / {rss:.0f}")
        for peer in ("buildah", "docker", "crun", "rootless"):
            wall = self.median(row, peer)
            ratio = f" ({kiln / wall:.2f})" if wall and kiln is not None else ""
            cells.append(f"{wall:.3f}{ratio}" if wall else "")
        return "| " + " | ".join(cells) + " |"

    def text(self):
        head = ["| workload | kiln: wall s / CPU s / peak MiB | buildah: wall s (kiln's share) | docker | crun | kiln rootless |",
                "| --- | --- | --- | --- | --- | --- |"]
        return "\n".join(head + [self.line(row) for row in self.rows]) + "\n"


def w1(bench, table):
    ctx, tools = bench.context("w1"), bench.builders
    table.measure("w1 cold", tools, lambda t: t.build("w1", ctx), 3, before=lambda t, _: t.reset())
    table.measure("w1 no-op", tools, lambda t: t.build("w1", ctx), before=lambda t, turn: turn or t.build("w1", ctx))

    def change(tool, turn):
        if tool is tools[0]:
            with open(f"{ctx}/src/d000/s00/f00000.dat", "w") as file:
                file.write(f"changed {turn} {os.getpid()}\n")
    table.measure("w1 one file changed", tools, lambda t: t.build("w1", ctx), before=change)


def w2(bench, table):
    ctx = bench.context("w2")
    table.measure("w2 50 RUN", bench.builders, lambda t: t.build("w2", ctx, no_cache=True), 3)


def w3(bench, table):
    ctx = bench.context("w3")
    table.measure("w3 8 × sleep 1", bench.builders, lambda t: t.build("w3", ctx, no_cache=True), 3)


def w4(bench, table):
    ctx = bench.context("w4")
    for compression in ("gzip", "zstd", "uncompressed"):
        table.measure(f"w4 1 GB, {compression}", bench.builders,
                      lambda t: t.build_archive("w4", ctx, compression), 3, before=lambda t, _: t.reset())


def w5(bench, table):
    ctx = bench.context("w5")
    with Registry(bench.dir) as registry:
        table.measure("w5 build cold", bench.builders, lambda t: t.build("w5", ctx), 1, before=lambda t, _: t.reset())
        for compression in ("gzip", "zstd"):
            def fresh(tool, _):
                tool.forget_blobs()
                registry.reset()
            table.measure(f"w5 push cold, {compression}", bench.builders,
                          lambda t: t.push("w5", registry, compression), 3, before=fresh)
        registry.reset()
        for tool in bench.builders:
            tool.push("w5", registry)

        # A layer of one small file above the large ones.
        with open(f"{ctx}/Dockerfile") as file:
            dockerfile = file.read()
        if "COPY note" not in dockerfile:
            with open(f"{ctx}/Dockerfile", "a") as file:
                file.write("COPY note /note\n")

        def change(tool, turn):
            if tool is bench.builders[0]:
                with open(f"{ctx}/note", "w") as file:
                    file.write(f"changed {turn} {os.getpid()}\n")
        table.measure("w5 build + push, one small file changed", bench.builders,
                      lambda t: t.build_and_push("w5", ctx, registry), before=change)
        table.measure("w5 pull cold", bench.builders, lambda t: t.pull("w5", registry), 3,
                      before=lambda t, _: t.reset())


def w6(bench, table):
    ctx = bench.context("w6")
    if not all(tool.import_base("debian", debian(bench.dir)) for tool in bench.builders):
        return
    build = dict(base="debian", host_network=True)
    table.measure("w6 apt, uncached", bench.builders, lambda t: t.build("w6", ctx, no_cache=True, **build), 2)
    for tool in bench.builders:
        tool.build("w6", ctx, **build)
    table.measure("w6 apt, cached", bench.builders, lambda t: t.build("w6", ctx, **build))


def w7(bench, table):
    runners = [tool for tool in (bench.kiln, bench.docker, bench.crun) if tool]
    table.measure("w7 start `true`", runners, lambda t: t.start_true(), max(20, bench.args.runs))


ALL = {f.__name__: f for f in (w1, w2, w3, w4, w5, w6, w7, growth, rungs)}


class Bench:
    """What was asked for and the tools that are here."""

    def __init__(self, args):
        self.args, self.dir = args, os.path.abspath(args.dir)
        os.makedirs(self.dir, exist_ok=True)
        sweep(self.dir)
        base = busybox(self.dir)
        self.kiln = Kiln(os.path.abspath(args.kiln), self.dir, base)
        self.buildah = Buildah.find(self.dir, base)
        self.docker = Docker.find(args.docker, self.dir, base)
        self.crun = Crun.find(self.dir, base)
        self.builders = [tool for tool in (self.kiln, self.buildah, self.docker) if tool]

    def context(self, workload):
        path = f"{self.dir}/work/{workload}/ctx"
        if not os.path.isdir(path):
            subprocess.run([sys.executable, WORKLOADS, f"{self.dir}/work", workload], check=True)
        return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="w1…w7, growth, rungs", help="which ones (default: all)")
    parser.add_argument("--kiln", required=True, help="the kiln binary")
    parser.add_argument("--runs", type=int, default=7, help="runs of the short workloads (default: 7)")
    parser.add_argument("--dir", default=os.path.join(HERE, "../target/bench"), help="where everything is kept")
    parser.add_argument("--docker", default="docker", help="how to call docker (BuildKit)")
    parser.add_argument("--out", default=os.path.join(HERE, "RESULTS.md"), help="the table")
    args = parser.parse_args()
    wanted = args.workloads or list(ALL)
    if unknown := [name for name in wanted if name not in ALL]:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(ALL)}")
    if not os.path.isfile(WORKLOADS):
        sys.exit(f"bench: the generator of the workloads is absent: {os.path.normpath(WORKLOADS)}")
    if os.geteuid() != 0:
        sys.exit("bench: the peers are driven as root; run it as root")

    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        # crun refuses a hybrid layout of control groups: start again with a view of version 2 alone, for all alike.
        view = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", view, "sh", sys.executable, *sys.argv])

    bench, table = Bench(args), Table(args.runs)
    peers = ", ".join(tool.version for tool in (bench.kiln, bench.buildah, bench.docker, bench.crun) if tool)
    head = (f"# Measured\n\nMedians of alternating runs on {os.cpu_count()} processors, Linux {os.uname().release.split('-')[0]}: {peers}.\n"
            "In brackets: kiln's time divided by the peer's. Made by `make bench`.\n\n")
    for name in wanted:
        print(name, file=sys.stderr)
        ALL[name](bench, table)
        with open(args.out, "w") as file:  # after each, so that an interrupted run has its results
            file.write(head + table.text())
    sweep(bench.dir)
    print(head + table.text())


if __name__ == "__main__":
    main()
