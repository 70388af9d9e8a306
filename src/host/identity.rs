//! Who runs this program, and where: for locks, for history, and for the place of a controller.

use std::path::Path;

use rustix::process::{geteuid, getpid};

use crate::model::RegionId;

/// The user, machine and process that this program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The user's name; `uid-N` where the machine knows none.
    pub user: String,
    /// The machine's name.
    pub name: String,
    /// This process.
    pub pid: u32,
    /// Names this boot of the machine; empty where the kernel tells none.
    pub boot_id: String,
    /// Names this machine over its boots: its machine id, else its host name. Two machines cloned from one image
    /// may share it.
    pub machine: String,
    /// The region that this program serves; none: it is a person's.
    pub serves: Option<RegionId>,
}

impl Host {
    /// Asks the machine.
    pub fn current() -> Self {
        let uid = geteuid().as_raw();
        let user = std::fs::read_to_string("/etc/passwd")
            .ok()
            .and_then(|passwd| user_in_passwd(&passwd, uid))
            .or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
            .unwrap_or_else(|| format!("uid-{uid}"));
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
            .into_iter()
            .find_map(|path| first_line(Path::new(path)))
            .unwrap_or_else(|| format!("host-{name}"));
        Self {
            user,
            name,
            pid: u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0),
            boot_id: boot_id(),
            machine,
            serves: None,
        }
    }

    /// The same, of a program that serves a region and acts for it.
    #[must_use]
    pub fn serving(self, region: RegionId) -> Self {
        Self { serves: Some(region), ..self }
    }

    /// The person, as history names it: `user@host`; of a region's server `region ID (user@host)`.
    pub fn who(&self) -> String {
        let person = format!("{}@{}", self.user, self.name);
        match &self.serves {
            Some(region) => format!("region {region} ({person})"),
            None => person,
        }
    }

    /// A place on this machine, as people are told it: `user@host:path`.
    pub fn place(&self, path: &Path) -> String {
        format!("{}:{}", self.who(), path.display())
    }
}

/// Names this boot of the machine; empty where the kernel tells none.
pub fn boot_id() -> String {
    first_line(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default()
}

/// The name of user `uid` in the text of a passwd file.
fn user_in_passwd(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn first_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7::\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(user_in_passwd(passwd, 1000).as_deref(), Some("ana"));
        assert_eq!(user_in_passwd(passwd, 0).as_deref(), Some("root"));
        assert_eq!(user_in_passwd(passwd, 7), None);
        assert_eq!(user_in_passwd("", 0), None);
    }

    #[test]
    fn the_machine_has_a_name_and_the_process_a_number() {
        let host = Host::current();
        assert_eq!(host.pid, std::process::id());
        assert!(!host.user.is_empty() && !host.name.is_empty() && !host.machine.is_empty());
        let place = format!("{}@{}:/srv/x", host.user, host.name);
        assert_eq!(host.place(Path::new("/srv/x")), place);
        let who = format!("{}@{}", host.user, host.name);
        let serving = host.serving("east".parse().unwrap());
        assert_eq!(serving.place(Path::new("/srv/x")), format!("region east ({who}):/srv/x"));
    }
}
