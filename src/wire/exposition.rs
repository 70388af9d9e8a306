//! Prometheus's text format as files have it, and durations by how many took how long.
//!
//! A file is not scraped but read by a textfile collector, which knows the older of the two text formats: there the
//! type of a counter stands under its whole name. What a server answers is in the newer one, see
//! [`served`](super::served).

use std::fmt::Write as _;
use std::time::Duration;

/// Names and values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// All values of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// With its unit, and without what all of them begin with.
    pub(super) name: &'static str,
    /// What it tells.
    pub(super) help: &'static str,
    /// The values.
    pub(super) values: Values,
}

/// Of one kind.
#[derive(Debug)]
pub(super) enum Values {
    /// As it is now.
    Gauge(Vec<(Labels, f64)>),
    /// Since it was first counted; its name ends with `_total`.
    Counter(Vec<(Labels, f64)>),
    /// Some durations.
    Histogram(Durations),
}

/// The bounds that failovers are told apart by, in seconds.
const BOUNDS: [f64; 9] = [0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// How many durations were how long.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Durations {
    /// All of them together, in seconds.
    pub(super) sum: f64,
    /// How many.
    pub(super) count: u64,
    /// By bound: those that are no longer than it, and longer than the one before. The last bound is [`f64::INFINITY`].
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Durations {
    /// Sorts them.
    pub(super) fn of(durations: &[Duration]) -> Self {
        let mut buckets: Vec<(f64, u64)> = BOUNDS.into_iter().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        for duration in durations {
            if let Some((_, number)) = buckets.iter_mut().find(|(bound, _)| duration.as_secs_f64() <= *bound) {
                *number += 1;
            }
        }
        Self { sum: durations.iter().map(Duration::as_secs_f64).sum(), count: durations.len() as u64, buckets }
    }
}

/// The families as text, in their order; those without values are left out.
pub(super) fn text(prefix: &str, families: &[Family]) -> String {
    let mut written = String::new();
    for Family { name, help, values } in families {
        let name = format!("{prefix}_{name}");
        let (kind, lines) = match values {
            Values::Gauge(values) => ("gauge", samples(&name, values)),
            Values::Counter(values) => ("counter", samples(&name, values)),
            Values::Histogram(durations) => ("histogram", histogram(&name, durations)),
        };
        if !lines.is_empty() {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a string cannot fail.
            let _ = write!(written, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
    }
    written
}

fn samples(name: &str, values: &[(Labels, f64)]) -> String {
    values.iter().map(|(labels, value)| sample(name, labels, *value)).collect()
}

fn sample(name: &str, labels: &[(&'static str, String)], value: f64) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
    if pairs.is_empty() { format!("{name} {value:?}\n") } else { format!("{name}{{{}}} {value:?}\n", pairs.join(",")) }
}

fn histogram(name: &str, Durations { sum, count, buckets }: &Durations) -> String {
    let mut so_far = 0;
    let mut lines = String::new();
    for (bound, number) in buckets {
        so_far += number;
        let bound = if *bound == f64::INFINITY { "+Inf".to_owned() } else { format!("{bound:?}") };
        let _ = writeln!(lines, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
    }
    let _ = writeln!(lines, "{name}_sum {sum:?}\n{name}_count {count}");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_under_its_whole_name() {
        let durations = [100, 700, 2_500, 7_200_000].map(Duration::from_millis);
        let families = [
            Family { name: "nothing", help: "Nothing", values: Values::Gauge(Vec::new()) },
            Family { name: "free_bytes", help: "Room", values: Values::Gauge(vec![(Vec::new(), 7.5)]) },
            Family {
                name: "syncs_total",
                help: "Two\nlines \\",
                values: Values::Counter(vec![(vec![("a", "1\"2\\3\n4".to_owned()), ("b", "c".to_owned())], 3.0)]),
            },
            Family { name: "took_seconds", help: "Time", values: Values::Histogram(Durations::of(&durations)) },
        ];
        let expected = r#"# HELP x_free_bytes Room
# TYPE x_free_bytes gauge
x_free_bytes 7.5
# HELP x_syncs_total Two\nlines \\
# TYPE x_syncs_total counter
x_syncs_total{a="1\"2\\3\n4",b="c"} 3.0
# HELP x_took_seconds Time
# TYPE x_took_seconds histogram
x_took_seconds_bucket{le="0.5"} 1
x_took_seconds_bucket{le="1.0"} 2
x_took_seconds_bucket{le="2.5"} 3
x_took_seconds_bucket{le="5.0"} 3
x_took_seconds_bucket{le="15.0"} 3
x_took_seconds_bucket{le="60.0"} 3
x_took_seconds_bucket{le="300.0"} 3
x_took_seconds_bucket{le="900.0"} 3
x_took_seconds_bucket{le="3600.0"} 3
x_took_seconds_bucket{le="+Inf"} 4
x_took_seconds_sum 7203.3
x_took_seconds_count 4
"#;
        assert_eq!(text("x", &families), expected);
    }
}
