//! `serve` as a process: what it prints, what it tells its service manager, how it ends, and whom it keeps out.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{World, assert_same_bytes};

/// A server that runs; killed where a test forgets it.
struct Served {
    child: Child,
    origin: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(world: &World, args: &[&str]) -> Served {
    serve_with(world, args, |_| {})
}

fn serve_with(world: &World, args: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Served {
    let mut command = world.command(["serve"]);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    change(&mut command);
    // A directory that is not there is warned of.
    for pair in args.windows(2).filter(|pair| pair[0] == "--data-dir") {
        fs::create_dir_all(world.path(pair[1])).unwrap();
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let Some(origin) = line.trim().strip_prefix("listening on ") else {
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        panic!("`{line}`\n{told}");
    };
    let origin = origin.to_owned();
    Served { child, origin }
}

impl Served {
    /// Ends by a signal; gives the exit code and what was logged.
    fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut told = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (self.child.wait().unwrap().code(), told)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.origin.strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: run-7\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn a_server_says_when_it_answers_and_ends_well() {
    let world = World::new();
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut words = [0; 64];
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).trim().to_owned()
    };
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let args = ["--region", "east", "--data-dir", "east", "--listen", "127.0.0.1:0"];
        let served = serve_with(&world, &args, |command| {
            command.env("NOTIFY_SOCKET", world.path("notify"));
        });
        assert_eq!(told(), "READY=1");
        assert!(served.get("/api/v1/health").starts_with("HTTP/1.1 200"));
        assert!(served.get("/api/v1/snapshot").contains("\r\nx-request-id: run-7\r\n"));
        let (code, log) = served.end(signal);
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(told(), "STOPPING=1");
        let lines: Vec<serde_json::Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let request = lines.iter().find(|line| line["path"] == "/api/v1/snapshot").unwrap();
        for (field, value) in [("request_id", "run-7"), ("method", "GET"), ("who", "anybody")] {
            assert_eq!(request[field], value, "{request}");
        }
        assert_eq!(request["status"], 200);
        assert!(request["duration_ms"].is_number(), "{request}");
        assert!(lines.iter().all(|line| line["path"] != "/api/v1/health"), "probes fill no log");
    }
}

/// What is freed is not kept once for each thread; whoever says how it is to be is listened to.
#[test]
fn a_server_shares_its_memory_between_its_threads() {
    let world = World::new();
    let args = ["--region", "east", "--data-dir", "east", "--listen", "127.0.0.1:0"];
    for (said, found) in [(None, "1"), (Some("7"), "7")] {
        let served = serve_with(&world, &args, |command| {
            command.env_remove("MALLOC_ARENA_MAX").envs(said.map(|said| ("MALLOC_ARENA_MAX", said)));
        });
        let environment = fs::read_to_string(format!("/proc/{}/environ", served.child.id())).unwrap();
        let arenas = environment.split('\0').find_map(|variable| variable.strip_prefix("MALLOC_ARENA_MAX="));
        assert_eq!(arenas, Some(found));
    }
}

#[test]
fn a_directory_has_one_program_at_a_time() {
    let world = World::new();
    let args = ["--region", "a", "--data-dir", "a", "--listen", "127.0.0.1:0"];
    let served = serve(&world, &args);
    let pid = format!("process {}", served.child.id());
    world.run(["serve"].iter().chain(&args)).exits(1).says(&[
        "region a (a) is in use by",
        &pid,
        "debvisor-region serve --region a",
    ]);
    world.write("topology.toml", "schema_version = 1\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n");
    world.run(["apply", "--auto-approve"]).exits(1).says(&["in use by", "`debvisor-region serve --region a"]);
    drop(served);
    world.run(["apply", "--auto-approve"]).exits(0);
    let other = ["serve", "--region", "b", "--data-dir", "a", "--listen", "127.0.0.1:0"];
    world.run(other).exits(1).says(&["belongs to region a, not to b"]);
}

#[test]
fn what_keeps_a_server_from_beginning_leaves_nothing_behind() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    world.run(["serve", "--region", "a", "--data-dir", "a", "--listen", &listen]).exits(1).says(&[&listen, "or 0 for"]);
    assert!(!world.path("a").exists());
    world.write("file", "x");
    let file = ["serve", "--region", "a", "--data-dir", "file", "--listen", "127.0.0.1:0"];
    world.run(file).exits(1).says(&["--data-dir", "file: is not a directory"]);
    let missing = world.run(["serve", "--config", "none.toml"]).exits(1).says(&["`none.toml` does not exist"]);
    assert!(!missing.stderr.contains("init"), "{}", missing.stderr);
}

