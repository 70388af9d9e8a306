//! A region in a directory of this machine, served in-process.
//!
//! Owns the region's lock and when it is taken: at the first order that writes, or when a server holds the region for
//! its life. What only looks takes none.
//!
//! | order | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | found | the identity is written last: a directory with one has its store | a vacant place, or a founded region |
//! | open | what a killed program left is ended: frozen machines go on, leftovers go | what is left still: it stands in nobody's way, and is told once |
//! | record | one transaction | all changes or none; directories of a rename move with the next writer |
//! | sync | the block engine's | what the next sync goes on from |

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::drill::Drills;
use super::foreign::Foreign;
use super::identity::{self, IdentityError};
use super::layout::Layout;
use super::place::Places;
use super::quiesce::{self, Quiescer};
use super::restore;
use super::roles::Roles;
use super::runner::{Machines, Means, Patience};
use super::source::Readings;
use super::store::{KeptResource, Rename, Store, StoreError};
use super::target::Receivings;
use super::watch::Watch;
use crate::config::{self, RegionConfig};
use crate::host::lock::LockError;
use crate::host::{Disk, FileLock, Holder, remove_tree};
use crate::live::port::PortError;
use crate::model::region::{Identity, RegionRecord};
use crate::model::{Life, RegionId, ResourceKey, StoreId, World};
use crate::replica::Stop;

/// What a region in a directory needs of the program that opens it.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Time and ids.
    pub world: World,
    /// The machine's disk.
    pub disk: Arc<dyn Disk>,
    /// Who takes the region's lock, for whoever meets it.
    pub holder: Holder,
    /// The argv of a process that runs [`thaw_guard`](super::quiesce::thaw_guard): this program and its hidden
    /// subcommand. Without one, a freeze ends for sure only as long as this process lives.
    pub guard: Option<Vec<String>>,
    /// The argv of a process that runs a program only while what was confirmed for it is fresh (see
    /// [`process::fresh`](crate::process::fresh)). Without one, a machine is started without such a look.
    pub exec_guard: Option<Vec<String>>,
    /// The region's own configuration, where it is not in the region's directory.
    pub config: Option<PathBuf>,
}

/// A region in a directory of this machine.
#[derive(Debug, Clone)]
pub struct LocalRegion {
    pub(super) inner: Arc<Inner>,
    /// Stops what is asked through this handle.
    pub(super) cancel: CancellationToken,
}

/// What all orders of a region share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) region: RegionId,
    pub(super) layout: Layout,
    pub(super) world: World,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) guard: Option<Vec<String>>,
    exec_guard: Option<Vec<String>>,
    config: Option<PathBuf>,
    pub(super) readings: Readings,
    /// Machines that run here and should not.
    pub(super) foreign: Foreign,
    pub(super) receivings: Receivings,
    holder: Holder,
    /// What whoever is next to copy something must be told; once.
    remarks: Mutex<Vec<String>>,
    writing: tokio::sync::Mutex<Option<Arc<Writing>>>,
    /// What is known of other regions from asking them.
    pub(super) watch: Mutex<Watch>,
    /// What is known goes to disk in its order.
    pub(super) keeping: tokio::sync::Mutex<()>,
    /// Whoever reads back what replicas hold has it: one round at a time.
    pub(super) auditing: tokio::sync::Mutex<()>,
    /// Stops verifications and exports.
    pub(super) stop: Stop,
    /// What is started for a drill now.
    pub(super) drills: Drills,
    /// What this life of the region's agent knows and does.
    pub(super) roles: Roles,
    /// The lock of a server, which it has before there is anything to write, and for as long as it lives.
    held: Mutex<Option<Arc<FileLock>>>,
}

/// The region opened for writing: its lock is held, its store is open.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) identity: Identity,
    pub(super) store: Arc<Store>,
    pub(super) config: Arc<RegionConfig>,
    pub(super) machines: Machines,
    _lock: Arc<FileLock>,
}

