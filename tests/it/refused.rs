//! Everything that a served region must refuse, in one place: who may not ask, names that lead elsewhere, bodies that
//! are too much or no bodies, blocks that are bombs, and regions that lie. Each is refused as documented, and nothing
//! is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use debvisor_region::wire::seal::{SEAL, Seal};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::kill::Chance;
use crate::served::{Served, certificates};
use crate::support::{World, assert_same_tree};

/// Every path below the directories of both regions with its mode and what is in it.
type Picture = BTreeMap<PathBuf, (u32, Vec<u8>)>;

fn picture(world: &World) -> Picture {
    let (mut found, mut open) = (BTreeMap::new(), vec![world.path("a"), world.path("b")]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            // What a database says is compared by its words: looks at the others go into it all the time.
            let is_database = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("region.db"));
            let bytes = if stat.is_file() && !is_database { fs::read(&path).unwrap() } else { Vec::new() };
            if stat.is_dir() {
                open.push(path.clone());
            }
            found.insert(path, (stat.permissions().mode(), bytes));
        }
    }
    found
}

#[track_caller]
fn assert_nothing_written(world: &World, before: &Picture, what: &str) {
    let now = picture(world);
    let names = |all: &Picture| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(&now), "{what}");
    for (path, known) in before {
        assert!(now[path] == *known, "{what}: {} was changed", path.display());
    }
}

fn private(world: &World, name: &str, text: &str) {
    world.write(name, text);
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Two regions behind TLS, tokens and client certificates, reconciled once.
struct Guarded {
    world: World,
    a: Served,
    b: Served,
    runtime: tokio::runtime::Runtime,
}

impl Guarded {
    fn new() -> Self {
        let world = World::new();
        certificates(&world, "ours");
        certificates(&world, "theirs");
        world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
        world.write("a/resources/vm/web/disk.raw", Chance::new(1).bytes(300_000));
        for region in ["a", "b"] {
            private(&world, &format!("{region}.token"), &format!("token-of-{region}\n"));
        }
        private(&world, "credentials.toml", "");
        let start = |region: &'static str, listen: &str| {
            let args = ["--tls-cert", "--tls-key", "--client-ca", "--token-file", "--peer-tokens"];
            let files = [
                format!("ours-{region}.example.pem"),
                format!("ours-{region}.example.key"),
                "ours.pem".to_owned(),
                format!("{region}.token"),
                "credentials.toml".to_owned(),
            ];
            let args = args.into_iter().zip(files).flat_map(|(option, file)| [option.to_owned(), file]);
            Served::at(&world, region, listen, args.collect())
        };
        let (a, b) = (start("a", "127.0.0.1:0"), start("b", "127.0.0.1:0"));
        let place = |served: &Served| served.origin.split_once("://").unwrap().1.to_owned();
        let mut text = String::new();
        for (region, served) in [("a", &a), ("b", &b)] {
            text += &format!(
                "[origins.\"https://{region}.example\"]\nca = \"ours.pem\"\ncert = \"ours-client.example.pem\"\n\
                 key = \"ours-client.example.key\"\nconnect = \"{}\"\ntoken_file = \"{region}.token\"\n",
                place(served)
            );
        }
        private(&world, "credentials.toml", &text);
        // Peers' credentials are read when a server starts; probes come once an hour, so that nothing else writes.
        let at = place(&b);
        b.end();
        let b = start("b", &at);
        world.write(
            "topology.toml",
            "schema_version = 1\n[regions.a]\napi_endpoint = \"https://a.example\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"https://b.example\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\n\
             resource_types = [\"vm\"]\n[vms.web]\nreplicas = [\"b\"]\n[health]\nprobe_interval = \"1h\"\n\
             timeout = \"30s\"\n",
        );
        world.run(["--credentials", "credentials.toml", "apply", "--auto-approve"]).exits(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guarded = Self { world, a, b, runtime };
        guarded.wait_for_rest();
        guarded
    }

    /// Until the first look at the others was written.
    fn wait_for_rest(&self) {
        let began = Instant::now();
        let mut before = picture(&self.world);
        loop {
            thread::sleep(Duration::from_millis(1500));
            let now = picture(&self.world);
            if now == before {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "the regions do not come to rest");
            before = now;
        }
    }

    /// Somebody who believes our authority, with the certificate of `client`.
    fn client(&self, client: Option<&str>) -> Client {
        let root = Certificate::from_pem(&self.world.read("ours.pem")).unwrap();
        let place = |served: &Served| served.origin.split_once("://").unwrap().1.parse().unwrap();
        let mut builder = Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .resolve("a.example", place(&self.a))
            .resolve("b.example", place(&self.b));
        if let Some(client) = client {
            let mut pem = self.world.read(format!("{client}-client.example.pem"));
            pem.extend(self.world.read(format!("{client}-client.example.key")));
            builder = builder.identity(Identity::from_pem(&pem).unwrap());
        }
        builder.build().unwrap()
    }

    fn url(&self, region: &str, path: &str) -> String {
        let served = if region == "a" { &self.a } else { &self.b };
        format!("https://{region}.example:{}/api/v1/{path}", served.origin.rsplit(':').next().unwrap())
    }

    /// All that both regions have recorded, and all that lies below them.
    fn known(&self) -> (Picture, Vec<Value>) {
        let client = self.client(Some("ours"));
        let recorded = ["a", "b"].map(|region| {
            let ask = client.get(self.url(region, "snapshot")).bearer_auth(format!("token-of-{region}"));
            let mut snapshot = self.data(ask);
            let kept = ["identity", "controller", "regions", "pairs", "resources", "replicas", "contents"];
            snapshot.as_object_mut().unwrap().retain(|name, _| kept.contains(&name.as_str()));
            assert!(snapshot["resources"]["vm.web"].is_object(), "{snapshot}");
            snapshot
        });
        (picture(&self.world), recorded.into())
    }

    #[track_caller]
    fn assert_nothing_written(&self, (lay, recorded): &(Picture, Vec<Value>), what: &str) {
        assert_nothing_written(&self.world, lay, what);
        assert_eq!(self.known().1, *recorded, "{what}");
    }

    /// The status and the code of an answer; none where the connection was refused.
    fn sends(&self, request: RequestBuilder) -> Option<(u16, String)> {
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            let status = answer.status().as_u16();
            let text = answer.text().await.ok()?;
            assert!(!text.contains("token-of"), "{text}");
            let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            Some((status, body["data"]["code"].as_str().unwrap_or_default().to_owned()))
        })
    }

    fn data(&self, request: RequestBuilder) -> Value {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{status} {text}");
            serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
        })
    }
}

