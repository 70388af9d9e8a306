//! A line between two programs that has troubles: it cuts, delays, reorders, truncates, flips bits, answers as
//! somebody else, stalls and trickles. Real sockets; what it does follows from a seed, a connection's number and its
//! direction, and every strike is noted.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kill::Chance;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Asked,
    /// From the server.
    Answered,
}

/// What goes wrong on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    Nothing,
    /// After some bytes both directions are closed.
    Cut,
    /// Every piece comes late.
    Delay,
    /// Pieces of a connection change their places; bytes are all there.
    Swap,
    /// Whole answers change their places with those of other connections.
    Cross,
    /// After some bytes this direction ends as if all had been sent.
    Truncate,
    /// One bit is another.
    Flip,
    /// Every answer comes 600 ms late.
    Slow,
    /// Somebody else answers, with a page.
    Html,
    /// Somebody else answers, with a server's error.
    Broken,
    /// Questions with this text are never answered.
    Deaf(&'static str),
    /// Questions with this text wait until something else goes wrong, or nothing.
    Held(&'static str),
    /// After some bytes nothing comes any more, for ever.
    Stall,
    /// After some bytes, one a second.
    Trickle,
    /// A text is another one of the same length wherever it stands.
    Alter { from: &'static str, to: &'static str },
    /// Of each of these calls, named as their paths end, one is carried out and its answer lost.
    Lose(&'static [&'static str]),
}

/// A page such as proxies show, with a success's status.
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 70\r\nconnection: close\r\n\r\n\
<!DOCTYPE html>\n<html><body><h1>Welcome to the portal</h1></body></html>";

