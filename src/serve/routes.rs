//! Every path that there is: the one table that the router and its description are made from.

use super::call;
use super::openapi::Refuses::{Failover, Own, Port, Session, Sync, Transfer};
use super::route::{Route, Tag, delete, get, post};
use crate::wire::FaultCode::{Conflict, NotFound, Unstoppable};

/// All of them.
#[rustfmt::skip]
pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/regions", call::fleet::list)
            .called(Tag::Regions, "list_regions", "The regions that this one knows").may([Port]),
        post("/regions", call::order::register)
            .called(Tag::Regions, "register_region", "Registers a region, here and at every region that is registered: the controller alone may, where these have one")
            .long().may([Port, Own(Conflict), Own(NotFound)]),
        get("/regions/{id}", call::fleet::show)
            .called(Tag::Regions, "get_region", "A region as this one knows it; of itself, in its own words")
            .may([Port, Own(NotFound)]),
        post("/regions/{id}/health", call::fleet::health)
            .called(Tag::Regions, "check_region_health", "How a region looks from here, asked now")
            .may([Port, Own(NotFound)]),
        get("/regions/{id}/stats", call::fleet::stats)
            .called(Tag::Regions, "get_region_stats", "A region's numbers").may([Port, Own(NotFound)]),
        get("/stats", call::fleet::global)
            .called(Tag::Regions, "get_global_stats", "The numbers of all regions together").may([Port]),

        post("/replication/setup", call::order::set_up)
            .called(Tag::Replication, "setup_replication", "Records a pair at both of its ends")
            .long().may([Port, Own(Conflict), Own(NotFound)]),
        get("/replication/pairs", call::fleet::pairs)
            .called(Tag::Replication, "list_pairs", "The pairs that this region is an end of, as it has recorded them")
            .may([Port]),
        post("/replication/pause", call::order::pause)
            .called(Tag::Replication, "pause_replication", "Lets the copies of a pair rest that no topology declares: its replicas keep what they have, and are `paused`")
            .long().may([Port, Own(NotFound)]),
        post("/replication/resume", call::order::resume)
            .called(Tag::Replication, "resume_replication", "Lets a paused pair's copies go on")
            .long().may([Port, Own(NotFound)]),
        post("/replication/sync", call::order::sync)
            .called(Tag::Replication, "sync_resource", "Copies a resource now")
            .long().may([Port, Sync, Own(NotFound)]),
        get("/replication/{id}/status", call::fleet::replication)
            .called(Tag::Replication, "get_replication_status", "A resource and all of its replicas")
            .may([Port, Own(NotFound)]),
        post("/vms/replicate", call::order::replicate)
            .called(Tag::Replication, "replicate_vm", "Records a VM where it is born and wherever copies are kept: the controller alone may, where these regions have one")
            .long().may([Port, Own(Conflict), Own(NotFound)]),

        post("/failover/execute", call::failover::execute)
            .called(Tag::Failover, "execute_failover", "Moves what a region holds to another one")
            .long().may([Port, Failover, Own(Conflict), Own(NotFound)]),
        get("/failover/history", call::failover::history)
            .called(Tag::Failover, "get_failover_history", "The failovers that this region knows, the newest first")
            .may([Port]),

        get("/health", call::region::health)
            .called(Tag::Server, "get_health", "Whether it answers"),
        get("", call::numbers::show).at("/metrics")
            .called(Tag::Server, "get_metrics", "What the server counts"),
        get("", call::document::show).at("/openapi.json")
            .called(Tag::Server, "get_openapi", "This document"),

        get("/snapshot", call::region::snapshot)
            .called(Tag::Region, "get_snapshot", "All that planning needs of the region").may([Port]),
        get("/running", call::region::running)
            .called(Tag::Region, "get_running", "What the region is running, asked of its runner now").long().may([Port]),
        post("/audit", call::region::audit)
            .called(Tag::Region, "audit_region", "Reads back a part of what its replicas hold, as much as is due")
            .long().may([Port]),
        post("/region", call::region::found)
            .called(Tag::Region, "found_region", "Founds the region where there is none yet").may([Port]),
        post("/control", call::region::control)
            .called(Tag::Region, "control_region", "Makes a state file the region's controller, changes which regions it knows or which are cut off, or readmits it")
            .may([Port]),
        post("/standings", call::region::standings)
            .called(Tag::Region, "get_standings", "What the region says of its roles, and of what runs there")
            .may([Port]),
        post("/failover/pause", call::region::keep_pause)
            .called(Tag::Region, "pause_failover", "Keeps that nothing fails over without a person, or that it may again")
            .may([Port]),
        post("/orders", call::region::order)
            .called(Tag::Region, "give_order", "Has the region carry out one step of a failover").long().may([Port]),
        post("/records", call::record::write)
            .called(Tag::Region, "write_records", "Writes records, all or none, each only if it is as expected")
            .may([Port]),
        post("/records/by-hand", call::record::write_by_hand)
            .called(Tag::Region, "write_records_by_hand", "The same at a person's request, of what belongs to nobody")
            .may([Port]),

        get("/resources/{type}/{id}/points", call::resource::points)
            .called(Tag::Resources, "list_points", "A replica's points, the newest first, set-aside ones last")
            .may([Port]),
        get("/resources/{type}/{id}/points/{sequence}", call::point::show)
            .called(Tag::Resources, "get_point", "A point and all that it holds").may([Port]),
        post("/resources/{type}/{id}/points/{sequence}/blocks", call::point::read)
            .called(Tag::Resources, "read_point_blocks", "Blocks of a file of a point: of its first groups that are no hole")
            .may([Port]),
        post("/resources/{type}/{id}/points/{sequence}/files", call::point::files)
            .called(Tag::Resources, "read_point_files", "All blocks of files of a point that are small").may([Port]),
        post("/resources/{type}/{id}/restore", call::resource::restore)
            .called(Tag::Resources, "restore_resource", "Has a resource's holder put a point's files in place of its own")
            .long().may([Port, Transfer]),
        post("/resources/{type}/{id}/drill", call::resource::drill)
            .called(Tag::Resources, "drill_resource", "Reads every byte of a replica, starts a copy of a VM under an id of its own, and sees whether it runs")
            .long().may([Port]),
        post("/resources/{type}/{id}/verify", call::resource::verify)
            .called(Tag::Resources, "verify_resource", "Reads every byte and compares it with the newest point")
            .long().may([Port]),
        delete("/resources/{type}/{id}/set-aside/{name}", call::resource::discard)
            .called(Tag::Resources, "discard_copy", "Discards a copy that was set aside").may([Port]),

        post("/readings", call::reading::open)
            .called(Tag::Readings, "open_reading", "Makes a resource's files readable as one moment's content")
            .long().may([Transfer]),
        post("/readings/{id}/group-hashes", call::reading::group_hashes)
            .called(Tag::Readings, "read_group_hashes", "The hashes of groups that follow each other")
            .may([Transfer, Session]),
        post("/readings/{id}/block-hashes", call::reading::block_hashes)
            .called(Tag::Readings, "read_block_hashes", "The hashes of all blocks of groups")
            .may([Transfer, Session]),
        post("/readings/{id}/blocks", call::reading::blocks)
            .called(Tag::Readings, "read_blocks", "Blocks").may([Transfer, Session]),
        post("/readings/{id}/close", call::reading::close)
            .called(Tag::Readings, "close_reading", "Ends a reading: whether it was one moment's content")
            .long().may([Transfer, Session]),

        post("/receivings", call::receiving::open)
            .called(Tag::Receivings, "open_receiving", "Judges a reading, and says which of its files must be compared")
            .long().may([Transfer]),
        post("/receivings/{id}/groups", call::receiving::groups)
            .called(Tag::Receivings, "compare_groups", "Which of these groups differ").may([Transfer, Session]),
        post("/receivings/{id}/expect", call::receiving::expect)
            .called(Tag::Receivings, "expect_blocks", "Tells the hashes of the blocks of groups that differ")
            .may([Transfer, Session]),
        post("/receivings/{id}/survey", call::receiving::survey)
            .called(Tag::Receivings, "end_survey", "Ends the comparison: how much must travel")
            .long().may([Transfer, Session]),
        post("/receivings/{id}/wanted", call::receiving::wanted)
            .called(Tag::Receivings, "next_wanted", "The next blocks that are wanted; none: all are there")
            .may([Transfer, Session]),
        post("/receivings/{id}/blocks", call::receiving::blocks)
            .called(Tag::Receivings, "write_blocks", "Takes blocks, and hashes each").long().may([Transfer, Session]),
        post("/receivings/{id}/checkpoint", call::receiving::checkpoint)
            .called(Tag::Receivings, "checkpoint_receiving", "Makes durable what has arrived")
            .long().may([Transfer, Session]),
        post("/receivings/{id}/publish", call::receiving::publish)
            .called(Tag::Receivings, "publish_point", "Makes what was received the newest point")
            .long().may([Transfer, Session]),
        post("/receivings/{id}/close", call::receiving::close)
            .called(Tag::Receivings, "close_receiving", "Ends a receiving; what has arrived is kept for the next")
            .long().may([Transfer, Session]),
        post("/verified", call::receiving::verified)
            .called(Tag::Receivings, "confirm_unchanged", "Tells that the sources of some resources were seen unchanged").may([Transfer]),

        post("/syncs", call::sync::begin)
            .called(Tag::Operations, "begin_sync", "Has the region fetch a resource from its source by itself")
            .long().may([Sync]),
        get("/operations/{id}", call::operation::show)
            .called(Tag::Operations, "get_operation", "How far an operation is").may([Own(NotFound)]),
        delete("/operations/{id}", call::operation::cancel)
            .called(Tag::Operations, "cancel_operation", "Stops an operation at the next durable place")
            .may([Own(NotFound), Own(Unstoppable)]),
    ]
}