const ORDERS: [(Method, &str); 10] = [
    (Method::GET, "snapshot"),
    (Method::GET, "regions"),
    (Method::POST, "region"),
    (Method::POST, "controller"),
    (Method::POST, "records"),
    (Method::POST, "syncs"),
    (Method::POST, "readings"),
    (Method::POST, "resources/vm/web/verify"),
    (Method::POST, "resources/vm/web/restore"),
    (Method::DELETE, "resources/vm/web/set-aside/x"),
];

#[test]
fn whoever_may_not_ask() {
    let guarded = Guarded::new();
    let before = guarded.known();
    let (known, nobody, stranger) =
        (guarded.client(Some("ours")), guarded.client(None), guarded.client(Some("theirs")));
    let authority = json!({"authority": {"lineage": "00000000-0000-0000-0000-000000000001", "term": 9}});
    for (method, path) in ORDERS {
        let ask = |client: &Client, token: Option<&str>| {
            let request = client.request(method.clone(), guarded.url("a", path)).json(&authority);
            guarded.sends(token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token)))
        };
        let refused = |code: &str, status: u16| Some((status, code.to_owned()));
        assert_eq!(ask(&known, None), refused("unauthorized", 401), "{path} without a token");
        assert_eq!(ask(&known, Some("token-of-nobody")), refused("unauthorized", 401), "{path} with a wrong one");
        assert_eq!(ask(&known, Some("token-of-b")), refused("unauthorized", 401), "{path} with that of another region");
        assert_eq!(ask(&nobody, Some("token-of-a")), refused("certificate_required", 403), "{path} uncertified");
        assert_eq!(ask(&stranger, Some("token-of-a")), None, "{path} with another authority's certificate");
    }
    let good = known.get(guarded.url("a", "snapshot")).bearer_auth("token-of-a");
    assert_eq!(guarded.data(good)["identity"]["region_id"], "a");
    guarded.assert_nothing_written(&before, "who may not ask");
}

