//! Who holds a resource, by what regions have recorded.

use crate::model::RegionId;
use crate::model::region::{Epoch, ResourceRecord, Role};

/// The claim on a resource that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it; of a dispute, the first that says so.
    pub region: RegionId,
    /// Since which epoch.
    pub epoch: Epoch,
    /// The attempt of that epoch's operation that succeeded.
    pub attempt: u32,
    /// Why no region may be taken for its holder.
    pub dispute: Option<String>,
}

impl Claim {
    /// Judges the records of one resource, in the order of their regions. What stands at the highest epoch and attempt
    /// counts; nothing of a lower one does. None: nobody knows the resource.
    ///
    /// `known`: whether a region is one of the fleet's, be it silent.
    pub fn of<'a>(
        records: impl Iterator<Item = (&'a RegionId, &'a ResourceRecord)> + Clone,
        known: impl Fn(&RegionId) -> bool,
    ) -> Option<Self> {
        let newest = records.clone().map(|(_, record)| record.age()).max()?;
        let (epoch, attempt) = newest;
        let claim = |region: &RegionId, dispute| Self { region: region.clone(), epoch, attempt, dispute };
        let newest = records.clone().filter(|(_, record)| record.age() == newest);
        let mut holders = newest.clone().filter(|(_, record)| record.role == Role::Holder).map(|(region, _)| region);
        match (holders.next(), holders.next()) {
            (Some(region), None) => return Some(claim(region, None)),
            (Some(first), Some(second)) => {
                let reason = format!("{first} and {second} both hold it at epoch {epoch}");
                return Some(claim(first, Some(reason)));
            }
            (None, _) => {}
        }
        let (witness, named) = newest.clone().next().map(|(region, record)| (region, &record.holder))?;
        let says = format!("{witness} takes {named} for its holder");
        let own = records.clone().find(|(region, _)| *region == named);
        let dispute = match own {
            // It has lost what it knew and agrees that it is the one: it starts nothing, and can give it up.
            Some((_, own)) if own.role == Role::Fenced && own.holder == *named && own.age() == (epoch, attempt) => None,
            Some((_, own)) => Some(format!("{says} since epoch {epoch}, which is {} there", own.role.as_str())),
            // Its record there is missing, or the region was not seen: the others' word stands.
            None if known(named) => None,
            None => Some(format!("{says}, a region that nobody knows")),
        };
        Some(claim(named, dispute))
    }
}
