//! `graph`: the topology as a picture.

use clap::{Args, ValueEnum};

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::render::graph::{self, dot, mermaid};

/// Draw regions, pairs and dependencies, as Mermaid or DOT
///
/// Of the files alone; no region is asked. Resources that are declared alike are one box. GitHub, GitLab and many wikis
/// draw Mermaid; `dot -Tsvg` draws DOT.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region graph
  debvisor-region graph dot | dot -Tsvg > topology.svg
  debvisor-region graph --format json")]
pub(crate) struct Graph {
    /// In this language
    #[arg(value_enum, value_name = "LANGUAGE", default_value_t)]
    language: Language,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Language {
    /// For Markdown
    #[default]
    Mermaid,
    /// For Graphviz
    Dot,
}

impl Graph {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let graph = graph::Graph::of(&session.load()?.topology);
        session.print(&graph, |_| match self.language {
            Language::Mermaid => mermaid(&graph),
            Language::Dot => dot(&graph),
        })?;
        Ok(Exit::Done)
    }
}
