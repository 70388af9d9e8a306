//! Requests that mean harm, or come from programs that are broken.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::replica::port::{BlockAddress, Reading, Receiving};
use crate::wire::blocks;
use crate::wire::call::OpenReceiving;
use crate::wire::seal::{SEAL, Seal};

/// Every path below the region's directory, its metadata and locks aside.
fn picture(lab: &Lab) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![lab.dir.path().to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            // There as long as a write of the metadata takes, such as that of a probe.
            if !path.ends_with("region.db-journal") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn names_that_lead_elsewhere_lead_nowhere() {
    let lab = Lab::new();
    let (east, west) = lab.pair(b"disk").await;
    let before = picture(&lab);
    let long = "a".repeat(5000);
    for name in ["..%2f..%2fetc", "%2e%2e", "%00", "a%00b", "web%2f..", "%ff", ".", "-a", "%0d%0aSet-Cookie:x", &long] {
        for served in [&east, &west] {
            let points = served.get(&format!("resources/vm/{name}/points")).await;
            assert!(matches!(points.status.as_u16(), 400 | 404), "{name}: {points:?}");
            points.code();
            let verify = served.step(&format!("resources/vm/{name}/verify")).await;
            assert!(matches!(verify.status.as_u16(), 400 | 404), "{name}: {verify:?}");
            let ordered = Ordered { authority: lab.authority() };
            let discard = served.client.delete(served.url(&format!("resources/vm/web/set-aside/{name}")));
            let discard = served.send(discard.json(&ordered)).await;
            assert!(matches!(discard.status.as_u16(), 400 | 404 | 405), "{name}: {discard:?}");
            for path in ["operations", "readings", "receivings"] {
                let operation = served.get(&format!("{path}/{name}")).await;
                assert!(matches!(operation.status.as_u16(), 400 | 404), "{name}: {operation:?}");
            }
        }
    }
    assert_eq!(east.get("resources/disk/web/points").await.json()["data"]["field"], "type");
    assert_eq!(picture(&lab), before);
}

#[tokio::test]
async fn bodies_that_are_wrong_name_the_field() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    let mut order = json!({"order": lab.order(), "full": false});
    order["order"]["resource"] = json!("vm.../../etc");
    let mut unknown = json!({"order": lab.order(), "full": false});
    unknown["fulll"] = json!(true);
    let mut spec = json!({"authority": lab.authority(), "changes": [RecordChangeBody::from(&resource_record())]});
    spec["changes"][0]["record"]["spec"]["primary"] = json!(7);
    for (path, body, field) in [
        ("readings", order, "order.resource"),
        ("readings", unknown, "fulll"),
        ("readings", json!({"order": lab.order()}), "full"),
        ("readings", json!([]), "."),
        ("region", json!({"authority": {"lineage": 7}}), "authority.lineage"),
        ("records", spec, "changes[0].record.spec"),
    ] {
        let answer = east.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{path} {body}");
        let found = answer.json()["data"]["field"].as_str().unwrap().to_owned();
        assert!(found == field || field == ".", "{path} {body}: {answer:?}");
    }
    // The same number, written otherwise.
    let mut whole = json!({"order": lab.order(), "full": false});
    whole["order"]["term"] = json!(1.0);
    assert!(whole.to_string().contains("1.0"));
    assert_eq!(east.post("readings", &whole).await.status, 200);
    whole["order"]["term"] = json!(1.5);
    assert_eq!(east.post("readings", &whole).await.json()["data"]["field"], "order.term");
    let typed = |kind: &str, body: &str| {
        east.client.post(east.url("readings")).header("content-type", kind).body(body.to_owned())
    };
    for bad in ["", "{", "{\"order\": ", "nonsense", "{} {}", "\u{0}"] {
        assert_eq!(east.send(typed("application/json", bad)).await.status, 400, "{bad}");
    }
    let deep = "[".repeat(1 << 15);
    assert_eq!(east.send(typed("application/json", &deep)).await.status, 400, "no stack is exhausted");
    assert_eq!(east.send(typed("text/html", "{}")).await.code(), "unsupported_media_type");
    assert_eq!(east.step("region").await.status, 415);
    let put = east.send(east.client.put(east.url("snapshot"))).await;
    assert_eq!((put.status.as_u16(), put.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(put.headers["allow"], "GET,HEAD");
    for nothing in ["", "snapshots", "snapshot/", "readings/x/y/z"] {
        assert_eq!(east.get(nothing).await.code(), "not_found", "{nothing}");
    }
    assert_eq!(east.get(&format!("operations/{}?wait=soon", Uuid::nil())).await.code(), "bad_request");
    let keyed = east.client.post(east.url("readings")).json(&json!({"order": lab.order(), "full": false}));
    assert_eq!(
        east.send(keyed.header("idempotency-key", "not a uuid")).await.json()["data"]["field"],
        "idempotency-key"
    );
}

#[tokio::test]
async fn bodies_that_are_too_large_are_not_read() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    for path in ["readings", "records", "receivings", "region"] {
        // Announced: refused before it comes. The answer may be overtaken by the closing of the connection.
        let sent = east.client.post(east.url(path)).header("content-type", "application/json");
        match sent.body(vec![b' '; 100 << 20]).send().await {
            Ok(answer) => assert_eq!(answer.status(), 413, "{path}"),
            Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
        }
    }
    // Not announced: it ends where the limit is.
    let mut stream = TcpStream::connect(east.origin.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /api/v1/region HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    stream.write_all(chunk.as_bytes()).await.unwrap();
    stream.write_all(b"1\r\n \r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(east.get("health").await.status, 200);
}

#[tokio::test]
async fn blocks_that_lie_are_not_kept() {
    let lab = Lab::new();
    let (east, west) = lab.pair(&noise(200_000)).await;
    let reading: Reading = serde_json::from_value(east.open_reading(&lab).await).unwrap();
    let open = OpenReceiving { order: lab.order(), reading, accept_change: false };
    let receiving: Receiving = serde_json::from_value(west.post("receivings", &open).await.data()).unwrap();
    let to = format!("receivings/{}/blocks", receiving.session);
    let before = picture(&lab);
    let at = BlockAddress { file: 0, block: 0 };
    let zeros = Bytes::from(vec![0; 65536]);
    let packed = |count: usize| blocks::pack((0..count).map(|_| (at, zeros.clone())), true).unwrap();
    let honest = |count: usize| packed(count).joined().to_vec();
    // A gigabyte of zeros in one block, and many small ones that are one together.
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 1).unwrap();
    let mut large = honest(1)[..13].to_vec();
    large.extend_from_slice(&(bomb.len() as u32).to_le_bytes());
    large.extend_from_slice(&crc32fast::hash(&bomb).to_le_bytes());
    large.extend_from_slice(&bomb);
    for (what, bytes) in
        [("one bomb", large), ("many bombs", honest(20_000)), ("cut", honest(1)[..20].to_vec()), ("unasked", honest(1))]
    {
        let answer = west.bytes(&to, bytes).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "corrupt"), "{what}: {answer:?}");
    }
    // What a line made of blocks whose seal tells what they were: other bytes, another place, nothing but heads.
    let (whole, meant) = (honest(1), packed(1));
    let seal = Seal::of_request("POST", &format!("/api/v1/{to}"), None, None, meant.heads());
    let other = |place: usize| whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == place)).collect();
    for (what, came) in [("bytes", other(whole.len() - 1)), ("head", other(4)), ("cut", meant.heads().to_vec())] {
        let sent = west.client.post(west.url(&to)).header("content-type", "application/octet-stream");
        let answer = west.send(sent.header(SEAL, seal.to_string()).body(came)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "changed"), "{what}: {answer:?}");
    }
    let answer = west.bytes(&to, vec![0; (8 << 20) + 1]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too_large"));
    assert_eq!(west.bytes(&format!("receivings/{}/blocks", Uuid::nil()), honest(1)).await.status, 404);
    assert_eq!(picture(&lab), before);
}

