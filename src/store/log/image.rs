//! How the log has a record: whole, or as another one of the same part but for some
//! fields.
//!
//! Deliberately absent: an image as another that is not whole itself, so that any one
//! is read from two.

use std::sync::Arc;

use crate::domain::{AccountId, ApplicationId, Country, Money, NumberType, Record, State, Tags, Time, TrunkId};

/// A field that is there, be it `null`.
fn there<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Declares the fields of a record once for all that is done with an image.
macro_rules! image {
    ($($(#[$attribute:meta])? $field:ident: $value:ty),*) => {
        /// A record, or the fields in which it differs from another one.
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        pub struct LogImage {
            /// The place of the image that it is as, counting from 1.
            #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
            pub like: Option<u32>,
            $(
                #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
                $(#[$attribute])?
                $field: Option<$value>,
            )*
        }

        impl LogImage {
            /// A record as another one, which is at a place.
            pub fn of(record: &Record, base: &Record, place: u32) -> LogImage {
                LogImage {
                    like: Some(place),
                    $($field: (record.$field != base.$field).then(|| record.$field.clone()),)*
                }
            }

            fn over(&self, base: &Record) -> Record {
                Record { $($field: self.$field.as_ref().unwrap_or(&base.$field).clone(),)* }
            }
        }
    };
}

image! {
    state: State,
    account: Option<AccountId>,
    application: Option<ApplicationId>,
    trunk: Option<TrunkId>,
    #[serde(rename = "type")]
    number_type: NumberType,
    country: Option<Country>,
    region: Option<Arc<str>>,
    cost: Option<Money>,
    assigned_at: Option<Time>,
    expires_at: Option<Time>,
    since: Time,
    until: Option<Time>,
    tags: Tags
}

impl LogImage {
    /// The record, given the image that this one is as; `None` if the two do not make
    /// one.
    pub fn record(&self, base: Option<&LogImage>) -> Option<Record> {
        match base {
            None => {
                let bare = Record::bare(self.state?, self.number_type?, self.since?);
                Some(self.over(&bare))
            }
            Some(base) if base.like.is_none() => Some(self.over(&base.record(None)?)),
            Some(_) => None,
        }
    }
}

/// An image that is being written.
#[derive(serde::Serialize)]
#[serde(untagged)]
pub enum WrittenImage<'a> {
    Whole(&'a Record),
    Like(Box<LogImage>),
}

impl<'a> WrittenImage<'a> {
    /// Images of which each but the first in a state is as that one.
    pub fn all(records: &[&'a Record]) -> Vec<WrittenImage<'a>> {
        let mut first: Vec<(u32, &Record)> = Vec::new();
        let written = |(place, &record): (u32, &&'a Record)| {
            if let Some((place, base)) = first.iter().find(|(_, base)| base.state == record.state) {
                return WrittenImage::Like(Box::new(LogImage::of(record, base, *place)));
            }
            first.push((place, record));
            WrittenImage::Whole(record)
        };
        (1..).zip(records).map(written).collect()
    }
}
