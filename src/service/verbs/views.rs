//! Saved views: named filter lines, shared by all users of a partner.
//!
//! They are one document outside the log, because a view affects neither bills nor
//! routing. Deliberately absent: the meaning of a filter line.

use crate::domain::{PartnerKey, Time};
use crate::service::{Service, ServiceError};
use crate::store::Document;

/// The most views of a partner.
pub const VIEWS_MAX: usize = 20;
/// The most characters of a view's name.
pub const NAME_CHARS_MAX: usize = 40;

const KIND: &str = "view";
const ID: &str = "all";

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct SavedFilter {
    pub name: String,
    pub line: String,
    /// Who saved it, as the log would name them.
    pub by: String,
    pub at: Time,
}

fn read(document: Option<Document>) -> Result<Vec<SavedFilter>, ServiceError> {
    let Some(document) = document else { return Ok(Vec::new()) };
    Ok(document.read("saved filters")?)
}

impl Service {
    /// A partner's views, by name. A view tells nothing of the log, so no reader
    /// waits for this node to catch up.
    pub fn views(&self, key: PartnerKey) -> Result<Vec<SavedFilter>, ServiceError> {
        read(self.store.document(key, KIND, ID)?)
    }

    /// Saves a view. All users of a partner share the views, so one of the same name, in
    /// whatever case, is replaced only where that is meant.
    pub fn view_save(&self, key: PartnerKey, name: &str, line: &str, replace: bool) -> Result<(), ServiceError> {
        let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
        if !fits {
            return Err(ServiceError::Refused(format!("a view's name has 1 to {NAME_CHARS_MAX} characters")));
        }
        let new = |at| SavedFilter { name: name.to_owned(), line: line.to_owned(), by: self.actor.to_string(), at };
        let same = |view: &SavedFilter| view.name.to_lowercase() == name.to_lowercase();
        self.edit_views(key, |views, at| {
            let other = views.iter().find(|view| same(view) && view.line != line);
            if let Some(other) = other.filter(|_| !replace) {
                return Err(ServiceError::Exists { what: "view", id: other.name.clone() });
            }
            views.retain(|view| !same(view));
            if views.len() >= VIEWS_MAX {
                return Err(ServiceError::Refused(format!("there are {VIEWS_MAX} views already; remove one first")));
            }
            views.push(new(at));
            views.sort_by_cached_key(|view| view.name.to_lowercase());
            Ok(())
        })
    }

    /// Removes a view. One that is not there is removed already.
    pub fn view_remove(&self, key: PartnerKey, name: &str) -> Result<(), ServiceError> {
        self.edit_views(key, |views, _| {
            views.retain(|view| view.name != name);
            Ok(())
        })
    }

    fn edit_views(
        &self,
        key: PartnerKey,
        edit: impl Fn(&mut Vec<SavedFilter>, Time) -> Result<(), ServiceError> + Sync,
    ) -> Result<(), ServiceError> {
        self.write_beside(key, |transaction| {
            let mut views = read(transaction.document(KIND, ID)?)?;
            edit(&mut views, transaction.at())?;
            Ok(transaction.put_document(KIND, &Document::of(ID, None, &views))?)
        })
    }
}
