//! A bottle of a manifest: checked, with every path absolute. What a file does not say stays open ([`None`]), so that one file
//! can stand over another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::error::FileError;
use super::keys::{BottleTable, GitTable, GitUserTable, PushTable, Role, RouteTable};
use super::source::SourceFile;
use crate::bundle::{
    BundleManifest, BundlePlan, GitUpstream, HostPattern, Route, SecretPattern, TokenSource,
};
use crate::plan::GitUser;
use crate::vm::{DiskSize, Volume};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bottle {
    pub(crate) hosts: Option<Vec<HostPattern>>,
    pub(crate) pass_through: Option<Vec<HostPattern>>,
    pub(crate) routes: Option<Vec<RoleRoute>>,
    pub(crate) git: Option<Vec<GitUpstream>>,
    pub(crate) git_user: Option<GitUser>,
    pub(crate) supervise: Option<bool>,
    pub(crate) secrets: Vec<SecretPattern>,
    pub(crate) extra_hosts: BTreeMap<String, IpAddr>,
    pub(crate) upstream_ca: Option<PathBuf>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cpus: Option<u8>,
    pub(crate) memory_mib: Option<u32>,
    pub(crate) disk: Option<DiskSize>,
    pub(crate) volumes: Option<Vec<Volume>>,
}

/// A route, and what its token is to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleRoute {
    pub(crate) route: Route,
    pub(crate) role: Option<Role>,
}

impl Bottle {
    /// What the table says, in this file.
    pub(super) fn read(table: BottleTable, file: &SourceFile) -> Result<Self, FileError> {
        let reader = Reader { file };
        let mut bottle = Self {
            hosts: each(table.hosts, |host| reader.host(&host))?,
            pass_through: each(table.pass_through, |host| reader.host(&host))?,
            supervise: table.supervise,
            ..Self::default()
        };
        bottle.routes = each(table.routes, |route| reader.route(route))?;
        bottle.git = each(table.git, |(name, upstream)| reader.git(name, upstream))?;
        bottle.git_user = table.git_user.map(|user| reader.git_user(user)).transpose()?;
        bottle.secrets = each(table.secrets, |secret| reader.secret(secret))?.unwrap_or_default();
        bottle.extra_hosts = each(table.extra_hosts, |host| reader.extra_host(host))?
            .unwrap_or_default()
            .into_iter()
            .collect();
        bottle.upstream_ca = table.upstream_ca.map(|path| beside(&file.path, path.as_ref()));
        bottle.env =
            each(table.env, |variable| reader.variable(variable))?.unwrap_or_default().into_iter().collect();
        bottle.cpus = table.cpus.map(|cpus| reader.at_least_one(cpus)).transpose()?;
        bottle.memory_mib = table.memory.map(|memory| reader.at_least_one(memory)).transpose()?;
        bottle.disk = table.disk.map(|disk| reader.disk(&disk)).transpose()?;
        bottle.volumes = each(table.volumes, |volume| reader.volume(&volume))?;
        Ok(bottle)
    }

    /// This one over another: each key that it has counts, of those that add up it gets both.
    pub(crate) fn over(self, below: &Self) -> Self {
        let below = below.clone();
        let secrets = below.secrets.into_iter().filter(|secret| !self.secrets.contains(secret));
        Self {
            hosts: self.hosts.or(below.hosts),
            pass_through: self.pass_through.or(below.pass_through),
            routes: self.routes.or(below.routes),
            git: self.git.or(below.git),
            git_user: self.git_user.or(below.git_user),
            supervise: self.supervise.or(below.supervise),
            secrets: secrets.chain(self.secrets.clone()).collect(),
            extra_hosts: below.extra_hosts.into_iter().chain(self.extra_hosts).collect(),
            upstream_ca: self.upstream_ca.or(below.upstream_ca),
            env: below.env.into_iter().chain(self.env).collect(),
            cpus: self.cpus.or(below.cpus),
            memory_mib: self.memory_mib.or(below.memory_mib),
            disk: self.disk.or(below.disk),
            volumes: self.volumes.or(below.volumes),
        }
    }

