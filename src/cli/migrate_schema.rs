//! `rollcall migrate-schema`: ends the form of the tables that the release before
//! needs.

use serde_json::json;

use super::output::{self, Bar};
use super::{CliError, Global, Outcome};
use crate::store::Location;
use crate::store::postgres::switch::{SwitchError, SwitchReport, switch};

/// Bring a PostgreSQL database to the tables of this release, once all nodes are upgraded
///
/// Neighbouring numbers with equal values become one row. Nodes read and write
/// meanwhile; writes wait for the last step, a second or two. An interrupted call is
/// resumed by the next one. There is no way back but a backup.
#[derive(clap::Args)]
pub struct MigrateSchema {
    /// Copy and compare, and do not switch
    #[arg(long)]
    dry_run: bool,
}

impl MigrateSchema {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let address = match global.settings()?.database {
            Location::Postgres(address) => *address,
            Location::Sqlite(path) => {
                return Err(CliError::Usage(format!(
                    "the file {} needs no migrate-schema: the first command or server that opens it brings it up",
                    path.display()
                )));
            }
        };
        let interrupted = output::interrupt()?;
        let bar = Bar::new(None, "numbers");
        let report =
            switch(address, self.dry_run, &mut |copied, total| bar.set("copying", copied, Some(total)), &|| {
                interrupted.load(std::sync::atomic::Ordering::SeqCst)
            })
            .map_err(|error| match error {
                SwitchError::Store(error) => error.into(),
                error => CliError::Other(error.to_string()),
            })?;
        bar.finish();
        let switched = !self.dry_run && !report.before;
        if global.json {
            let SwitchReport { before, partners, copied, numbers, rows, locked, .. } = report;
            let earlier_node = report.earlier_node.map(|(work, holder)| json!({ "work": work, "holder": holder }));
            let earlier_session = report.earlier_session.map(|session| {
                json!({ "role": session.role, "application": session.application, "process": session.process })
            });
            let shown = json!({
                "switched": switched, "before": before, "partners": partners, "numbers": numbers, "rows": rows,
                "copied": copied, "locked_ms": locked.as_millis() as u64, "earlier_node": earlier_node,
                "earlier_session": earlier_session, "holders_without_number": report.only_held,
            });
            output::outcome(&shown, self.dry_run)?;
            return Ok(Outcome::Done);
        }
        let SwitchReport { before, partners, numbers, rows, locked, earlier_node, earlier_session, .. } = report;
        let all = format!("{numbers} numbers of {partners} partners are {rows} rows");
        output::line(&match (before, switched) {
            (true, _) => format!("nothing to do: {all}"),
            (false, true) => format!(
                "switched: {all} and agree with the earlier ones by digest; writes waited for at most {} ms",
                locked.as_millis()
            ),
            (false, false) => {
                format!("rehearsed: {all} and agree with the earlier ones by digest; nothing was switched")
            }
        })?;
        if let Some((work, holder)) = earlier_node {
            output::line(&format!(
                "a node of an earlier release has the lease of {work} ({holder}): upgrade all nodes before you switch"
            ))?;
        }
        if let Some(session) = earlier_session {
            output::line(&format!(
                "{session} is not of this release and may write numbers: upgrade all nodes before you switch"
            ))?;
        }
        if let Some(first) = report.first_only_held {
            output::line(&format!(
                "{} numbers, beginning with +{first}, have a holder and no row; they stay so: see `rollcall verify`",
                report.only_held
            ))?;
        }
        Ok(Outcome::Done)
    }
}
