#!/usr/bin/env python3
"""Takes one guard of the failover rules out at a time, and expects the deterministic fleet to notice.

guards.py [NAME ...]      SEEDS=1000 by default; exits 1 where a guard is missed, or the whole rules fail
guards.py --check         only whether each guard's lines are where it takes them out

The pure rooms (`model`, `failover`) and the tests that drive them are copied into a crate of their own below
`target/guards`, so that a try takes seconds. Each guard is a few lines that are replaced; each must match once.

Some rules stand behind others, so that seeds do not miss them; sentences of `src/failover/tests` do: everybody's word
after an agent's start, one operation at a time, and that a fence by hand proves nothing of what was seen running
since, nor by the word of a region that was gone meanwhile.
"""
import os, re, shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRATE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "guards"
SEEDS = os.environ.get("SEEDS", "1000")
NEEDS = ["serde", "serde_json", "schemars", "jiff", "uuid", "thiserror", "blake3"]

FLEET = ["--test", "sim", "in_a_storm"]
# name: [(file, what is there, what is put in its place)]
GUARDS = {
    "acceptance-by-every-region": [("src/failover/next.rs",
        "Some(Answer::Silent(why)) if !self.excused(region) && !self.cut.contains(region) => {",
        "Some(Answer::Silent(why)) if self.bid.direction == Direction::Abort || *region == self.bid.to => {")],
    "abort-by-every-region": [("src/failover/next.rs",
        "Some(Answer::Silent(why)) if !self.excused(region) && !self.cut.contains(region) => {",
        "Some(Answer::Silent(why)) if self.bid.direction == Direction::Forward && !self.excused(region)"
        " && !self.cut.contains(region) => {")],
    "open-operations-seen-at-boot": [("src/failover/start.rs",
        "if let Some(operation) = standing.operation {",
        "if let Some(operation) = standing.operation.filter(|_| false) {")],
    "inert-after-boot": [("src/failover/start.rs",
        "if clear { Ok(()) } else { agent.obstacle(book, key).map_or(Ok(()), Err) }",
        "if clear || true { Ok(()) } else { agent.obstacle(book, key).map_or(Ok(()), Err) }")],
    "fence-stops-the-agent": [("tests/sim/region.rs",
        "        self.autostarted = None;\n        self.kill();\n",
        "        self.autostarted = None;\n")],
    "attempt's-owner": [
        ("src/failover/book.rs", "if open.bid.attempt == attempt {", "if open.bid.attempt.number == attempt.number {"),
        ("src/failover/accept.rs", "Some(open) if open.bid.attempt.number >= bid.attempt.number => {",
         "Some(open) if open.bid.attempt.number > bid.attempt.number => {")],
    "attempt-in-comparisons": [("src/model/failover.rs",
        "(self.epoch, self.attempt)", "(self.epoch, 0)")],
    "term-and-seat": [("src/model/region.rs",
        "(self.lineage, self.term, self.seat) == (authority.lineage, authority.term, authority.seat)",
        "self.lineage == authority.lineage || authority.lineage != self.lineage")],
    "sighting-veto": [("src/failover/verdict.rs",
        "Finding { rule: Rule::NoSighting, holds: false,", "Finding { rule: Rule::NoSighting, holds: true,")],
    "a-silent-observer-may-have-seen-it": [("src/failover/verdict.rs",
        "Finding { rule: Rule::AllHeard, holds: false,", "Finding { rule: Rule::AllHeard, holds: true,")],
    "status-after-stop": [("src/failover/duty.rs",
        "&[Act::Write, Act::Stop, Act::Check]", "&[Act::Write, Act::Stop]")],
    "silent-target's-fence": [("src/failover/next.rs",
        "!self.excused(region) && silent(*region));",
        "**region == self.bid.failover.from && !self.excused(region) && silent(*region));")],
    "intent-noted-before-a-hook": [("src/failover/next.rs",
        "        if !untold.is_empty() {\n            return Next::Do(untold);\n        }\n        let stale",
        "        let stale")],
    "journal-remembers-hooks": [("src/failover/progress.rs",
        "if let Note::HookDone { hook: hook @ (Hook::Before(_) | Hook::After(_)) } = note {",
        "if let (Note::HookDone { hook: hook @ (Hook::Before(_) | Hook::After(_)) }, true) = (note, false) {")],
    "a-running-hook-is-waited-out": [("src/failover/progress.rs",
        "if attempt.owner != self.bid.attempt.owner && !done {", "if false {")],
    "what-is-over-stays-over": [("src/failover/accept.rs",
        "if ended.is_some() || bid.failover.epoch <= self.highest_epoch {",
        "if ended.is_none() && bid.failover.epoch <= self.highest_epoch {")],
    "only-forward-after-a-promotion": [
        ("src/failover/accept.rs",
         "Some(attempt) if bid.direction == Direction::Abort => return Taken::Promoted(attempt),", ""),
        ("src/failover/next.rs",
         "        if let Some((region, _)) = self.promoted_at() {\n            return Next::Stuck(Impasse::Promoted(region));\n        }\n",
         "")],
    "what-nobody-closed-has-not-ended": [("src/failover/progress.rs",
        "Answer::Refused(refusal) => self.unclosed = Some((region.clone(), refusal)),",
        "Answer::Refused(_) => self.moved.extend(keys.iter().cloned()),")],
    "who-was-cut-off-by-hand-is-let-in-by-hand": [("src/failover/accept.rs",
        "            self.open.insert(id, open);\n",
        "            self.cut_off.remove(bid.starter());\n            self.open.insert(id, open);\n")],
    "no-order-starts-what-was-cut-off-by-hand": [("src/failover/progress.rs",
        "matches!(answer, Answer::Done(acceptance) if acceptance.cut_off)", "matches!(answer, Answer::Silent(_)) && false")],
    "attempts-that-were-heard-of-are-told": [("src/model/failover.rs",
        "accepted.max(self.later.get(&id).copied())", "accepted")],
    "what-started-nothing-is-taken-back": [("src/failover/taken_back.rs",
        "let Ok(open) = self.at(id, attempt) else {", "let Err(_) = self.at(id, attempt) else { return BTreeSet::new() };\n"
        "        let Ok(open) = self.at(id, attempt) else {")],
    "what-may-run-is-not-taken-back": [("src/failover/taken_back.rs",
        "keys.difference(placed)", "keys.difference(&BTreeSet::new())")],
}


