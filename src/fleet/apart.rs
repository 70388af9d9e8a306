//! Two declared directories that are one place, or of which one lies inside the other, through links. What the texts
//! alone tell is refused with the topology; this looks at the disk, so it is told with what the regions answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::RegionId;
use crate::model::observed::{Observation, Observed, RegionStatus, Unobserved};
use crate::model::topology::Endpoint;

/// Takes one region of each pair that share a place for silent: the vacant one, else the later by name. A region that
/// did not answer is left alone, and its directory is not looked at.
pub(super) fn apart(endpoints: &BTreeMap<RegionId, Endpoint>, mut observed: Observed) -> Observed {
    let mut places: BTreeMap<PathBuf, RegionId> = BTreeMap::new();
    for (region, endpoint) in endpoints {
        let (Endpoint::Directory(directory), Some(Observation::Answered { .. })) =
            (endpoint, observed.regions.get(region))
        else {
            continue;
        };
        let place = resolved(directory);
        let Some((there, other)) =
            places.iter().find(|(there, _)| there.starts_with(&place) || place.starts_with(there))
        else {
            places.insert(place, region.clone());
            continue;
        };
        let (there, other) = (there.clone(), other.clone());
        let vacant = |region: &RegionId| observed.snapshot(region).is_some_and(|seen| seen.identity.is_none());
        let gives_way = vacant(&other) && !vacant(region);
        let (told, kept) = if gives_way { (&other, region) } else { (region, &other) };
        let reason = if there == place {
            format!("its directory is that of region {kept}: both are {}", place.display())
        } else {
            let (inner, outer) = if gives_way { (&there, &place) } else { (&place, &there) };
            format!(
                "its directory {} and that of region {kept}, {}, lie one inside the other",
                inner.display(),
                outer.display()
            )
        };
        let silence = Unobserved {
            status: RegionStatus::Unknown,
            reason,
            help: Some(format!(
                "correct the `api_endpoint` of {told} or of {kept}: each region needs a place of its own"
            )),
        };
        observed.regions.insert(told.clone(), Observation::Silent(silence));
        if gives_way {
            places.remove(&there);
            places.insert(place, region.clone());
        }
    }
    observed
}

/// Where a directory is, links followed as far as it exists.
fn resolved(directory: &Path) -> PathBuf {
    for above in directory.ancestors() {
        if let Ok(real) = above.canonicalize() {
            return match directory.strip_prefix(above) {
                Ok(rest) if rest.as_os_str().is_empty() => real,
                Ok(rest) => real.join(rest),
                Err(_) => directory.to_owned(),
            };
        }
    }
    directory.to_owned()
}
