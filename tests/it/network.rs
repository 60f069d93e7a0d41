//! A machine of a node's own, as far as the network goes: a namespace with two
//! links to this machine, one to its clients and one to its database, of which
//! the second can be cut. What is sent then vanishes, and nobody is told.
//!
//! Needs root and iproute2; tests skip without, saying so. Namespaces that are
//! left when the tests end are removed by the keeper of `cluster.rs`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::cluster::{place, skipped};

pub struct Namespace {
    pub name: String,
    /// The third byte of its addresses, 10.213.x.y, and a part of its links' names.
    at: u32,
    folder: PathBuf,
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

#[track_caller]
fn must(arguments: &str) {
    assert!(ip(arguments), "ip {arguments}");
}

impl Namespace {
    /// `None` where none can be made, and then says so.
    pub fn new() -> Option<Namespace> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Others may test on this machine too.
        let free = || (std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed)) % 254 + 1;
        let made = std::iter::repeat_with(free).take(254).map(|at| (at, format!("rollcall{at}")));
        let Some((at, name)) = { made }.find(|(_, name)| ip(&format!("netns add {name}"))) else {
            skipped("network namespaces cannot be made here (root and iproute2 are needed)");
            return None;
        };
        let folder = place("network");
        std::fs::write(folder.join("namespace"), &name).expect("written");
        let namespace = Namespace { name, at, folder };
        let name = &namespace.name;
        must(&format!("-n {name} link set lo up"));
        for (link, here, there) in
            [("clients", namespace.address(1), namespace.clients()), ("data", namespace.host(), namespace.address(6))]
        {
            must(&format!("link add {link}{at} type veth peer name {link} netns {name}"));
            must(&format!("address add {here}/30 dev {link}{at}"));
            must(&format!("link set dev {link}{at} up"));
            must(&format!("-n {name} address add {there}/30 dev {link}"));
            must(&format!("-n {name} link set dev {link} up"));
        }
        Some(namespace)
    }

    fn address(&self, last: u32) -> String {
        format!("10.213.{}.{last}", self.at)
    }

    /// Where clients on this machine find what listens in it.
    pub fn clients(&self) -> String {
        self.address(2)
    }

    /// Where what runs in it finds this machine, as long as it is not cut off.
    pub fn host(&self) -> String {
        self.address(5)
    }

    /// A command that runs in it, under the same id.
    pub fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("ip");
        within.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within.current_dir(command.get_current_dir().unwrap_or(&self.folder));
        within
    }

    pub fn cut(&self) {
        must(&format!("link set dev data{} down", self.at));
    }

    pub fn mend(&self) {
        must(&format!("link set dev data{} up", self.at));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its links go with it.
        ip(&format!("netns del {}", self.name));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