impl LocalRegion {
    /// The region `region` in the directory `dir`. Touches nothing yet.
    pub fn new(region: RegionId, dir: impl Into<PathBuf>, opening: Opening) -> Self {
        let Opening { world, disk, holder, guard, exec_guard, config } = opening;
        let inner = Inner {
            roles: Roles::new(Life(world.ids.random()), world.clock.since_boot()),
            region,
            layout: Layout::new(dir),
            foreign: Foreign::default(),
            readings: Readings::new(Arc::clone(&disk), world.clone()),
            receivings: Receivings::new(Arc::clone(&disk), world.clone()),
            world,
            disk,
            guard,
            exec_guard,
            config,
            holder,
            remarks: Mutex::default(),
            writing: tokio::sync::Mutex::new(None),
            watch: Mutex::default(),
            keeping: tokio::sync::Mutex::new(()),
            held: Mutex::default(),
            auditing: tokio::sync::Mutex::new(()),
            stop: Stop::default(),
            drills: Drills::default(),
        };
        Self { inner: Arc::new(inner), cancel: CancellationToken::new() }
    }

    /// The same region, through a handle of which `cancel` stops what takes long: readings and receivings that are
    /// opened, verifications, exports.
    #[must_use]
    pub fn until(&self, cancel: &CancellationToken) -> Self {
        Self { inner: Arc::clone(&self.inner), cancel: cancel.clone() }
    }

    /// What starts a program only while what was confirmed for it is fresh, as it was given at the opening.
    pub fn exec_guard(&self) -> Option<&[String]> {
        self.inner.exec_guard.as_deref()
    }

    /// The programs that this region may run as a policy's hooks, by its own configuration.
    ///
    /// # Errors
    /// [`PortError::Refused`] where that file cannot be read.
    pub async fn allowed_hooks(&self) -> Result<Vec<PathBuf>, PortError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.config().map(|config| config.allowed_hooks)).await
    }

    /// The region's directory.
    pub fn directory(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Takes the region's lock now and keeps it for as long as the region lives, also of a directory where no region
    /// was founded yet; makes the directory where there is none.
    ///
    /// # Errors
    /// [`PortError::Busy`] naming who has it; [`PortError::Failed`] where the directory cannot be used;
    /// [`PortError::Refused`] where another region lives there.
    pub async fn hold(&self) -> Result<(), PortError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.identity()?;
            inner.make_own()?;
            let lock = inner.lock()?;
            *inner.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
            // Another region may have been founded before the lock was ours.
            inner.identity().map(drop)
        })
        .await
    }

    /// What this region has recorded of the region `id`.
    ///
    /// # Errors
    /// Where the region was not founded, or its store cannot be read.
    pub async fn peer(&self, id: &RegionId) -> Result<Option<RegionRecord>, PortError> {
        let writing = self.inner.writing().await?;
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        blocking(move || writing.store.region(&id).map_err(|error| inner.of(error))).await
    }
}

/// Runs what waits for disks where waiting harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(PortError::Failed(error.to_string())))
}

impl Inner {
    /// The region opened for writing, now or earlier.
    pub(super) async fn writing(self: &Arc<Self>) -> Result<Arc<Writing>, PortError> {
        let mut writing = self.writing.lock().await;
        if let Some(open) = &*writing {
            return Ok(Arc::clone(open));
        }
        let inner = Arc::clone(self);
        let open = blocking(move || inner.open()).await?;
        self.take_back(&open).await;
        Ok(Arc::clone(writing.insert(Arc::new(open))))
    }

