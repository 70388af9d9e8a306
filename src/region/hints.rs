//! Whether bitmaps of disk images are used for a reading, and `qemu-img`, which begins them and takes them out.
//!
//! | act | guarantee | assumption | a crash here leaves behind |
//! | --- | --- | --- | --- |
//! | `qemu-img bitmap` | it has the image's lock while it writes, or fails and changes nothing; whoever opens the image meanwhile fails | no VM is started within these moments: its runner said `stopped` right before | what the format leaves: bitmaps marked as in use, which nobody believes then |

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::local::{Inner, Writing};
use super::source::{in_transfer, transfer};
use crate::model::point::PointKind;
use crate::process::{self, Command};
use crate::replica::hint::{BitmapTool, Hinting, Hints};
use crate::replica::port::TransferError;

/// How long one change of an image's bitmaps may take. It waits for what its guest has written to be on the disk.
const CHANGING: Duration = Duration::from_secs(60);

impl Inner {
    /// Whether a reading that is worth `kind` may go by bitmaps, as the region's file and its record of the policy say.
    pub(super) async fn hinting(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        kind: PointKind,
    ) -> Result<Hinting, TransferError> {
        let Some(asked) = &writing.config.hints else { return Ok(Hinting::Off) };
        match kind {
            PointKind::Cold => {}
            PointKind::Frozen | PointKind::Quiet => {
                return Ok(Hinting::Refused("no runner said that its machine is stopped".to_owned()));
            }
        }
        let (inner, open) = (Arc::clone(self), Arc::clone(writing));
        let records = transfer(move || open.store.records().map_err(|error| in_transfer(inner.of(error)))).await?;
        let own = records.regions.get(&self.region);
        let audit = own.map(|record| record.spec.policy.audit.clone()).unwrap_or_default();
        if !audit.enabled {
            return Ok(Hinting::Refused("`[audit]` is off, and nobody would check its bitmap".to_owned()));
        }
        let tool = Arc::new(QemuImg { runtime: Handle::current() });
        Ok(Hinting::By(Hints { bitmap: asked.bitmap.clone(), period: audit.period, tool }))
    }
}

/// Changes bitmaps by `qemu-img`.
#[derive(Debug)]
struct QemuImg {
    runtime: Handle,
}

impl QemuImg {
    fn bitmap(&self, how: &str, image: &Path, bitmap: &str) -> Result<(), String> {
        // A relative path could look like an option, or like the name of a protocol.
        let image = std::path::absolute(image).map_err(|error| error.to_string())?;
        let argv = ["qemu-img".as_ref(), "bitmap".as_ref(), how.as_ref(), "-f".as_ref(), "qcow2".as_ref()];
        let argv = [&argv[..], &[image.as_os_str(), bitmap.as_ref()]].concat();
        let finished = self.runtime.block_on(process::run(&Command::new(&argv, CHANGING)));
        if finished.success() { Ok(()) } else { Err(format!("qemu-img {}", finished.describe())) }
    }
}

impl BitmapTool for QemuImg {
    fn add(&self, image: &Path, bitmap: &str) -> Result<(), String> {
        self.bitmap("--add", image, bitmap)
    }

    fn remove(&self, image: &Path, bitmap: &str) -> Result<(), String> {
        self.bitmap("--remove", image, bitmap)
    }
}
