"""How kiln's times grow: ten times the files, the steps, the builds in the store; and what it costs to be an ordinary user."""
import os
import pwd
import subprocess
import tempfile

from tools import Kiln


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def files(directory, count):
    """A context of so many files of 1 to 2 kB, a hundred a directory, copied as a whole."""
    ctx = f"{directory}/work/files-{count}"
    if not os.path.exists(f"{ctx}/Dockerfile"):
        for n in range(count):
            write(f"{ctx}/src/d{n // 10000:02}/s{n // 100 % 100:02}/f{n:06}.dat", f"{n:06}\n" * (150 + n % 150))
        write(f"{ctx}/Dockerfile", "ARG BASE\nFROM $BASE\nCOPY src /src\nRUN true\n")
    return ctx


def steps(directory, count):
    """A Dockerfile of so many steps, each on the one before."""
    ctx = f"{directory}/work/steps-{count}"
    write(f"{ctx}/Dockerfile", "ARG BASE\nFROM $BASE\n" + "".join(f"RUN echo {n} > /step\n" for n in range(count)))
    return ctx


def growth(bench, table):
    kiln = [bench.kiln]
    for count in (1_000, 10_000, 100_000):
        ctx = files(bench.dir, count)
        build = lambda t: t.build("growth", ctx)
        table.measure(f"{count:,} files, cold", kiln, build, 3, before=lambda t, _: t.reset())
        table.measure(f"{count:,} files, no-op", kiln, build)
    for count in (10, 100, 1_000):
        ctx = steps(bench.dir, count)
        build = lambda t: t.build("growth", ctx)
        table.measure(f"{count:,} steps, cold", kiln, build, 1, before=lambda t, _: t.reset())
        table.measure(f"{count:,} steps, no-op", kiln, build)
    bench.kiln.reset()
    ctx, built = files(bench.dir, 1_000), 0
    for count in (10, 100, 1_000):
        while built < count:
            built += 1
            write(f"{bench.dir}/work/one/Dockerfile", f"ARG BASE\nFROM $BASE\nRUN echo {built} > /n\nRUN cat /n > /m\n")
            bench.kiln.build(f"one-{built}", f"{bench.dir}/work/one")
        bench.kiln.build("growth", ctx)
        table.measure(f"{count:,} builds in the store, no-op", kiln, lambda t: t.build("growth", ctx))
    bench.kiln.reset()


class Rootless(Kiln):
    """The same, as the ordinary user with subordinate ids that the tests make."""
    name = "rootless"

    def __init__(self, kiln):
        user = pwd.getpwnam("kiln-test")
        self.ids = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        # Removed in the end as a store is.
        directory = tempfile.mkdtemp(prefix="store-", dir=kiln.dir)
        os.chown(directory, user.pw_uid, user.pw_gid)
        super().__init__(kiln.binary, directory, kiln.base)

    def run(self, words):
        return super().run(self.ids + words)

    def import_base(self, name, tar):
        path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        words = [self.binary, "import", "--change", path, tar, name]
        return subprocess.run(self.ids + words, env=self.env, capture_output=True).returncode == 0


def rungs(bench, table):
    try:
        rootless = Rootless(bench.kiln)
    except KeyError:
        print("  no user kiln-test: `make setup-test` makes it")
        return
    both = [bench.kiln, rootless]
    w1, w2 = bench.context("w1"), bench.context("w2")
    table.measure("rungs: w1 cold", both, lambda t: t.build("w1", w1), 3, before=lambda t, _: t.reset())
    table.measure("rungs: w1 no-op", both, lambda t: t.build("w1", w1))
    table.measure("rungs: w2 50 RUN", both, lambda t: t.build("w2", w2, no_cache=True), 3)
    table.measure("rungs: start `true`", both, lambda t: t.start_true(), max(20, bench.args.runs))
