//! The target's end of a transfer.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Begun, Failure, Reply};
use super::super::asked::{Asked, Keyed, Session};
use super::super::body::{Blocks, Empty, Json};
use super::super::job::Job;
use super::super::limits::{HASHES, LARGE};
use super::super::operation::Running;
use super::super::router::App;
use super::super::session::Kind;
use super::ok;
use crate::replica::port::{BlockAddress, Confirmation, Published, Receiving, Survey, Target, TransferError};
use crate::wire::call::{BlockHashes, Confirming, GroupHashes, OpenReceiving, Publish};

pub(in super::super) async fn open(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value: OpenReceiving { order, reading, accept_change }, fingerprint }: Json<OpenReceiving, LARGE>,
) -> Result<Begun<Receiving>, Failure> {
    let shared = Arc::clone(&app);
    let work = |running: Arc<Running>| async move {
        let region = shared.region.until(&running.cancel);
        let receiving = region.open_receiving(&order, &reading, accept_change).await?;
        shared.sessions.opened(Kind::Receiving, receiving.session, Some(order.source));
        Ok(receiving)
    };
    asked.operation(&app, Job::Receiving, fingerprint, work).await
}

pub(in super::super) async fn groups(
    State(app): State<Arc<App>>,
    keyed: Keyed,
    Session(session): Session,
    Json { value: GroupHashes { file, first, hashes }, fingerprint }: Json<GroupHashes, HASHES>,
) -> Result<Reply<Vec<u64>>, Failure> {
    let work =
        move |app: Arc<App>| async move { Ok(app.region.differing_groups(session, file, first, &hashes.0).await?) };
    keyed.on_session(&app, (Kind::Receiving, session), fingerprint, work).await
}

pub(in super::super) async fn expect(
    State(app): State<Arc<App>>,
    keyed: Keyed,
    Session(session): Session,
    Json { value: BlockHashes { file, groups, hashes }, fingerprint }: Json<BlockHashes, HASHES>,
) -> Result<Reply<()>, Failure> {
    let work =
        move |app: Arc<App>| async move { Ok(app.region.expect_blocks(session, file, &groups, &hashes.0).await?) };
    keyed.on_session(&app, (Kind::Receiving, session), fingerprint, work).await
}

pub(in super::super) async fn survey(
    State(app): State<Arc<App>>,
    asked: Asked,
    Session(session): Session,
    Empty { fingerprint }: Empty,
) -> Result<Begun<Survey>, Failure> {
    let work = move |app: Arc<App>| async move { Ok(app.region.end_survey(session).await?) };
    asked.on_session(&app, (Kind::Receiving, session), Job::Survey, fingerprint, work).await
}

pub(in super::super) async fn wanted(
    State(app): State<Arc<App>>,
    keyed: Keyed,
    Session(session): Session,
    Empty { fingerprint }: Empty,
) -> Result<Reply<Vec<BlockAddress>>, Failure> {
    let work = move |app: Arc<App>| async move {
        let wanted = app.region.next_wanted(session).await?;
        app.sessions.wants(session);
        Ok(wanted)
    };
    keyed.on_session(&app, (Kind::Receiving, session), fingerprint, work).await
}

pub(in super::super) async fn blocks(
    State(app): State<Arc<App>>,
    keyed: Keyed,
    Session(session): Session,
    Blocks { packed, length, fingerprint }: Blocks,
) -> Result<Reply<()>, Failure> {
    app.numbers.received(length);
    let work = move |app: Arc<App>| async move {
        // A core is busy for some milliseconds.
        let unpacked = tokio::task::spawn_blocking(move || packed.and_then(|packed| packed.unpack())).await;
        let unpacked = unpacked.map_err(|error| TransferError::Region(error.to_string()))?;
        let unpacked = unpacked.map_err(|error| TransferError::Corrupt(error.to_string()))?;
        app.region.write_blocks(session, unpacked).await?;
        app.sessions.wrote(session, length);
        Ok(())
    };
    keyed.on_session(&app, (Kind::Receiving, session), fingerprint, work).await
}

pub(in super::super) async fn checkpoint(
    State(app): State<Arc<App>>,
    asked: Asked,
    Session(session): Session,
    Empty { fingerprint }: Empty,
) -> Result<Begun<()>, Failure> {
    let work = move |app: Arc<App>| async move { Ok(app.region.checkpoint(session).await?) };
    asked.on_session(&app, (Kind::Receiving, session), Job::Checkpoint, fingerprint, work).await
}

pub(in super::super) async fn publish(
    State(app): State<Arc<App>>,
    asked: Asked,
    Session(session): Session,
    Json { value: Publish { verified_at }, fingerprint }: Json<Publish>,
) -> Result<Begun<Published>, Failure> {
    let work = move |app: Arc<App>| async move {
        let published = app.region.publish(session, verified_at).await?;
        app.numbers.synced(1);
        if let Some((source, bytes, took)) = app.sessions.travelled(session)
            && let Err(error) = app.region.measured(&source, bytes, took).await
        {
            tracing::warn!(%error, %source, "a link's speed could not be written");
        }
        app.sessions.closed(session);
        Ok(published)
    };
    asked.on_session(&app, (Kind::Receiving, session), Job::Publish, fingerprint, work).await
}

pub(in super::super) async fn close(
    State(app): State<Arc<App>>,
    asked: Asked,
    Session(session): Session,
    Empty { fingerprint }: Empty,
) -> Result<Begun<()>, Failure> {
    let work = move |app: Arc<App>| async move {
        let closed = app.region.close_receiving(session).await;
        app.sessions.closed(session);
        Ok(closed?)
    };
    asked.on_session(&app, (Kind::Receiving, session), Job::CloseReceiving, fingerprint, work).await
}

pub(in super::super) async fn verified(
    State(app): State<Arc<App>>,
    Json { value: Confirming { confirmed }, .. }: Json<Confirming, LARGE>,
) -> Result<Reply<Vec<Confirmation>>, Failure> {
    let confirmed = app.region.confirm_unchanged(&confirmed).await?;
    app.numbers.synced(confirmed.iter().filter(|one| matches!(one, Confirmation::Point(_))).count());
    Ok(ok(&app, &confirmed))
}