#[test]
fn nobody_beyond_this_machine_is_served_without_protection() {
    let world = World::new();
    let args = ["--region", "a", "--data-dir", "a", "--listen", "0.0.0.0:0"];
    world.run(["serve"].iter().chain(&args)).exits(1).says(&["without token and TLS", "--token-file", "--insecure"]);
    assert!(!world.path("a").exists());
    let served = serve(&world, &[&args[..], &["--insecure"]].concat());
    let (code, log) = served.end(rustix::process::Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(log.starts_with("WARNING: --insecure: 0.0.0.0:0 can be reached from other machines"), "{log}");

    world.run(["serve"]).exits(1).says(&["`region` is given neither", "--region"]);
    world.run(["serve", "--region", "../x", "--data-dir", "a"]).exits(64);
    world.write("tokens", "one\n");
    let open = ["serve", "--region", "a", "--data-dir", "a", "--token-file", "tokens"];
    fs::set_permissions(world.path("tokens"), fs::Permissions::from_mode(0o644)).unwrap();
    world.run(open).exits(1).says(&["others on this machine can read it", "chmod 600 tokens"]);
    world.write("config.toml", "region = \"a\"\nlisten = 7\n");
    world.run(["serve", "--config", "config.toml", "--data-dir", "a"]).exits(1).says(&["config.toml:2", "listen"]);
}

#[test]
fn a_certificate_out_of_its_time_is_told_of() {
    let world = World::new();
    let issue = |from: i32, until: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        world.write("cert.pem", params.self_signed(&key).unwrap().pem());
        world.secret("key.pem", key.serialize_pem());
    };
    let args = ["--region", "a", "--data-dir", "a", "--listen", "127.0.0.1:0"];
    let args = [&args[..], &["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--client-ca", "cert.pem"]].concat();
    for (from, until, told) in [
        (2001, 2002, "WARNING: the certificate cert.pem is not valid any more since 2002-01-01T00:00:00Z\n"),
        (4000, 4001, "WARNING: the certificate cert.pem is not valid before 4000-01-01T00:00:00Z\n"),
        (2001, 4000, ""),
    ] {
        issue(from, until);
        let (code, log) = serve(&world, &args).end(rustix::process::Signal::TERM);
        assert_eq!(code, Some(0), "{log}");
        let warned: String =
            log.lines().filter(|line| line.contains("WARNING")).map(|line| format!("{line}\n")).collect();
        assert_eq!(warned, told, "{log}");
    }
}

#[test]
fn two_served_regions_are_kept_alike() {
    let world = World::new();
    world.write("east/resources/vm/web/web.xml", "<domain/>");
    let disk: Vec<u8> = (0..3_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write("east/resources/vm/web/disk.raw", &disk);
    for name in ["east", "west"] {
        world.secret(format!("{name}.token"), format!("the-token-of-{name}\n"));
    }
    let start = |name: &str, listen: &str| {
        // All of it in the configuration.
        let config = format!(
            "region = \"{name}\"\ndata_dir = \"{name}\"\nlisten = \"{listen}\"\ntoken_file = \"{name}.token\"\n\
             peer_tokens = \"peers.toml\"\n"
        );
        world.write(format!("{name}.toml"), config);
        serve(&world, &["--config", &format!("{name}.toml")])
    };
    world.secret("peers.toml", "");
    let east = start("east", "127.0.0.1:0");
    let credentials = |west: &str| {
        let origins = [("east", east.origin.as_str()), ("west", west)];
        let tables = origins.map(|(name, origin)| format!("[origins.\"{origin}\"]\ntoken_file = \"{name}.token\"\n"));
        world.secret("peers.toml", tables.concat());
    };
    credentials("http://127.0.0.1:1");
    let west = start("west", "127.0.0.1:0");
    credentials(&west.origin);
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.east]\napi_endpoint = \"{}\"\nprimary = true\n[regions.west]\napi_endpoint = \
             \"{}\"\n[[replication]]\nsource = \"east\"\ntarget = \"west\"\nresource_types = [\"vm\"]\n[vms.web]\n\
             replicas = [\"west\"]\n",
            east.origin, west.origin
        ),
    );
    world.run(["plan"]).exits(1).says(&["401"]);
    world.run(["apply", "--auto-approve", "--credentials", "peers.toml"]).exits(0);
    let copy = "resources/vm/web/disk.raw";
    assert_same_bytes(&world.path(format!("east/{copy}")), &world.path(format!("west/{copy}")));
    world.run(["plan", "--detailed-exitcode", "--credentials", "peers.toml"]).exits(0);

    // Killed without a word, the target comes back and goes on.
    let listen = west.origin.strip_prefix("http://").unwrap().to_owned();
    west.end(rustix::process::Signal::KILL);
    world.write(format!("east/{copy}"), [&disk[1 << 20..], &disk[..1 << 20]].concat());
    world
        .run(["apply", "--auto-approve", "--credentials", "peers.toml"])
        .exits(3)
        .says(&["west", "connection refused"]);
    let west = start("west", &listen);
    world
        .run(["replication", "sync", "web", "east", "west", "--accept-change", "--credentials", "peers.toml"])
        .exits(0);
    assert_same_bytes(&world.path(format!("east/{copy}")), &world.path(format!("west/{copy}")));
    for served in [east, west] {
        let (code, log) = served.end(rustix::process::Signal::TERM);
        assert_eq!(code, Some(0));
        assert!(!log.contains("the-token-of"), "no secret is told: {log}");
    }
}
