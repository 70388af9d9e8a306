//! The exit codes: a promise to scripts, all of it in this file.

use std::process::ExitCode;

use crate::fleet::ExitClass;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done, or nothing to do: 0.
    Done,
    /// Failed; nothing, or not the one thing asked for, was carried out: 1.
    Failed,
    /// `plan --detailed-exitcode`: there is something to do, or something that cannot be done now: 2.
    Changes,
    /// Some of it failed, was deferred, blocked or held back; the rest stands: 3.
    Partial,
    /// The state is locked by another run: 4.
    Locked,
    /// Refused for safety before the first change: 5.
    Refused,
    /// The command line is wrong: 64.
    Usage,
    /// Stopped by a signal: 130.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Partial => 3,
            Self::Locked => 4,
            Self::Refused => 5,
            Self::Usage => 64,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<ExitClass> for Exit {
    fn from(class: ExitClass) -> Self {
        match class {
            ExitClass::Done => Self::Done,
            ExitClass::Failed => Self::Failed,
            ExitClass::Partial => Self::Partial,
            ExitClass::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Changes, 2),
            (Exit::Partial, 3),
            (Exit::Locked, 4),
            (Exit::Refused, 5),
            (Exit::Usage, 64),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
        for class in [ExitClass::Done, ExitClass::Failed, ExitClass::Partial, ExitClass::Interrupted] {
            assert_eq!(Exit::from(class).code(), class.code());
        }
    }
}
