//! The server's log: one JSON object a line. Secrets never reach it: who asks is named by the token's line.

use std::io;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Names what is logged, in the form of `tracing`'s filters; by default everything but what probes ask.
const FILTER: &str = "DEBVISOR_REGION_LOG";

/// Takes each line of the log.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

struct Lines(LineSink);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        (self.0)(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands every line of this process's log to `sink` from now on, unless the environment says otherwise: warnings where
/// it is to be `quiet`, also details where `verbose`. Done twice in one process, the first stays.
pub fn install(sink: LineSink, quiet: bool, verbose: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::WARN,
        (false, true) => LevelFilter::DEBUG,
        (false, false) => LevelFilter::INFO,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).with_env_var(FILTER).from_env_lossy();
    let writer = move || Lines(Arc::clone(&sink));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(writer).finish();
    // Two servers in one process share the first one's log.
    let _ = tracing::subscriber::set_global_default(log);
}
