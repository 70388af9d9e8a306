#!/usr/bin/env python3
"""Measures copies of a VM's disk: this program and what is installed of its peers, in turn, on the same disk with the
same change.

    python3 tests/bench/transfer.py

builds the program as it is released, makes a disk (`tests/tools/gen_disk.py`), and in each round lets every tool do every
case, one after the other, so that whatever else the machine does falls on all of them. Two regions are served here and the
program runs beside them; rsync talks to its daemon, nbdcopy to qemu-nbd; all over the loopback device. After each case
the copy is compared with its source, byte for byte. Prints a table and writes `transfer.md`, `transfer.json` and
`transfer.svg`. `--help` has the rest. Standard library only; needs e2fsprogs.

Of each run: wall time from start to exit; processor time of both sides, servers' too; bytes over the loopback device, with
all headers; the most memory that both sides had together beyond what idle servers have; and how many processors
everything else on the machine used meanwhile (more than 0.3: look at the ratios, not at the figures).
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests" / "tools"
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
OURS = "debvisor-region"
# What this program is to reach against the best of the others: case, the most of their wall time.
TARGETS = {"scattered": 1 / 7, "first": 1 / 3, "many": 1 / 10, "resumed": 1, "scattered, qcow2 with a bitmap": 1 / 40}


def main():
    options = arguments()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = Path(options.program).resolve() if options.program else build(target)
    work = Path(options.work).resolve() if options.work else target.resolve() / "bench" / "transfer"
    out = Path(options.out).resolve() if options.out else work
    results = Results(program, options)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        raw, image = [[case for case in cases if case in options.cases] for cases in (RAW, IMAGE)]
        base = work / "base.raw"
        if raw or image:
            python("gen_disk.py", base, "--size-gib", str(options.size_gib), "--seed", "1")
        for number in range(options.rounds):
            for tool in tools(options) if raw else []:
                with tool(program, work / "run", "disk.raw") as each:
                    one_disk(each, base, number, raw, results)
        if image:
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", base, work / "base.qcow2"], check=True)
        for number in range(options.rounds):
            for tool in tools(options) if image else []:
                with tool(program, work / "run", "disk.qcow2") as each:
                    one_disk(each, work / "base.qcow2", number, image, results)
        if "many" in options.cases:
            for number in range(options.rounds):
                for tool in tools(options):
                    with tool(program, work / "run", "disk.raw") as each:
                        if each.copies_many:
                            many(each, number, options, results)
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
        results.write(out)


# Cases of one disk, in an order in which each begins where the one before it ended.
RAW = ["first", "nothing", "touched", "scattered", "contiguous", "resumed"]
IMAGE = ["first, qcow2", "scattered, qcow2", "scattered, qcow2 with a bitmap"]
CASES = [*RAW, *IMAGE, "many"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    words = lambda text: [word.strip() for word in text.split(";") if word.strip()]
    add("--size-gib", type=float, default=8, help="size of the disk; two fifths of it hold data")
    add("--rounds", type=int, default=5, help="times that each tool does each case")
    add("--cases", type=words, default=CASES, metavar="CASE;…", help=f"of {'; '.join(CASES)}")
    add("--tools", type=words, default=None, metavar="TOOL;…", help="only these, by the names in the table")
    add("--vms", type=int, default=1_000, help="small VMs of the case `many`")
    add("--program", help="measure this one and build nothing")
    add("--work", help="where disks lie meanwhile; default: bench/transfer below the target directory")
    add("--out", help="where the results are written; default: there")
    add("--keep", action="store_true", help="leave the disks")
    return parser.parse_args()


def build(target):
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return target.resolve() / "release" / OURS


def python(tool, *args):
    done = subprocess.run([sys.executable, TOOLS / tool, *map(str, args)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def tools(options):
    known = [Ours, OursPlain, Rsync, RsyncCompressed, RsyncSmallBlocks, Nbdcopy, Cp, Restic, B3sum]
    wanted = [tool for tool in known if options.tools is None or tool.name in options.tools]
    return [tool for tool in wanted if all(shutil.which(needed) for needed in tool.needs)]


def one_disk(tool, base, number, cases, results):
    """Every case of one disk."""
    source = tool.prepare()
    subprocess.run(["cp", "--sparse=always", base, source], check=True)
    warm(source)
    seed = 100 * number
    first = "first" if cases[0] in RAW else IMAGE[0]
    for case in [first, *(case for case in cases if case != first)]:
        if not tool.does(case):
            continue
        changed = None
        if case == "touched":
            time.sleep(1.1)
            os.utime(source)
        elif case in ("scattered", "contiguous"):
            seed += 1
            time.sleep(1.1)
            changed = python("mutate.py", source, "--pct", "1", "--seed", seed, "--contig", 0.25 if case == "scattered" else 1)
            # Tools that look at size and time only take a change within the same second for none.
            os.utime(source, (time.time() + 2 * seed, time.time() + 2 * seed))
        elif case == "scattered, qcow2":
            time.sleep(1.1)
            write_into(source, number)
            os.utime(source, (time.time() + 2, time.time() + 2))
        elif case == "scattered, qcow2 with a bitmap":
            tool.begin_bitmap(source)
            time.sleep(1.1)
            changed = write_through_nbd(source, number)
        elif case == "resumed":
            tool.forget()
            half_way(tool, source)
        # What was written a moment ago is looked at once more by whoever trusts no clock.
        time.sleep(0.1)
        os.sync()
        took = measure(tool.command(case), tool.servers(), tool.directory)
        tool.check(source)
        if case in cases and not (case == "first" and isinstance(tool, B3sum)):
            results.add(case, tool, took, changed)


def write_into(image, seed):
    """Writes of 64 KiB all over a disk in qcow2, as a machine does that has it."""
    size = json.loads(subprocess.run(["qemu-img", "info", "--output=json", image], check=True, capture_output=True, text=True).stdout)
    place = random.Random(seed)
    blocks = size["virtual-size"] // 65536
    writes = [f"write -P {place.randrange(1, 256)} {place.randrange(blocks) * 65536} 64k" for _ in range(max(1, blocks // 250))]
    subprocess.run(["qemu-io", "-f", "qcow2", image], check=True, input="\n".join(writes), text=True, stdout=subprocess.DEVNULL)


def write_through_nbd(image, seed):
    """Writes of 4 KiB into 1 % of the disk's blocks of 64 KiB, through qemu-nbd, as a machine that has the image."""
    size = json.loads(subprocess.run(["qemu-img", "info", "--output=json", image], check=True, capture_output=True, text=True).stdout)
    place = random.Random(1000 + seed)
    total = size["virtual-size"] // 65536
    blocks = place.sample(range(total), max(1, total // 100))
    writes = [f"write -P {place.randrange(1, 256)} {block * 65536 + 4096 * place.randrange(16)} 4k" for block in blocks]
    socket_path = image.parent.parent / "nbd.sock"
    server = subprocess.Popen(["qemu-nbd", "-f", "qcow2", "--discard=unmap", "-k", socket_path.resolve(), image])
    while server.poll() is None and not socket_path.exists():
        time.sleep(0.02)
    url = f"nbd+unix:///?socket={socket_path.resolve()}"
    # It ends with its only client.
    subprocess.run(["qemu-io", "-f", "raw", url], check=True, input="\n".join([*writes, "flush"]), text=True, stdout=subprocess.DEVNULL)
    if server.wait():
        sys.exit("qemu-nbd failed")
    socket_path.unlink(missing_ok=True)
    return {"written": len(blocks) * 4096, "changed_64k": len(blocks) * 65536}


def half_way(tool, source):
    """Lets a first copy go on until half of the disk's bytes are there, and kills it."""
    half = source.stat().st_blocks * 512 // 2
    copying = subprocess.Popen(list(map(str, tool.command("resumed"))), cwd=tool.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while copying.poll() is None and tool.arrived() < half:
        time.sleep(0.002)
    copying.kill()
    copying.wait()
    tool.kill()


def many(tool, number, options, results):
    """Small VMs, one in a hundred changed."""
    places = tool.prepare_many(options.vms)
    for vm, place in enumerate(places):
        (place / "domain.xml").write_text(f"<domain><name>vm-{vm}</name></domain>\n")
        (place / "disk.raw").write_bytes(os.urandom(64 << 10))
    time.sleep(0.1)
    subprocess.run(tool.command_many(options.vms), cwd=tool.directory, check=True, stdout=subprocess.DEVNULL)
    # The second look finds all as it was.
    subprocess.run(tool.command_many(options.vms), cwd=tool.directory, check=True, stdout=subprocess.DEVNULL)
    time.sleep(1.1)
    for place in places[number :: max(1, options.vms // 10)]:
        with open(place / "disk.raw", "r+b") as disk:
            disk.seek(8192)
            disk.write(os.urandom(4096))
    time.sleep(0.1)
    os.sync()
    took = measure(tool.command_many(options.vms), tool.servers(), tool.directory)
    tool.check_many(places)
    results.add("many", tool, took, None)


def warm(path):
    with open(path, "rb") as file:
        while file.read(8 * MIB):
            pass


class Tool:
    """One that copies: a source directory, a place for the copy, and the servers between them."""

    needs, updates, resumes, copies_many, remark = [], True, False, False, ""

    def __init__(self, program, directory, disk):
        self.program, self.directory, self.disk, self.running = program, directory, disk, []

    def does(self, case):
        if case == "resumed":
            return self.resumes
        return self.updates or case.startswith("first")

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "source").mkdir(parents=True)
        (self.directory / "copy").mkdir()
        return self

    def __exit__(self, *_):
        for server in self.running:
            server.send_signal(signal.SIGTERM)
            server.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def prepare(self):
        return self.directory / "source" / self.disk

    def prepare_many(self, vms):
        places = [self.directory / "source" / f"vm-{vm}" for vm in range(vms)]
        for place in places:
            place.mkdir()
        return places

    def serve(self, *argv, port=None):
        server = subprocess.Popen(list(map(str, argv)), cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.running.append(server)
        for _ in range(200):
            if port is None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        return server

    def servers(self):
        return [server.pid for server in self.running]

    def copied(self):
        return self.directory / "copy" / self.disk

    def forget(self):
        """The copy is gone, and all that is known of it."""
        self.copied().unlink()

    def arrived(self):
        """Bytes of the disk that are there."""
        found = (self.directory / "copy").rglob(f"*{self.disk}*")
        return sum(path.stat().st_blocks * 512 for path in found)

    def begin_bitmap(self, source):
        """Whatever makes a bitmap say what is written from now on."""

    def kill(self):
        """Kills what works for the command that was killed."""

    def check(self, source):
        same(source, self.copied())

    def check_many(self, places):
        for place in places:
            same(place / self.disk, self.directory / "copy" / place.name / self.disk)


class Ours(Tool):
    """Two served regions; the second one pulls."""

    name, compression, resumes, copies_many, remark = OURS, True, True, True, "verified, fsynced, atomic, with points"

    def prepare(self):
        place = self.directory / "a" / "resources" / "vm" / "vm"
        place.mkdir(parents=True)
        (place / "domain.xml").write_text("<domain/>\n")
        self.declare('[vms.vm]\nreplicas = ["b"]\nmax_change = "100 %"\n')
        return place / self.disk

    def prepare_many(self, vms):
        places = [self.directory / "a" / "resources" / "vm" / f"vm-{vm}" for vm in range(vms)]
        for place in places:
            place.mkdir(parents=True)
        self.declare(f'[vms."vm-{{0..{vms - 1}}}"]\nreplicas = ["b"]\nmax_change = "100 %"\n')
        return places

    def declare(self, vms):
        text = "schema_version = 1\n"
        for region in "ab":
            origin = self.region(region, 0)
            text += f'[regions.{region}]\napi_endpoint = "{origin}"\nprimary = {str(region == "a").lower()}\n'
        text += '[[replication]]\nsource = "a"\ntarget = "b"\nresource_types = ["vm"]\nsync_interval = "240h"\n'
        text += f"compression = {str(self.compression).lower()}\n[retention]\nlast = 1\nhourly = 0\ndaily = 0\n{vms}"
        (self.directory / "topology.toml").write_text(text)

    def region(self, region, port):
        server = self.serve(self.program, "serve", "--region", region, "--data-dir", region, "--listen", f"127.0.0.1:{port}")
        return server.stdout.readline().decode().split()[-1]

    def forget(self):
        # Both regions begin anew: the source would remember what it has hashed.
        for server in self.running:
            server.terminate()
            server.wait()
        self.running.clear()
        for name in ("a/.debvisor", "a/region.db", "b", "debvisor-region.state.db"):
            path = self.directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.declare('[vms.vm]\nreplicas = ["b"]\nmax_change = "100 %"\n')

    def arrived(self):
        found = (self.directory / "b" / ".debvisor" / "incoming").rglob("*.data")
        return sum(path.stat().st_blocks * 512 for path in found)

    def begin_bitmap(self, source):
        # The copy that begins it is one of a change, and reads the disk whole.
        runner = '[runner]\nstart = ["true"]\nstop = ["true"]\nstatus = ["echo", "stopped"]\n'
        (self.directory / "a" / ".debvisor" / "config.toml").write_text(runner + '[hints]\nbitmap = "bench"\n')
        for server in self.running:
            server.terminate()
            server.wait()
        self.running.clear()
        topology = (self.directory / "topology.toml").read_text()
        for region in "ab":
            origin = topology.split(f"[regions.{region}]")[1].split('"')[1]
            self.region(region, origin.rpartition(":")[2])
        time.sleep(1.1)
        write_through_nbd(source, 7)
        time.sleep(0.1)
        subprocess.run(self.command("first"), cwd=self.directory, check=True, stdout=subprocess.DEVNULL)

    def kill(self):
        """The region that fetches is killed, and served again."""
        server = self.running.pop()
        server.kill()
        server.wait()
        topology = (self.directory / "topology.toml").read_text()
        self.region("b", topology.split("[regions.b]")[1].split('"')[1].rpartition(":")[2])

    def command(self, case):
        if case.startswith("first") or case == "resumed":
            return [self.program, "apply", "--auto-approve", "-q"]
        return [self.program, "replication", "sync", "vm", "a", "b", "-q"]

    def command_many(self, vms):
        return [self.program, "apply", "--auto-approve", "-q"]

    def copied(self):
        return self.directory / "b" / "resources" / "vm" / "vm" / self.disk

    def check_many(self, places):
        for place in places:
            same(place / self.disk, self.directory / "b" / "resources" / "vm" / place.name / self.disk)


class OursPlain(Ours):
    name, compression, resumes, copies_many = f"{OURS}, compression = false", False, False, False


class Rsync(Tool):
    """Its daemon, written in place, by differences."""

    name, needs, resumes, copies_many, remark = "rsync", ["rsync"], True, True, "in place: a cut leaves a mixture; not fsynced"
    more = []

    def daemon(self):
        port = free_port()
        lines = ["use chroot = no", "uid = root", "gid = root", "[d]", f"path = {self.directory / 'copy'}", "read only = no"]
        (self.directory / "rsyncd.conf").write_text("\n".join(lines) + "\n")
        config = f"--config={self.directory / 'rsyncd.conf'}"
        self.serve("rsync", "--daemon", "--no-detach", config, "--address=127.0.0.1", f"--port={port}", port=port)
        self.url = f"rsync://127.0.0.1:{port}/d/"

    def prepare(self):
        self.daemon()
        return super().prepare()

    def prepare_many(self, vms):
        self.daemon()
        return super().prepare_many(vms)

    def command(self, case):
        way = ["--whole-file"] if case.startswith("first") else ["--no-whole-file"]
        return ["rsync", "-tS", "--inplace", *way, *self.more, f"source/{self.disk}", self.url]

    def command_many(self, vms):
        # As a script does that has a list of machines.
        each = f"for n in $(seq 0 {vms - 1}); do rsync -rtS --inplace --no-whole-file source/vm-$n/ {self.url}vm-$n/ || exit; done"
        return ["sh", "-c", each]


class RsyncCompressed(Rsync):
    name, more, resumes, copies_many = "rsync, zstd", ["--compress", "--zc=zstd", "--zl=3"], False, False


class RsyncSmallBlocks(Rsync):
    name, more, resumes, copies_many = "rsync, blocks of 32 KiB", ["-B", "32768"], True, False


class Nbdcopy(Tool):
    name, needs, updates, remark = "nbdcopy", ["nbdcopy", "qemu-nbd"], False, "flushed, not verified"

    def command(self, case):
        port = free_port()
        self.serve("qemu-nbd", "-r", "-f", "raw", "-t", "-e", "8", "-b", "127.0.0.1", "-p", port, f"source/{self.disk}", port=port)
        return ["nbdcopy", "--flush", f"nbd://127.0.0.1:{port}", f"copy/{self.disk}"]


class Cp(Tool):
    name, needs, updates, remark = "cp and fsync", ["cp"], False, "on one machine, no network"

    def command(self, case):
        return ["sh", "-c", f"cp --sparse=auto source/{self.disk} copy/{self.disk} && sync copy/{self.disk}"]


class Restic(Tool):
    name, needs, remark = "restic", ["restic"], "into a local repository, which is no disk to start from"

    def prepare(self):
        os.environ |= {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(self.directory / "cache")}
        subprocess.run(["restic", "-q", "-r", "copy", "init"], cwd=self.directory, check=True)
        return super().prepare()

    def command(self, case):
        return ["restic", "-q", "-r", "copy", "backup", f"source/{self.disk}"]

    def check(self, source):
        # It is compared by its own restore where that is asked for: `restic dump` costs more than all else here.
        pass


class B3sum(Tool):
    name, needs, remark = "b3sum, all processors", ["b3sum"], "only reads and hashes the source: what a look at a touched disk costs at least"

    def does(self, case):
        return case in ("first", "touched")

    def command(self, case):
        return ["b3sum", f"source/{self.disk}"] if case == "touched" else ["true"]

    def check(self, source):
        pass


def same(source, copy):
    if subprocess.run(["cmp", "-s", source, copy]).returncode:
        sys.exit(f"{copy} differs from {source}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def family(pid, found):
    found.append(pid)
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                family(int(child), found)
    except OSError:
        pass
    return found


def processor(pids):
    ticks = 0
    for pid in [each for pid in pids for each in family(pid, [])]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        except OSError:
            pass
    return ticks / TICK


def memory(pids):
    """Anonymous memory: what is mapped of files is the page cache's."""
    total = 0
    for pid in [each for pid in pids for each in family(pid, [])]:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
        except OSError:
            pass
    return total


def machine_busy():
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICK


def on_the_wire():
    return int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())


def measure(argv, servers, directory):
    """One run from start to exit, and what it took on both sides."""
    argv, peak, ended = list(map(str, argv)), [0], threading.Event()
    idle = memory(servers)
    before, wire, busy, own = processor(servers), on_the_wire(), machine_busy(), os.times()
    began = time.monotonic()
    child = subprocess.Popen(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def look():
        while not ended.wait(0.02):
            peak[0] = max(peak[0], memory([child.pid, *servers]))

    looking = threading.Thread(target=look)
    looking.start()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    ended.set()
    looking.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(argv)} ended with {child.returncode}")
    took, now = usage.ru_utime + usage.ru_stime + processor(servers) - before, os.times()
    others = machine_busy() - busy - took - (now.user + now.system - own.user - own.system)
    return {
        "wall": wall, "processor": took, "wire": on_the_wire() - wire, "memory": max(0, peak[0] - idle),
        "others": max(0.0, others) / wall,
    }


class Results:
    """Rounds as they come; medians at the end."""

    def __init__(self, program, options):
        self.rounds, self.tools, self.changes = {}, {}, {}
        self.size, self.count = options.size_gib, options.rounds
        versions = [line([program, "--version"]), line(["uname", "-sr"])]
        known = {name: [name, "--version"] for name in ("rsync", "nbdcopy", "qemu-nbd", "b3sum")} | {"restic": ["restic", "version"]}
        versions += [line(argv) for name, argv in known.items() if shutil.which(name)]
        model = next((row.split(": ")[1] for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row), platform.machine())
        self.machine = f"{model}, {os.cpu_count()} processors; {'; '.join(versions)}"
        print(self.machine)

    def add(self, case, tool, took, changed):
        self.rounds.setdefault(case, {}).setdefault(tool.name, []).append(took)
        self.tools[tool.name] = tool.remark
        if changed:
            self.changes.setdefault(case, []).append(changed)
        told = f"{took['processor']:.2f} s processor, {took['wire'] / MIB:.2f} MiB, {took['memory'] / MIB:.0f} MiB memory"
        print(f"{case}: {tool.name}: {took['wall']:.3f} s, {told}, others {took['others']:.2f}", flush=True)

    def medians(self, case):
        keys = ("wall", "processor", "wire", "memory", "others")
        return {
            name: {key: statistics.median(each[key] for each in rounds) for key in keys}
            | {"least": min(each["wall"] for each in rounds), "most": max(each["wall"] for each in rounds)}
            for name, rounds in self.rounds[case].items()
        }

    def table(self):
        rows = ["| case | tool | wall, median (least to most) | processor, both sides | on the wire | memory beyond idle | other processors | wall, of ours |"]
        rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for case in [case for case in CASES if case in self.rounds]:
            medians = self.medians(case)
            ours = medians.get(OURS, {}).get("wall")
            for name, of in medians.items():
                ratio = f"{of['wall'] / ours:.1f} ×" if ours else ""
                rows.append(
                    f"| {case} | {name} | {of['wall']:.3f} s ({of['least']:.3f} to {of['most']:.3f}) | {of['processor']:.2f} s "
                    f"| {of['wire'] / MIB:.2f} MiB | {of['memory'] / MIB:.0f} MiB | {of['others']:.2f} | {ratio} |"
                )
        return "\n".join(rows)

    def verdicts(self):
        """Each target against what was reached."""
        for case, most in TARGETS.items():
            medians = self.medians(case) if case in self.rounds else {}
            others = {name: of["wall"] for name, of in medians.items() if name.startswith("rsync")}
            if OURS in medians and others:
                best = min(others, key=others.get)
                reached = medians[OURS]["wall"] / others[best]
                word = "held" if reached <= most else "missed"
                yield f"{case}: {reached:.3f} of {best}'s wall time, at most {most:.3f} wanted: {word}"

    def svg(self):
        """Wall times on a logarithmic scale, a bar each."""
        import math

        bars = [(case, name, of["wall"]) for case in CASES if case in self.rounds for name, of in self.medians(case).items()]
        least, most = min(wall for *_, wall in bars) / 2, max(wall for *_, wall in bars) * 1.5
        scale = lambda wall: 260 + 460 * math.log(wall / least) / math.log(most / least)
        height, parts, y, before = 20 * len(bars) + 60 + 16 * len(self.rounds), [], 40, None
        for case, name, wall in bars:
            if case != before:
                y, before = y + 16, case
                parts.append(f'<text x="8" y="{y - 2}" font-weight="bold">{case}</text>')
            color = "#2563eb" if name.startswith(OURS) else "#9ca3af"
            parts.append(f'<text x="250" y="{y + 13}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="260" y="{y}" width="{scale(wall) - 260:.1f}" height="15" fill="{color}"/>')
            parts.append(f'<text x="{scale(wall) + 6:.1f}" y="{y + 13}">{wall:.3f} s</text>')
            y += 20
        title = f"Wall time, logarithmic; a disk of {self.size:g} GiB, medians of {self.count}"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="820" height="{height}" font-family="sans-serif" font-size="12">'
        return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', f'<text x="8" y="20" font-size="14">{title}</text>', *parts, "</svg>"]) + "\n"

    def write(self, out):
        if not self.rounds:
            return
        out.mkdir(parents=True, exist_ok=True)
        changes = {case: {key: statistics.median(each[key] for each in told) for key in ("written", "changed_64k")} for case, told in self.changes.items()}
        text = [self.machine, f"A disk of {self.size:g} GiB, medians of {self.count} rounds.", self.table()]
        text += [f"{case}: {of['written'] / MIB:.1f} MiB were written, in blocks of 64 KiB {of['changed_64k'] / MIB:.1f} MiB" for case, of in changes.items()]
        text += [f"{name}: {remark}" for name, remark in self.tools.items() if remark]
        text += list(self.verdicts())
        (out / "transfer.md").write_text("\n\n".join(text) + "\n")
        (out / "transfer.json").write_text(json.dumps({"machine": self.machine, "size_gib": self.size, "rounds": self.rounds, "changes": self.changes}, indent=1) + "\n")
        (out / "transfer.svg").write_text(self.svg())
        print("\n\n".join(text[1:]))
        print(f"written: {out}/transfer.md, transfer.json, transfer.svg")


def line(argv):
    told = subprocess.run(list(map(str, argv)), capture_output=True, text=True).stdout
    return told.splitlines()[0].strip() if told else str(argv[0])


if __name__ == "__main__":
    main()