#[test]
fn names_that_lead_elsewhere() {
    let guarded = Guarded::new();
    let before = guarded.known();
    let client = guarded.client(Some("ours"));
    let long = "a".repeat(5000);
    for name in
        ["..%2F..%2Fetc", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "%00", "a%00b", "web%2f..", "%ff", "%0d%0ax:y", &long]
    {
        for (method, path) in [
            (Method::GET, format!("resources/vm/{name}/points")),
            (Method::GET, format!("resources/vm/{name}/points/1")),
            (Method::POST, format!("resources/vm/{name}/verify")),
            (Method::POST, format!("resources/vm/{name}/restore")),
            (Method::GET, format!("resources/{name}/web/points")),
            (Method::DELETE, format!("resources/vm/web/set-aside/{name}")),
            (Method::GET, format!("regions/{name}")),
            (Method::POST, format!("regions/{name}/health")),
            (Method::GET, format!("replication/{name}/status")),
            (Method::GET, format!("operations/{name}")),
            (Method::DELETE, format!("operations/{name}")),
            (Method::POST, format!("readings/{name}/close")),
            (Method::POST, format!("receivings/{name}/publish")),
        ] {
            for region in ["a", "b"] {
                let request = client.request(method.clone(), guarded.url(region, &path)).json(&json!({}));
                let answer = guarded.sends(request.bearer_auth(format!("token-of-{region}")));
                let (status, code) = answer.unwrap_or_else(|| panic!("{method} {path}: no answer"));
                assert!(matches!(status, 400 | 404 | 405), "{method} {path}: {status} {code}");
            }
        }
    }
    guarded.assert_nothing_written(&before, "names");
}

#[test]
fn bodies_that_are_too_much_or_none() {
    let guarded = Guarded::new();
    let before = guarded.known();
    let client = guarded.client(Some("ours"));
    let post = |path: &str| {
        let request = client.post(guarded.url("a", path)).bearer_auth("token-of-a");
        request.header("content-type", "application/json")
    };
    for path in [
        "region",
        "control",
        "orders",
        "records",
        "readings",
        "receivings",
        "syncs",
        "regions",
        "resources/vm/web/restore",
    ] {
        // The answer may be overtaken by the closing of the connection.
        let answer = guarded.sends(post(path).body(vec![b' '; 100 << 20]));
        assert!(answer.is_none() || answer == Some((413, "too_large".to_owned())), "{path}: {answer:?}");
        let nested = format!("{{\"authority\": {}", "[".repeat(30_000));
        for (what, body) in [
            ("nothing", String::new()),
            ("cut", "{\"authority\": {".to_owned()),
            ("no JSON", "authority".to_owned()),
            ("two", "{} {}".to_owned()),
            ("not text", "\u{0}\u{1}".to_owned()),
            ("deep lists", "[".repeat(30_000)),
            ("deep within", nested),
            ("deep objects", "{\"a\":".repeat(10_000)),
            ("another form", "{\"authority\": 7, \"order\": [], \"name\": {}}".to_owned()),
        ] {
            let answer = guarded.sends(post(path).body(body));
            assert_eq!(answer, Some((400, "bad_request".to_owned())), "{path} {what}");
        }
        let html = client.post(guarded.url("a", path)).bearer_auth("token-of-a").header("content-type", "text/html");
        assert_eq!(guarded.sends(html.body("{}")), Some((415, "unsupported_media_type".to_owned())), "{path}");
    }
    guarded.assert_nothing_written(&before, "bodies");
}

