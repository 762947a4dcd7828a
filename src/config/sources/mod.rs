//! The sources of settings, each read into a layer of its own:
//! built-in < jobs.toml < database rows < environment < command line.

pub(super) mod database;
pub(crate) mod environment;
pub(crate) mod file;
mod include;

pub use environment::Environment;
pub use file::File;
pub(crate) use file::SHIPPED;

use super::Rows;
use super::layer::Layer;
use super::problem::Source;
use super::text::Text;

/// Everything a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The declaration.
    pub file: File,
    /// The variables of the process.
    pub environment: Environment,
    /// The port of `--port`.
    pub port: Option<u16>,
    /// What stands in for the row of our own, while it is checked before it is written.
    pub candidate: Option<String>,
    /// The overrides read before, for when the application's database cannot be read.
    pub remembered: Rows,
    /// Whether the database is not asked, and what was read before stands.
    pub is_in_force: bool,
    /// The port that stands in for the declared one, as `--dev` and `--local` ask for.
    pub default_port: Option<u16>,
}

impl Sources {
    /// What the command line changes the defaults to.
    pub(super) fn defaults_of_command_line(&self) -> Option<Layer> {
        self.default_port.map(|port| port_layer(Source::Mode, port))
    }

    /// What the command line says, which wins over everything.
    pub(super) fn command_line(&self) -> Option<Layer> {
        self.port.map(|port| port_layer(Source::CommandLine, port))
    }
}

fn port_layer(source: Source, port: u16) -> Layer {
    let mut layer = Layer::new(source);
    let path = ["server".to_owned(), "port".to_owned()];
    layer.insert(&path, port.into());
    layer.names.insert(path.to_vec(), "--port".to_owned());
    layer
}

/// The settings that lie under every declaration.
pub(super) fn built_in() -> Layer {
    // A test reads it, so that it cannot be broken in a build that is used.
    let text = Text::parse(include_str!("built_in.toml").to_owned());
    file::layer(Source::BuiltIn, text).unwrap_or_else(|_| Layer::new(Source::BuiltIn))
}