    /// Whether its lock is held for the program's life, as a server's is.
    pub(super) fn is_held(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The machines of the region that is open for writing; none where it is not.
    pub(super) async fn own_machines(&self) -> Option<Machines> {
        self.writing.lock().await.as_ref().map(|writing| writing.machines.clone())
    }

    pub(super) async fn is_open_for_writing(&self) -> bool {
        self.writing.lock().await.is_some()
    }

    /// Lets the region go, as the end of the program would.
    #[cfg(test)]
    pub(super) async fn close(&self) {
        self.writing.lock().await.take();
    }

    /// Founds the region, unless it is; gives its identity.
    pub(super) async fn found(self: &Arc<Self>) -> Result<Identity, PortError> {
        let mut writing = self.writing.lock().await;
        if let Some(open) = &*writing {
            return Ok(open.identity.clone());
        }
        let inner = Arc::clone(self);
        let open = blocking(move || {
            if inner.identity()?.is_none() {
                inner.establish()?;
            }
            inner.open()
        })
        .await?;
        self.take_back(&open).await;
        Ok(writing.insert(Arc::new(open)).identity.clone())
    }

    /// Who the directory is; an error where that is another region.
    pub(super) fn identity(&self) -> Result<Option<Identity>, PortError> {
        let found = identity::read(&*self.disk, &self.layout).map_err(refuse)?;
        if let Some(found) = &found {
            identity::check(&self.layout, found, &self.region).map_err(refuse)?;
        }
        Ok(found)
    }

    /// What others are told where the region was not founded.
    pub(super) fn not_founded(&self) -> PortError {
        PortError::Refused {
            reason: format!("no region lives in {}", self.layout.root().display()),
            help: Some("an apply of the topology founds it; if it did before, its disk may not be mounted".to_owned()),
        }
    }

    pub(super) fn config(&self) -> Result<RegionConfig, PortError> {
        let (path, read) = match &self.config {
            Some(path) => (path.clone(), config::region::load(path)),
            None => (self.layout.config(), config::region::load_if_present(&self.layout.config())),
        };
        read.map_err(|problems| PortError::Refused {
            reason: format!("the region's own configuration {}: {}", path.display(), problems.told()),
            help: Some("mend the file; nothing was changed".to_owned()),
        })
    }

    fn lock(&self) -> Result<Arc<FileLock>, PortError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A disk that was mounted over it since has a lock file of its own.
        if let Some(held) = held.filter(|held| held.is_in_place()) {
            return Ok(held);
        }
        let holder = Holder { since: self.world.clock.now(), ..self.holder.clone() };
        FileLock::take(&self.layout.lock(), &holder).map(Arc::new).map_err(|error| match &error {
            LockError::Held { holder, .. } => {
                let who = holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string);
                PortError::Busy(format!("region {} ({}) is in use by {who}", self.region, self.layout.root().display()))
            }
            LockError::Io { source, .. } => {
                let unwritable = matches!(source.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied);
                let advice = if unwritable { "; the region's directory must be writable" } else { "" };
                PortError::Failed(format!("{error}: {source}{advice}"))
            }
        })
    }

    /// Makes the directory that the program's own things lie in.
    fn make_own(&self) -> Result<(), PortError> {
        let failed = |action: &str, path: &Path| {
            let what = format!("cannot {action} {}", path.display());
            move |error: std::io::Error| PortError::Failed(format!("{what}: {error}"))
        };
        let own = self.layout.own();
        self.disk.create_dir_all(&own).map_err(failed("make", &own))?;
        let root = self.layout.root();
        let above = root.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.disk.sync_dir(above).map_err(failed("sync", above))
    }

    /// Gives a vacant place its store and its identity, in this order.
    fn establish(&self) -> Result<(), PortError> {
        self.make_own()?;
        let _lock = self.lock()?;
        // Whoever had the lock before us may have founded it.
        if self.identity()?.is_some() {
            return Ok(());
        }
        let fresh = Identity { region_id: self.region.clone(), store: StoreId(self.world.ids.random()) };
        let (_, store) = Store::found(&self.layout.database(), &fresh).map_err(|error| self.of(error))?;
        identity::write(&*self.disk, &self.layout, &Identity { store, ..fresh }).map_err(refuse)
    }

    fn open(&self) -> Result<Writing, PortError> {
        let identity = self.identity()?.ok_or_else(|| self.not_founded())?;
        let config = Arc::new(self.config()?);
        let lock = self.lock()?;
        let store = Store::open_writing(&self.layout.database(), &identity).map_err(|error| self.of(error))?;
        let machines = self.machines(&config, true);
        let writing = Writing { identity, store: Arc::new(store), config, machines, _lock: lock };
        self.tidy(&writing)?;
        Ok(writing)
    }

    /// What was not told yet.
    pub(super) fn remarks(&self) -> Vec<String> {
        std::mem::take(&mut self.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn remark(&self, told: impl IntoIterator<Item = String>) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
    }

    /// Takes back what programs that are gone left frozen, or snapshotted, and ends what they were putting in the
    /// place of adopted files.
    async fn take_back(self: &Arc<Self>, writing: &Writing) {
        let left = quiesce::settle_all(&*self.disk, &self.layout.marks()).await;
        self.remark(left.into_iter().map(|failure| format!("{}: {failure}", self.region)));
        self.end_left_drills(&writing.config).await;
        let left = self.end_exchanges(writing, None).await;
        self.remark(left.iter().map(|error| format!("{}: {error}; it is tried again later", self.region)));
    }

    /// Finishes what a killed program left. What resists is left to the next writer: it is in nobody's way.
    fn tidy(&self, writing: &Writing) -> Result<(), PortError> {
        // Nobody else holds the region, so nobody reads from clones.
        let clones = self.layout.clones();
        let removed = remove_tree(&*self.disk, &clones)
            .map_err(|error| PortError::Failed(format!("cannot remove {}: {error}", clones.display())));
        let mut left = restore::recover(&*self.disk, &self.layout);
        left.extend(removed.err());
        let told = left.iter().map(|error| format!("{}: {error}; it is tried again later", self.region));
        self.remark(told);
        for rename in writing.store.pending_renames().map_err(|error| self.of(error))? {
            // One that is in the way of its own directories must not stop the others' work.
            self.remark(self.carry_out(writing, &rename).err().map(|error| error.to_string()));
        }
        Ok(())
    }

    /// Gives the directories of a renamed resource their present name.
    ///
    /// Guarantees that each directory bears one of the two names at any time. A crash leaves some of them moved; the
    /// next writer goes on.
    pub(super) fn carry_out(&self, writing: &Writing, rename: &Rename) -> Result<(), PortError> {
        let all = self.layout.renames(rename.resource.kind, &rename.from, &rename.resource.id);
        // The first one is that of the files.
        for (from, to) in all.into_iter().skip(usize::from(!rename.files)) {
            if self.disk.symlink_metadata(&from).is_err() {
                continue;
            }
            if self.disk.symlink_metadata(&to).is_ok() && self.disk.remove_dir(&to).is_err() {
                return Err(PortError::Refused {
                    reason: format!("{} cannot become {}, which is there already", from.display(), to.display()),
                    help: Some("look at both, and move one of them away".to_owned()),
                });
            }
            let failed =
                |error: std::io::Error| PortError::Failed(format!("cannot rename {}: {error}", from.display()));
            self.disk.rename(&from, &to).map_err(failed)?;
            if let Some(parent) = to.parent() {
                self.disk.sync_dir(parent).map_err(failed)?;
            }
        }
        writing.store.renamed(rename).map_err(|error| self.of(error))
    }

    pub(super) fn of(&self, error: StoreError) -> PortError {
        error.into_port(&self.region)
    }

    pub(super) fn places<'a>(&'a self, config: &'a RegionConfig) -> Places<'a> {
        Places { disk: &*self.disk, layout: &self.layout, config }
    }

    /// The region's machines; `alone` where its lock is held.
    pub(super) fn machines(&self, config: &RegionConfig, alone: bool) -> Machines {
        Machines::new(Means {
            region: self.region.clone(),
            runner: config.runner.clone(),
            patience: Patience::DEFAULT,
            clock: Arc::clone(&self.world.clock),
            guard: self.exec_guard.clone(),
            // A guard runs in another directory.
            marks: Some(std::path::absolute(self.layout.starts()).unwrap_or_else(|_| self.layout.starts())),
            alone,
        })
    }

    pub(super) fn quiescer(&self, writing: &Writing) -> Quiescer {
        Quiescer {
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.world.clock),
            guard: self.guard.clone(),
            region: self.region.clone(),
            config: Arc::clone(&writing.config),
            machines: writing.machines.clone(),
        }
    }
}

impl Writing {
    /// The resource's record.
    pub(super) fn resource(&self, key: &ResourceKey) -> Result<Option<KeptResource>, StoreError> {
        self.store.resource(key)
    }
}

fn refuse(error: IdentityError) -> PortError {
    let help = error.help();
    match error {
        IdentityError::Another { .. } | IdentityError::NotADirectory(_) | IdentityError::Malformed { .. } => {
            PortError::Refused { reason: error.to_string(), help }
        }
        IdentityError::Io { .. } => PortError::Failed(error.to_string()),
    }
}
