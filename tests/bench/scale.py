#!/usr/bin/env python3
"""Measures the program over live regions: real `serve` processes on this machine, fleets that the program itself made.

    python3 tests/bench/scale.py

builds the program as it is released, makes the fleets (an `apply` over new regions; kept between runs below the target
directory), measures, prints tables and writes them as `results.md` and `results.json` beside the fleets. `--help` has
the rest. Standard library only.

A round is one run of the program from start to exit. Of every round: wall time, processor time of the program, its
peak memory (from the kernel's accounts of a process that ended), processor time of all regions' servers together. Of a
server, its peak memory since it was started, which is right before the measured rounds.
"""

import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
DEFINITION = "<domain type='kvm'>\n  <name>vm-{:05}</name>\n" + "  <!-- a definition of common length -->\n" * 50 + "</domain>\n"


def main():
    options = arguments()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = Path(options.program).resolve() if options.program else build(target)
    home = Path(options.fleets).resolve() if options.fleets else target.resolve() / "bench" / "scale"
    results = Results(program)
    if options.fresh:
        shutil.rmtree(home, ignore_errors=True)
    try:
        for vms in options.vms:
            with Fleet(program, home / f"vms-{vms}", options.regions, vms) as fleet:
                in_sync(fleet, options, results)
        if options.many:
            with Fleet(program, home / f"regions-{options.many}-{options.many_vms}", options.many, options.many_vms) as fleet:
                many_regions(fleet, options, results)
        for objects in options.terraform:
            terraform(home, objects, options, results)
    finally:
        results.write(home)


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--vms", type=numbers, default=[1_000, 10_000, 50_000], metavar="N,…", help="VMs of each fleet; empty: none")
    add("--regions", type=int, default=10, help="regions that those VMs are in")
    add("--many", type=int, default=100, metavar="N", help="regions of the fleet for `region list` and `global`; 0: none")
    add("--many-vms", type=int, default=10_000, metavar="N", help="VMs that those regions hold together")
    add("--terraform", type=numbers, default=[1_000, 10_000], metavar="N,…", help="objects of a Terraform plan")
    add("--rounds", type=int, default=7, help="runs of each command")
    add("--program", help="measure this one and build nothing")
    add("--fleets", help="where fleets are kept; default: bench/scale below the target directory")
    add("--fresh", action="store_true", help="make the fleets anew")
    return parser.parse_args()


def build(target):
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return target.resolve() / "release" / "debvisor-region"


