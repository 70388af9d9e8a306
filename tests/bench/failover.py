#!/usr/bin/env python3
"""Measures failovers between live regions: real `serve` processes on this machine, one of which is killed.

    python3 tests/bench/failover.py

builds the program as it is released, and for each number of VMs and each way of running them makes three regions anew,
brings them into sync, kills the first region's server with SIGKILL, and has its VMs moved by `failover execute`, whose
fence hook says that the region is cut off. `--help` has the rest. Standard library only, and a C compiler for the
machines.

Told are the wall time of the program from start to exit, the time of the operation itself as its event has it (without
looking at the regions before it, and without the first copies to the third region after it), and where that went, from
the program's own journal. Detection is no part of it: a person asked. "no runner" is the orchestration alone: roles,
files and records of all VMs, without a machine being started. "machines" starts a process for each, by a runner that is
itself a process for each start and each status.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from scale import ROOT, Results, build, free_ports, memory, numbers, run, seconds  # noqa: E402

REGIONS = ["a", "b", "c"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--vms", type=numbers, default=[10, 125, 1_000], metavar="N,…", help="VMs that move")
    add("--rounds", type=int, default=5, help="failovers of each kind")
    add("--disk", type=int, default=256, metavar="KIB", help="size of each VM's disk")
    add("--program", help="measure this one and build nothing")
    options = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = Path(options.program).resolve() if options.program else build(target)
    home = target.resolve() / "bench" / "failover"
    results = Results(program)
    home.mkdir(parents=True, exist_ok=True)
    machine = home / "machine"
    subprocess.run(["cc", "-O1", "-o", machine, ROOT / "tests" / "fixtures" / "machine.c"], check=True)
    try:
        for runner in [None, machine]:
            for vms in options.vms:
                rounds = [once(program, home, runner, vms, options.disk) for _ in range(options.rounds)]
                tell(results, runner, vms, rounds)
    finally:
        results.write(home)


def once(program, home, runner, vms, disk):
    """One failover of regions that were made for it."""
    with tempfile.TemporaryDirectory(dir=home) as place:
        place = Path(place)
        servers = {}
        try:
            lay_out(place, runner, vms, disk)
            for region in REGIONS:
                servers[region] = serve(program, place, region)
            common = ["--topology", "topology.toml", "--no-input"]
            run([program, "apply", "--auto-approve", "-q", *common], place, 0)
            if runner:
                for vm in range(1, vms + 1):
                    subprocess.run([runner, place / "machines", "start", f"vm-{vm}", "a", "1"], check=True)
            servers["a"].kill()
            servers["a"].wait()
            taken = run([program, "failover", "execute", "a", "b", "--force", "-q", *common], place, 0)
            state = sqlite3.connect(place / "debvisor-region.state.db")
            [(record,)] = state.execute("SELECT record FROM failovers").fetchall()
            steps = state.execute("SELECT step, began_at, ended_at FROM failover_steps ORDER BY position").fetchall()
            state.close()
            event = json.loads(record)
            if event["affected_resources"] != vms or not event["success"]:
                sys.exit(f"{event}")
            return taken | {"operation": event["duration_seconds"], "steps": by_kind(steps)}
        finally:
            for server in servers.values():
                server.send_signal(signal.SIGTERM)
            for server in servers.values():
                server.wait()
            if runner:
                for region in REGIONS:
                    subprocess.run([runner, place / "machines", "fence", region, "0"], capture_output=True)


def by_kind(steps):
    """Seconds of each kind of step; what is under way at once counts once."""
    kinds = {}
    for words, began, ended in steps:
        kind = words.split()[0]
        spans = kinds.setdefault(kind, {})
        spans[began] = max(spans.get(began, began), ended)
    return {kind: sum(ended - began for began, ended in spans.items()) / 1e6 for kind, spans in kinds.items()}


def lay_out(place, runner, vms, disk):
    ports = free_ports(len(REGIONS))
    (place / "machines").mkdir()
    for region in REGIONS:
        inner = place / region / ".debvisor"
        inner.mkdir(parents=True)
        if runner:
            call = lambda what, more: json.dumps([str(runner), str(place / "machines"), what, "{id}", "{region}", *more])
            config = f'[runner]\nstart = {call("start", ["{epoch}"])}\nstop = {call("stop", [])}\nstatus = {call("status", [])}\n'
            (inner / "config.toml").write_text(config)
    for vm in range(1, vms + 1):
        files = place / "a" / "resources" / "vm" / f"vm-{vm}"
        files.mkdir(parents=True)
        (files / "domain.xml").write_text(f"<domain>{vm}</domain>\n")
        (files / "disk.raw").write_bytes(os.urandom(disk << 10))
    fence = place / "fence"
    cut = f'{runner} {place}/machines fence "$DEBVISOR_FROM" "$DEBVISOR_EPOCH"' if runner else 'echo "fenced $DEBVISOR_FROM $DEBVISOR_EPOCH"'
    fence.write_text(f"#!/bin/sh\nexec {cut}\n" if runner else f"#!/bin/sh\n{cut}\n")
    fence.chmod(0o755)
    text = ["schema_version = 1"]
    for region, port in zip(REGIONS, ports):
        text.append(f'[regions.{region}]\napi_endpoint = "http://127.0.0.1:{port}"\nprimary = {str(region == "a").lower()}')
        text.append("capacity_vms = 100000")
    for source, sink in [("a", "b"), ("a", "c"), ("b", "c")]:
        text.append(f'[[replication]]\nsource = "{source}"\ntarget = "{sink}"\nresource_types = ["vm"]')
    text.append(f'[vms."vm-{{1..{vms}}}"]\nreplicas = ["b", "c"]')
    text.append(f"[failover]\nhooks = {{ fence = [{json.dumps(str(fence))}] }}")
    (place / "topology.toml").write_text("\n".join(text) + "\n")
    (place / "ports.json").write_text(json.dumps(dict(zip(REGIONS, ports))))


def serve(program, place, region):
    port = json.loads((place / "ports.json").read_text())[region]
    log = open(place / f"{region}.log", "w")
    server = subprocess.Popen(
        [program, "serve", "--region", region, "--data-dir", place / region, "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.PIPE, stderr=log, env=dict(os.environ, RUST_LOG="warn"),
    )
    log.close()
    if not server.stdout.readline().startswith(b"listening on"):
        sys.exit(f"{region} does not serve: {(place / f'{region}.log').read_text()}")
    return server


def tell(results, runner, vms, rounds):
    of = lambda key: sorted(each[key] for each in rounds)
    wall, operation = of("wall"), of("operation")
    kinds = sorted({kind for each in rounds for kind in each["steps"]})
    steps = {kind: statistics.median(each["steps"].get(kind, 0) for each in rounds) for kind in kinds}
    longest = sorted(steps.items(), key=lambda step: -step[1])[:4]
    results.table(f"Failover of a region whose server was killed, {'machines' if runner else 'no runner'}", {
        "VMs": vms, "operation, median": seconds(statistics.median(operation)),
        "least to most": f"{seconds(operation[0])} to {seconds(operation[-1])}",
        "of it": ", ".join(f"{kind} {seconds(took)}" for kind, took in longest),
        "from start to exit": seconds(statistics.median(wall)), "CLI peak": memory(max(of("peak"))),
    }, {"vms": vms, "machines": bool(runner), "rounds": rounds})


if __name__ == "__main__":
    main()
