//! The verbs: everything that can be done to an inventory, whoever asks.
//!
//! Console, command line and API call the same verb, and a verb validates
//! against what is inside the write transaction, never against what was read
//! before it. Reads are the [`Replica`]'s.
//! Deliberately absent: SQL, HTTP, printing.

pub mod access;
pub mod import;
pub mod replica;
pub mod token;
pub mod verify;

use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::change::Edit;
use crate::domain::{
    Account, AccountId, Actor, EntityChange, Key, KeyId, Partner, PartnerId, PartnerKey, Scope, Time, Verb,
};
use crate::inventory::Snapshot;
use crate::store::{Abort, Entry, Load, Loaded, Store, StoreError, Target, Transaction};

pub use replica::Replica;
pub use token::Token;

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("there is no partner {partner}")]
    NoPartner { partner: PartnerId },
    #[error("partner {partner} has no key {key}")]
    NoKey { partner: PartnerId, key: KeyId },
    #[error("there is already a partner {partner}")]
    PartnerExists { partner: PartnerId },
    #[error("there is already an account {account}")]
    AccountExists { account: AccountId },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A verb's result and the version it made; no version if it changed nothing.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub version: Option<u64>,
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: Arc<str>,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<Time>,
    pub networks: Vec<IpNet>,
}

#[derive(Clone)]
pub struct Service {
    store: Arc<dyn Store>,
    actor: Actor,
}

