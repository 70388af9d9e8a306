//! Good files, every mistake at its place, and no secret anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::config::tests::drawn;
use crate::model::RegionId;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\ns3cret\n-----END EC PRIVATE KEY-----\n";

fn write(dir: &Path, name: &str, text: &str, mode: u32) {
    fs::write(dir.join(name), text).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with all that a file may name.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.token", "s3cret\n", 0o600);
    write(dir.path(), "ca.pem", CERTIFICATE, 0o644);
    write(dir.path(), "client.pem", CERTIFICATE, 0o644);
    write(dir.path(), "client.key", KEY, 0o640);
    dir
}

fn given(dir: &Path, text: &str) -> Result<Credentials, String> {
    write(dir, "credentials.toml", text, 0o600);
    load(&dir.join("credentials.toml")).map_err(|problems| drawn(&problems))
}

fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

#[test]
fn a_whole_file_is_read_and_shows_no_secret() {
    let dir = place();
    let credentials = given(
        dir.path(),
        r#"
        [origins."HTTPS://A.example:443"]
        token_file = "a.token"
        ca = "ca.pem"
        cert = "client.pem"
        key = "client.key"
        connect = "10.1.2.3:5000"
        [origins."http://127.0.0.1:5000"]
        token = "s3cret-2"
        "#,
    )
    .unwrap();
    let a = credentials.for_origin("https://a.example");
    assert_eq!(a.token.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(a.client.as_ref().unwrap().key.expose(), KEY);
    assert_eq!(a.connect.unwrap().to_string(), "10.1.2.3:5000");
    assert_eq!(credentials.for_origin("http://127.0.0.1:5000").token.unwrap().expose(), "s3cret-2");
    // The same host is another origin under another scheme or port.
    for other in ["http://a.example", "https://a.example:5000", "https://b.example"] {
        assert_eq!(credentials.for_origin(other), Credential::default(), "{other}");
    }
    assert!(!format!("{credentials:?}").contains("s3cret"));
}

#[test]
fn every_mistake_is_told_at_its_place_and_no_secret_is() {
    let dir = place();
    write(dir.path(), "open.token", "s3cret", 0o644);
    write(dir.path(), "two.token", "s3cret\ns3cret", 0o600);
    write(dir.path(), "broken.token", "s3cret s3cret", 0o600);
    let report = given(
        dir.path(),
        r#"
        [origins."https://a:1"]
        tokn = "s3cret"
        ca = "a.token"
        cert = "client.pem"
        connect = "a:1"
        # token = "s3cret"
        [origins."https://A:1"]
        token = "s3cret"
        [origins."https://b"]
        token = "s3cret s3cret"
        token_file = "a.token"
        [origins."http://c"]
        token = "s3cret"
        ca = "ca.pem"
        [origins."https://d"]
        token_file = "open.token"
        [origins."https://e"]
        token_file = "none.token"
        [origins."https://f"]
        token_file = "two.token"
        [origins."https://g"]
        token_file = "broken.token"
        [origins."https://me:s3cret@h"]
        [origins."file:/h"]
        [origins."https://10.0.0.1"]
        connect = "10.0.0.2:1"
        [origins."https://i"]
        token = 7
        [origin."https://j"]
        "#,
    )
    .unwrap_err();
    for expected in [
        "`tokn` is no known key",
        "did you mean `token`?",
        "ca.token` holds no certificate",
        "`key` of `https://a:1` is missing",
        "no address with a port",
        "`https://a:1` stands twice",
        "neither spaces",
        "a token for `http://c` would travel in clear",
        "there is no TLS at `http://c`",
        "open.token` can be read by everybody here",
        "chmod o-rw",
        "none.token` does not exist",
        "more than one line",
        "broken.token` holds no token",
        "user name or password",
        "it is a directory",
        "`https://10.0.0.1` has no name to look up",
        "must be text, but is a whole number",
        "did you mean `origins`?",
    ] {
        let expected = expected.replace("ca.token", "a.token");
        assert!(report.contains(&expected), "{expected} is not in\n{report}");
    }
    assert!(!report.contains("s3cret"), "{report}");
    assert!(given(dir.path(), "[origins.\"https://a\"]\ntoken = s3cret\n").is_err_and(|said| !said.contains("s3cret")));
}

#[test]
fn two_tokens_for_one_origin_are_one_too_many() {
    let dir = place();
    let both = "[origins.\"https://a\"]\ntoken = \"s3cret\"\ntoken_file = \"a.token\"\n";
    assert!(given(dir.path(), both).unwrap_err().contains("stand together"));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let dir = place();
    for (mode, word) in [(0o604, "read"), (0o602, "written")] {
        write(dir.path(), "c.toml", "", mode);
        let report = drawn(&load(&dir.path().join("c.toml")).unwrap_err());
        assert!(report.contains(&format!("can be {word} by everybody")) && report.contains("chmod o-rw"), "{report}");
    }
    write(dir.path(), "c.toml", "", 0o640);
    assert_eq!(load(&dir.path().join("c.toml")).unwrap(), Credentials::default());
    assert!(drawn(&load(dir.path()).unwrap_err()).contains("is not a file"));
    assert!(drawn(&load(&dir.path().join("none")).unwrap_err()).contains("does not exist"));
}

fn with_tokens(variables: &[(&str, &str)]) -> Credentials {
    let mut credentials = Credentials::default();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    credentials.take_variables(variables).unwrap();
    credentials
}

#[test]
fn a_token_of_the_environment_goes_only_where_the_state_or_a_person_says() {
    let mut credentials = with_tokens(&[("DEBVISOR_REGION_TOKEN_US_EAST_1", "s3cret"), ("OTHER", "no token")]);
    let (east, west) = (id("us-east-1"), id("us-west-1"));
    let regions = [east.clone(), west.clone()];
    let asked = |credentials: &Credentials, region: &RegionId, origin: &str, recorded: Option<&str>| {
        credentials.for_region(region, origin, recorded, &regions)
    };
    let sent = asked(&credentials, &east, "https://east", Some("https://east"));
    assert_eq!(sent.token.unwrap().expose(), "s3cret");
    for (region, origin, recorded) in [
        (&east, "https://evil", Some("https://east")),
        (&east, "https://east:5000", Some("https://east")),
        (&east, "https://east", None),
        (&west, "https://east", Some("https://east")),
        (&east, "http://east", Some("http://east")),
    ] {
        let asked = asked(&credentials, region, origin, recorded);
        assert_eq!(asked.token, None, "{region} {origin} {recorded:?}");
        assert_eq!(asked.withheld.is_some(), region == &east);
        assert!(!format!("{asked:?}").contains("s3cret"));
    }
    credentials.trust("https://EAST").unwrap();
    assert!(asked(&credentials, &east, "https://east", None).token.is_some());
    assert!(asked(&credentials, &west, "https://east", None).token.is_none());
    assert!(credentials.trust("file:/east").is_err());
}

#[test]
fn a_variable_that_could_be_that_of_two_regions_is_nobodys() {
    let credentials = with_tokens(&[("DEBVISOR_REGION_TOKEN_A_B", "s3cret")]);
    let (one, two) = (id("a-b"), id("a_b"));
    let asked = credentials.for_region(&one, "https://a", Some("https://a"), &[one.clone(), two]);
    assert!(asked.token.is_none() && asked.withheld.unwrap().contains("that of a_b too"));
    assert!(credentials.for_region(&one, "https://a", Some("https://a"), std::slice::from_ref(&one)).token.is_some());
}

#[test]
fn a_variable_that_holds_no_token_is_told_without_it() {
    let mut credentials = Credentials::default();
    let variables = [("DEBVISOR_REGION_TOKEN_A", Some("s3cret s3cret")), ("DEBVISOR_REGION_TOKEN_B", Some(""))];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    let problems = credentials.take_variables(variables).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert!(drawn(&problems).contains("`DEBVISOR_REGION_TOKEN_A` holds no token"));
    assert!(!drawn(&problems).contains("s3cret"));
}
