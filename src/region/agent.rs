//! What the region's agent does by itself: it hears what the other regions say of their roles, and follows.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | hear | what another region knows better is durable before anything is done about it | either side; it is heard again |
//! | start again | a machine that this program had started before the host went down, once the book and every other region let it run | it starts with the next look |
//! | stop | a machine that runs here without the role | it runs; the next look stops it |
//! | settle | see `returning` | as there |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::local::{Inner, LocalRegion, Writing, blocking};
use super::roles::AT_ONCE;
use crate::failover::{Book, may_run};
use crate::host::boot_id;
use crate::live::port::PortError;
use crate::model::failover::{Part, Standings};
use crate::model::region::{Epoch, Role};
use crate::model::running::RunState;
use crate::model::{RegionId, ResourceKey, ResourceType};

/// How long a look waits for what settles beside it: most of it is done at once.
const A_WHILE: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn standings(self: &Arc<Self>, machines: &BTreeSet<ResourceKey>) -> Result<Standings, PortError> {
        let writing = self.writing().await?;
        let book = self.book(&writing).await?;
        let asked = self.running(&writing, machines).await;
        let unasked = book.parts.keys().filter(|key| key.kind == ResourceType::Vm && !machines.contains(*key));
        let unasked = unasked.filter(|_| writing.machines.has_runner()).cloned();
        let running = unasked.chain(asked).collect();
        let heard = self.roles.owners(&book.open, self.world.clock.since_boot());
        let told = book.standings(&self.roles.agent(), &running);
        Ok(Standings { heard, ..told })
    }

    pub(super) async fn learn(self: &Arc<Self>, told: &Standings) -> Result<bool, PortError> {
        let writing = self.writing().await?;
        let (inner, told) = (Arc::clone(self), told.clone());
        blocking(move || {
            inner.change(&writing, None, |book| {
                let before = book.clone();
                book.learn(&told);
                Ok(*book != before)
            })
        })
        .await
    }
}

impl LocalRegion {
    /// An agent asks the other regions from now on: what this one has not heard of yet is worth waiting for.
    pub fn attended(&self) {
        self.inner.roles.attend();
    }

    /// Comes back when something was written that the agent follows.
    pub async fn stirred(&self) {
        self.inner.roles.stirred().await;
    }

    /// Whether every other region has said in this life, of all that this one takes part in, that it knows nothing later.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn is_abreast(&self) -> Result<bool, PortError> {
        let writing = self.inner.writing().await?;
        let book = self.inner.book(&writing).await?;
        let agent = self.inner.roles.agent();
        Ok(book.parts.keys().all(|key| agent.is_abreast(key)))
    }

    /// The machines of which this region must hear that they run nowhere else before it may start them: those that it
    /// holds and is not clear of in this life.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn unclear(&self) -> Result<BTreeSet<ResourceKey>, PortError> {
        let writing = self.inner.writing().await?;
        let book = self.inner.book(&writing).await?;
        let agent = self.inner.roles.agent();
        let held = book.parts.iter().filter(|(key, part)| part.role == Role::Holder && !agent.is_clear(key));
        Ok(held.map(|(key, _)| key.clone()).collect())
    }

    /// Takes in what other regions say of themselves: what follows from it for this one's roles is durable when it
    /// returns. Gives those by whose word this region is the holder of something no more. Where nothing follows, nothing
    /// is written.
    ///
    /// # Errors
    /// Where the store cannot be written: nobody was heard then.
    pub async fn hear(&self, told: Vec<(RegionId, Arc<Standings>)>) -> Result<Vec<RegionId>, PortError> {
        let writing = self.inner.writing().await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let learn = |book: &mut Book| -> Vec<RegionId> {
                let lost = told.iter().filter(|(_, told)| !book.learn(told).is_empty());
                lost.map(|(region, _)| region.clone()).collect()
            };
            let known = writing.store.book(&writing.identity).map_err(|error| inner.of(error))?;
            let mut learned = Book::clone(&known);
            learn(&mut learned);
            let (book, lost) = if learned == *known {
                (known, Vec::new())
            } else {
                inner.change(&writing, None, |book| {
                    let lost = learn(book);
                    Ok((Arc::new(book.clone()), lost))
                })?
            };
            let is_heard = !told.is_empty();
            inner.roles.agent().hear(&book, told);
            if is_heard {
                inner.roles.hears();
            }
            Ok(lost)
        })
        .await
    }

    /// Looks after this region's own machines: stops those that run here without the role, starts again those that ran
    /// before the host went down, and makes replicas of what has another holder now. Says what it did, or could not do.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn look_after(&self) -> Result<Vec<String>, PortError> {
        let writing = self.inner.writing().await?;
        let turn = self.inner.roles.turn().await;
        let book = self.inner.book(&writing).await?;
        let mut told = self.inner.stop_foreign(&writing, &book).await;
        told.extend(self.inner.start_again(&writing, &book).await?);
        drop(turn);
        told.extend(self.inner.settle_beside(&writing, &book).await);
        Ok(told)
    }
}

