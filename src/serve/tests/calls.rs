//! Every call once, for real: a resource is copied by its single calls, block by block.

use super::*;
use crate::replica::port::{BlockAddress, Confirmed, Reading, Receiving};
use crate::wire::blocks::Packed;
use crate::wire::call::{
    BlockHashes, Confirming, Controlling, GroupHashes, GroupRun, Groups, HashList, Inquiry, OpenReceiving, Publish,
    Told, WantedBlocks,
};

pub(super) fn hashes(bytes: &[u8]) -> HashList {
    assert_eq!(bytes.len() % 32, 0);
    HashList(bytes.chunks_exact(32).map(|hash| hash.try_into().unwrap()).collect())
}

#[tokio::test]
async fn a_resource_travels_call_by_call() {
    let lab = Lab::new();
    let disk = [noise(300_000), vec![0; 700_000], b"end".repeat(1000)].concat();
    let (east, west) = lab.pair(&disk).await;

    let reading = east.open_reading(&lab).await;
    let opened: Reading = serde_json::from_value(reading).unwrap();
    let order = lab.order();
    let open = OpenReceiving { order: order.clone(), reading: opened.clone(), accept_change: false };
    let receiving: Receiving = serde_json::from_value(west.post("receivings", &open).await.data()).unwrap();
    let (from, to) = (format!("readings/{}", opened.session), format!("receivings/{}", receiving.session));
    assert_eq!(receiving.compare.len(), 2, "the definition and the disk");
    for file in receiving.compare {
        let run = GroupRun { file, first: 0, count: 1 };
        let found = east.post(&format!("{from}/group-hashes"), &run).await;
        assert_eq!(
            (found.status.as_u16(), &found.headers["content-type"]),
            (200, &"application/octet-stream".parse().unwrap())
        );
        let given = GroupHashes { file, first: 0, hashes: hashes(&found.body) };
        let groups: Vec<u64> = serde_json::from_value(west.post(&format!("{to}/groups"), &given).await.data()).unwrap();
        assert_eq!(groups, [0]);
        let found = east.post(&format!("{from}/block-hashes"), &Groups { file, groups: groups.clone() }).await;
        let given = BlockHashes { file, groups, hashes: hashes(&found.body) };
        assert_eq!(west.post(&format!("{to}/expect"), &given).await.data(), Value::Null);
    }
    let survey = west.step(&format!("{to}/survey")).await.data();
    assert!(survey["wanted"].as_u64().unwrap() > 300_000, "{survey}");
    loop {
        let wanted = west.step(&format!("{to}/wanted")).await.data();
        let wanted: Vec<BlockAddress> = serde_json::from_value(wanted).unwrap();
        if wanted.is_empty() {
            break;
        }
        let packed =
            east.post(&format!("{from}/blocks"), &WantedBlocks { wanted: wanted.clone(), compress: true }).await;
        assert_eq!(packed.status, 200, "{packed:?}");
        let unpacked = Packed::read([packed.body.clone().into()]).and_then(|packed| packed.unpack()).unwrap();
        assert!(unpacked.iter().map(|(at, _)| at).eq(&wanted));
        assert_eq!(west.bytes(&format!("{to}/blocks"), packed.body).await.data(), Value::Null);
    }
    west.step(&format!("{to}/checkpoint")).await.data();
    let end = east.step(&format!("{from}/close")).await.data();
    assert_eq!(end, "consistent");
    let published = west.post(&format!("{to}/publish"), &Publish { verified_at: opened.read_at }).await.data();
    assert_eq!(published["new"], true);
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), disk);
    assert_eq!(west.step(&format!("{to}/close")).await.status, StatusCode::NOT_FOUND, "it is over");
    assert_eq!(east.step(&format!("{from}/close")).await.status, StatusCode::NOT_FOUND);

    let points = west.get("resources/vm/web/points").await.data();
    assert_eq!(points.as_array().unwrap().len(), 1, "{points}");
    let later = lab.world.clock.now();
    let one = |sequence| Confirmed { order: order.clone(), sequence, verified_at: later };
    let answers = west.post("verified", &Confirming { confirmed: vec![one(1), one(2)] }).await.data();
    assert_eq!(answers[0]["point"]["verified_at"], json!(later), "{answers}");
    assert_eq!(answers[1]["error"]["code"], "region", "{answers}");
    let seen = west.get("resources/vm/web/points").await.data();
    assert_eq!(seen[0]["verified_at"], answers[0]["point"]["verified_at"]);
    let check = west.step("resources/vm/web/verify").await.data();
    assert!(check["files"].as_array().unwrap().iter().all(|file| file["verdict"] == "identical"), "{check}");
    let snapshot = west.get("snapshot").await.data();
    assert!(snapshot["replicas"]["vm.web"]["newest"].is_object(), "{snapshot}");
}

