"""The tools that are measured, each through its public command line, and what they stand on: base images, a registry."""
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Run:
    """A finished command: seconds, MiB, exit code, standard error."""
    wall: float
    cpu: float
    rss: float
    code: int
    error: str


def timed(words, env=None):
    """Runs a command with its output thrown away, and measures it."""
    with tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, env=env)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        text = err.read().decode(errors="replace")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, child.returncode, text)


def quiet(words, **options):
    """Runs a command that is not measured; True if it succeeded."""
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          **options).returncode == 0


def first_line(words):
    return subprocess.run(words, capture_output=True, text=True).stdout.strip().split("\n")[0]


def busybox(directory):
    """A root directory and a tar of busybox; gives the directory."""
    root = f"{directory}/busybox"
    if not os.path.exists(f"{root}.tar"):
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var"):
            os.makedirs(f"{root}/{name}", exist_ok=True)
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True).stdout.split():
            if not os.path.lexists(f"{root}/bin/{applet}"):
                os.symlink("busybox", f"{root}/bin/{applet}")
        with open(f"{root}/etc/passwd", "w") as file:
            file.write("root:x:0:0:root:/root:/bin/sh\n")
        subprocess.run(["tar", "--numeric-owner", "--owner=0", "--group=0", "-C", root, "-cf", f"{root}.tar", "."], check=True)
    return root


def debian(directory):
    """A tar of Debian from the machine's own mirror."""
    tar = f"{directory}/debian.tar"
    if not os.path.exists(tar):
        sources = open("/etc/apt/sources.list.d/debian.sources").read().split("\n")
        field = lambda name: next(line.split()[1] for line in sources if line.startswith(name))
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates",
                        '--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=Acquire::Check-Date "false"',
                        field("Suites:"), tar, field("URIs:")], check=True)
    return tar


def retire(store):
    """Frees the space that a store takes, but for its inodes, which `sweep` frees in the end.

    ext4 looks at every inode that was freed within the last minutes before it takes one: whoever makes files after a store
    was removed would be measured with that search, two thirds of the time of a cold build.
    """
    for directory, _, names in os.walk(store):
        for path in (os.path.join(directory, name) for name in names):
            about = os.lstat(path)
            if stat.S_ISREG(about.st_mode) and about.st_size > 4096:
                file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
                os.ftruncate(file, 0)
                os.close(file)


def sweep(directory):
    """Removes the stores of a run, and those of one that was interrupted."""
    for name in os.listdir(directory):
        if name.startswith("store-"):
            quiet(["umount", f"{directory}/{name}/overlay"])
            shutil.rmtree(f"{directory}/{name}", ignore_errors=True)


class Kiln:
    name = "kiln"

    def __init__(self, binary, directory, base):
        self.binary, self.dir, self.base = binary, directory, base
        self.store, self.stores = None, 0
        self.env = {"PATH": os.environ["PATH"], "HOME": directory}
        self.version = first_line([binary, "version"]) or "kiln"
        self.reset()

    def reset(self):
        if self.store:
            retire(self.store)
        self.stores += 1
        self.store = f"{self.dir}/store-{self.name}-{self.stores}"
        self.env["KILN_ROOT"] = self.store
        self.import_base("busybox", f"{self.base}.tar")

    def import_base(self, name, tar):
        path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return quiet([self.binary, "import", "--change", path, tar, name], env=self.env)

    def run(self, words):
        return timed(words, self.env)

    def words(self, ctx, no_cache, base, host_network):
        words = [self.binary, "build", "--progress=plain", f"--build-arg=BASE={base}"]
        return words + ["--no-cache"] * no_cache + ["--network=host"] * host_network + [ctx]

    def build(self, name, ctx, no_cache=False, base="busybox", host_network=False):
        return self.run(self.words(ctx, no_cache, base, host_network) + [f"--tag={name}"])

    def build_archive(self, name, ctx, compression):
        out = f"{self.dir}/{name}.kiln.tar"
        run = timed(self.words(ctx, False, "busybox", False) + [f"--output=type=oci,dest={out},compression={compression}"], self.env)
        os.path.exists(out) and os.remove(out)
        return run

    def forget_blobs(self):
        """Layers have to be packed again."""
        shutil.rmtree(f"{self.store}/blobs/sha256", ignore_errors=True)
        os.makedirs(f"{self.store}/blobs/sha256")

    def push(self, name, registry, compression="gzip"):
        target = f"{registry.address}/{self.name}/{name}"
        quiet([self.binary, "tag", name, target], env=self.env)
        return timed([self.binary, "push", f"--compression={compression}", target], self.env)

    def build_and_push(self, name, ctx, registry):
        target = f"{registry.address}/{self.name}/{name}"
        return timed(self.words(ctx, False, "busybox", False) + [f"--tag={target}", "--push"], self.env)

    def pull(self, name, registry):
        return timed([self.binary, "pull", f"{registry.address}/{self.name}/{name}"], self.env)

    def start_true(self):
        return self.run([self.binary, "run", "--rm", "busybox", "true"])