impl Inner {
    async fn stop_foreign(self: &Arc<Self>, writing: &Arc<Writing>, book: &Book) -> Vec<String> {
        let foreign = book.parts.iter().filter(|(_, part)| part.role != Role::Holder).map(|(key, _)| key);
        let foreign = foreign.filter(|key| key.kind == ResourceType::Vm && book.open_on(key).is_none());
        let asked = foreign.cloned().collect();
        let (mut told, mut found) = (Vec::new(), Vec::new());
        let acts = self.states(writing, &asked).await.into_iter().map(|(key, state)| async {
            let stopped = match state {
                RunState::Running if self.may_be_the_one(book, &key) => {
                    Some(Err("no failover brought it elsewhere: it may be the one that is to run, and is left to you"
                        .to_owned()))
                }
                RunState::Running => Some(self.stop(writing, &key, None).await),
                RunState::Stopped | RunState::Unknown(_) | RunState::NoRunner => None,
            };
            (key, state, stopped)
        });
        let acted: Vec<_> = stream::iter(acts).buffered(AT_ONCE).collect().await;
        for (key, state, stopped) in acted {
            let Some(stopped) = stopped else {
                found.push((key, state, None));
                continue;
            };
            told.push(match &stopped {
                Ok(()) => format!("{key} ran here, though this region does not hold it, and was stopped"),
                Err(why) => format!("{key} runs here, though this region does not hold it: {why}"),
            });
            found.push((key, state, stopped.err()));
        }
        self.foreign.looked(found, self.world.clock.now());
        told
    }

    /// Whether the only copy of a machine may be the one that runs here without the role: no failover ever moved it (its
    /// primary may be declared wrongly), others say that this region holds it, or this region's memory is not relied on.
    fn may_be_the_one(&self, book: &Book, key: &ResourceKey) -> bool {
        let moved = |part: &Part| part.epoch > Epoch::BIRTH && part.holder != self.region;
        book.inert.is_some() || !book.parts.get(key).is_some_and(moved)
    }

    async fn start_again(self: &Arc<Self>, writing: &Arc<Writing>, book: &Book) -> Result<Vec<String>, PortError> {
        let boot = boot_id();
        let (inner, open) = (Arc::clone(self), Arc::clone(writing));
        let started = blocking(move || open.store.started().map_err(|error| inner.of(error))).await?;
        let before = started.into_iter().filter(|(_, then)| *then != boot).map(|(key, _)| key);
        let acts = before.map(|key| async move {
            let may = may_run(book, &self.roles.agent(), &key, None);
            let became = match may {
                Ok(()) => match self.start(writing, &key, None).await {
                    Ok(()) => "was started again".to_owned(),
                    Err(why) => format!("does not start again: {why}"),
                },
                Err(hold) => format!("stays stopped: {hold}"),
            };
            format!("{key} ran before this host went down, and {became}")
        });
        Ok(stream::iter(acts.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await)
    }

    /// Makes replicas of what has another holder, in one task at a time. Says what it did once it has: reading all that
    /// was held may take hours, in which orders are obeyed and others are heard.
    async fn settle_beside(self: &Arc<Self>, writing: &Arc<Writing>, book: &Arc<Book>) -> Vec<String> {
        let mut settling = self.roles.settling().await;
        let mut task = settling.take().unwrap_or_else(|| {
            let (inner, open, book) = (Arc::clone(self), Arc::clone(writing), Arc::clone(book));
            tokio::spawn(async move { inner.settle_all(&open, &book).await })
        });
        match tokio::time::timeout(A_WHILE, &mut task).await {
            Ok(told) => told.unwrap_or_else(|error| vec![error.to_string()]),
            Err(_) => {
                *settling = Some(task);
                Vec::new()
            }
        }
    }

    async fn settle_all(self: &Arc<Self>, writing: &Arc<Writing>, book: &Book) -> Vec<String> {
        let own = &self.region;
        let left = book.parts.iter().filter(|(_, part)| part.role == Role::Demoted && part.holder != *own);
        let left = left.map(|(key, _)| key).filter(|key| book.open_on(key).is_none());
        let mut told = Vec::new();
        for key in left {
            match self.settle(writing, key).await {
                Ok(settled) => told.push(format!("{key}: {settled}")),
                Err(error) => told.push(format!("{key} does not become a replica yet: {error}")),
            }
        }
        told
    }
}
