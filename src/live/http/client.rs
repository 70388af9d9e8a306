//! One request and its answer: the pool of connections, the deadline of the whole, the cap on what is read, repeats.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Method, StatusCode};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{CallError, said, senseless};
use super::deadlines::{Deadlines, Pace};
use super::lookup::{Lookup, System};
use crate::config::Credential;
use crate::live::port::PortError;
use crate::live::silence;
use crate::model::sighting::Probe;
use crate::model::{RegionId, World};
use crate::wire::blocks::{BlocksError, Packed};
use crate::wire::seal::{SEAL, Seal};
use crate::wire::{API, BYTES, IDEMPOTENCY_KEY, REQUEST_ID};

/// How often a lost question is asked in all.
const TRIES: usize = 5;
/// The longest pause between two of them.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// The most that is read of an answer that says why not.
const ERROR_BYTES: usize = 1 << 20;
/// How long a connection is kept for the next question.
const IDLE: Duration = Duration::from_secs(5);
/// The most room that is kept ready for an answer that was announced: what blocks take.
const READY_BYTES: usize = 8 << 20;
/// Bodies from here on have the deadline of what carries much.
const BULK_BYTES: usize = 64 << 10;

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Nothing,
    Json(Bytes),
    Blocks {
        /// All of it.
        joined: Bytes,
        /// What its seal is over.
        heads: Bytes,
    },
}

impl Body {
    /// Of blocks.
    pub(super) fn of_blocks(packed: Packed) -> Self {
        Self::Blocks { joined: packed.joined(), heads: packed.into_heads() }
    }

    fn length(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Json(bytes) | Self::Blocks { joined: bytes, heads: _ } => bytes.len(),
        }
    }

    fn sealed(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Json(bytes) | Self::Blocks { joined: _, heads: bytes } => bytes,
        }
    }
}

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Below `/api/v1`.
    pub(super) path: String,
    /// What it is about, where that is not itself: the beginning of the operation that it asks after.
    pub(super) about: Option<String>,
    pub(super) body: Body,
    /// The order that it gives; a repeat under the same key does nothing twice.
    pub(super) key: Option<Uuid>,
    /// How long the region may work before it answers that it has begun.
    pub(super) prefer: Option<Duration>,
    /// Until the answer begins; from then on it must go on. For the whole, where regions are observed by it.
    pub(super) deadline: Duration,
    /// The most that is read of the answer.
    pub(super) most: usize,
    /// What is hoped for, in words.
    pub(super) wanted: &'static str,
    /// Whether that is blocks, of which the seal is over their heads.
    pub(super) blocks: bool,
    pub(super) repeat: Repeat,
    /// Where the bytes that travel for a sync are counted, those of tries that fail too.
    pub(super) counted: Option<Counted>,
}

impl Ask {
    /// See [`Asked::observes`].
    fn observes(&self) -> bool {
        self.method == Method::GET && is_observing(&self.path)
    }
}

/// A count of bytes of bodies.
#[derive(Debug, Clone)]
pub(super) enum Counted {
    /// Of what is asked with.
    Sent(Arc<AtomicU64>),
    /// Of what is answered.
    Received(Arc<AtomicU64>),
}

impl Counted {
    fn sent(&self, bytes: usize) {
        match self {
            Self::Sent(count) => count.fetch_add(bytes as u64, Ordering::Relaxed),
            Self::Received(_) => 0,
        };
    }

    fn received(&self, bytes: usize) {
        match self {
            Self::Sent(_) => 0,
            Self::Received(count) => count.fetch_add(bytes as u64, Ordering::Relaxed),
        };
    }
}

/// Whether a lost question is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Asking twice is not the same as asking once.
    Never,
    /// A few times.
    Few,
    /// As long as lost questions are asked again.
    Patiently,
}

/// What a region answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) is_bytes: bool,
    pub(super) body: Bytes,
    /// The body as blocks, where these were asked for.
    pub(super) blocks: Option<Result<Packed, BlocksError>>,
    /// What was asked and under which name, for errors.
    pub(super) asked: Asked,
}

/// A question as errors name it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and path.
    pub(super) what: String,
    pub(super) wanted: &'static str,
    /// The request's id, as the region's log has it.
    pub(super) request: String,
}

impl Asked {
    /// Whether it is a question that regions are observed by: where it fails, all that needs to be said is what
    /// the region is like, in the same words every time.
    pub(super) fn observes(&self) -> bool {
        self.what.strip_prefix("GET ").is_some_and(is_observing)
    }
}

