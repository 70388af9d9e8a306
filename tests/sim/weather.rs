//! What may go wrong in a story. Each seed lets another few of these happen, so that each is met alone and in company.

use crate::chance::Chance;

macro_rules! weather {
    ($($(#[$doc:meta])* $name:ident: $percent:literal,)*) => {
        /// Which faults happen.
        #[derive(Debug, Clone, Default)]
        pub(crate) struct Weather {
            $($(#[$doc])* pub(crate) $name: bool,)*
        }

        impl Weather {
            /// Some faults.
            pub(crate) fn storm(chance: &mut Chance) -> Self {
                Self { $($name: $percent > 0 && chance.percent($percent),)* }
            }

            pub(crate) fn names(&self) -> Vec<&'static str> {
                [$((self.$name, stringify!($name)),)*].iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect()
            }
        }
    };
}

weather! {
    /// Letters are lost.
    loss: 40,
    /// Letters arrive twice.
    duplicates: 40,
    /// Letters take up to twenty seconds, and overtake each other.
    slow: 40,
    /// Ways are cut, both ways.
    cuts: 50,
    /// Ways are cut one way.
    one_way_cuts: 50,
    /// A region's agent dies at a commit, which is kept or lost.
    commit_crashes: 40,
    /// A region's agent dies.
    agent_deaths: 50,
    /// A region's host dies.
    host_deaths: 50,
    /// A host dies right after it did as it was asked.
    untimely_boots: 30,
    /// An orchestrator dies, and another process goes on with its state file.
    orchestrator_deaths: 50,
    /// An orchestrator dies as it writes its journal.
    journal_crashes: 30,
    /// An orchestrator is suspended.
    suspensions: 30,
    /// A second process works with the same state file.
    twins: 50,
    /// A state file is copied, and used in both places.
    copies: 25,
    /// Another state file takes control over.
    take_overs: 35,
    /// A backup of a region's store is put back.
    restores: 15,
    /// A region's store is lost.
    new_stores: 10,
    /// Machines hang when they are stopped.
    hangs: 30,
    /// A fence hook fails.
    fence_failures: 20,
    /// Hooks take long.
    long_hooks: 40,
    /// Gates hold resources back.
    gates: 25,
    /// People declare dead regions gone.
    gone: 20,
    /// Regions are removed and added.
    registry: 15,
    /// The wall clock jumps.
    clock_jumps: 30,
    /// Attempts change their mind: abort, another target.
    whims: 50,
    /// People cut regions off by hand. Drawn apart, so that stories without it are the same as ever.
    by_hand: 0,
    /// A region never comes back. Drawn apart, too.
    losses: 0,
    /// A region that was declared gone boots all the same, and people forget that they said so. Drawn apart, too.
    returns: 0,
    /// A hypervisor starts by itself what ran on a host that was cut off by hand. Drawn apart, too.
    autostarts: 0,
    /// A region's copies are damaged, which shows as they are put in place. Drawn apart, too.
    damage: 0,
    /// What was put in place may be found unreadable when it is asked for again. Drawn apart, too.
    misreads: 0,
}
