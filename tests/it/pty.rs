//! A terminal of the test's own, and a program that runs at it: what it draws, what is typed, how large its window is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program at a terminal; killed with this.
pub(crate) struct AtTerminal {
    pub(crate) child: Child,
    terminal: File,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    /// Starts `command` at a terminal of this size, in a session of its own, so that Ctrl-C reaches it.
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let controller: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let user = || File::options().read(true).write(true).open(&name).unwrap();
        let terminal = File::from(controller);
        let at = Self { child: leader(command, &user), terminal, drawn: Arc::default() }.sized(columns, rows);
        let (mut from, drawn) = (at.terminal.try_clone().unwrap(), Arc::clone(&at.drawn));
        thread::spawn(move || {
            let mut piece = [0; 65_536];
            // A terminal that nobody has open any more is an error here, and the end.
            while let Ok(read @ 1..) = from.read(&mut piece) {
                drawn.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        at
    }

    fn sized(self, columns: u16, rows: u16) -> Self {
        self.resize(columns, rows);
        self
    }

    /// Gives the window another size, of which the program hears.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).unwrap();
    }

    /// Types this.
    pub(crate) fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// All that was drawn so far.
    pub(crate) fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Waits until what was drawn from `from` on holds `text`, and says where that ends.
    #[track_caller]
    pub(crate) fn sees_after(&self, from: usize, text: &str) -> usize {
        for _ in 0..6000 {
            let drawn = self.drawn();
            if let Some(at) = drawn.get(from..).and_then(|later| later.find(text)) {
                return from + at + text.len();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("`{text}` was not drawn in a minute after {from} of:\n{}", self.drawn());
    }

    /// Waits until `text` was drawn.
    #[track_caller]
    pub(crate) fn sees(&self, text: &str) -> usize {
        self.sees_after(0, text)
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        for _ in 0..6000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end in a minute; it drew:\n{}", self.drawn());
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `setsid` becomes the program, with the terminal for its own.
fn leader(command: &Command, user: &dyn Fn() -> File) -> Child {
    let mut leader = Command::new("setsid");
    leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        leader.current_dir(directory);
    }
    leader.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leader.env(name, value),
            None => leader.env_remove(name),
        };
    }
    leader.stdin(user()).stdout(user()).stderr(user()).spawn().unwrap()
}