def build(patches):
    """The crate with some lines replaced."""
    for part in ["src/model", "src/failover", "tests/sim"]:
        shutil.rmtree(CRATE / part, ignore_errors=True)
        shutil.copytree(ROOT / part, CRATE / part)
    cargo = (ROOT / "Cargo.toml").read_text()
    lines = [re.search(rf"^{need} = .*$", cargo, re.M).group(0) for need in NEEDS]
    (CRATE / "Cargo.toml").write_text(
        '[package]\nname = "debvisor-region"\nversion = "0.1.0"\nedition = "2024"\n[lib]\nname = "debvisor_region"\n'
        + "[workspace]\n[profile.test]\nopt-level = 2\n[dependencies]\n" + "\n".join(lines) + "\n")
    shutil.copy(ROOT / "Cargo.lock", CRATE / "Cargo.lock")
    (CRATE / "src/lib.rs").write_text("pub mod model;\npub mod failover;\n")
    for name, there, instead in patches:
        (CRATE / name).write_text((CRATE / name).read_text().replace(there, instead))


def stale():
    """The guards whose lines are not, or not once, where they are looked for."""
    for guard, patches in GUARDS.items():
        text = {name: (ROOT / name).read_text() for name, _, _ in patches}
        for name, there, instead in patches:
            if text[name].count(there) != 1:
                yield f"{guard}: {text[name].count(there)} places of {name} match, not one: {there!r}"
            text[name] = text[name].replace(there, instead)


def run():
    """Whether the seeds pass, and what is said of the one that does not."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(CRATE / "target"), SEEDS=SEEDS, RUST_BACKTRACE="0",
                       RUSTFLAGS="-Awarnings")
    command = ["cargo", "test", "--quiet", "--offline"]
    built = subprocess.run(command + FLEET[:2] + ["--no-run"], cwd=CRATE, env=environment,
                           capture_output=True, text=True)
    if built.returncode:
        sys.exit(built.stderr)
    done = subprocess.run(command + FLEET, cwd=CRATE, env=environment, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def main():
    if gone := list(stale()):
        sys.exit("\n".join(gone))
    if sys.argv[1:] == ["--check"]:
        return
    names = sys.argv[1:] or list(GUARDS)
    missed = []
    (CRATE / "src").mkdir(parents=True, exist_ok=True)
    if not sys.argv[1:]:
        build([])
        passes, said = run()
        if not passes:
            sys.exit("with all guards in place:\n" + said[-4000:])
        print(f"all guards in place: {SEEDS} seeds pass", flush=True)
    for name in names:
        build(GUARDS[name])
        passes, said = run()
        seed = re.search(r"seed (\d+):", said)
        why = [line for line in said.splitlines() if line.strip()]
        at = next((i for i, line in enumerate(why) if line.startswith("replay it")), 0)
        print(f"{name}: " + ("MISSED" if passes else f"seed {seed and seed[1]}: {why[at - 1].strip()[:100]}"), flush=True)
        if passes:
            missed.append(name)
    sys.exit(1 if missed else 0)


main()