/// Where a region tells all that planning needs.
pub(super) const SNAPSHOT: &str = "snapshot";
/// Where it tells what it has recorded, without a look at any resource's files.
pub(super) const RECORDS: &str = "snapshot?records=true";

fn is_observing(path: &str) -> bool {
    path == SNAPSHOT || path == RECORDS
}

/// The client of one region.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) region: RegionId,
    pub(super) origin: String,
    pub(super) deadlines: Deadlines,
    pub(super) credential: Credential,
    pub(super) world: World,
    /// Nothing new is begun, and nothing lost is asked again.
    pub(super) interrupted: CancellationToken,
    /// The last question that was asked patiently, or that the region was observed by, brought no answer; or it left the
    /// small one that goes beside the latter without.
    silent: AtomicBool,
    lookup: Lookup,
    built: OnceLock<Result<reqwest::Client, PortError>>,
}

impl Client {
    pub(super) fn new(
        region: RegionId,
        origin: String,
        deadlines: Deadlines,
        credential: Credential,
        world: World,
    ) -> Self {
        let interrupted = CancellationToken::new();
        let lookup = Lookup::new(Arc::new(System), Arc::clone(&world.clock));
        Self {
            region,
            origin,
            deadlines,
            credential,
            world,
            interrupted,
            silent: AtomicBool::default(),
            lookup,
            built: OnceLock::new(),
        }
    }

    /// The same, which looks its name up elsewhere.
    #[cfg(test)]
    pub(super) fn named_by(self, names: Arc<dyn super::lookup::Names>) -> Self {
        let lookup = Lookup::new(names, Arc::clone(&self.world.clock));
        Self { lookup, ..self }
    }

