//! Of one point: all that it holds, and the blocks of its files, for an export elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};

use super::super::answer::{Answer, Failure, bytes};
use super::super::asked::{Named, part};
use super::super::body::Json;
use super::super::router::App;
use super::ok;
use crate::live::PortError;
use crate::replica::giving::{GroupsOf, SMALL_FILES};
use crate::replica::port::BlockAddress;
use crate::wire::blocks;
use crate::wire::call::{PointBlocks, PointFiles};

/// The most groups that one request looks through: 64 GiB of holes.
const GROUPS_MAX: u64 = 16 << 10;

fn sequence(parts: &BTreeMap<String, String>) -> Result<u64, Failure> {
    part("sequence", parts.get("sequence").map(String::as_str).unwrap_or_default())
}

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Named(resource): Named,
    Path(parts): Path<BTreeMap<String, String>>,
) -> Result<Answer, Failure> {
    Ok(ok(&app, &app.region.point_contents(&resource, sequence(&parts)?).await?))
}

pub(in super::super) async fn read(
    State(app): State<Arc<App>>,
    Named(resource): Named,
    Path(parts): Path<BTreeMap<String, String>>,
    Json { value: PointBlocks { file, first, count, compress }, .. }: Json<PointBlocks>,
) -> Result<Answer, Failure> {
    if count > GROUPS_MAX {
        return Err(Failure::bad_request("count", format!("at most {GROUPS_MAX} groups are looked through at once")));
    }
    let found = app.region.point_blocks(&resource, sequence(&parts)?, GroupsOf { file, first, count }).await?;
    give(&app, found, compress).await
}

pub(in super::super) async fn files(
    State(app): State<Arc<App>>,
    Named(resource): Named,
    Path(parts): Path<BTreeMap<String, String>>,
    Json { value: PointFiles { files, compress }, .. }: Json<PointFiles>,
) -> Result<Answer, Failure> {
    if files.len() > SMALL_FILES {
        return Err(Failure::bad_request("files", format!("at most {SMALL_FILES} files are given at once")));
    }
    let found = app.region.point_files(&resource, sequence(&parts)?, files).await?;
    give(&app, found, compress).await
}

async fn give(app: &App, found: Vec<(BlockAddress, Vec<u8>)>, compress: bool) -> Result<Answer, Failure> {
    // A core is busy for some milliseconds.
    let packed = tokio::task::spawn_blocking(move || {
        blocks::pack(found.iter().map(|(address, bytes)| (*address, bytes.as_slice())), compress)
    });
    let packed = packed.await.map_err(std::io::Error::other).flatten();
    let packed = packed.map_err(|error| PortError::Failed(format!("blocks cannot be packed: {error}")))?;
    app.numbers.sent(packed.len());
    Ok(bytes(packed))
}