    /// What the daemons need of it.
    pub(crate) fn bundle(&self) -> BundleManifest {
        BundleManifest {
            hosts: self.hosts.clone().unwrap_or_default(),
            pass_through: self.pass_through.clone().unwrap_or_default(),
            routes: self.routes.iter().flatten().map(|one| one.route.clone()).collect(),
            git: self.git.clone().unwrap_or_default(),
            supervise: self.supervise.unwrap_or_default(),
            secrets: self.secrets.clone(),
            extra_hosts: self.extra_hosts.clone(),
            upstream_ca: self.upstream_ca.clone(),
            ..BundleManifest::default()
        }
    }

    /// Does a route's token play this role?
    pub(crate) fn has_role(&self, role: Role) -> bool {
        self.routes.iter().flatten().any(|one| one.role == Some(role))
    }
}

/// A path of a file: relative to the file's directory, or with `~/` to the user's.
pub(super) fn beside(file: &Path, path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    if let Some((rest, home)) = path.strip_prefix("~/").zip(home()) {
        return home.join(rest);
    }
    file.parent().unwrap_or(Path::new("/")).join(path)
}

fn each<T, U>(
    all: Option<impl IntoIterator<Item = T>>,
    read: impl FnMut(T) -> Result<U, FileError>,
) -> Result<Option<Vec<U>>, FileError> {
    all.map(|all| all.into_iter().map(read).collect()).transpose()
}

/// Reads what needs the file: its directory, and where in it something stands.
struct Reader<'a> {
    file: &'a SourceFile,
}