    /// Asks, once more where that is safe and the answer was lost. Only an answer that is a success comes back as one.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, CallError> {
        let request = self.world.ids.random().simple().to_string();
        let began = self.world.clock.since_boot();
        let times = match ask.repeat {
            Repeat::Never => 0,
            Repeat::Few => TRIES - 1,
            // Time ends it.
            Repeat::Patiently => usize::MAX,
        };
        let schedule = ExponentialBuilder::default()
            .with_min_delay(self.deadlines.pause)
            .with_max_delay(PAUSE_MAX)
            .with_max_times(times)
            .with_jitter();
        // It was waited for already: whatever else is asked of it need not wait as long once more.
        let known_silent = self.silent.load(Ordering::Relaxed);
        let given = (|| self.once(ask, &request))
            .retry(schedule)
            .when(|error| {
                let waited = self.world.clock.since_boot().saturating_sub(began);
                let patient = waited < self.deadlines.lost && !known_silent && !self.interrupted.is_cancelled();
                error.was_lost() && patient
            })
            .await;
        let lost = matches!(given, Err(CallError::Unclear { lost: true, .. }));
        // One that was silent when it was looked at is not waited for again by whoever asks it all the same.
        if !lost || ask.repeat != Repeat::Never || ask.observes() {
            self.silent.store(lost, Ordering::Relaxed);
        }
        given
    }

    /// What came of the small question by which a region is observed: one that left it without an answer is waited for
    /// no second time, though the larger question beside it was given up before it ended.
    pub(super) fn met(&self, probe: &Probe) {
        match probe {
            Probe::Answered { .. } => self.silent.store(false, Ordering::Relaxed),
            Probe::Silent(_) => self.silent.store(true, Ordering::Relaxed),
            Probe::Unclear(_) => {}
        }
    }

    /// The question without its body and what names it.
    pub(super) fn plain(&self, ask: &Ask) -> Result<reqwest::RequestBuilder, PortError> {
        let client = self.client()?;
        Ok(client.request(ask.method.clone(), self.address(&ask.path)).timeout(ask.deadline))
    }

    async fn once(&self, ask: &Ask, request: &str) -> Result<Answer, CallError> {
        let mut asked = Asked {
            what: ask.about.clone().unwrap_or_else(|| format!("{} {}", ask.method, ask.path)),
            wanted: ask.wanted,
            request: request.to_owned(),
        };
        let deadline =
            if ask.body.length() >= BULK_BYTES { ask.deadline.max(self.deadlines.bulk) } else { ask.deadline };
        let lost = |error: reqwest::Error, asked: &Asked| CallError::lost(self.no_answer(&error, deadline), asked);
        let client = self.client().map_err(|error| CallError::unclear(error, None))?;
        let mut sent = client.request(ask.method.clone(), self.address(&ask.path)).header(REQUEST_ID, request);
        if asked.observes() {
            sent = sent.timeout(deadline);
        }
        let key = ask.key.map(|key| key.to_string());
        if let Some(key) = &key {
            sent = sent.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(wait) = ask.prefer {
            sent = sent.header("prefer", format!("respond-async, wait={}", wait.as_secs()));
        }
        sent = match &ask.body {
            Body::Nothing => sent,
            Body::Json(json) => sent.header(CONTENT_TYPE, "application/json").body(json.clone()),
            Body::Blocks { joined, heads: _ } => sent.header(CONTENT_TYPE, BYTES).body(joined.clone()),
        };
        let mut sent = sent.build().map_err(|error| lost(error, &asked))?;
        let (key, body) = (key.as_deref().map(str::as_bytes), ask.body.sealed());
        let seal = Seal::of_request(ask.method.as_str(), sent.url().path(), sent.url().query(), key, body);
        if let Ok(seal) = HeaderValue::try_from(seal.to_string()) {
            sent.headers_mut().insert(SEAL, seal);
        }
        if let Some(counted) = &ask.counted {
            counted.sent(ask.body.length());
        }
        let late = |asked: &Asked| CallError::lost(self.late(deadline), asked);
        let answered = tokio::time::timeout(deadline, client.execute(sent)).await.map_err(|_| late(&asked))?;
        let mut response = answered.map_err(|error| lost(error, &asked))?;
        if let Some(named) = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_id(id)) {
            named.clone_into(&mut asked.request);
        }
        let status = response.status();
        let is_bytes = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == BYTES);
        let most = if status.is_success() { ask.most } else { ERROR_BYTES };
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let given = response.headers().get(SEAL).map(|seal| seal.to_str().ok().and_then(|seal| seal.parse().ok()));
        // What is announced is not believed before it has come: nothing more than a call can need is kept ready.
        let ready = announced.map_or(0, |length: u64| length.min(most.min(READY_BYTES) as u64) as usize);
        let blocks = ask.blocks && status.is_success();
        let (mut body, mut whole) = (Vec::with_capacity(if blocks { 0 } else { ready }), true);
        // Blocks stay where they came.
        let (mut pieces, mut length) = (Vec::new(), 0);
        let mut pace = Pace::new(self.deadlines.pace, self.world.clock.since_boot());
        if announced.is_none_or(|length: u64| length <= most as u64) {
            loop {
                let left = pace.left(self.world.clock.since_boot());
                match tokio::time::timeout(left, response.chunk()).await {
                    Ok(Ok(Some(chunk))) if length + chunk.len() <= most => {
                        length += chunk.len();
                        pace.moves(chunk.len(), self.world.clock.since_boot());
                        if let Some(counted) = &ask.counted {
                            counted.received(chunk.len());
                        }
                        if blocks {
                            pieces.push(chunk);
                        } else {
                            body.extend_from_slice(&chunk);
                        }
                    }
                    Ok(Ok(Some(_))) => return Err(self.endless(status, &body, asked)),
                    Ok(Ok(None)) => break,
                    Err(_) if pace.keeps_up(self.world.clock.since_boot()) => {}
                    // An error that was cut is an error all the same.
                    Ok(Err(_)) | Err(_) if !status.is_success() => {
                        whole = false;
                        break;
                    }
                    Ok(Err(error)) => return Err(lost(error, &asked)),
                    Err(_) => {
                        let quiet = pace.quiet(self.world.clock.since_boot());
                        let slow = silence::slow(&self.origin, pace.came, self.deadlines.pace, quiet);
                        return Err(CallError::lost(slow, &asked));
                    }
                }
            }
        } else if status.is_success() {
            return Err(self.endless(status, &body, asked));
        } else {
            whole = false;
        }
        let blocks = blocks.then(|| Packed::read(pieces.iter().cloned()));
        if matches!(blocks, Some(Err(_))) {
            // For the words of whoever answered instead.
            body = pieces.concat();
        }
        let body = Bytes::from(body);
        let sealed = match &blocks {
            None => Some(&*body),
            Some(Ok(packed)) => Some(packed.heads()),
            Some(Err(_)) => None,
        };
        let meant = sealed.map(|sealed| seal.of_answer(status.as_u16(), sealed));
        match given {
            Some(given) if whole && (given.is_none() || given != meant) => {
                Err(CallError::changed(&self.origin, &asked))
            }
            // Every region seals what it says; this is somebody else's answer, or a region's with its seal lost.
            None if status.is_success() => Err(senseless(self, Answer { status, is_bytes, body, blocks, asked })),
            Some(_) | None if status.is_success() => Ok(Answer { status, is_bytes, body, blocks, asked }),
            Some(_) | None => Err(said(self, status, &body, asked)),
        }
    }

    /// What it says of the region that a request to it brought no answer.
    pub(super) fn no_answer(&self, error: &reqwest::Error, deadline: Duration) -> PortError {
        let waits = (deadline, self.deadlines.connect);
        silence::no_answer(&self.origin, error, waits, &|wait| self.lookup.used_up(wait))
    }

    /// The same of one that nobody waits for any longer.
    pub(super) fn late(&self, deadline: Duration) -> PortError {
        if self.lookup.used_up(deadline) {
            silence::nameless(&self.origin, deadline)
        } else {
            silence::late(&self.origin, deadline)
        }
    }

    /// More than the call can need.
    fn endless(&self, status: StatusCode, body: &[u8], asked: Asked) -> CallError {
        if !status.is_success() {
            return said(self, status, body, asked);
        }
        CallError::unclear(silence::unknown(format!("{} answers without end", self.origin), None), Some(&asked))
    }

    /// Where `path` is asked: at the origin, or where its name is reached from here.
    fn address(&self, path: &str) -> String {
        match self.credential.connect {
            Some(connect) => {
                let (scheme, host) = self.name();
                // By the name, which the certificate is for; the port is that of the connection.
                let host = if scheme == "http" { connect.ip().to_string() } else { host.to_owned() };
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                format!("{scheme}://{host}:{}{API}/{path}", connect.port())
            }
            None => format!("{}{API}/{path}", self.origin),
        }
    }

    /// The origin's scheme, and its host without brackets and port.
    fn name(&self) -> (&str, &str) {
        let (scheme, authority) = self.origin.split_once("://").unwrap_or(("http", &self.origin));
        let host = match authority.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or(address),
            None => authority.split(':').next().unwrap_or(authority),
        };
        (scheme, host)
    }

    fn client(&self) -> Result<&reqwest::Client, PortError> {
        self.built.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)
    }

    fn build(&self) -> Result<reqwest::Client, PortError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.credential.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| silence::unknown("the token cannot stand in a request".to_owned(), None))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.deadlines.connect)
            // Before the region closes it: what is sent then is lost, and not everything is asked twice.
            .pool_idle_timeout(IDLE)
            // Neither a proxy's answer nor another host's may pass for the region's.
            .no_proxy()
            .dns_resolver(self.lookup.clone())
            .redirect(reqwest::redirect::Policy::none())
            // What is asked again, and when, is decided here.
            .retry(reqwest::retry::never())
            .user_agent(concat!("debvisor-region/", env!("CARGO_PKG_VERSION")));
        let (scheme, host) = self.name();
        if let Some(connect) = self.credential.connect {
            let authority = self.origin.split_once("://").map_or("", |(_, authority)| authority);
            if let Ok(authority) = HeaderValue::try_from(authority) {
                headers.insert(HOST, authority);
            }
            builder = builder.resolve(host, connect);
        }
        if let Some(ca) = &self.credential.ca {
            let unfit = |why: &str| {
                let reason = format!("the ca of {} in {} cannot be used: {why}", self.origin, ca.path.display());
                silence::unknown(reason, Some("give certificates in PEM form"))
            };
            let certificates = Certificate::from_pem_bundle(ca.text.as_bytes()).map_err(|e| unfit(&e.to_string()))?;
            if certificates.is_empty() {
                return Err(unfit("there is no certificate in it"));
            }
            builder = builder.tls_certs_only(certificates);
        } else if scheme == "http" {
            // No certificate will be looked at, so the system's need not be there.
            builder = builder.tls_certs_only([]);
        }
        if let Some(client) = &self.credential.client {
            let both = format!("{}\n{}", client.key.expose(), client.cert.text);
            let unfit = |error: reqwest::Error| {
                let cert = client.cert.path.display();
                let reason =
                    format!("the certificate for {} in {cert} and its key cannot be used: {error}", self.origin);
                silence::unknown(reason, Some("give both in PEM form, the key without a passphrase"))
            };
            builder = builder.identity(Identity::from_pem(both.as_bytes()).map_err(unfit)?);
        }
        let failed = |error: reqwest::Error| {
            let innermost = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            let cause = innermost.last().map_or_else(String::new, ToString::to_string);
            silence::unknown(format!("no HTTP client for {}: {cause}", self.origin), None)
        };
        builder.default_headers(headers).build().map_err(failed)
    }
}

/// Whether an answer's text may stand in a message as a request's id.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