class Fleet:
    """Regions in directories, each served; two replicas of each VM in the regions after its own."""

    def __init__(self, program, home, regions, vms):
        self.program, self.home, self.vms = program, home, vms
        self.regions = [f"r{number:03}" for number in range(regions)]
        self.servers = {}

    def __enter__(self):
        if not (self.home / "in-sync").exists():
            shutil.rmtree(self.home, ignore_errors=True)
            self.lay_out()
        return self

    def __exit__(self, *_):
        self.stop()

    def members(self, number):
        """The first and last VM that are born in a region."""
        share = self.vms // len(self.regions)
        return number * share + 1, (number + 1) * share

    def replicas(self, number):
        return [self.regions[(number + step) % len(self.regions)] for step in (1, 2)]

    def lay_out(self):
        for number, region in enumerate(self.regions):
            first, last = self.members(number)
            for vm in range(first, last + 1):
                directory = self.home / region / "resources" / "vm" / f"vm-{vm:05}"
                directory.mkdir(parents=True)
                (directory / "domain.xml").write_text(DEFINITION.format(vm))
        ports = free_ports(len(self.regions))
        (self.home / "ports.json").write_text(json.dumps(dict(zip(self.regions, ports))))
        ranges = [
            f'[vms."vm-{{{first:05}..{last:05}}}"]\n{self.placed(number)}'
            for number in range(len(self.regions))
            for first, last in [self.members(number)]
        ]
        tables = [
            f"[vms.vm-{vm:05}]\n{self.placed(number)}"
            for number in range(len(self.regions))
            for first, last in [self.members(number)]
            for vm in range(first, last + 1)
        ]
        for name, vms in [("topology", ranges), ("tables", tables)]:
            (self.home / f"{name}.toml").write_text("\n".join([self.common(), *vms]))

    def placed(self, number):
        return f'primary = "{self.regions[number]}"\nreplicas = {json.dumps(self.replicas(number))}\n'

    def common(self):
        text = ["schema_version = 1\n"]
        if len(self.regions) > 20:
            # They share this machine's processors: 100 regions that watch each other every few seconds are thousands of
            # probes a second, of which each would have its own machine make a hundredth.
            text.append('[health]\nprobe_interval = "1m"\n')
        for region, port in self.ports().items():
            text.append(f'[regions.{region}]\napi_endpoint = "http://127.0.0.1:{port}"\ncapacity_vms = 100000\n')
        for number, region in enumerate(self.regions):
            for replica in self.replicas(number):
                text.append(
                    f'[[replication]]\nsource = "{region}"\ntarget = "{replica}"\nresource_types = ["vm"]\n'
                    'sync_interval = "240h"\n'
                )
        return "\n".join(text)

    def ports(self):
        return json.loads((self.home / "ports.json").read_text())

    def start(self):
        """Serves every region; memory counts from here."""
        self.stop()
        for region, port in self.ports().items():
            log = open(self.home / f"{region}.log", "w")
            self.servers[region] = subprocess.Popen(
                [self.program, "serve", "--region", region, "--data-dir", self.home / region]
                + ["--listen", f"127.0.0.1:{port}"],
                stdout=subprocess.PIPE, stderr=log, env=dict(os.environ, RUST_LOG="warn"),
            )
            log.close()
        for region, server in self.servers.items():
            if not server.stdout.readline().startswith(b"listening on"):
                sys.exit(f"{region} does not serve: {(self.home / f'{region}.log').read_text()}")

    def stop(self):
        for server in self.servers.values():
            server.send_signal(signal.SIGTERM)
        for server in self.servers.values():
            server.wait()
        self.servers = {}

    def busy(self):
        """Processor seconds of all servers so far."""
        return sum(processor_time(server.pid) for server in self.servers.values())

    def peak(self):
        """The most memory that a server took."""
        return max(peak_memory(server.pid) for server in self.servers.values())

    def run(self, *command, topology="topology", expect=0):
        argv = [str(self.program), *command, "--topology", f"{topology}.toml", "--state", "state.db", "--no-input"]
        before = self.busy()
        return run(argv, self.home, expect) | {"servers": self.busy() - before}

    def come_to_rest(self):
        """Waits until all have asked all others, or for two minutes."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            before = self.busy()
            time.sleep(3)
            if self.busy() - before < 0.3:
                return

    def settled(self):
        (self.home / "in-sync").touch()


def in_sync(fleet, options, results):
    """Brings a fleet into sync where it is not, then measures runs that find nothing."""
    vms = fleet.vms
    fleet.start()
    if not (fleet.home / "in-sync").exists():
        made = fleet.run("apply", "--auto-approve", "-q")
        made["per_second"] = 2 * vms / made["wall"]
        made["server_peak"] = fleet.peak()
        (fleet.home / "made.json").write_text(json.dumps(made))
        # What was read a moment ago is trusted from the second look on.
        fleet.run("plan", "--detailed-exitcode")
        fleet.settled()
    made = json.loads((fleet.home / "made.json").read_text())
    results.table("Bringing a new fleet into sync (`apply`, one round)", {
        "VMs": vms, "syncs": 2 * vms, "wall": seconds(made["wall"]), "syncs/s": f"{made['per_second']:.0f}",
        "CLI processor": seconds(made["processor"]), "CLI peak": memory(made["peak"]),
        "servers processor": seconds(made["servers"]), "server peak": memory(made["server_peak"]),
    }, made | {"vms": vms})
    cases = [
        ("plan", ["plan", "--detailed-exitcode"], "topology"),
        ("plan, a table for each VM", ["plan", "--detailed-exitcode"], "tables"),
        ("apply", ["apply", "--auto-approve"], "topology"),
        ("reconcile", ["reconcile"], "topology"),
        ("status", ["status"], "topology"),
    ]
    for name, command, topology in cases:
        fleet.start()
        rounds = [fleet.run(*command, topology=topology) for _ in range(options.rounds)]
        results.command(f"{len(fleet.regions)} live regions, two replicas of each VM, all in sync", "VMs", vms, name, rounds, fleet.peak())
    fleet.start()
    port = next(iter(fleet.ports().values()))
    for clients in [1, 4]:
        rate, size = requests(port, "/api/v1/snapshot", clients, 5)
        results.table("`GET /api/v1/snapshot` of one region, 5 s", {
            "VMs": vms, "held and kept there": 3 * vms // len(fleet.regions), "clients": clients,
            "requests/s": f"{rate:.1f}", "body": memory(size), "server peak": memory(fleet.peak()),
        }, {"vms": vms, "clients": clients, "per_second": rate, "body": size, "server_peak": fleet.peak()})


def many_regions(fleet, options, results):
    fleet.start()
    if not (fleet.home / "in-sync").exists():
        fleet.run("apply", "--auto-approve", "-q")
        fleet.settled()
    fleet.come_to_rest()
    first = fleet.regions[0]
    cases = [("region list", ["region", "list"]), ("global", ["global"]), ("plan", ["plan"]), ("status", ["status"]),
             ("region health-check of one", ["region", "health-check", first])]
    for name, command in cases:
        rounds = [fleet.run(*command) for _ in range(options.rounds)]
        results.command(
            f"{len(fleet.regions)} live regions that probe each other every minute, {fleet.vms} VMs with two replicas each",
            "regions", len(fleet.regions), name, rounds, fleet.peak(),
        )
    before = fleet.busy()
    # Two rounds of their questions about roles, and one of probes.
    time.sleep(60)
    results.note(f"{len(fleet.regions)} servers at rest take {(fleet.busy() - before) / 60 * 100:.0f} % of one processor together.")


def terraform(home, objects, options, results):
    program = shutil.which("terraform")
    if program is None:
        results.note("Terraform is not installed here; its rows are left out.")
        return
    place = home / f"terraform-{objects}"
    title = "Terraform: `plan` of as many `terraform_data`, local state, nothing to do"
    if not (place / "applied").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "main.tf").write_text("\n".join(
            f'resource "terraform_data" "vm_{number:05}" {{\n  input = {{ primary = "a", replicas = "b c" }}\n}}'
            for number in range(objects)
        ))
        for command in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
            ended = subprocess.run([program, *command], cwd=place, capture_output=True, text=True)
            if ended.returncode:
                results.note(f"Terraform could not be measured: `{command[0]}` failed: {ended.stderr.strip()[:300]}")
                return
        (place / "applied").touch()
    plan = [program, "plan", "-input=false", "-detailed-exitcode"]
    rounds = [run(plan, place, 0) | {"servers": 0.0} for _ in range(options.rounds)]
    results.command(title, "objects", objects, "terraform plan", rounds, None)


def run(argv, directory, expect):
    """One run from start to exit, and what it took."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != expect:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, argv))} ended with {child.returncode}:\n{said.read().decode()[-2000:]}")
    return {"wall": wall, "processor": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}


