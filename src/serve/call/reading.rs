//! The source's end of a transfer.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Begun, Blocks, Bytes, Failure};
use super::super::asked::{Asked, Session};
use super::super::body::{Empty, Json};
use super::super::job::Job;
use super::super::operation::Running;
use super::super::router::App;
use super::super::session::Kind;
use crate::replica::port::{Hash, Reading, ReadingEnd, Source, TransferError};
use crate::wire::blocks;
use crate::wire::call::{GroupRun, Groups, OpenReading, WantedBlocks};

pub(in super::super) async fn open(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value: OpenReading { order, full }, fingerprint }: Json<OpenReading>,
) -> Result<Begun<Reading>, Failure> {
    let shared = Arc::clone(&app);
    let work = |running: Arc<Running>| async move {
        let reading = shared.region.until(&running.cancel).open_reading(&order, full).await?;
        shared.sessions.opened(Kind::Reading, reading.session, None);
        Ok(reading)
    };
    asked.operation(&app, Job::Reading, fingerprint, work).await
}

pub(in super::super) async fn group_hashes(
    State(app): State<Arc<App>>,
    Session(session): Session,
    Json { value: GroupRun { file, first, count }, .. }: Json<GroupRun>,
) -> Result<Bytes, Failure> {
    let _open = app.sessions.take(Kind::Reading, session)?;
    let hashes = app.region.group_hashes(session, file, first, count).await?;
    Ok(joined(&hashes))
}

pub(in super::super) async fn block_hashes(
    State(app): State<Arc<App>>,
    Session(session): Session,
    Json { value: Groups { file, groups }, .. }: Json<Groups>,
) -> Result<Bytes, Failure> {
    let _open = app.sessions.take(Kind::Reading, session)?;
    let hashes = app.region.block_hashes(session, file, &groups).await?;
    Ok(joined(&hashes))
}

/// Hashes after each other.
fn joined(hashes: &[Hash]) -> Bytes {
    Bytes(hashes.concat())
}

pub(in super::super) async fn blocks(
    State(app): State<Arc<App>>,
    Session(session): Session,
    Json { value: WantedBlocks { wanted, compress }, .. }: Json<WantedBlocks>,
) -> Result<Blocks, Failure> {
    let _open = app.sessions.take(Kind::Reading, session)?;
    let read = app.region.blocks(session, &wanted).await?;
    // A core is busy for some milliseconds.
    let packed = tokio::task::spawn_blocking(move || blocks::pack(wanted.into_iter().zip(read), compress));
    let packed = packed.await.map_err(std::io::Error::other).flatten();
    let packed = packed.map_err(|error| TransferError::Region(format!("blocks cannot be packed: {error}")))?;
    app.numbers.sent(packed.length());
    Ok(Blocks(packed))
}

pub(in super::super) async fn close(
    State(app): State<Arc<App>>,
    asked: Asked,
    Session(session): Session,
    Empty { fingerprint }: Empty,
) -> Result<Begun<ReadingEnd>, Failure> {
    let work = move |app: Arc<App>| async move {
        let end = app.region.close_reading(session).await;
        app.sessions.closed(session);
        Ok(end?)
    };
    asked.on_session(&app, (Kind::Reading, session), Job::CloseReading, fingerprint, work).await
}