class Buildah:
    """With chroot isolation: its cheapest, and the one that touches no control group of the machine."""
    name = "buildah"

    @classmethod
    def find(cls, directory, base):
        return cls(directory, base) if shutil.which("buildah") else None

    def __init__(self, directory, base):
        self.dir, self.base, self.store, self.stores = directory, base, None, 0
        self.version = first_line(["buildah", "--version"])
        self.reset()

    def reset(self):
        if self.store:
            retire(self.store)
        self.stores += 1
        self.store = f"{self.dir}/store-{self.name}-{self.stores}"
        self.first = ["buildah", "--root", self.store, "--runroot", f"{self.store}/run", "--storage-driver=overlay"]
        self.import_base("busybox", f"{self.base}.tar")

    def import_base(self, name, tar):
        # `buildah add` unpacks a tar onto an empty root.
        script = 'c=$("$@" from scratch) && "$@" add -q $c "$TAR" / && "$@" config --env PATH=/usr/sbin:/usr/bin:/sbin:/bin $c \
            && "$@" commit -q $c "localhost/$NAME" && "$@" rm $c'
        return quiet(["sh", "-c", script, "sh"] + self.first, env={**os.environ, "TAR": tar, "NAME": name})

    def build(self, name, ctx, no_cache=False, base="busybox", host_network=False):
        words = self.first + ["bud", "--quiet", "--layers", "--isolation=chroot", "--pull-never", "--jobs=8",
                              "--ulimit=nofile=1024:1024", "--ulimit=nproc=9000:9000", f"--build-arg=BASE=localhost/{base}"]
        words += ["--no-cache"] * no_cache + ["--network=host"] + ["--tag", name, ctx]
        return timed(words)

    def build_archive(self, name, ctx, compression):
        if compression != "gzip":
            return None  # this command line cannot choose for an archive
        built = self.build(name, ctx, no_cache=True)
        out = f"{self.dir}/{name}.buildah.tar"
        os.path.exists(out) and os.remove(out)
        pushed = timed(self.first + ["push", "--quiet", name, f"oci-archive:{out}"])
        return Run(built.wall + pushed.wall, built.cpu + pushed.cpu, max(built.rss, pushed.rss),
                   built.code or pushed.code, built.error + pushed.error)

    def forget_blobs(self):
        """It keeps none: it packs layers for every push."""

    def build_and_push(self, name, ctx, registry):
        built, pushed = self.build(name, ctx), self.push(name, registry)
        return Run(built.wall + pushed.wall, built.cpu + pushed.cpu, max(built.rss, pushed.rss),
                   built.code or pushed.code, built.error + pushed.error)

    def push(self, name, registry, compression="gzip"):
        return timed(self.first + ["push", "--quiet", f"--compression-format={compression}", "--tls-verify=false", name, f"docker://{registry.address}/{self.name}/{name}"])

    def pull(self, name, registry):
        return timed(self.first + ["pull", "--quiet", "--tls-verify=false", f"docker://{registry.address}/{self.name}/{name}"])


