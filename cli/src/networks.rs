//! User networks: what `kiln network create` keeps, and how a container finds its way into one.
//!
//! ```text
//! $KILN_ROOT/networks/
//!   lock            held while a network is made or removed
//!   <name>/
//!     network.json  what it is
//!     lock          held while a container joins, and while the hub ends
//!     hub.sock      the hub, as long as the network has members
//! ```

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_executor::network::{HubRequest, Member, has_hub, members};
use serde::{Deserialize, Serialize};

use crate::request::network::is_name;

/// The word on the command line of a hub's process.
pub(crate) const HUB_WORD: &str = "network-hub";

/// Names that `--network` understands in another way.
const TAKEN: [&str; 6] = ["host", "none", "private", "bridge", "default", "container"];

/// A user network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserNetwork {
    /// Its name.
    pub(crate) name: String,
    /// 64 hexadecimal digits, as Docker's.
    pub(crate) id: String,
    /// When it was made, RFC 3339.
    pub(crate) created: String,
    /// The first address of its 256.
    pub(crate) subnet: Ipv4Addr,
    /// `--label`.
    #[serde(default)]
    pub(crate) labels: std::collections::BTreeMap<String, String>,
}

/// Why a user network cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserNetworkError {
    /// No such network.
    #[error("there is no network `{0}`: `kiln network create {0}` makes it")]
    Missing(String),
    /// The name is in use.
    #[error("there is a network `{0}` already")]
    Exists(String),
    /// Not a name.
    #[error("a network cannot be called `{0}`")]
    Name(String),
    /// Containers are in it.
    #[error("the network `{name}` is in use by {members}")]
    InUse {
        /// Of the network.
        name: String,
        /// Names or addresses of containers.
        members: String,
    },
    /// A subnet that is none, or is in use.
    #[error("subnet `{subnet}`: {problem}")]
    Subnet {
        /// As typed.
        subnet: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No subnet is left.
    #[error("all subnets of 10.91.0.0/16 are in use: choose another one with --subnet")]
    NoSubnet,
    /// The hub did not start.
    #[error("start the network: {0}")]
    Hub(String),
    /// A file of it.
    #[error("{verb} `{path}`")]
    File {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn file<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> UserNetworkError + 'a {
    move |cause| UserNetworkError::File { verb, path: path.to_owned(), cause }
}

/// The user networks of a store.
#[derive(Debug, Clone)]
pub(crate) struct UserNetworks {
    root: PathBuf,
    directory: PathBuf,
}

impl UserNetworks {
    /// Those of the store at `root`.
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), directory: root.join("networks") }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<UserNetwork>, UserNetworkError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file("read", &self.directory))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<UserNetwork> =
            names.filter(|name| is_name(name)).filter_map(|name| self.find(&name).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The network of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn find(&self, name: &str) -> Result<UserNetwork, UserNetworkError> {
        let missing = || UserNetworkError::Missing(name.to_owned());
        if !is_name(name) {
            return Err(missing());
        }
        let path = self.directory.join(name).join("network.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| missing()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// The containers of a network at this moment.
    pub(crate) fn members(&self, network: &UserNetwork) -> Vec<Member> {
        members(&self.directory.join(&network.name))
    }

    /// Makes a network; `subnet` is as typed, `id` and `created` are the caller's to give.
    ///
    /// # Errors
    /// If the name or the subnet is in use or impossible.
    pub(crate) fn create(
        &self,
        name: &str,
        subnet: Option<&str>,
        (id, created): (String, String),
        labels: std::collections::BTreeMap<String, String>,
    ) -> Result<UserNetwork, UserNetworkError> {
        if !is_name(name) || TAKEN.contains(&name) {
            return Err(UserNetworkError::Name(name.to_owned()));
        }
        let _alone = self.lock(&self.directory)?;
        let all = self.all()?;
        if all.iter().any(|network| network.name == name) {
            return Err(UserNetworkError::Exists(name.to_owned()));
        }
        let used = |subnet: Ipv4Addr| all.iter().any(|network| network.subnet == subnet);
        let subnet = match subnet {
            Some(text) => {
                let wrong = |problem| UserNetworkError::Subnet { subnet: text.to_owned(), problem };
                let subnet =
                    parse_subnet(text).ok_or_else(|| wrong("expected 256 addresses, as 10.1.2.0/24"))?;
                if used(subnet) {
                    return Err(wrong("another network has it"));
                }
                subnet
            }
            None => {
                let mut pool = (0..=255).map(|n| Ipv4Addr::new(10, 91, n, 0));
                pool.find(|subnet| !used(*subnet)).ok_or(UserNetworkError::NoSubnet)?
            }
        };
        let network = UserNetwork { name: name.to_owned(), id, created, subnet, labels };
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory).map_err(file("make", &directory))?;
        let (path, part) = (directory.join("network.json"), directory.join("network.json.part"));
        let text = serde_json::to_vec_pretty(&network).map_err(|error| file("write", &path)(error.into()))?;
        fs::write(&part, text).map_err(file("write", &part))?;
        fs::rename(&part, &path).map_err(file("write", &path))?;
        Ok(network)
    }

    /// Removes a network that has no containers.
    ///
    /// # Errors
    /// If there is none of this name, or it is in use.
    pub(crate) fn remove(&self, name: &str) -> Result<(), UserNetworkError> {
        let _alone = self.lock(&self.directory)?;
        let network = self.find(name)?;
        let directory = self.directory.join(name);
        // Nobody joins now.
        let _joining = self.lock(&directory)?;
        let members = self.members(&network);
        if !members.is_empty() {
            let shown = |member: &Member| member.names.first().cloned().unwrap_or(member.address.to_string());
            let members = members.iter().map(shown).collect::<Vec<_>>().join(", ");
            return Err(UserNetworkError::InUse { name: name.to_owned(), members });
        }
        fs::remove_dir_all(&directory).map_err(file("remove", &directory))
    }

    /// Has the hub of a network run, for a container to join before what is returned is dropped.
    ///
    /// # Errors
    /// If there is no such network, or its hub cannot start.
    pub(crate) fn open(&self, name: &str) -> Result<(PathBuf, File), UserNetworkError> {
        self.find(name)?;
        let directory = self.directory.join(name);
        let joining = self.lock(&directory)?;
        if !has_hub(&directory) {
            self.start_hub(name)?;
        }
        Ok((directory, joining))
    }

    /// What the process of a hub is asked for.
    ///
    /// # Errors
    /// If there is no such network.
    pub(crate) fn hub(&self, name: &str) -> Result<HubRequest, UserNetworkError> {
        let subnet = self.find(name)?.subnet;
        Ok(HubRequest { directory: self.directory.join(name), subnet })
    }

    /// Starts the process of a hub, which outlives this one.
    fn start_hub(&self, name: &str) -> Result<(), UserNetworkError> {
        let failed = |error: io::Error| UserNetworkError::Hub(error.to_string());
        let mut command = Command::new("/proc/self/exe");
        command.args([HUB_WORD, name]).env("KILN_ROOT", &self.root).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut hub = command.spawn().map_err(failed)?;
        let mut said = String::new();
        if let Some(stdout) = hub.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(failed)?;
        }
        if said.trim() == "ready" {
            return Ok(());
        }
        let mut problem = String::new();
        if let Some(mut stderr) = hub.stderr.take() {
            stderr.read_to_string(&mut problem).map_err(failed)?;
        }
        let problem = problem.trim();
        Err(UserNetworkError::Hub(problem.strip_prefix("error: ").unwrap_or(problem).to_owned()))
    }

    fn lock(&self, directory: &Path) -> Result<File, UserNetworkError> {
        fs::create_dir_all(directory).map_err(file("make", directory))?;
        let path = directory.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(file("open", &path))?;
        lock.lock().map_err(file("lock", &path))?;
        Ok(lock)
    }
}

/// `10.1.2.0/24`.
fn parse_subnet(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.strip_suffix("/24")?.parse().ok()?;
    (address.octets()[3] == 0 && address.octets()[0] != 0 && !address.is_loopback()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_have_256_addresses() {
        assert_eq!(parse_subnet("10.1.2.0/24"), Some(Ipv4Addr::new(10, 1, 2, 0)));
        for bad in ["10.1.2.1/24", "10.1.2.0/16", "10.1.2.0", "127.0.0.0/24", "x/24", "0.0.0.0/24"] {
            assert_eq!(parse_subnet(bad), None, "{bad}");
        }
    }
}