impl Reader<'_> {
    fn wrong(&self, at: Range<usize>, what: impl ToString, hint: &str) -> FileError {
        self.file.wrong(at, what.to_string(), hint)
    }

    /// Asks the daemons' own checks about one part of a bottle.
    fn check(&self, part: &BundleManifest, at: Range<usize>, hint: &str) -> Result<(), FileError> {
        BundlePlan::new(part).map(drop).map_err(|error| self.wrong(at, error, hint))
    }

    fn host(&self, text: &Spanned<String>) -> Result<HostPattern, FileError> {
        let hint =
            "without a scheme, a port or a path; `*.example.com` is all below a domain, and the domain";
        text.as_ref().parse().map_err(|error| self.wrong(text.span(), error, hint))
    }

    fn route(&self, table: Spanned<RouteTable>) -> Result<RoleRoute, FileError> {
        let at = table.span();
        let RouteTable { host, path, methods, scheme, mut token, role } = table.into_inner();
        // Not whatever lies where `bottle` is started.
        match &mut token {
            TokenSource::Command(words) => {
                if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
                    *program = beside(&self.file.path, program).display().to_string();
                }
            }
            TokenSource::Json { file, .. } => *file = beside(&self.file.path, &file.to_string_lossy()),
            TokenSource::Env(_) => {}
        }
        let route = Route { host: host.to_ascii_lowercase(), path, methods, scheme, token };
        let part = BundleManifest { routes: vec![route.clone()], ..BundleManifest::default() };
        self.check(&part, at, "docs/MANIFEST.md has an example of a route")?;
        Ok(RoleRoute { route, role })
    }

    fn git(&self, name: String, table: Spanned<GitTable>) -> Result<GitUpstream, FileError> {
        let at = table.span();
        let GitTable { url, identity, known_host, push } = table.into_inner();
        let rules: Result<Vec<_>, String> = push.iter().map(rule).collect();
        let push = rules.map_err(|why| {
            let what = format!("upstream {name:?}: {why}");
            self.wrong(
                at.clone(),
                what,
                "`{ branch = \"agent/*\" }` is a rule; `force` and `delete` are for true or false",
            )
        })?;
        let identity = beside(&self.file.path, &identity);
        let upstream = GitUpstream { name, url, identity, host_key: known_host, push };
        let part = BundleManifest { git: vec![upstream.clone()], ..BundleManifest::default() };
        self.check(&part, at, "docs/MANIFEST.md has an example of an upstream")?;
        Ok(upstream)
    }

    fn git_user(&self, user: Spanned<GitUserTable>) -> Result<GitUser, FileError> {
        let at = user.span();
        let GitUserTable { name, email } = user.into_inner();
        for (key, text) in [("name", &name), ("email", &email)] {
            // git leaves these out of a commit, and refuses what is then empty.
            if text.trim().is_empty() || text.contains(|c: char| c.is_control() || matches!(c, '<' | '>')) {
                let what = format!("the {key} {text:?} can't stand in a commit");
                let hint = "`git_user = { name = \"An Agent\", email = \"agent@example.com\" }` is one";
                return Err(self.wrong(at, what, hint));
            }
        }
        Ok(GitUser { name, email })
    }

    fn secret(&self, secret: Spanned<SecretPattern>) -> Result<SecretPattern, FileError> {
        let at = secret.span();
        let secret = secret.into_inner();
        let part = BundleManifest { secrets: vec![secret.clone()], ..BundleManifest::default() };
        self.check(&part, at, "`{ name = \"Badge\", regex = \"badge_[0-9]{6}\" }` is one")?;
        Ok(secret)
    }

    fn extra_host(&self, (name, address): (Spanned<String>, IpAddr)) -> Result<(String, IpAddr), FileError> {
        let at = name.span();
        let name = name.into_inner().to_ascii_lowercase();
        let part =
            BundleManifest { extra_hosts: [(name.clone(), address)].into(), ..BundleManifest::default() };
        self.check(&part, at, "one host's name, and its address in quotes")?;
        Ok((name, address))
    }

    fn variable(&self, (name, value): (Spanned<String>, String)) -> Result<(String, String), FileError> {
        let text = name.as_ref();
        if text.is_empty() || text.contains(['=', '\0']) || value.contains('\0') {
            let what = format!("{text:?} cannot be an environment variable, or not with this value");
            return Err(self.wrong(name.span(), what, "`NAME = \"value\"` sets one"));
        }
        Ok((name.into_inner(), value))
    }

    fn at_least_one<T: PartialEq + Default>(&self, number: Spanned<T>) -> Result<T, FileError> {
        if *number.as_ref() == T::default() {
            return Err(self.wrong(
                number.span(),
                "there is no machine with none of it",
                "leave the key out for the default",
            ));
        }
        Ok(number.into_inner())
    }

    fn disk(&self, text: &Spanned<String>) -> Result<DiskSize, FileError> {
        let hint = "a size is a string: \"512M\", \"40G\", \"2T\"";
        text.as_ref().parse().map_err(|error| self.wrong(text.span(), error, hint))
    }

    fn volume(&self, text: &Spanned<String>) -> Result<Volume, FileError> {
        let wrong = |what: String| {
            self.wrong(text.span(), what, "for example \"./src:/src:ro\", HOST relative to this file")
        };
        let volume: Volume = text.as_ref().parse().map_err(|error| wrong(format!("{error}")))?;
        // The command line's is relative to where we are, a file's to the file.
        let host = text.as_ref().split(':').next().unwrap_or_default();
        let host = beside(&self.file.path, host);
        Volume::new(host, volume.guest(), volume.read_only()).map_err(|error| wrong(error.to_string()))
    }
}

/// A rule by its keys, through the reader that the daemons use as well.
fn rule(table: &PushTable) -> Result<bottle_gates::push::PushRule, String> {
    use bottle_gates::push::{PushRule, Refs};
    let refs = match (&table.branch, &table.tag) {
        (Some(pattern), None) => Refs::Branch(pattern.clone()),
        (None, Some(pattern)) => Refs::Tag(pattern.clone()),
        _ => return Err("a push rule is about either a `branch` or a `tag`".to_owned()),
    };
    let rule = PushRule { refs, force: table.force, delete: table.delete };
    rule.check().map_err(|error| error.to_string())?;
    Ok(rule)
}
