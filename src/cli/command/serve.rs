//! `serve`: makes a region reachable. It looks after signals by itself: the first one drains and ends with 0.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::{Session, exec_guard, guard};
use super::super::signal::Signals;
use crate::config::{self, RegionConfig};
use crate::host::{Holder, HostDisk};
use crate::model::RegionId;
use crate::region::layout::Layout;
use crate::region::{LocalRegion, Opening};
use crate::render::Talk;
use crate::serve::{Given, ServeError, ServeOptions, Server, install_log, supervise};

/// Serve a region to other machines
///
/// Prints where it listens once it answers. Every option also stands in the configuration file, which alone says how
/// resources hold still, what starts and stops them, and which files lie elsewhere. SIGTERM ends what is under way at
/// the next durable place.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region serve --region us-east-1 --data-dir /srv/debvisor
  debvisor-region serve --config /etc/debvisor/region/config.toml
  debvisor-region serve --config region.toml --listen 127.0.0.1:0")]
pub(crate) struct Serve {
    /// The id of the region
    #[arg(long, value_name = "ID")]
    region: Option<RegionId>,
    /// The directory that holds it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Listen here; port 0 is a free one [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Accept these tokens, one a line; read again when it changes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read credentials for other regions here, in the form of the credentials file
    #[arg(long, value_name = "FILE")]
    peer_tokens: Option<PathBuf>,
    /// Prove who this is with this certificate chain
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Ask for client certificates of this authority
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Read the region's configuration here [default: .debvisor/config.toml in its directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen beyond this machine without token or TLS
    #[arg(long)]
    insecure: bool,
}

fn failed(error: ServeError) -> CliError {
    let help = error.help();
    match error {
        ServeError::Config(problems) => CliError::Problems(problems),
        error => CliError::Unfit { message: error.to_string(), help },
    }
}

impl Serve {
    fn options(self) -> Result<ServeOptions, ServeError> {
        let Self { region, data_dir, listen, token_file, peer_tokens, tls_cert, tls_key, client_ca, config, insecure } =
            self;
        let own = match (&config, &data_dir) {
            (Some(path), _) => config::region::load(path)?,
            (None, Some(dir)) => config::region::load_if_present(&Layout::new(dir).config())?,
            (None, None) => RegionConfig::default(),
        };
        let given =
            Given { region, data_dir, listen, token_file, peer_tokens, tls_cert, tls_key, client_ca, config, insecure };
        ServeOptions::new(given, own)
    }

    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let options = self.options().map_err(failed)?;
        let mut signals = Signals::install().map_err(|error| CliError::Unfit {
            message: format!("the program cannot start here: {error}"),
            help: None,
        })?;
        let printer = Arc::clone(&session.printer);
        let talk = session.printer.talk();
        install_log(Arc::new(move |line: &str| printer.error(line)), session.globals.quiet, talk >= Talk::More);

        let holder = Holder {
            who: session.host.who(),
            pid: session.host.pid,
            command: session.command_line.clone(),
            since: session.world.clock.now(),
        };
        let opening = Opening {
            world: session.world.clone(),
            disk: Arc::new(HostDisk),
            holder,
            guard: guard(),
            exec_guard: exec_guard(),
            config: options.config.clone(),
        };
        let founds = !options.data_dir.exists();
        let region = LocalRegion::new(options.region.clone(), options.data_dir.clone(), opening);
        let drain = CancellationToken::new();
        let server = Server::bind(&options, region, session.world.clone(), drain.clone()).await.map_err(failed)?;
        if let Some(exposure) = server.exposure() {
            session.printer.error(&format!("WARNING: --insecure: {exposure}"));
        }
        if let Some(amiss) = server.amiss() {
            session.printer.error(&format!("WARNING: {amiss}"));
        }
        if founds {
            let (id, dir) = (&options.region, options.data_dir.display());
            session.printer.error(&format!(
                "WARNING: {dir} was not there: region {id} begins in it now, and holds nothing. If it should hold \
                 something, end this, and look at --data-dir and at what is mounted"
            ));
        }
        let origin = server.origin().to_owned();
        let running = tokio::spawn(server.run());
        session.printer.result(&format!("listening on {origin}\n"));
        supervise::ready();
        signals.next().await;
        supervise::stopping();
        drain.cancel();
        tokio::select! {
            ended = running => match ended {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(CliError::Bug(error.to_string())),
            },
            () = signals.next() => Ok(Exit::Interrupted),
        }
    }
}
