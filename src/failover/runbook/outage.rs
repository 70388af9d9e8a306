//! Chapters of nights on which the source is out of reach.

use super::page::Chapter;
use super::writer::{Writer, cli, step};

impl Writer<'_> {
    pub(super) fn dead(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let mut steps = vec![
            self.who_sees().expect(format!(
                "everybody meets silence. If anybody saw {from} within the last minute, it lives: go to chapter 2."
            )),
            self.preview(""),
        ];
        if self.has_fence() {
            steps.push(
                step(
                    format!("Fail over. The fence hook cuts {from} off before anything starts at {to}. It asks once: type `yes`."),
                    [cli(format!("failover execute {from} {to} --reason \"{from} is dead\""))],
                )
                .expect("exit 0: all of it moved; 3: what is listed as held back did not; 5: refused, nothing changed."),
            );
            steps.push(step(
                format!(
                    "Only if the fence hook itself fails: see with your own eyes that {from} is off ({}), and say how \
                     you know.",
                    self.make_sure()
                ),
                [cli(format!("failover execute {from} {to} --fenced \"I saw ... off at HH:MM, NAME\""))],
            ));
        } else {
            steps.push(step(
                format!(
                    "Make sure that {from} is off, and stays off: {}. Write down who saw it, and when.",
                    self.make_sure()
                ),
                [],
            ));
            steps.push(
                step(
                    "Fail over, and say how you know. It asks once: type `yes`.",
                    [cli(format!(
                        "failover execute {from} {to} --reason \"{from} is dead\" --fenced \"I saw ... off at HH:MM, NAME\""
                    ))],
                )
                .expect("exit 0: all of it moved; 3: what is listed as held back did not; 5: refused, nothing changed."),
            );
        }
        steps.push(step(
            "If a gate refuses, it prints its figure, the option that overrides it, and what that costs. Take the safer \
             way that it names if there is one. What is lost is the data's owner's decision, not yours.",
            [],
        ));
        if !self.stays.is_empty() {
            let collateral = if self.has_fence() {
                " The fence stops them for certain, so it asks for `--accept-collateral`."
            } else {
                ""
            };
            steps.push(step(
                format!("What has no replica at {to} (\"not protected\" above) stays down with {from}.{collateral}"),
                [],
            ));
        }
        steps.push(self.look_after());
        if !self.hooks().after.is_empty() {
            let after = self.hooks().after.join(" ");
            steps.push(step(format!("See that `{after}` did its work: users reach {to}."), []));
        }
        steps.push(step(format!("Before {from} gets power again, read chapter 7."), []));
        Chapter {
            title: format!("{from} is dead"),
            when: format!(
                "Nobody sees {from}, users are not served, and there is a reason to believe it: power, fire, flood."
            ),
            steps,
            stop: vec![
                format!("Somebody still sees {from}, or a user is served by it."),
                "You would write `--fenced` because it does not answer. Not answering is no proof.".to_owned(),
                "It says that another state file is the controller: go to chapter 8.".to_owned(),
            ],
        }
    }

    pub(super) fn cut_off(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let watchers = self.others();
        let vantage = match watchers.first() {
            Some(other) => format!("from here, from {to}, from {other}"),
            None => format!("from here and from {to}"),
        };
        let mut steps = vec![
            step("Do nothing to it yet: its machines run, and may serve users. Ask whether they do.", []),
            self.who_sees().expect(format!("somebody sees {from}. Look {vantage}: which link is cut?")),
            step("Keep anything from acting by itself while you look.", [cli("failover pause")])
                .expect("the regions that stored the pause; those that did not are named."),
            step("If users are served: mend the link, and wait. Replicas catch up by themselves.", [cli("status")]),
            step(
                format!("If it must move: do it from a place that reaches both {from} and {to}. Nothing is lost then."),
                [
                    cli(format!("failover execute {from} {to} --strategy graceful --dry-run")),
                    cli(format!("failover execute {from} {to} --strategy graceful")),
                ],
            )
            .expect(format!(
                "each machine is stopped at {from}, copied once more, started at {to}. If a step fails before \
                             the first start, `failover abort` starts it at {from} again."
            )),
        ];
        steps.push(if self.has_fence() {
            step(
                format!(
                    "If no place reaches it and users are not served: cut it off. What it wrote since the cut is not at \
                     {to}; it is kept at {from} as a named point."
                ),
                [cli(format!("failover execute {from} {to} --reason \"{from} is cut off\""))],
            )
        } else {
            step(
                format!(
                    "If no place reaches it and users are not served: have somebody switch {from} off, see it, and say so. \
                     What it wrote since the cut is not at {to}; it is kept at {from} as a named point."
                ),
                [cli(format!("failover execute {from} {to} --fenced \"NAME switched it off at HH:MM\""))],
            )
        });
        steps.push(step("When it is over, let things act by themselves again.", [cli("failover unpause")]));
        Chapter {
            title: format!("{from} is alive but cut off"),
            when: format!("This machine does not reach {from}, and another region or a user does."),
            steps,
            stop: vec![
                format!(
                    "Nobody can say whether machines run at {from}. Two running copies are worse than one stopped."
                ),
                format!("You are the one who is cut off: if you reach neither {from} nor {to}, go elsewhere first."),
            ],
        }
    }

    pub(super) fn two_regions(&self) -> Chapter {
        let Self { from, to, .. } = self;
        let others = self.others();
        let left = if others.is_empty() {
            format!(
                "There are only {from} and {to}. No majority can say that one is down, so nothing happens by itself."
            )
        } else {
            let names = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("Of all regions only {to} is left, or {names} cannot be asked. Nothing happens by itself then.")
        };
        let gone = others.iter().map(|other| format!(" --gone {other}=\"...\"")).collect::<String>();
        let mut steps = vec![
            step(
                format!(
                    "See with your own eyes, or through somebody else's, that {from} is burnt and will not come back as it was."
                ),
                [],
            ),
            self.preview(&format!(" --gone {from}=\"burnt, seen by NAME at HH:MM\"")),
            step(
                format!(
                    "Declare it gone, and fail over. \"Gone\" is for good: whatever of {from} turns up later starts \
                     nothing and changes nothing until `region readmit {from}`."
                ),
                [cli(format!("failover execute {from} {to} --gone {from}=\"burnt, seen by NAME at HH:MM\""))],
            )
            .expect(
                "exit 0, or 3 with what was held back; each resource that has one copy only is named as unprotected.",
            ),
        ];
        if !others.is_empty() {
            steps.push(step(
                "If other regions do not answer either, each must be gone by somebody's word too. Say it of none that may live.",
                [cli(format!("failover execute {from} {to} --gone {from}=\"...\"{gone}"))],
            ));
        }
        steps.push(self.look_after());
        let copies =
            if others.is_empty() { "There is one copy only" } else { "What is named as unprotected has one copy only" };
        steps.push(step(
            format!("{copies}. Find a place for a second one today: declare a region NEW and a pair from {to}."),
            [
                cli("region add NEW \"New region\" https://NEW.example:5000"),
                cli(format!("replication setup {to} NEW vm")),
                cli("plan"),
                cli("apply"),
            ],
        ));
        steps.push(step("Make the files say what is, look at the difference, commit it.", [cli("failover accept")]));
        Chapter {
            title: format!("Two regions, and {from} burnt"),
            when: left,
            steps,
            stop: vec![
                format!("Anybody can still log in to {from}: then it is not gone."),
                "You are not sure that it burnt. Power comes back; a declaration does not.".to_owned(),
            ],
        }
    }
}