def requests(port, path, clients, duration):
    """Answers a second to clients that ask again as soon as they were answered; the size of one."""
    counts, size, until = [0] * clients, [0], time.monotonic() + duration

    def ask(client):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < until:
            connection.request("GET", path)
            answer = connection.getresponse()
            size[0] = len(answer.read())
            if answer.status != 200:
                raise SystemExit(f"GET {path}: {answer.status}")
            counts[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    began = time.monotonic()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sum(counts) / (time.monotonic() - began), size[0]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    [each.close() for each in sockets]
    return ports


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_memory(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def seconds(value):
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def memory(value):
    return f"{value / MIB:.0f} MiB" if value >= 10 * MIB else f"{value / MIB:.1f} MiB"


class Results:
    """Tables as they grow, printed row by row and written at the end."""

    def __init__(self, program):
        self.tables, self.notes, self.raw = {}, [], []
        version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
        self.machine = f"{version}; {processor()}, {os.cpu_count()} processors, Linux {platform.release()}"
        print(self.machine)

    def command(self, title, unit, size, name, rounds, server_peak):
        walls = sorted(each["wall"] for each in rounds)
        of = lambda key: statistics.median(each[key] for each in rounds)
        row = {
            unit: size, "command": f"`{name}`", "wall, median": seconds(statistics.median(walls)),
            "least to most": f"{seconds(walls[0])} to {seconds(walls[-1])}",
            "CLI processor": seconds(of("processor")), "CLI peak": memory(max(each["peak"] for each in rounds)),
        }
        if server_peak is not None:
            row |= {"servers processor": seconds(of("servers")), "server peak": memory(server_peak)}
        self.table(title, row, {unit: size, "command": name, "server_peak": server_peak, "rounds": rounds})

    def table(self, title, row, raw):
        if title not in self.tables:
            print(f"\n{title}\n{' | '.join(row)}")
        self.tables.setdefault(title, []).append(row)
        self.raw.append({"table": title} | raw)
        print(" | ".join(str(value) for value in row.values()), flush=True)

    def note(self, text):
        self.notes.append(text)
        print(f"\n{text}", flush=True)

    def write(self, home):
        home.mkdir(parents=True, exist_ok=True)
        parts = [self.machine]
        for title, rows in self.tables.items():
            lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(map(str, row.values())) for row in rows)]
            parts.append("\n".join([f"{title}\n", *(f"| {' | '.join(line)} |" for line in lines)]))
        (home / "results.md").write_text("\n\n".join(parts + self.notes) + "\n")
        results = {"machine": self.machine, "results": self.raw, "notes": self.notes}
        (home / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        print(f"\nwritten: {home / 'results.md'}, results.json")


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
