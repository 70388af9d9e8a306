//! Runs hooks and runners: argv, clean environment, deadline, captured output; never a shell.
