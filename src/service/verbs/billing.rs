//! What a month cost: the log of a partner, folded into a bill.
//!
//! Read from the log and not from the rows, because rows know only what is.
//! The whole log is gone through, in pieces: an entry of today may be the first
//! to tell that an account has had a number since last year. Costs 30 to 50 ns
//! for each number that an entry names in a block, some microseconds for each
//! that it names alone, and memory as [`crate::billing::holdings`] says.
//! A bill is worked out, never stored. What is written is the partner's choice
//! of a zone and a rule, which is a setting in the log: the server has no
//! default of its own for it, since a change of that would change sent bills.

use crate::billing::{Bill, Calendar, Holdings, Ledger, Month, Period, Proration, TimeSpan};
use crate::domain::change::Edit;
use crate::domain::field::code;
use crate::domain::setting::{AfterExpiry, BILLING, Billing, BillingChoice};
use crate::domain::{Choice, EntityChange, FieldError, PartnerKey, Setting, Time, Verb, Zone};
use crate::inventory::Snapshot;
use crate::service::verbs::entities::state_tag;
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome, corrupt};
use crate::store::Replayed;

/// What somebody asks for; what is not named stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    pub zone: Option<String>,
    pub after_expiry: Option<AfterExpiry>,
}

/// What counts for a partner's bills, and what will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BillingView {
    /// The month that is going on.
    pub current: Period,
    /// The first month of another choice.
    pub next: Option<Period>,
}

impl BillingView {
    pub fn of(calendar: &Calendar, now: Time) -> BillingView {
        let current = calendar.period(calendar.month(now));
        let next = calendar.period(current.month.next());
        let same = (&current.zone, current.after_expiry) == (&next.zone, next.after_expiry);
        BillingView { next: (!same).then_some(next), current }
    }

    /// What stands for it in entity tags.
    pub fn tag(&self) -> u64 {
        let of = |period: &Period| (period.month.to_string(), period.zone.name().clone(), period.after_expiry.as_str());
        state_tag(&(of(&self.current), self.next.as_ref().map(of)))
    }
}

/// The days and months of an inventory.
pub fn calendar(snapshot: &Snapshot) -> Result<Calendar, ServiceError> {
    let billing = snapshot.settings.get(BILLING).and_then(Setting::billing);
    Calendar::new(billing).map_err(|error| corrupt(error.to_string()))
}

impl Service {
    /// The days and months of a partner, for callers without a snapshot.
    pub fn billing_calendar(&self, key: PartnerKey) -> Result<Calendar, ServiceError> {
        let snapshot = self.partner_snapshot(key, false)?;
        calendar(&snapshot)
    }

    /// Chooses the zone and the rule of a partner's bills from the next month
    /// on. A choice that does not count yet is replaced.
    pub fn billing_choose(&self, key: PartnerKey, wish: &Wish) -> Result<WriteOutcome, ServiceError> {
        let zone = wish.zone.as_deref().map(Zone::find).transpose().map_err(|problem| {
            let text = wish.zone.clone().unwrap_or_default();
            ServiceError::Invalid(vec![FieldError::new("zone", code::INVALID, problem, &text)])
        })?;
        self.manage(key, Verb::SettingsEdit, |transaction| {
            let now = transaction.at();
            let before = transaction.setting(BILLING)?;
            let had = before.as_ref().and_then(Setting::billing).cloned().unwrap_or_default();
            let calendar = Calendar::new(Some(&had)).map_err(|error| corrupt(error.to_string()))?;
            let view = BillingView::of(&calendar, now);
            self.expected.check("setting", BILLING, view.tag())?;
            let chosen = view.next.as_ref().unwrap_or(&view.current);
            let choice = BillingChoice {
                chosen_at: now,
                zone: zone.as_ref().unwrap_or(&chosen.zone).name().clone(),
                after_expiry: wish.after_expiry.unwrap_or(chosen.after_expiry),
            };
            if (&choice.zone, choice.after_expiry) == (chosen.zone.name(), chosen.after_expiry) {
                return Ok(VerbOutcome::Billing(Box::new(view)));
            }
            // What does not count yet will never have counted.
            let mut choices: Vec<BillingChoice> =
                had.choices.into_iter().filter(|one| calendar.month(one.chosen_at) < view.current.month).collect();
            if (&choice.zone, choice.after_expiry) != (view.current.zone.name(), view.current.after_expiry) {
                choices.push(choice);
            }
            let billing = Billing { choices };
            let calendar = Calendar::new(Some(&billing)).map_err(|error| corrupt(error.to_string()))?;
            let created_at = before.as_ref().map_or(now, |setting| setting.created_at);
            let choice = Choice::Billing(billing);
            let after = Setting { id: BILLING.into(), created_at, removed_at: None, choice };
            transaction.put_entity(EntityChange::Setting(Edit { before, after }))?;
            Ok(VerbOutcome::Billing(Box::new(BillingView::of(&calendar, now))))
        })
    }

    /// Who held what within a span, as the log has it up to a version.
    pub fn holdings(
        &self,
        key: PartnerKey,
        through: u64,
        calendar: &Calendar,
        span: TimeSpan,
    ) -> Result<Holdings, ServiceError> {
        let mut ledger = Ledger::new(calendar, span);
        self.store().replay(key, through, &mut |entry, replayed| {
            match replayed {
                Replayed::Entities(entities) => {
                    for entity in entities {
                        if let EntityChange::Account(edit) = entity {
                            ledger.account(entry.at, &edit.after);
                        }
                    }
                }
                Replayed::Numbers { first, count, after } => ledger.numbers(entry.at, first, count, after),
            }
            Ok(())
        })?;
        Ok(ledger.finish())
    }

    /// A month's rental, as the log has it up to a version.
    pub fn bill(
        &self,
        key: PartnerKey,
        through: u64,
        calendar: &Calendar,
        month: Month,
        proration: Proration,
        now: Time,
    ) -> Result<Bill, ServiceError> {
        let span = span(&calendar.period(month), now)?;
        Ok(Bill::of(calendar, month, proration, &self.holdings(key, through, calendar, span)?, now))
    }
}

impl Service {
    /// The rental of months that follow each other, from one reading of the log.
    /// Each bill is handed over and forgotten: a year of a million numbers would
    /// fill the memory. Customers have the names of the last month.
    pub fn bills(
        &self,
        key: PartnerKey,
        through: u64,
        calendar: &Calendar,
        (months, proration): (&[Month], Proration),
        now: Time,
        take: &mut dyn FnMut(Bill),
    ) -> Result<(), ServiceError> {
        let spans = months.iter().map(|&month| Ok((month, span(&calendar.period(month), now)?)));
        let spans = spans.collect::<Result<Vec<_>, ServiceError>>()?;
        let (Some((_, first)), Some((_, last))) = (spans.first(), spans.last()) else { return Ok(()) };
        let whole = TimeSpan { from: first.from, until: last.until };
        let holdings = self.holdings(key, through, calendar, whole)?;
        for (month, span) in spans {
            take(Bill::of(calendar, month, proration, &holdings.within(span), now));
        }
        Ok(())
    }
}

/// What of a month is to be billed; refused if it has not begun.
pub fn span(period: &Period, now: Time) -> Result<TimeSpan, ServiceError> {
    period.span(now).ok_or_else(|| {
        let error = FieldError::new("month", code::OUT_OF_RANGE, "has not begun yet", &period.month.to_string());
        ServiceError::Invalid(vec![error])
    })
}
