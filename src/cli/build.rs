//! `bottle image build`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bottle::bundle::Docker;
use bottle::launch::LaunchError;
use bottle::own_images::{self, BuildTerms, OwnImageError, Recipe};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::image::unwritten;
use super::progress::ProgressLine;
use super::report::CliError;
use super::signals;

/// Have docker build the images of bottle's own that it does not have, or has of another version, and print their names.
///
/// A launch that needs one does so by itself; here it can be told how. CA certificates that the build is to trust are those of the
/// file that SSL_CERT_FILE names, or --ca.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Which one [default: both]
    #[arg(value_enum)]
    images: Vec<Which>,
    /// What the image is to be called, instead of what `bottle run` looks for.
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// An ARG of the Dockerfile, a version for one. It makes another image, which wants a --tag, unless it is one of those that
    /// name a proxy, HTTPS_PROXY and its like.
    #[arg(long, value_name = "NAME=VALUE", value_parser = argument)]
    build_arg: Vec<(String, String)>,
    /// The network that the build has, in docker's words: host, or the name of one.
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// A file of CA certificates in PEM that the build is to trust. They are not in the image.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Build it even if it is there, and from nothing: with the packages that there are now.
    #[arg(long)]
    force: bool,
    /// Print what the images would be called and the hash of what they are made of, as JSON, and build nothing.
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// That of agents' guests: Claude Code, Codex, Node.js, git
    Agent,
    /// That of the bundle's daemons
    Sidecars,
}

/// What `--plan` prints of an image. The names are part of the command line's contract.
#[derive(Serialize)]
struct Planned {
    image: String,
    context: String,
}

impl BuildArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let recipes = self.recipes()?;
        let mut out = io::stdout().lock();
        if self.plan {
            let planned: Vec<_> = recipes
                .into_iter()
                .map(|recipe| Planned { context: recipe.hash(), image: recipe.name })
                .collect();
            serde_json::to_writer_pretty(&mut out, &planned)
                .map_err(Into::into)
                .and_then(|()| writeln!(out))
                .map_err(unwritten)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut terms = BuildTerms::of_this_machine()?;
        terms.ca = self.ca.or(terms.ca);
        terms.network = self.network;
        terms.force = self.force;
        let interrupt = signals::watch()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| CliError::Io { what: "cannot start the runtime", source })?;
        let docker = runtime.block_on(Docker::connect())?;
        for recipe in recipes {
            let mut line = ProgressLine::new(quiet);
            let mut show = |progress: &_| line.show_build(progress);
            let ensured = own_images::ensure(&docker, &recipe, &terms, interrupt.over(), &mut show);
            let ensured = runtime.block_on(ensured);
            drop(line);
            match (ensured, interrupt.signal()) {
                (Err(OwnImageError::Stopped { .. }), Some(signal)) => {
                    return Err(LaunchError::Interrupted { signal }.into());
                }
                (ensured, _) => drop(ensured?),
            }
            writeln!(out, "{}", recipe.name).map_err(unwritten)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn recipes(&self) -> Result<Vec<Recipe>, CliError> {
        let images: &[Which] =
            if self.images.is_empty() { &[Which::Agent, Which::Sidecars] } else { &self.images };
        if self.tag.is_some() && images.len() > 1 {
            return Err(CliError::Usage {
                what: "--tag is the name of one image",
                hint: "say which: `bottle image build agent` or `sidecars`",
            });
        }
        let recipe = |which: &Which| {
            let mut recipe = match which {
                Which::Agent => Recipe::agent(),
                Which::Sidecars => Recipe::daemons(),
            };
            recipe.arguments.extend(self.build_arg.iter().cloned());
            recipe.name = self.tag.clone().unwrap_or(recipe.name);
            recipe
        };
        let recipes: Vec<_> = images.iter().map(recipe).collect();
        if self.tag.is_none() && recipes.iter().any(Recipe::is_changed) {
            return Err(CliError::Usage {
                what: "--build-arg makes another image than the one that `bottle run` looks for",
                hint: "name it by --tag; `image` of an agent, or --bundle-image, then says that it is to be used",
            });
        }
        Ok(recipes)
    }
}

fn argument(word: &str) -> Result<(String, String), &'static str> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use bottle::plan::{AGENT_IMAGE, DAEMONS_IMAGE};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BuildArgs,
    }

    fn names(words: &[&str]) -> Result<Vec<String>, String> {
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let recipes = line.args.recipes().map_err(|error| error.to_string())?;
        Ok(recipes.into_iter().map(|recipe| recipe.name).collect())
    }

    #[test]
    fn both_are_built_unless_one_is_named() {
        assert_eq!(names(&["build"]).unwrap(), [AGENT_IMAGE, DAEMONS_IMAGE]);
        assert_eq!(names(&["build", "sidecars"]).unwrap(), [DAEMONS_IMAGE]);
        assert_eq!(names(&["build", "agent", "--tag", "mine:1"]).unwrap(), ["mine:1"]);
    }

    #[test]
    fn an_image_that_is_another_has_another_name() {
        assert!(names(&["build", "--tag", "mine:1"]).unwrap_err().contains("one image"));
        assert!(
            names(&["build", "agent", "--build-arg", "NODE=1.2.3"]).unwrap_err().contains("another image")
        );
        assert_eq!(
            names(&["build", "agent", "--build-arg", "NODE=1.2.3", "--tag", "mine:1"]).unwrap(),
            ["mine:1"]
        );
        assert_eq!(
            names(&["build", "agent", "--build-arg", "HTTPS_PROXY=http://p:1"]).unwrap(),
            [AGENT_IMAGE]
        );
        assert!(names(&["build", "--build-arg", "=x"]).is_err());
    }
}
