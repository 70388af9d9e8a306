//! What must not be taken for a death, and a death that is found out late. Every other region and this program come to
//! `a` the same way, so that all of them meet the same trouble.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::authority::Authority;
use crate::automatic::{AUTOMATIC, Fleet, Way};
use crate::proxy::{Proxy, Trouble, Way as Direction};
use crate::served_export::asked;
use crate::support::World;

/// A fleet whose `a` is reached over a line that can have troubles.
fn over_a_line() -> (Fleet, Proxy) {
    over_a_line_with(AUTOMATIC)
}

/// The same with another policy.
pub(crate) fn over_a_line_with(failover: &str) -> (Fleet, Proxy) {
    let line: Rc<RefCell<Option<Proxy>>> = Rc::default();
    let kept = Rc::clone(&line);
    let credentials = Box::new(move |address: &str| {
        let line = Proxy::to(&format!("http://{address}"), 7);
        let text = format!("[origins.\"http://a.invalid:8080\"]\nconnect = \"{}\"\n", line.address());
        *kept.borrow_mut() = Some(line);
        text
    });
    let way = Way { args: &[], endpoint: "http://a.invalid:8080", credentials };
    let fleet = Fleet::reached(1, failover, World::new(), Some(way));
    let line = line.take().unwrap();
    (fleet, line)
}

/// Rounds that may fail over, and do not; each tells why `a` does not answer.
#[track_caller]
fn nothing_moves(fleet: &Fleet, rounds: usize, cause: &str) {
    for _ in 0..rounds {
        fleet.round().exits(3).says(&["a is not certainly down", cause]);
    }
    // What answers this run is no refusal, and is not written down as one.
    assert_eq!(fleet.events(), Vec::<Value>::new());
    fleet.assert_nothing_moved();
}

fn slow(rounds: usize) {
    let (fleet, line) = over_a_line();
    line.is(Trouble::Slow, Direction::Answered, 100, 1);
    for _ in 0..rounds {
        fleet.round().exits(0);
    }
    assert_eq!(fleet.events(), Vec::<Value>::new());
    fleet.run(&["region", "show", "a"]).exits(0).says(&["unreachable"]);
    fleet.assert_all_run_at("a");
}

fn a_server_error(rounds: usize) {
    let (fleet, line) = over_a_line();
    line.is(Trouble::Broken, Direction::Answered, 100, 1);
    nothing_moves(&fleet, rounds, "answered 500");
}

fn a_portal(rounds: usize) {
    let (fleet, line) = over_a_line();
    line.is(Trouble::Html, Direction::Answered, 100, 1);
    nothing_moves(&fleet, rounds, "something else than a region's snapshot");
}

fn an_unknown_name(rounds: usize) {
    let (mut fleet, _line) = over_a_line();
    fleet.world.secret("credentials.toml", "");
    fleet.again(1);
    fleet.again(2);
    nothing_moves(&fleet, rounds, "does not resolve");
}

fn a_rotated_token(rounds: usize) {
    let world = World::new();
    world.secret("tokens", "the-first-one\n");
    let credentials = Box::new(|address: &str| {
        format!("[origins.\"http://a.invalid:8080\"]\nconnect = \"{address}\"\ntoken = \"the-first-one\"\n")
    });
    let way = Way { args: &["--token-file", "tokens"], endpoint: "http://a.invalid:8080", credentials };
    let mut fleet = Fleet::reached(1, AUTOMATIC, world, Some(way));
    fleet.world.secret("tokens", "another-one\n");
    fleet.again(0);
    nothing_moves(&fleet, rounds, "401");
}

