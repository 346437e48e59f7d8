//! How many connections a process may hold open: each needs a descriptor, and the system counts them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of each connection: its socket, and the file of a blob that it reads or writes.
const PER_CONNECTION: u64 = 2;
/// Of each connection to the database: SQLite's has the file and its log.
const PER_DATABASE_CONNECTION: u64 = 3;
/// Standard streams, listeners, the runtime, the writers of the database, the certificate.
const RESERVE: u64 = 64;

/// Raises the process's own limit as far as the system lets it, and gives the connections that each of `doors` may
/// hold: `wanted`, or as many as fit. Says so where that is fewer.
#[must_use]
pub fn connections_that_fit(wanted: usize, doors: usize, database_connections: u32) -> usize {
    let Some(limit) = raised_limit() else {
        return wanted;
    };
    let fitting = fitting(limit, wanted, doors, database_connections);
    if fitting < wanted {
        tracing::warn!(
            wanted,
            fitting,
            doors,
            open_files = limit,
            "the process may not open enough files for server.max_connections at every door: each takes fewer; raise \
             the limit of open files (LimitNOFILE, ulimit -n)"
        );
    }
    fitting
}

/// How many blobs may be under way: `wanted`, or half of the files that the process may open. Over HTTP/2 one connection
/// can ask for many.
#[must_use]
pub fn transfers_that_fit(wanted: usize) -> usize {
    let half = raised_limit().map(|limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.map_or(wanted, |half| wanted.min(half.max(4)))
}

/// The limit of open files, raised to the most that the process may set. Nothing where there is none.
fn raised_limit() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        let raised = Rlimit {
            current: limits.maximum,
            maximum: limits.maximum,
        };
        // Some systems refuse what they call the maximum: then the old limit stays.
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(error = %error, "the limit of open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}

fn fitting(limit: u64, wanted: usize, doors: usize, database_connections: u32) -> usize {
    let reserve = RESERVE + u64::from(database_connections) * PER_DATABASE_CONNECTION;
    let doors = u64::try_from(doors.max(1)).unwrap_or(u64::MAX);
    let each = limit.saturating_sub(reserve) / PER_CONNECTION / doors;
    let wanted_each = u64::try_from(wanted).unwrap_or(u64::MAX);
    // At least one, so that a door with too few descriptors is slow and not dead.
    usize::try_from(each.clamp(1, wanted_each.max(1))).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::{connections_that_fit, fitting, raised_limit};

    #[test]
    fn what_fits_is_given_as_it_was_wanted() {
        assert_eq!(fitting(1_048_576, 10_000, 4, 16), 10_000);
        assert_eq!(fitting(64 + 48 + 2 * 3 * 100, 100, 3, 16), 100);
    }

    #[test]
    fn what_does_not_fit_is_shared_among_the_doors() {
        assert_eq!(fitting(64 + 48 + 2 * 3 * 100 - 1, 100, 3, 16), 99);
        assert_eq!(fitting(1024, 10_000, 3, 16), 152);
    }

    #[test]
    fn a_door_takes_one_connection_whatever_the_limit() {
        assert_eq!(fitting(0, 10_000, 3, 16), 1);
        assert_eq!(fitting(100, 10_000, 3, 1000), 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_most_there_is() {
        let raised = raised_limit();
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(raised, limits.maximum);
        assert!(connections_that_fit(1, 1, 1) == 1);
    }
}
