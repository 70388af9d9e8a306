//! Of one point: all that it holds, and the blocks of its files, for an export elsewhere.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Blocks, Failure, Reply};
use super::super::asked::AtPoint;
use super::super::body::Json;
use super::super::router::App;
use super::ok;
use crate::live::PortError;
use crate::replica::giving::{GroupsOf, PointContents, SMALL_FILES};
use crate::replica::port::BlockAddress;
use crate::wire::blocks;
use crate::wire::call::{PointBlocks, PointFiles};

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    AtPoint { resource, sequence }: AtPoint,
) -> Result<Reply<PointContents>, Failure> {
    Ok(ok(&app, &app.region.point_contents(&resource, sequence).await?))
}

pub(in super::super) async fn read(
    State(app): State<Arc<App>>,
    AtPoint { resource, sequence }: AtPoint,
    Json { value: PointBlocks { file, first, count, compress }, .. }: Json<PointBlocks>,
) -> Result<Blocks, Failure> {
    if count > PointBlocks::COUNT_MAX {
        let message = format!("at most {} groups are looked through at once", PointBlocks::COUNT_MAX);
        return Err(Failure::bad_request("count", message));
    }
    let found = app.region.point_blocks(&resource, sequence, GroupsOf { file, first, count }).await?;
    give(&app, found, compress).await
}

pub(in super::super) async fn files(
    State(app): State<Arc<App>>,
    AtPoint { resource, sequence }: AtPoint,
    Json { value: PointFiles { files, compress }, .. }: Json<PointFiles>,
) -> Result<Blocks, Failure> {
    if files.len() > SMALL_FILES {
        return Err(Failure::bad_request("files", format!("at most {SMALL_FILES} files are given at once")));
    }
    let found = app.region.point_files(&resource, sequence, files).await?;
    give(&app, found, compress).await
}

async fn give(app: &App, found: Vec<(BlockAddress, Vec<u8>)>, compress: bool) -> Result<Blocks, Failure> {
    // A core is busy for some milliseconds.
    let packed = tokio::task::spawn_blocking(move || {
        blocks::pack(found.into_iter().map(|(address, bytes)| (address, bytes.into())), compress)
    });
    let packed = packed.await.map_err(std::io::Error::other).flatten();
    let packed = packed.map_err(|error| PortError::Failed(format!("blocks cannot be packed: {error}")))?;
    app.numbers.sent(packed.length());
    Ok(Blocks(packed))
}