/// Writes a certificate of `ca.pem` for `a.invalid` that holds until the end of that year.
fn certify(world: &World, until: i32) {
    let mut params = rcgen::CertificateParams::new(vec!["a.invalid".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    Authority::new(world, "ca").sign(world, "cert", params);
}

fn an_expired_certificate(rounds: usize) {
    let world = World::new();
    certify(&world, 2100);
    let credentials = Box::new(|address: &str| {
        format!("[origins.\"https://a.invalid:8443\"]\nconnect = \"{address}\"\nca = \"ca.pem\"\n")
    });
    let args = &["--tls-cert", "cert.pem", "--tls-key", "cert.key"];
    let way = Way { args, endpoint: "https://a.invalid:8443", credentials };
    let mut fleet = Fleet::reached(1, AUTOMATIC, world, Some(way));
    certify(&fleet.world, 2020);
    for n in 0..3 {
        fleet.again(n);
    }
    nothing_moves(&fleet, rounds, "expired");
}

#[test]
fn what_is_slow_is_not_dead() {
    slow(3);
}

#[test]
fn what_answers_with_an_error_is_not_dead() {
    a_server_error(3);
}

#[test]
fn what_a_portal_answers_for_is_not_dead() {
    a_portal(3);
}

#[test]
fn what_has_no_name_any_more_is_not_dead() {
    an_unknown_name(3);
}

#[test]
fn what_takes_another_token_is_not_dead() {
    a_rotated_token(3);
}

#[test]
fn what_has_an_expired_certificate_is_not_dead() {
    an_expired_certificate(3);
}

#[test]
#[ignore = "minutes: fifty rounds of each doubt"]
fn fifty_rounds_of_each_doubt_move_nothing() {
    for doubt in [slow, a_server_error, a_portal, an_unknown_name, a_rotated_token, an_expired_certificate] {
        doubt(50);
    }
}

/// When a region that is running last saw `a`, if it wrote that down.
pub(crate) fn seen(fleet: &Fleet, region: &str) -> Option<i64> {
    let read_only = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let path = fleet.world.path(format!("{region}/region.db"));
    seen_in(&rusqlite::Connection::open_with_flags(path, read_only).unwrap())
}

fn seen_in(store: &rusqlite::Connection) -> Option<i64> {
    store.query_row("SELECT seen_at FROM sightings WHERE region_id = 'a'", [], |row| row.get(0)).ok()
}

/// Two hours.
const AGO: i64 = 7_200_000_000;

/// A region that is not running saw `a` last at that moment, and made its copies so much earlier.
fn saw_last(fleet: &Fleet, region: &str, moment: i64, earlier: i64) {
    let store = rusqlite::Connection::open(fleet.world.path(format!("{region}/region.db"))).unwrap();
    let by = seen_in(&store).unwrap() - moment;
    let back = "UPDATE sightings SET probed_at = probed_at - ?1, seen_at = seen_at - ?1, \
                silent_since = silent_since - ?1, counted_at = counted_at - ?1 WHERE region_id = 'a'";
    assert_eq!(store.execute(back, [by]).unwrap(), 1);
    let verified = "UPDATE points SET record = json_set(record, '$.point.verified_at', \
                    strftime('%Y-%m-%dT%H:%M:%S', ?1 / 1000000, 'unixepoch') || printf('.%06dZ', ?1 % 1000000))";
    assert_eq!(store.execute(verified, [moment - earlier]).unwrap(), 1);
}

#[test]
fn a_death_that_is_seen_two_hours_late_is_one_and_loses_no_more_for_that() {
    let (mut fleet, line) = over_a_line();
    for region in ["b", "c"] {
        // Once it has seen `a`, and written that down.
        while seen(&fleet, region).is_none() {
            thread::sleep(Duration::from_millis(50));
        }
    }
    // Nobody looks for two hours. A region that starts anew hears what `a` knows before it takes anything over: `a` is
    // there for that, and no probe sees it.
    line.is(Trouble::Deaf("/api/v1/health"), Direction::Asked, 100, 1);
    let others = [(1, "b"), (2, "c")];
    others.iter().for_each(|(n, _)| fleet.regions[*n].kill());
    // What they were killed in the middle of writing is brought in order by whoever may write.
    let store = |region| rusqlite::Connection::open(fleet.world.path(format!("{region}/region.db"))).unwrap();
    let moment = others.iter().map(|(_, region)| seen_in(&store(region)).unwrap()).min().unwrap() - AGO;
    for (n, region) in others {
        // All of them at the same moment, however slow this machine is: the latest one of them counts.
        saw_last(&fleet, region, moment, 60_000_000);
        let before = asked(&fleet.regions[0], "/standings");
        fleet.again(n);
        while asked(&fleet.regions[0], "/standings") == before {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let state = rusqlite::Connection::open(fleet.world.path("debvisor-region.state.db")).unwrap();
    state.execute("UPDATE health SET at = MIN(at - ?1, ?2)", [AGO, moment]).unwrap();
    drop(state);
    fleet.regions[0].kill();
    let dry = ["failover", "execute", "a", "b", "--dry-run", "--explain", "--format", "json"];
    let told = fleet.run(&dry).exits(0).json();
    assert!(told["source"]["last_seen"].as_str().unwrap().starts_with("2h"), "{told:#}");
    let loss = |moves: &Value| moves[0]["loss"]["at_most"].as_str().unwrap().to_owned();
    // A minute, and the moments between two clocks.
    let a_minute = |text: &str| {
        let rest = text.strip_prefix("1m").unwrap_or("more");
        rest.is_empty() || rest.strip_suffix("ms").is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    assert!(a_minute(&loss(&told["moves"])), "{told:#}");
    thread::sleep(Duration::from_secs(2));
    fleet.round().exits(3).says(&["completed", "at most 1m"]);
    fleet.assert_all_run_at("b");
    let [event] = fleet.events().try_into().unwrap();
    assert!(a_minute(event["loss"].as_str().unwrap()), "it does not grow while `a` is dead: {event:#}");
    assert!(event["notes"].to_string().contains("evidence of b: vote"), "{event:#}");
}
