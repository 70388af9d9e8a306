//! One method of one path: its handler, and what its description needs beyond the handler's parts.

use std::fmt;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::openapi::{Described, Refuses, Sheet};
use super::router::App;
use crate::wire::{API, FaultCode};

/// What answers without a token.
pub(super) const OPEN: [&str; 2] = ["/api/v1/health", "/metrics"];

/// What belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Regions,
    Replication,
    Failover,
    Server,
    Region,
    Resources,
    Readings,
    Receivings,
    Operations,
}

impl Tag {
    pub(super) const ALL: [Self; 9] = [
        Self::Regions,
        Self::Replication,
        Self::Failover,
        Self::Server,
        Self::Region,
        Self::Resources,
        Self::Readings,
        Self::Receivings,
        Self::Operations,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Regions => "regions",
            Self::Replication => "replication",
            Self::Failover => "failover",
            Self::Server => "server",
            Self::Region => "region",
            Self::Resources => "resources",
            Self::Readings => "readings",
            Self::Receivings => "receivings",
            Self::Operations => "operations",
        }
    }

    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Regions => "The regions together, as the one that is asked knows them.",
            Self::Replication => "Pairs, VMs with copies, and copies made now. The region that is asked sees to all.",
            Self::Failover => "Moving what a region holds to another one. The region that is asked sees to all.",
            Self::Server => "The server itself.",
            Self::Region => "Between programs: what the region records.",
            Self::Resources => "Between programs: points of resources, and their contents.",
            Self::Readings => "Between programs: the source's end of a transfer.",
            Self::Receivings => "Between programs: the target's end of a transfer.",
            Self::Operations => "Work that outlasts a request. What ended is remembered for ten minutes.",
        }
    }
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As long as other requests.
    Short,
    /// It waits for an operation or carries blocks over slow lines, and has limits of its own.
    Long,
}

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    /// Its name for programs that are generated from the description.
    pub(super) name: &'static str,
    /// In one sentence.
    pub(super) about: &'static str,
    pub(super) tag: Tag,
    pace: Pace,
    refuses: Vec<Refuses>,
    handler: MethodRouter<Arc<App>>,
    /// Tells what the handler's parts say.
    pub(super) describe: fn(&mut Sheet<'_>),
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn route<H, T, P>((method, filter): (Method, MethodFilter), path: &str, handler: H) -> Route
where
    H: Handler<T, Arc<App>> + Described<P>,
    T: 'static,
{
    Route {
        method,
        path: format!("{API}{path}"),
        name: "",
        about: "",
        tag: Tag::Server,
        pace: Pace::Short,
        refuses: Vec::new(),
        handler: on(filter, handler),
        describe: H::describe,
    }
}

/// Answers `GET` of a path below [`API`].
pub(super) fn get<H, T, P>(path: &str, handler: H) -> Route
where
    H: Handler<T, Arc<App>> + Described<P>,
    T: 'static,
{
    route((Method::GET, MethodFilter::GET), path, handler)
}

/// Answers `POST` of a path below [`API`].
pub(super) fn post<H, T, P>(path: &str, handler: H) -> Route
where
    H: Handler<T, Arc<App>> + Described<P>,
    T: 'static,
{
    route((Method::POST, MethodFilter::POST), path, handler)
}

/// Answers `DELETE` of a path below [`API`].
pub(super) fn delete<H, T, P>(path: &str, handler: H) -> Route
where
    H: Handler<T, Arc<App>> + Described<P>,
    T: 'static,
{
    route((Method::DELETE, MethodFilter::DELETE), path, handler)
}

impl Route {
    /// Gives it its name and sentence, among others.
    pub(super) fn called(self, tag: Tag, name: &'static str, about: &'static str) -> Self {
        Self { tag, name, about, ..self }
    }

    /// Lets it take long.
    pub(super) fn long(self) -> Self {
        Self { pace: Pace::Long, ..self }
    }

    /// Puts it at a path of its own.
    pub(super) fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Tells what it refuses besides what its parts do.
    pub(super) fn may<const N: usize>(self, refuses: [Refuses; N]) -> Self {
        Self { refuses: refuses.into(), ..self }
    }

    /// Whether it may take no longer than other requests.
    pub(super) fn is_short(&self) -> bool {
        self.pace == Pace::Short
    }

    /// All that it refuses besides what its parts do: what every request may meet, too.
    pub(super) fn refuses(&self) -> Vec<Refuses> {
        let mut common = vec![FaultCode::Bug, FaultCode::Busy, FaultCode::Changed];
        if !OPEN.contains(&self.path.as_str()) {
            common.extend([FaultCode::Unauthorized, FaultCode::CertificateRequired]);
        }
        if self.is_short() {
            common.push(FaultCode::Timeout);
        }
        self.refuses.iter().copied().chain(common.into_iter().map(Refuses::Own)).collect()
    }

    /// Its path and handler.
    pub(super) fn into_parts(self) -> (String, MethodRouter<Arc<App>>) {
        (self.path, self.handler)
    }
}
