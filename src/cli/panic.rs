//! What a bug looks like to the person at the terminal.

/// Tells of a panic in a few calm words: what was recorded stands, and where to send the report. The exit code of a
/// run that panicked is 1.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let words = info.payload_as_str().unwrap_or("no words");
        let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        // Standard error may be closed; a hook must not panic over it.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "debvisor-region {} met a mistake of its own{place}: {words}\n\
                 What was recorded stands. Please report this with the command that you ran.\n",
                env!("CARGO_PKG_VERSION")
            ),
        );
    }));
}
