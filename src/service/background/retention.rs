//! Retention: deletes finished data, a few rows at a time.
//!
//! Finished jobs with their rows, acknowledgements that ended, webhooks and
//! schedules that were removed. Each is deleted by its kind and the time of its end,
//! never by a name or by age alone.
//! Invariant: the log is not touched, so history, undo of changes and
//! inventories of the past stay as they are; a snapshot's digest leaves out
//! what may be deleted here.
//! Deliberately absent: sessions, answers for retries, deliveries and uploads,
//! which their own modules end.

use crate::domain::setting::Choice;
use crate::domain::{Setting, Time};
use crate::service::{Replica, Service, ServiceError};
use crate::store::{Over, StoreError};

/// For how many days what is over is kept; 0 is for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    pub jobs_days: u32,
    pub acknowledgements_days: u32,
    pub settings_days: u32,
}

/// The time before which what was over is deleted, if it ever is.
fn cutoff(now: Time, days: u32) -> Option<Time> {
    (days > 0).then(|| now.plus(-86_400 * i64::from(days)))
}

impl Service {
    /// Deletes what has been over for long enough at `now`.
    pub fn delete_over(&self, replica: &Replica, retention: Retention, now: Time) -> Result<(), ServiceError> {
        if let Some(created_before) = cutoff(now, retention.jobs_days) {
            self.delete_all(&Over::Jobs { created_before })?;
        }
        if let Some(ended_before) = cutoff(now, retention.acknowledgements_days) {
            self.delete_all(&Over::Acknowledgements { ended_before })?;
        }
        if let Some(removed_before) = cutoff(now, retention.settings_days) {
            for node in replica.nodes() {
                let snapshot = node.snapshot();
                let over = snapshot.settings.iter().filter(|setting| may_be_deleted(setting, removed_before));
                let ids: Vec<String> = over.map(|setting| setting.id.to_string()).collect();
                for ids in ids.chunks(100) {
                    self.store().delete_over(&Over::Settings { partner: node.key, ids: ids.to_vec() })?;
                }
            }
        }
        Ok(())
    }

    fn delete_all(&self, over: &Over) -> Result<(), StoreError> {
        while self.store().delete_over(over)? > 0 {}
        Ok(())
    }
}

/// Settings of which a partner has one at most keep their last choice.
fn may_be_deleted(setting: &Setting, removed_before: Time) -> bool {
    let many = match setting.choice {
        Choice::Webhook(_) | Choice::Schedule(_) => true,
        Choice::Mirror(_) | Choice::Quarantine(_) | Choice::Billing(_) => false,
    };
    many && setting.removed_at.is_some_and(|removed_at| removed_at < removed_before)
}