#[tokio::test]
async fn what_whoever_asks_knows_of_the_roles_is_not_told_once_more() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    let ask = async |known| {
        let told = east.post("standings", &Inquiry { machines: BTreeSet::new(), known }).await.data();
        serde_json::from_value::<Told>(told).unwrap()
    };
    let first = ask(None).await;
    let standings = first.standings.clone().unwrap();
    assert!(standings.resources.contains_key(&"vm.web".parse().unwrap()), "{standings:?}");
    assert_eq!(ask(Some(first.digest)).await, Told { standings: None, ..first.clone() });
    let change = RecordChangeBody::from(&RecordChange { address: "vm.new".parse().unwrap(), ..resource_record() });
    east.post("records", &Recording { authority: lab.authority(), changes: vec![change] }).await.data();
    let second = ask(Some(first.digest)).await;
    assert_ne!(second.digest, first.digest);
    assert!(second.standings.unwrap().resources.contains_key(&"vm.new".parse().unwrap()));
}

#[tokio::test]
async fn a_region_is_founded_controlled_and_written_to() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    assert_eq!(east.get("health").await.data(), json!({"service": "multi-region", "status": "operational"}));
    assert_eq!(east.get("snapshot").await.data()["identity"], Value::Null);
    let points = east.get("resources/vm/web/points").await;
    assert_eq!((points.status.as_u16(), points.code().as_str()), (409, "refused"), "nothing lives there yet");

    let ordered = Ordered { authority: lab.authority() };
    let first = east.post("region", &ordered).await.data();
    assert_eq!(first["region_id"], "east");
    assert_eq!(east.post("region", &ordered).await.data(), first, "founded twice, it is the same");
    east.post("control", &lab.take_over()).await.data();
    assert_eq!(east.get("snapshot").await.data()["controller"]["place"], "ops@host:/infra/state.db");
    let other = Authority { seat: Seat(Uuid::from_u128(99)), ..lab.authority() };
    let other = Controlling { control: Control::TakeOver { authority: other }, peers: PeerRecords::default() };
    let refused = east.post("control", &other).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "not_controller"));

    let change = RecordChangeBody::from(&resource_record());
    let recording = Recording { authority: lab.authority(), changes: vec![change] };
    east.post("records", &recording).await.data();
    east.post("records", &recording).await.data();
    let again = Recording { authority: lab.authority(), ..recording };
    let conflict = east.post("records", &again).await;
    assert_eq!((conflict.status.as_u16(), conflict.code().as_str()), (409, "conflict"));
    assert_eq!(conflict.json()["data"]["detail"]["address"], "vm.web");
    let points = east.get("resources/vm/web/points").await;
    assert_eq!((points.status.as_u16(), points.code().as_str()), (404, "not_found"));
    let discard = east.client.delete(east.url("resources/vm/web/set-aside/replaced-1")).json(&ordered);
    assert_eq!(east.send(discard).await.code(), "not_found");
}

#[tokio::test]
async fn what_is_counted_is_scraped() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    east.open_reading(&lab).await;
    east.get("resources/vm/..%2f/points").await;
    let answer = east.send(east.client.get(format!("{}/metrics", east.origin))).await;
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"debvisor_region_server_requests_total{method="POST",route="/api/v1/readings",status="200"} 1"#,
        r#"debvisor_region_server_requests_total{method="GET",route="/api/v1/resources/{type}/{id}/points",status="400"} 1"#,
        r#"debvisor_region_server_readings{region="east"} 1.0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_request_has_a_name_in_the_answer() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let named = |name: &str| east.client.get(east.url("snapshot")).header("x-request-id", name);
    let own = east.send(named("run-7.a_b")).await;
    assert_eq!(own.headers["x-request-id"], "run-7.a_b");
    for odd in ["", "a b", "\"quoted\"", &"x".repeat(65)] {
        let answer = east.send(named(odd)).await;
        assert!(Uuid::parse_str(answer.headers["x-request-id"].to_str().unwrap()).is_ok(), "{odd}: {answer:?}");
    }
}
