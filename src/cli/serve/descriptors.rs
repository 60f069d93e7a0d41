//! How many files and sockets the process may open.
//!
//! What always holds: the soft limit is raised to the hard one at start, and
//! connections never take the descriptors that files need, so a crowd of
//! clients does not keep background work from its database.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Kept back for the database, uploads, webhooks, mail and the log.
const FILES: usize = 100;

/// Raises the limit, and says how many of the wanted connections fit.
pub fn connections(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let limit = if raised { hard } else { soft };
    if raised {
        info!(soft, hard, "this process may open {hard} files and sockets (it was {soft})");
    }
    let fit = fit(wanted, usize::try_from(limit).unwrap_or(usize::MAX));
    if fit < wanted {
        warn!(
            limit,
            "http.connections_max is {wanted}, and this process may open {limit} files and sockets: at most {fit} \
             connections are taken; raise the hard limit (LimitNOFILE, ulimit -Hn)"
        );
    }
    fit
}

/// The soft and the hard limit of open files.
pub fn limits() -> Option<(usize, usize)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
    Some((number(soft), number(hard)))
}

/// How many connections fit within a limit: all but what files need, which is
/// half of it where it is small.
pub fn fit(wanted: usize, limit: usize) -> usize {
    wanted.min(limit - FILES.min(limit / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_descriptors() {
        for (wanted, limit, expected) in [
            (10_000, 65_536, 10_000),
            (10_000, 1_024, 924),
            (10_000, 10_100, 10_000),
            (10_000, 10_099, 9_999),
            (10_000, 64, 32),
            (5, 64, 5),
            (10_000, 1, 1),
        ] {
            assert_eq!(fit(wanted, limit), expected, "{wanted} of {limit}");
        }
    }
}