/// What a proxy says whose server says nothing of sense.
const ERROR: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\
connection: close\r\n\r\noops\n";

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    seed: u64,
    /// What goes wrong, which way, on how many connections of a hundred, and within how many bytes.
    rule: Mutex<Rule>,
    connections: AtomicU64,
    /// How many rules there have been: connections last longer than rules.
    rules: AtomicU64,
    strikes: Mutex<Vec<String>>,
    /// An answer that waits for another one to change places with.
    held: Mutex<Option<Vec<u8>>>,
    /// The calls whose answer was or will be lost, by their connection.
    losing: Mutex<BTreeMap<&'static str, u64>>,
    ended: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    trouble: Trouble,
    way: Way,
    percent: u64,
    within: u64,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// A good line to `origin`.
    pub(crate) fn to(origin: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: origin.split_once("://").unwrap().1.parse().unwrap(),
            seed,
            rule: Mutex::new(Rule { trouble: Trouble::Nothing, way: Way::Asked, percent: 0, within: 1 }),
            connections: AtomicU64::new(0),
            rules: AtomicU64::new(0),
            strikes: Mutex::default(),
            held: Mutex::default(),
            losing: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let line = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if line.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let number = line.connections.fetch_add(1, Ordering::Relaxed);
                let line = Arc::clone(&line);
                thread::spawn(move || carry(&line, number, client));
            }
        });
        Self { shared, address }
    }

    /// Where it listens: host and port.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on, of a hundred connections so many have the trouble within so many bytes.
    pub(crate) fn is(&self, trouble: Trouble, way: Way, percent: u64, within: u64) {
        *self.shared.rule.lock().unwrap() = Rule { trouble, way, percent, within };
        self.shared.strikes.lock().unwrap().clear();
        self.shared.rules.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on connections have no trouble, but for those that are past help.
    pub(crate) fn heals(&self) {
        self.shared.rule.lock().unwrap().trouble = Trouble::Nothing;
        self.shared.rules.fetch_add(1, Ordering::Relaxed);
    }

    /// What struck since the rule was given.
    pub(crate) fn strikes(&self) -> Vec<String> {
        self.shared.strikes.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn carry(line: &Arc<Shared>, number: u64, client: TcpStream) {
    let Ok(server) = TcpStream::connect(line.upstream) else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (to, from) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
    let other = Arc::clone(line);
    let asked = thread::spawn(move || Pump::new(&other, number, Way::Asked).run(to.0, to.1));
    Pump::new(line, number, Way::Answered).run(from.0, from.1);
    let _ = asked.join();
}

/// One direction of a connection.
struct Pump<'a> {
    line: &'a Shared,
    number: u64,
    way: Way,
    chance: Chance,
    /// Which rule it follows.
    rule: u64,
    trouble: Trouble,
    /// The byte that the trouble begins at.
    at: u64,
    passed: u64,
}

impl<'a> Pump<'a> {
    fn new(line: &'a Shared, number: u64, way: Way) -> Self {
        let chance = Chance::new(0);
        let mut pump = Self { line, number, way, chance, rule: 0, trouble: Trouble::Nothing, at: 0, passed: 0 };
        pump.follow();
        pump
    }

    /// Follows the rule of now.
    fn follow(&mut self) {
        let now = self.line.rules.load(Ordering::Relaxed);
        if now == self.rule {
            return;
        }
        let rule = *self.line.rule.lock().unwrap();
        self.rule = now;
        self.chance = Chance::new(self.line.seed ^ now << 32 ^ self.number << 8 ^ u64::from(self.way == Way::Asked));
        for _ in 0..4 {
            self.chance.next();
        }
        let both = matches!(rule.trouble, Trouble::Lose(_));
        let struck = (both || rule.way == self.way) && self.chance.below(100) < rule.percent;
        // As often among the first bytes as among the last.
        let most = 1 + self.chance.below(rule.within);
        let most = if self.chance.below(2) == 0 { most.min(2000) } else { most };
        self.at = self.passed + self.chance.below(most);
        self.trouble = if struck { rule.trouble } else { Trouble::Nothing };
    }

    fn strikes(&self, what: &str) {
        let Self { line, number, way, trouble, passed, .. } = self;
        let told = format!("connection {number}, {way:?}: {trouble:?} after {passed} bytes {what}");
        line.strikes.lock().unwrap().push(told);
    }

    fn run(mut self, mut from: TcpStream, mut to: TcpStream) {
        // Whatever ends it: the other side is told that nothing comes any more.
        let cut = self.pump(&mut from, &mut to).is_err();
        let _ = to.shutdown(if cut { Shutdown::Both } else { Shutdown::Write });
        if cut {
            let _ = from.shutdown(Shutdown::Both);
        }
    }

    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
        let mut piece = vec![0; 16 << 10];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            self.follow();
            let bytes = &mut piece[..length];
            while let Trouble::Held(text) = self.trouble
                && String::from_utf8_lossy(bytes).contains(text)
            {
                thread::sleep(Duration::from_millis(2));
                if self.line.ended.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                self.follow();
            }
            let here = (self.passed + length as u64).checked_sub(self.at + 1).is_some();
            let keep = (self.at.saturating_sub(self.passed) as usize).min(length);
            match self.trouble {
                Trouble::Nothing | Trouble::Held(_) => to.write_all(bytes)?,
                Trouble::Delay => {
                    thread::sleep(Duration::from_millis(self.chance.below(60)));
                    if here && self.passed <= self.at {
                        self.strikes("");
                    }
                    to.write_all(bytes)?;
                }
                Trouble::Cut | Trouble::Truncate | Trouble::Stall if here => {
                    self.passed += keep as u64;
                    to.write_all(&bytes[..keep])?;
                    self.strikes("");
                    return self.leave(from);
                }
                Trouble::Cut | Trouble::Truncate | Trouble::Stall => to.write_all(bytes)?,
                Trouble::Flip if here && self.passed <= self.at => {
                    let bit = self.chance.below(8);
                    let byte = &mut bytes[keep];
                    let was = *byte;
                    *byte ^= 1 << bit;
                    let told = format!("at {}: {was:#04x} became {:#04x}", self.at, *byte);
                    self.strikes(&told);
                    to.write_all(bytes)?;
                }
                Trouble::Flip => to.write_all(bytes)?,
                Trouble::Swap if here && self.passed <= self.at && length > 64 => {
                    let half = length / 2;
                    self.strikes("");
                    to.write_all(&bytes[half..])?;
                    to.write_all(&bytes[..half])?;
                }
                Trouble::Swap => to.write_all(bytes)?,
                Trouble::Cross => {
                    // An answer that comes in one piece waits a little for another one.
                    let mine = bytes.to_vec();
                    let theirs = self.line.held.lock().unwrap().replace(mine.clone());
                    match theirs {
                        Some(theirs) => {
                            self.strikes("");
                            to.write_all(&theirs)?;
                        }
                        None => {
                            thread::sleep(Duration::from_millis(30));
                            let held = self.line.held.lock().unwrap().take();
                            to.write_all(held.as_deref().unwrap_or(&mine))?;
                        }
                    }
                }
                Trouble::Slow => {
                    thread::sleep(Duration::from_millis(600));
                    to.write_all(bytes)?;
                }
                Trouble::Deaf(text) => {
                    if self.way == Way::Asked && String::from_utf8_lossy(bytes).contains(text) {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    to.write_all(bytes)?;
                }
                Trouble::Broken => {
                    to.write_all(ERROR)?;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Trouble::Html => {
                    self.strikes("");
                    match self.way {
                        Way::Answered => to.write_all(PAGE)?,
                        // A server is asked by a page.
                        Way::Asked => to.write_all(&PAGE[17..])?,
                    }
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Trouble::Trickle if here => {
                    to.write_all(&bytes[..keep])?;
                    if self.passed <= self.at {
                        self.strikes("");
                    }
                    for byte in &bytes[keep..] {
                        to.write_all(&[*byte])?;
                        thread::sleep(Duration::from_secs(1));
                        if self.line.ended.load(Ordering::Relaxed)
                            || self.line.rules.load(Ordering::Relaxed) != self.rule
                        {
                            return Err(io::ErrorKind::ConnectionAborted.into());
                        }
                    }
                }
                Trouble::Trickle => to.write_all(bytes)?,
                Trouble::Alter { from: text, to: other } => {
                    let places = bytes.windows(text.len()).enumerate().filter(|(_, piece)| *piece == text.as_bytes());
                    let places: Vec<usize> = places.map(|(at, _)| at).collect();
                    // The first ones: what is asked again gets through.
                    let few = self.line.strikes.lock().unwrap().len() < 2;
                    for at in places.into_iter().filter(|_| few) {
                        bytes[at..at + text.len()].copy_from_slice(other.as_bytes());
                        self.strikes("");
                    }
                    to.write_all(bytes)?;
                }
                Trouble::Lose(calls) => {
                    let mut losing = self.line.losing.lock().unwrap();
                    match self.way {
                        Way::Asked => {
                            let head = String::from_utf8_lossy(bytes);
                            let call = calls.iter().find(|call| head.contains(&format!("{call} HTTP/1.1")));
                            if let Some(call) = call.filter(|call| !losing.contains_key(*call)) {
                                losing.insert(call, self.number);
                            }
                        }
                        Way::Answered => {
                            if let Some((call, _)) = losing.iter().find(|(_, number)| **number == self.number) {
                                self.strikes(call);
                                return Err(io::ErrorKind::ConnectionAborted.into());
                            }
                        }
                    }
                    drop(losing);
                    to.write_all(bytes)?;
                }
            }
            self.passed += length as u64;
        }
    }

    /// What happens to the rest.
    fn leave(&self, from: &mut TcpStream) -> io::Result<()> {
        match self.trouble {
            Trouble::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
            Trouble::Stall => {
                // Neither taken nor refused, until whoever waits gives up.
                while !self.line.ended.load(Ordering::Relaxed) && !is_closed(from) {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(io::ErrorKind::TimedOut.into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the other end has closed: nothing is taken from it by looking.
fn is_closed(stream: &TcpStream) -> bool {
    let mut one = [0];
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut one);
    stream.set_nonblocking(false).unwrap();
    match seen {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}
