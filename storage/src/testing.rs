//! Faults for tests, here and in the crates above.
//!
//! A store made by `Store::with_faults` fails, or stands still, where a test says so. This is
//! always compiled, so that tests run the very code that ships; a store without faults pays one
//! comparison.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::StoreError;
use crate::key::ObjectKey;

/// The errno of a full disk.
const ENOSPC: i32 = 28;
/// The errno of a broken disk.
const EIO: i32 = 5;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One batch of an upload handed to the backend, or what is left at pause and finish.
    Write,
    /// The sync at pause and finish.
    Sync,
    /// The step from staging to object.
    Publish,
    /// One chunk read from an object or a staging file.
    Read,
    /// The deletion of an object.
    Delete,
    /// The trial of `check_writable`.
    Probe,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As on a full disk.
    NoSpace,
    /// As on a broken disk.
    Io,
}

/// A plan of faults; clones share it, so that a test can add to it while the store is at work.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Option<Arc<Mutex<Vec<Planned>>>>,
}

struct Planned {
    operation: Operation,
    /// How many more operations of this kind pass before it is due.
    passing: u64,
    effect: Effect,
}

enum Effect {
    Fail(Fault),
    Stall(Arc<Gate>),
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self {
            plan: Some(Arc::default()),
        }
    }

    /// Lets the `nth` operation of this kind from now on fail, once; 1 is the next one.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.add(operation, nth, Effect::Fail(fault));
    }

    /// Lets the `nth` write from now on stand still in its blocking thread; 1 is the next one.
    pub fn stall_write(&self, nth: u64) -> Stall {
        let gate = Arc::new(Gate::default());
        self.add(Operation::Write, nth, Effect::Stall(Arc::clone(&gate)));
        Stall { gate }
    }

    fn add(&self, operation: Operation, nth: u64, effect: Effect) {
        let passing = nth.saturating_sub(1);
        if let Some(plan) = &self.plan {
            lock(plan).push(Planned {
                operation,
                passing,
                effect,
            });
        }
    }

    pub(crate) fn check(&self, operation: Operation, key: ObjectKey) -> Result<(), StoreError> {
        let failed = |source| {
            let (action, path) = match operation {
                Operation::Write => ("write", key.staging_path()),
                Operation::Sync => ("sync", key.staging_path()),
                Operation::Publish => ("publish", key.object_path()),
                Operation::Read => ("read", key.object_path()),
                Operation::Delete => ("remove", key.object_path()),
                Operation::Probe => ("probe", key.object_path()),
            };
            StoreError::from_io(action, PathBuf::from(path), source)
        };
        self.outcome(operation).map_err(failed)
    }

    pub(crate) fn check_probe(&self, folder: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::NotWritable {
            folder: folder.to_path_buf(),
            action: "write a probe file",
            source,
        };
        self.outcome(Operation::Probe).map_err(failed)
    }

    fn outcome(&self, operation: Operation) -> io::Result<()> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        // The plan is unlocked before anything stands still, or everything would.
        let effect = due(&mut lock(plan), operation);
        match effect {
            None => Ok(()),
            Some(Effect::Fail(Fault::NoSpace)) => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(Effect::Fail(Fault::Io)) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Effect::Stall(gate)) => {
                gate.pass();
                Ok(())
            }
        }
    }
}

/// Counts one operation against all plans for its kind, and takes out the one that is due.
fn due(plan: &mut Vec<Planned>, operation: Operation) -> Option<Effect> {
    let of_kind = |planned: &&mut Planned| planned.operation == operation;
    let found = plan
        .iter()
        .position(|planned| planned.operation == operation && planned.passing == 0);
    let effect = found.map(|position| plan.remove(position).effect);
    for planned in plan.iter_mut().filter(of_kind) {
        planned.passing = planned.passing.saturating_sub(1);
    }
    effect
}

/// A write that stands still; dropping this lets it go on.
pub struct Stall {
    gate: Arc<Gate>,
}

impl Stall {
    /// Waits until the write stands still.
    pub async fn reached(&self) {
        self.gate.reached.notified().await;
    }

    /// Lets the write go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        *lock(&self.gate.open) = true;
        self.gate.opened.notify_all();
    }
}

#[derive(Default)]
struct Gate {
    reached: Notify,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.reached.notify_one();
        let open = lock(&self.open);
        drop(self.opened.wait_while(open, |open| !*open));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