impl Service {
    pub fn new(store: Arc<dyn Store>, actor: Actor) -> Service {
        Service { store, actor }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn entry(&self, verb: Verb) -> Entry {
        Entry { at: Time::now(), actor: self.actor.clone(), request_id: None, verb }
    }

    /// Runs one write and hands out what it decided.
    fn write<T: Send>(
        &self,
        target: Target,
        verb: Verb,
        mut draft: impl FnMut(&mut dyn Transaction) -> Result<T, ServiceError> + Send,
    ) -> Result<Done<T>, ServiceError> {
        let mut decided = None;
        let result = self.store.write(
            target.clone(),
            self.entry(verb),
            Box::new(|transaction| match draft(transaction) {
                Ok(value) => {
                    decided = Some(Ok(value));
                    Ok(())
                }
                Err(ServiceError::Store(error)) => Err(Abort::Store(error)),
                Err(refusal) => {
                    decided = Some(Err(refusal));
                    Err(Abort::Refused)
                }
            }),
        );
        match (result, decided) {
            (Ok(version), Some(Ok(value))) => Ok(Done { value, version }),
            (Err(Abort::Store(error)), _) => Err(error.into()),
            (_, Some(Err(refusal))) => Err(refusal),
            (_, _) => match target {
                Target::New(partner) => Err(ServiceError::PartnerExists { partner }),
                Target::Partner(key) => {
                    Err(StoreError::Corrupt { what: format!("a write to partner {key} ended without a result") }.into())
                }
            },
        }
    }

    /// All partners, in the order in which they were created.
    pub fn partners(&self) -> Result<Vec<(PartnerKey, u64, Partner)>, ServiceError> {
        let mut partners = Vec::new();
        self.store.load(Load { only: None, numbers: false }, &mut |loaded| {
            if let Loaded::Partner { head, partner } = loaded {
                partners.push((head.key, head.version, partner));
            }
            Ok(())
        })?;
        Ok(partners)
    }

    pub fn partner_key(&self, auth_id: &PartnerId) -> Result<PartnerKey, ServiceError> {
        let found = self.partners()?.into_iter().find(|(_, _, partner)| partner.auth_id == *auth_id);
        found.map(|(key, _, _)| key).ok_or_else(|| ServiceError::NoPartner { partner: auth_id.clone() })
    }

    /// One partner as the store has it now; without `numbers`, its entities.
    pub fn snapshot(&self, auth_id: &PartnerId, numbers: bool) -> Result<Snapshot, ServiceError> {
        let key = self.partner_key(auth_id)?;
        let mut snapshots = replica::load(&*self.store, Load { only: Some(key), numbers })?;
        snapshots.remove(&key).ok_or_else(|| ServiceError::NoPartner { partner: auth_id.clone() })
    }

    pub fn partner_create(&self, auth_id: PartnerId, name: Arc<str>) -> Result<Done<Partner>, ServiceError> {
        let partner = Partner { auth_id: auth_id.clone(), name, created_at: Time::now(), suspended_at: None };
        self.write(Target::New(auth_id), Verb::PartnerCreate, |transaction| {
            transaction.put_entity(EntityChange::Partner(Edit::created(partner.clone())))?;
            Ok(partner.clone())
        })
    }

    /// Suspends a partner, so that its keys open nothing, or resumes it.
    /// Setting what is already so changes nothing.
    pub fn partner_suspend(&self, auth_id: &PartnerId, suspend: bool) -> Result<Done<Partner>, ServiceError> {
        let key = self.partner_key(auth_id)?;
        let verb = if suspend { Verb::PartnerSuspend } else { Verb::PartnerResume };
        self.write(Target::Partner(key), verb, |transaction| {
            let before = transaction.partner()?.ok_or_else(|| ServiceError::NoPartner { partner: auth_id.clone() })?;
            if before.suspended_at.is_some() == suspend {
                return Ok(before);
            }
            let after = Partner { suspended_at: suspend.then(Time::now), ..before.clone() };
            transaction.put_entity(EntityChange::Partner(Edit { before: Some(before), after: after.clone() }))?;
            Ok(after)
        })
    }

    pub fn account_create(
        &self,
        partner: &PartnerId,
        auth_id: AccountId,
        name: Arc<str>,
    ) -> Result<Done<Account>, ServiceError> {
        let key = self.partner_key(partner)?;
        let account = Account { auth_id, name, created_at: Time::now(), archived_at: None };
        self.write(Target::Partner(key), Verb::AccountCreate, |transaction| {
            if transaction.account(&account.auth_id)?.is_some() {
                return Err(ServiceError::AccountExists { account: account.auth_id.clone() });
            }
            transaction.put_entity(EntityChange::Account(Edit::created(account.clone())))?;
            Ok(account.clone())
        })
    }

    /// Makes a key. The token in the answer is the only copy there will be.
    pub fn key_create(&self, partner: &PartnerId, new: NewKey) -> Result<Done<(Key, Token)>, ServiceError> {
        let partner = self.partner_key(partner)?;
        let token = Token::generate();
        let key = Key {
            id: KeyId::stored(&token::key_id()),
            name: new.name,
            token_sha256: token.sha256(),
            scopes: new.scopes,
            created_at: Time::now(),
            expires_at: new.expires_at,
            networks: new.networks,
            revoked_at: None,
        };
        let done = self.write(Target::Partner(partner), Verb::KeyCreate, |transaction| {
            transaction.put_entity(EntityChange::Key(Edit::created(key.clone())))?;
            Ok(())
        })?;
        Ok(Done { value: (key, token), version: done.version })
    }

    /// Ends a key for good. Revoking a revoked key changes nothing.
    pub fn key_revoke(&self, partner: &PartnerId, id: &KeyId) -> Result<Done<Key>, ServiceError> {
        let target = Target::Partner(self.partner_key(partner)?);
        self.write(target, Verb::KeyRevoke, |transaction| {
            let before = transaction
                .key(id)?
                .ok_or_else(|| ServiceError::NoKey { partner: partner.clone(), key: id.clone() })?;
            if before.revoked_at.is_some() {
                return Ok(before);
            }
            let after = Key { revoked_at: Some(Time::now()), ..before.clone() };
            transaction.put_entity(EntityChange::Key(Edit { before: Some(before), after: after.clone() }))?;
            Ok(after)
        })
    }
}