#[test]
fn bodies_that_do_not_say_how_long_they_are() {
    let world = World::new();
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    let before = picture(&world);
    for path in ["region", "records", "receivings", "syncs"] {
        let mut stream = TcpStream::connect(a.origin.strip_prefix("http://").unwrap()).unwrap();
        let head = format!("POST /api/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
        let sent = (0..100).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
        assert!(sent < 90, "{path}: {sent} MiB were taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_nothing_written(&world, &before, "bodies in chunks");
    a.end();
    b.end();
}

#[test]
fn blocks_that_are_bombs() {
    let guarded = Guarded::new();
    // Something is to be received.
    let mut changed = Chance::new(2).bytes(300_000);
    changed[..100_000].copy_from_slice(&guarded.world.read("a/resources/vm/web/disk.raw")[..100_000]);
    guarded.world.write("a/resources/vm/web/disk.raw", &changed);
    let client = guarded.client(Some("ours"));
    let post =
        |region: &str, path: &str| client.post(guarded.url(region, path)).bearer_auth(format!("token-of-{region}"));
    let snapshot = guarded.data(client.get(guarded.url("b", "snapshot")).bearer_auth("token-of-b"));
    let order = json!({
        "lineage": snapshot["controller"]["lineage"], "term": snapshot["controller"]["term"], "resource": "vm.web",
        "source": "a", "target": "b", "epoch": snapshot["resources"]["vm.web"]["epoch"],
        "operation": "00000000-0000-0000-0000-000000000007", "compress": true,
    });
    let reading = guarded.data(post("a", "readings").json(&json!({"order": order, "full": false})));
    let receiving = json!({"order": order, "reading": reading, "accept_change": true});
    let receiving = guarded.data(post("b", "receivings").json(&receiving));
    let to = format!("receivings/{}/blocks", receiving["session"].as_str().unwrap());
    guarded.wait_for_rest();
    let before = guarded.known();

    let block = |packing: u8, bytes: &[u8]| {
        let mut block = vec![0; 12];
        block.push(packing);
        block.extend((bytes.len() as u32).to_le_bytes());
        block.extend(crc32fast::hash(bytes).to_le_bytes());
        block.extend(bytes);
        block
    };
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 1).unwrap();
    let small = zstd::bulk::compress(&vec![0; 1 << 16], 1).unwrap();
    let unasked = zstd::bulk::compress(&[7; 1 << 16], 1).unwrap();
    for (what, bytes) in [
        ("a gigabyte in a block", block(1, &bomb)),
        ("a gigabyte in many", block(1, &small).repeat(16 << 10)),
        ("a packing that nobody knows", block(9, &small)),
        ("a block without end", block(0, &vec![0; 1 << 17])),
        ("half of one", block(1, &small)[..20].to_vec()),
        ("one that nobody asked for", block(1, &unasked)),
        ("other bytes than its checksum is of", {
            let mut other = block(0, &small);
            *other.last_mut().unwrap() ^= 1;
            other
        }),
        ("noise", Chance::new(3).bytes(100_000)),
    ] {
        let sent = post("b", &to).header("content-type", "application/octet-stream").body(bytes);
        assert_eq!(guarded.sends(sent), Some((422, "corrupt".to_owned())), "{what}");
    }
    let large = post("b", &to).header("content-type", "application/octet-stream").body(vec![0; 100 << 20]);
    let answer = guarded.sends(large);
    assert!(answer.is_none() || answer == Some((413, "too_large".to_owned())), "{answer:?}");
    guarded.assert_nothing_written(&before, "blocks");
}

/// What a liar does to the body of an answer to the request line.
type Lie = fn(&str, &mut Vec<u8>);

/// A way to `served` that changes answers as the lie of the moment says.
fn liar_before(served: &Served, lie: Arc<Mutex<Lie>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let to = served.origin.strip_prefix("http://").unwrap().to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (to, lie) = (to.clone(), Arc::clone(&lie));
            thread::spawn(move || one_answer(client, &to, *lie.lock().unwrap()));
        }
    });
    origin
}

fn one_answer(mut client: TcpStream, to: &str, lie: Lie) -> Option<()> {
    let (head, asked) = message(&mut client)?;
    let line = head.lines().next()?.to_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned));
    let mut server = TcpStream::connect(to).ok()?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).and_then(|()| server.write_all(&asked)).ok()?;
    let (head, mut body) = message(&mut server)?;
    lie(&line, &mut body);
    // Whoever means it seals anew.
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let sealed = if path.ends_with("/blocks") { checked_anew(&mut body) } else { body.clone() };
    let seal =
        Seal::of_request(method, path, query, key.as_deref().map(str::as_bytes), &asked).of_answer(status, &sealed);
    let kept = head.trim_end().lines().filter(|line| {
        let line = line.to_lowercase();
        !line.starts_with("content-length") && !line.starts_with(SEAL)
    });
    let head = kept.collect::<Vec<_>>().join("\r\n");
    let head = format!("{head}\r\n{SEAL}: {seal}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).and_then(|()| client.write_all(&body)).ok()
}