#[tokio::test]
async fn orders_of_the_wrong_region_or_age_are_refused() {
    let lab = Lab::new();
    let (east, west) = lab.pair(b"disk").await;
    let open = |change: fn(&mut SyncOrder)| {
        let mut order = lab.order();
        change(&mut order);
        OpenReading { order, full: false }
    };
    for (what, body) in [
        ("another source", open(|order| order.source = id("north"))),
        ("a resource that is not there", open(|order| order.resource = "vm.other".parse().unwrap())),
        ("an epoch that nobody has heard of", open(|order| order.epoch = Epoch(9))),
    ] {
        let answer = east.post("readings", &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "region"), "{what}");
    }
    let stale = east.post("readings", &open(|order| order.epoch = Epoch(0))).await;
    assert_eq!((stale.status.as_u16(), stale.code().as_str()), (409, "stale"));
    assert_eq!(west.post("readings", &open(|_| {})).await.code(), "region", "it is no holder");
}

/// Between programs every request and answer is sealed: what a line changes of either is no order and no answer.
#[tokio::test]
async fn requests_that_were_changed_on_the_way_do_nothing() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    let path = |path: &str| format!("/api/v1/{path}");
    let seal = |method: &str, to: &str, body: &[u8]| Seal::of_request(method, &path(to), None, None, body);
    let before = picture(&lab);
    let order = serde_json::to_vec(&OpenReading { order: lab.order(), full: false }).unwrap();
    let aside = serde_json::to_vec(&Ordered { authority: lab.authority() }).unwrap();
    let (session, other) = (Uuid::nil(), Uuid::from_u128(1));
    for (method, asked, came, body) in [
        // Another body, another path, another query than what was sealed.
        ("POST", "readings", "readings", order.as_slice()),
        ("DELETE", "resources/vm/web/set-aside/x", "resources/vm/wea/set-aside/x", &aside),
        ("GET", "resources/vm/web/points", "resources/vm/wea/points", b""),
        ("DELETE", &format!("operations/{session}"), &format!("operations/{other}"), b""),
        ("GET", "snapshot", "snapshot?x=1", b""),
    ] {
        let sealed = if asked == came { seal(method, asked, b"{}") } else { seal(method, asked, body) };
        let sent = east.client.request(method.parse().unwrap(), east.url(came)).header(SEAL, sealed.to_string());
        let sent =
            if body.is_empty() { sent } else { sent.header("content-type", "application/json").body(body.to_vec()) };
        let answer = east.send(sent).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "changed"), "{method} {came}");
    }
    let nonsense = east.send(east.client.get(east.url("snapshot")).header(SEAL, "nonsense")).await;
    assert_eq!(nonsense.code(), "changed");
    assert_eq!(picture(&lab), before);

    // Whoever seals nothing gets a sealed answer; so does whoever is refused.
    for to in ["snapshot", "resources/vm/web/points", "nothing"] {
        let answer = east.client.get(east.url(to)).send().await.unwrap();
        let status = answer.status().as_u16();
        let given = answer.headers()[SEAL].to_str().unwrap().to_owned();
        let body = answer.bytes().await.unwrap();
        assert_eq!(given, seal("GET", to, b"").of_answer(status, &body).to_string(), "{to}");
    }
    let answer = east.client.post(east.url("readings")).header("content-type", "application/json");
    let answer = answer.header(SEAL, seal("POST", "readings", &order).to_string()).body(order.clone()).send().await;
    let answer = answer.unwrap();
    let given = answer.headers()[SEAL].to_str().unwrap().to_owned();
    let (status, body) = (answer.status().as_u16(), answer.bytes().await.unwrap());
    assert_eq!(given, seal("POST", "readings", &order).of_answer(status, &body).to_string());
    assert_eq!(status, 200);
}

