//! Chapters of nights on which something has moved already, or begun to.

use super::page::Chapter;
use super::writer::{Writer, cli, step};
use crate::model::units;

impl Writer<'_> {
    pub(super) fn both_claim(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let id = self.example();
        let fence = if self.has_fence() {
            step(
                format!("If {from} is the wrong one and its machines cannot be stopped there, cut it off."),
                [cli(format!("failover fence {from}"))],
            )
        } else {
            step(
                format!("If {from} is the wrong one and its machines cannot be stopped there, have it switched off."),
                [],
            )
        };
        Chapter {
            title: format!("{from} and {to} both claim to be primary"),
            when: format!(
                "A machine runs at {from} and at {to}, `status` shows a `foreign_start`, or two regions say that they \
                 hold the same resource."
            ),
            steps: vec![
                step("Keep anything from acting by itself.", [cli("failover pause")]),
                step("See who says what of each of them.", [cli("vm list"), cli(format!("vm where {id}"))]).expect(
                    "for each region: its role, the epoch, whether the machine runs. The higher epoch is right, always.",
                ),
                step(
                    "Stop the machine where the epoch is lower, or where the region is not the holder. Do it there, by the \
                     hypervisor. Its files stay as they are.",
                    [format!("virsh shutdown {id}")],
                ),
                fence,
                step("See that one copy runs.", [cli(format!("vm where {id}"))]).expect("it runs at one region, the holder."),
                step(
                    "What the wrong one wrote is not lost: its region keeps it as a named point. Take what is worth it from there.",
                    [cli(format!("replication points {id}")), cli(format!("replication export {id} --point NAME ./{id}-other"))],
                ),
                step("Let things act by themselves again.", [cli("failover unpause")]),
            ],
            stop: vec![
                "Both say the same epoch. That must not happen: stop neither, delete nothing, copy both sides' files away, \
                 and wake somebody."
                    .to_owned(),
                "You are about to delete something. Nothing here needs that.".to_owned(),
            ],
        }
    }

    pub(super) fn half_way(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let timeout = units::format_duration(self.hooks().timeout);
        Chapter {
            title: "The failover died half way".to_owned(),
            when: "The machine that carried it out crashed, lost its network, or was interrupted; `status` shows an open operation."
                .to_owned(),
            steps: vec![
                step("See what is open, how far it came, and who was at it.", [cli("failover status")])
                    .expect("the operation's id, where it leads, what was promoted. Where several are open, name the id in what follows."),
                step(
                    format!("If somebody may still be at it, ask them. A hook under way may take {timeout}; it is waited for."),
                    [],
                ),
                step(
                    format!(
                        "Forward, to {to}: go on where it stopped. Nothing is done twice. This is the only way once \
                         anything was promoted."
                    ),
                    [cli("failover resume")],
                )
                .expect("the steps that are left, then no open operation."),
                step(
                    format!("Or back, to {from}, as long as nothing was promoted: the machines start at {from} again."),
                    [cli("failover abort")],
                )
                .expect(format!("every region agrees first; if {from} does not answer it stays pending, and may be resumed forward.")),
                self.look_after(),
            ],
            stop: vec![
                "It is refused because of a later attempt: somebody else is at it. Let them.".to_owned(),
                "It is refused because this is not the controller: go to chapter 8.".to_owned(),
                "You would start a machine by hand. While the operation is open, nobody knows what that meets.".to_owned(),
            ],
        }
    }

    pub(super) fn bad_point(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let id = self.example();
        Chapter {
            title: "A bad point was promoted".to_owned(),
            when: format!("Machines run at {to}, and their data is wrong: too old, damaged within, or encrypted by an intruder."),
            steps: vec![
                step(
                    format!("Stop the machine at {to} first. Each write makes it worse."),
                    [format!("virsh shutdown {id}")],
                ),
                step(
                    "Older points stay where they are; `retention` keeps the last so many. Stop the timers that run \
                     `reconcile` until you are done, so that no bad ones push them out.",
                    [],
                ),
                step("See which points there are, at which region.", [cli(format!("replication points {id}"))]).expect(format!(
                    "the points of each region, newest first. When {from} is back, what it had before the failover is \
                     there, as a named point."
                )),
                step(
                    "Look into one before you take it.",
                    [cli(format!("replication export {id} --point NUMBER ./{id}-look"))],
                ),
                step(
                    "Put it in place of the bad files, which are kept beside. With `--from REGION` it comes from another region's points.",
                    [cli(format!("vm restore {id} --from {to} --point NUMBER"))],
                )
                .expect("the name under which the bad files are kept. Start the machine then."),
                step("Start the timers again.", []),
            ],
            stop: vec![
                "No point is good. Older ones are pruned by `retention` only: raise it before anything else syncs, and wake somebody."
                    .to_owned(),
                format!("The good state is at {from}, and {from} is off: bring its disks back first, nothing else has them."),
            ],
        }
    }

    pub(super) fn returns(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let id = self.example();
        Chapter {
            title: format!("The old side, {from}, returns"),
            when: format!("{from} has power or a link again after its machines were moved to {to}."),
            steps: vec![
                step(
                    format!(
                        "Before it gets power, if you can: see that the hypervisors there start no machine by \
                         themselves. {from}'s own agent starts none before every region has told it what it missed."
                    ),
                    [format!("virsh autostart --disable {id}")],
                ),
                step(
                    "Let it start, and see that it answers.",
                    [cli(format!("region health-check {from}")), cli("status")],
                )
                .expect(format!(
                    "{from} is recovering. A `foreign_start` means that a machine runs there: stop it first."
                )),
                step(
                    "If it was cut off by hand or by the fence hook: let it in again.",
                    [cli(format!("failover unfence {from}"))],
                ),
                step(
                    "If it was declared gone, or its disk is new or from a backup: let it in again as one that holds nothing.",
                    [cli(format!("region readmit {from}"))],
                ),
                step(
                    format!(
                        "What it wrote alone, after {to} took over, is kept there as a named point. Take what is worth it."
                    ),
                    [cli(format!("replication points {id}"))],
                ),
                step("Wait until its replicas are in sync.", [cli("reconcile"), cli("status")])
                    .expect(format!("{from} is healthy, and its replicas are in sync: only what differs travelled.")),
                step(
                    "Go home when it is quiet. It is graceful: nothing is lost. Or stay, and have the files say so.",
                    [cli("failover back"), cli("failover accept")],
                ),
            ],
            stop: vec![
                format!("A machine runs at {from} and at {to}: go to chapter 4."),
                format!("You would copy files from {from} by hand over those at {to}."),
            ],
        }
    }

    pub(super) fn controller_gone(&self) -> Chapter {
        let Self { from, to, .. } = self;
        Chapter {
            title: "The controller's machine is gone".to_owned(),
            when: "The machine with the state file is lost, or a command says that this state file is not the controller.".to_owned(),
            steps: vec![
                step(
                    "Ask whether anybody works with the other state file right now. If they do, let them.",
                    [],
                ),
                step(
                    "On another machine: install this program, check the topology out, put the credentials file in its place.",
                    [cli("validate"), cli("status")],
                )
                .expect("the regions answer. The controller that they recorded is named, with its place."),
                step("Make the state file anew from what the regions know.", [cli("state rebuild")]),
                step("Take its place. Every region is asked first, and must accept.", [cli("failover take-over")]).expect(
                    "every region accepted. Half accepted means that nobody controls: do it again.",
                ),
                step(
                    format!("If {from} does not answer because it is lost, somebody must say so."),
                    [cli(format!("failover take-over --gone {from}=\"burnt, seen by NAME at HH:MM\""))],
                ),
                step("See what was open, and go on with it.", [cli("failover status")])
                    .expect(format!("an open operation: go to chapter 5; none: fail over from {from} to {to} as above.")),
            ],
            stop: vec![
                "The other machine is alive: work there, or agree with whoever is at it.".to_owned(),
                "The old machine comes back: leave it. Its state file may plan and look, and is refused the rest.".to_owned(),
            ],
        }
    }
}