class Docker:
    name = "docker"

    @classmethod
    def find(cls, command, directory, base):
        words = shlex.split(command)
        if not shutil.which(words[0]) or not quiet(words + ["version"]):
            return None  # not installed, or no daemon answers
        return cls(words, directory, base)

    def __init__(self, words, directory, base):
        self.first, self.dir, self.base = words, directory, base
        self.version = "docker " + first_line(words + ["version", "--format", "{{.Server.Version}}"])
        self.reset()

    def reset(self):
        quiet(self.first + ["system", "prune", "--all", "--force"])
        quiet(self.first + ["builder", "prune", "--all", "--force"])
        self.import_base("busybox", f"{self.base}.tar")

    def import_base(self, name, tar):
        return quiet(self.first + ["import", "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", tar, name])

    def build(self, name, ctx, no_cache=False, base="busybox", host_network=False):
        words = self.first + ["build", "--quiet", "--network=host", f"--build-arg=BASE={base}", "--tag", name]
        return timed(words + ["--no-cache"] * no_cache + [ctx])

    def build_archive(self, name, ctx, compression):
        if compression != "gzip":
            return None
        return timed(self.first + ["build", "--quiet", "--network=host", "--no-cache",
                                   f"--output=type=oci,dest={self.dir}/{name}.docker.tar", "--build-arg=BASE=busybox", ctx])

    def forget_blobs(self):
        """Its daemon keeps none for a push."""

    def build_and_push(self, name, ctx, registry):
        built, pushed = self.build(name, ctx), self.push(name, registry)
        return Run(built.wall + pushed.wall, built.cpu + pushed.cpu, max(built.rss, pushed.rss),
                   built.code or pushed.code, built.error + pushed.error)

    def push(self, name, registry, compression="gzip"):
        if compression != "gzip":
            return None
        target = f"{registry.address}/{self.name}/{name}"
        quiet(self.first + ["tag", name, target])
        return timed(self.first + ["push", "--quiet", target])

    def pull(self, name, registry):
        return timed(self.first + ["pull", "--quiet", f"{registry.address}/{self.name}/{name}"])

    def start_true(self):
        return timed(self.first + ["run", "--rm", "--network=none", "busybox", "true"])


class Crun:
    """crun alone, on a bundle that is there already: what a start costs without an image or a writable layer."""
    name = "crun"

    @classmethod
    def find(cls, directory, base):
        return cls(directory, base) if shutil.which("crun") else None

    def __init__(self, directory, base):
        self.bundle, self.count = f"{directory}/bundle", 0
        self.version = first_line(["crun", "--version"])
        os.makedirs(self.bundle, exist_ok=True)
        if not os.path.exists(f"{self.bundle}/config.json"):
            subprocess.run(["crun", "spec"], cwd=self.bundle, check=True)
        with open(f"{self.bundle}/config.json") as file:
            spec = json.load(file)
        spec["root"] = {"path": base, "readonly": True}
        spec["process"].update(terminal=False, args=["true"], rlimits=[])
        spec["linux"].pop("resources", None)
        with open(f"{self.bundle}/config.json", "w") as file:
            json.dump(spec, file)

    def start_true(self):
        self.count += 1
        return timed(["crun", "--cgroup-manager=disabled", "run", "--bundle", self.bundle, f"bench-{os.getpid()}-{self.count}"])


class Registry:
    """A docker-registry on loopback while the `with` block lasts."""

    def __init__(self, directory):
        self.root, self.child = f"{directory}/registry", None

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.reset()
        return self

    def reset(self):
        """Empty, and started anew, for it remembers what it had."""
        self.__exit__()
        os.makedirs(self.root)
        config = f"{self.root}/config.yml"
        with open(config, "w") as file:
            file.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                       f"storage: {{filesystem: {{rootdirectory: {self.root}/data}}}}\nhttp: {{addr: \"{self.address}\"}}\n")
        self.child = subprocess.Popen(["docker-registry", "serve", config], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        host, port = self.address.split(":")
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit("bench: docker-registry does not answer")

    def __exit__(self, *_):
        if self.child:
            self.child.kill()
            self.child.wait()
            self.child = None
        shutil.rmtree(self.root, ignore_errors=True)