async fn raw(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(served.origin.strip_prefix("http://").unwrap()).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let many: String = (0..20_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = raw(&east, format!("GET /api/v1/health HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let long = format!("GET /api/v1/health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = raw(&east, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    for nonsense in ["\r\n\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = raw(&east, nonsense.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(east.get("health").await.status, 200);
}

#[tokio::test]
async fn headers_that_trickle_are_not_waited_for() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let began = lab.world.clock.since_boot();
    let answer = raw(&east, b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\nslow: ").await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    let took = lab.world.clock.since_boot() - began;
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test]
async fn more_than_there_is_room_for_is_turned_away() {
    let lab = Lab { requests: 2, ..Lab::new() };
    let (east, west) = lab.pair(&noise(super::fetches::LARGE)).await;
    let (key, slow) = (Uuid::from_u128(7), super::fetches::slowly(&lab));
    assert_eq!(west.begin("syncs", key, 0, &slow).await.status, 202);
    // These wait for its end, and there is room for two.
    let (one, two) = (west.begin("syncs", key, 4, &slow), west.begin("syncs", key, 4, &slow));
    let turned_away = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(west.get(&format!("operations/{key}")).await.status, 200, "asking after work needs no room");
        west.get("snapshot").await
    };
    let (_, _, answer) = tokio::join!(one, two, turned_away);
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "busy"));
    assert_eq!(west.get("snapshot").await.status, 200, "it passes");
    west.end().await;
    east.end().await;
}
