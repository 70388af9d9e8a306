//! For tests: what root may do and nobody else is taken away, so that modes stop a test that runs as root too.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Runs `act` as an ordinary user that owns what root owns: on a thread of its own, whose threads are as powerless.
pub(crate) fn as_ordinary_user<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let ordinary = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            let powers = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
            sets.effective.remove(powers);
            sets.permitted.remove(powers);
            set_capabilities(None, sets).unwrap();
            act()
        });
        ordinary.join().unwrap()
    })
}