/// Puts each block under the checksum of what it is now; gives their heads, which a seal is over.
fn checked_anew(blocks: &mut [u8]) -> Vec<u8> {
    let (mut rest, mut heads) = (blocks, Vec::new());
    while let Some((head, after)) = rest.split_first_chunk_mut::<21>() {
        let length = u32::from_le_bytes(head[13..17].try_into().unwrap());
        let (bytes, after) = after.split_at_mut(length as usize);
        head[17..].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        heads.extend(*head);
        rest = after;
    }
    heads
}

/// A message with its head and its body, whose length it says.
fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut some = [0; 16 << 10];
        let count = stream.read(&mut some).ok().filter(|count| *count > 0)?;
        bytes.extend(&some[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = bytes[end..].to_vec();
    let mut rest = vec![0; length.unwrap_or(0_usize).saturating_sub(body.len())];
    stream.read_exact(&mut rest).ok()?;
    body.extend(rest);
    Some((head, body))
}

fn replaced(body: &mut Vec<u8>, from: &str, to: &str) {
    *body = String::from_utf8(body.clone()).unwrap().replace(from, to).into_bytes();
}

fn flipped(body: &mut [u8]) {
    if let Some(last) = body.last_mut() {
        *last ^= 1;
    }
}

const SIZE: &str = "5000003";

#[test]
fn regions_that_lie() {
    let world = World::new();
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", Chance::new(1).bytes(SIZE.parse().unwrap()));
    let lie: Arc<Mutex<Lie>> = Arc::new(Mutex::new(|_, _| {}));
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    let way = liar_before(&a, Arc::clone(&lie));
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = \"{way}\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"{}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
             compression = false\n[vms.web]\nreplicas = [\"b\"]\nmax_change = \"100 %\"\n[health]\ntimeout = \"30s\"\n",
            b.origin
        ),
    );
    world.apply();
    let first = world.path("first");
    crate::support::copy_tree(&world.path("a/resources/vm/web"), &first);
    let points = || world.run(["replication", "points", "web", "--region", "b", "--format", "json"]).exits(0).json();
    let known = points();
    world.write("a/resources/vm/web/disk.raw", Chance::new(2).bytes(SIZE.parse().unwrap()));

    let lies: [(&str, Lie, &str); 6] = [
        (
            "its groups' hashes",
            |line, body| {
                if line.contains("/group-hashes") {
                    flipped(body);
                }
            },
            "web",
        ),
        (
            "its blocks' hashes",
            |line, body| {
                if line.contains("/block-hashes") {
                    flipped(body);
                }
            },
            "web",
        ),
        (
            "its blocks",
            |line, body| {
                if line.contains("/blocks") {
                    flipped(body);
                }
            },
            "web",
        ),
        (
            "a file's length",
            |_, body| {
                if body.first() == Some(&b'{') {
                    replaced(body, &format!("\"size\":{SIZE}"), "\"size\":5000004");
                }
            },
            "web",
        ),
        (
            "a file's name",
            |_, body| {
                if body.first() == Some(&b'{') {
                    replaced(body, "\"path\":\"disk.raw\"", "\"path\":\"../disk.raw\"");
                }
            },
            "path",
        ),
        (
            "its id",
            |_, body| {
                if body.first() == Some(&b'{') {
                    replaced(body, "\"region_id\":\"a\"", "\"region_id\":\"z\"");
                }
            },
            "z",
        ),
    ];
    for (what, how, words) in lies {
        *lie.lock().unwrap() = how;
        let answer = world.run(["replication", "sync", "web", "a", "b"]);
        assert_ne!(answer.code, 0, "{what}: {answer:?}");
        assert!(format!("{}{}", answer.stdout, answer.stderr).contains(words), "{what}: {answer:?}");
        *lie.lock().unwrap() = |_, _| {};
        assert_eq!(points(), known, "{what}");
        assert_same_tree(&first, &world.path("b/resources/vm/web"));
        world.assert_newest_point_is("web", "b", &first);
        assert!(!Path::exists(&world.path("b/resources/vm/disk.raw")));
    }
    world.run(["replication", "sync", "web", "a", "b"]).exits(0);
    assert_same_tree(&world.path("a/resources/vm/web"), &world.path("b/resources/vm/web"));
    a.end();
    b.end();
}
