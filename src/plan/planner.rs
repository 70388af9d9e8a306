//! The planner: an ordered list of named steps over what is known. Each step is one file under `step`, decides about
//! one thing and says why it acted, waited or refused.

use super::document::{
    FORMAT_VERSION, Mode, Plan, PlannedRegion, PlannedState, PlannedTopology, Summary, UnobservedRegion,
};
use super::draft::{Draft, View};
use super::input::PlanInput;
use super::refusal::PlanRefusal;
use super::saved;
use super::sight::health_of;
use super::step;
use crate::model::observed::Observation;
use crate::model::{Address, Digest, RegionId};

/// One step.
type Step = (&'static str, fn(&mut Draft<'_>) -> Result<(), PlanRefusal>);

/// What makes live what the files say.
const TOWARDS_FILES: &[Step] = &[
    ("refuse", step::refuse::run),
    ("safety", step::safety::run),
    ("moved", step::moved::run),
    ("regions", step::regions::run),
    ("pairs", step::pairs::run),
    ("resources", step::resources::run),
    ("held", step::held::run),
    ("syncs", step::syncs::run),
    ("prune", step::prune::run),
    ("unmanaged", step::unmanaged::run),
    ("warnings", step::warnings::run),
    ("dependencies", step::dependencies::run),
    ("targets", step::targets::run),
    ("stillness", step::stillness::run),
];

/// What makes the state's record what is live.
const TOWARDS_LIVE: &[Step] = &[
    ("refuse", step::refuse::run),
    ("refresh", step::refresh::run),
    ("held", step::held::run),
    ("unmanaged", step::unmanaged::run),
    ("targets", step::targets::run),
];

/// Makes a plan.
///
/// # Errors
/// Where safety forbids to go on, or the request cannot be met; nothing has been changed, here or anywhere.
pub fn compute_plan(input: &PlanInput<'_>) -> Result<Plan, PlanRefusal> {
    let view = View::of(input);
    let mut draft = Draft::new(&view);
    let steps = match input.options.mode {
        Mode::Normal | Mode::Reconcile => TOWARDS_FILES,
        Mode::RefreshOnly => TOWARDS_LIVE,
    };
    for (_, step) in steps {
        step(&mut draft)?;
    }
    Ok(finish(draft))
}

fn finish(draft: Draft<'_>) -> Plan {
    let view = draft.view;
    let input = view.input;
    let regions = regions(view);
    let unobserved = unobserved(&draft);
    // Every field by name: a new one must be thought about here.
    let Draft {
        view: _,
        untouchable: _,
        changes,
        drift,
        held,
        blocked,
        waiting,
        unmanaged,
        deferred: _,
        moved,
        warnings,
        left: _,
        written: _,
    } = draft;
    let mut summary = Summary::default();
    for change in changes.iter().chain(&drift) {
        summary.count(change.action);
    }
    let mut plan = Plan {
        format_version: FORMAT_VERSION.to_owned(),
        tool_version: input.tool_version.to_owned(),
        created_at: input.now,
        digest: Digest([0; 32]),
        mode: input.options.mode,
        topology: PlannedTopology { path: input.topology_path.to_owned(), digest: input.topology.digest },
        state: PlannedState { lineage: input.recorded.lineage, serial: input.recorded.serial },
        regions,
        changes,
        drift,
        held,
        blocked,
        waiting,
        unmanaged,
        unobserved,
        moved,
        warnings,
        summary,
    };
    plan.digest = saved::digest(&plan);
    plan
}

/// Every region that is declared or recorded, as it answered.
fn regions(view: &View<'_>) -> Vec<PlannedRegion> {
    let input = view.input;
    let recorded = input.recorded.objects.keys().filter_map(|address| match address {
        Address::Region(id) => Some(id),
        Address::Replication(_) | Address::Resource(_) => None,
    });
    let mut listed: Vec<&RegionId> = input.topology.regions.keys().chain(recorded).collect();
    listed.sort_unstable();
    listed.dedup();
    listed
        .into_iter()
        .map(|id| {
            let latency = match input.observed.regions.get(id) {
                Some(Observation::Answered { latency, .. }) => Some(*latency),
                Some(Observation::Silent(_)) | None => None,
            };
            let by_latency = latency.unwrap_or_default();
            let status = view
                .sight
                .unseen(id)
                .map_or_else(|| health_of(by_latency, &input.topology.policy.health), |why| why.status);
            let latency_ms = latency.map(|latency| latency.as_micros() as f64 / 1000.0);
            PlannedRegion { region_id: id.clone(), status, latency_ms }
        })
        .collect()
}

/// Every declared region of which nothing can be said, and others where work waits for them.
fn unobserved(draft: &Draft<'_>) -> Vec<UnobservedRegion> {
    let declared = &draft.view.input.topology.regions;
    let waits = |id: &RegionId| draft.deferred.get(id).into_iter().flatten().cloned().collect::<Vec<_>>();
    (draft.view.sight.all_unseen())
        .map(|(id, why)| UnobservedRegion {
            region_id: id.clone(),
            reason: why.reason.clone(),
            help: why.help.clone(),
            deferred: waits(id),
        })
        .filter(|region| declared.contains_key(&region.region_id) || !region.deferred.is_empty())
        .collect()
}
