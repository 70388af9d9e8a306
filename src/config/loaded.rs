//! What loading a topology gives: the topology, and where each of its objects was declared.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Address;
use crate::model::topology::Topology;

use super::problem::Label;
use super::source::Source;

/// Where an object was declared; for a member of a range, the range's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes of the declaring key or header.
    pub span: Range<usize>,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl Origin {
    /// The file's name, as given or as found.
    pub fn file(&self) -> &str {
        self.source.name()
    }
}

/// A topology with its sources.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is declared.
    pub topology: Topology,
    /// The files, sorted by name.
    pub sources: Vec<Arc<Source>>,
    /// Where each object was declared.
    pub origins: BTreeMap<Address, Origin>,
    /// The file or directory, as given or as found.
    pub path: PathBuf,
    /// The directory that the topology lies in: the file's own, or the directory itself. Never empty text.
    pub base: PathBuf,
}

impl Loaded {
    /// A label on the line that declared `address`, if it is declared.
    pub fn label(&self, address: &Address, text: impl Into<String>) -> Option<Label> {
        self.origins.get(address).map(|origin| Label::new(&origin.source, origin.span.clone(), text))
    }
}
