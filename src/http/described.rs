//! The metrics of `/metrics`: the name, kind, labels and meaning of each.
//!
//! The meanings are the `HELP` lines of `/metrics` and the page `docs/reference/metrics.md`.
//! A test holds the names against the source, so no metric lacks a meaning.

/// How a metric's value is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $name:ident [$($label:ident),*] $help:literal)*) => {
        /// In alphabetical order.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            kind: MetricKind::$kind,
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),*];
    };
}

metrics! {
    Gauge rollcall_age_seconds [] "Seconds since the node last heard from its database."
    Counter rollcall_auth_failures_total [] "Requests with wrong, expired or revoked credentials."
    Gauge rollcall_connections [listener] "Open connections: public, private or route."
    Counter rollcall_connections_refused_total [listener, why] "Connections that were closed unserved."
    Counter rollcall_connections_total [listener] "Connections that were accepted."
    Gauge rollcall_damaged_partners [] "Partners whose rows do not match their digest. Their requests get 503."
    Gauge rollcall_findings [check] "Open findings of each check, over all partners."
    Gauge rollcall_following [] "1 while the node polls its database without errors."
    Histogram rollcall_http_request_seconds [] "Seconds from the head of a request to the head of its answer."
    Counter rollcall_http_requests_total [status] "Answers by the hundreds of their status, such as 2xx."
    Gauge rollcall_lag_changes [] "Replication lag: committed changes that are not in memory yet."
    Counter rollcall_log_lines_dropped_total [] "Lines of the log that were dropped because nothing read them."
    Counter rollcall_mails_total [result] "Emails of schedules by their result."
    Gauge rollcall_numbers [] "Numbers in memory."
    Gauge rollcall_partners [] "Partners in memory."
    Gauge rollcall_poisoned_rows [] "Rows of this node's index that could not be understood."
    Gauge rollcall_pool_free [pool] "Free places for blocking work, by the kind of request."
    Counter rollcall_resyncs_total [] "Partners that were loaded again because their log did not match."
    Counter rollcall_route_answers_total [face, code, cause] "Answers to calls, by listener (sip or http)."
    Counter rollcall_route_dropped_total [face, why] "Datagrams of calls without an answer, by listener and reason."
    Gauge rollcall_route_ready [] "1 while the node answers calls."
    Histogram rollcall_route_seconds [face] "Seconds that an answer to a call takes; one of sixteen is timed."
    Counter rollcall_schedule_runs_total [why] "Runs of schedules by their reason."
    Counter rollcall_trace_batches_total [outcome] "Batches of spans, sent or failed; with the build feature otlp."
    Gauge rollcall_unreadable_rows [table] "Rows of the database that cannot be understood."
    Gauge rollcall_version [] "The sum of all partners' versions."
    Counter rollcall_webhook_deliveries_total [outcome] "Attempts to deliver an event, by their outcome."
    Gauge rollcall_webhook_pending [] "Events that wait for their delivery."
    Gauge rollcall_webhooks_failing [] "Webhooks whose last attempt failed."
    Counter rollcall_webhooks_switched_off_total [] "Webhooks that the server switched off."
    Gauge rollcall_worker_last_run_timestamp_seconds [worker] "The beginning of the worker's last turn, as a Unix time."
    Gauge rollcall_worker_lease [worker] "1 on the node that does this kind of work."
    Gauge rollcall_worker_oldest_seconds [worker] "The age of the oldest item that waits."
    Gauge rollcall_worker_queue [worker] "Items that wait."
    Gauge rollcall_worker_stuck [worker] "1 while a thread of the worker does not move."
    Gauge rollcall_worker_threads [worker] "Threads of the worker."
    Gauge rollcall_writable [] "1 while the database takes writes."
}

/// Gives the recorder the meanings, for the `HELP` lines.
pub fn describe() {
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(*name, *help),
            MetricKind::Gauge => metrics::describe_gauge!(*name, *help),
            MetricKind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                out.push_str(text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
            }
        }
    }

    /// The metrics that the source records, with their kind and labels.
    fn recorded() -> BTreeMap<String, (String, Vec<String>)> {
        let mut source = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
        let mut found = BTreeMap::new();
        for kind in ["counter", "gauge", "histogram"] {
            for call in source.split(&format!("metrics::{kind}!(")).skip(1) {
                let mut depth = 1;
                let end = call.find(|c: char| {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    depth == 0
                });
                let call = &call[..end.expect("the end of a call")];
                let mut texts = call.split('"').skip(1).step_by(2);
                let Some(name) = texts.next().filter(|name| name.starts_with("rollcall_")) else { continue };
                let before: Vec<&str> = call.split("=>").collect();
                // The last part has a value and no label behind it.
                let labels = before[..before.len() - 1].iter().filter_map(|part| part.rsplit('"').nth(1));
                let labels: Vec<String> = labels.map(str::to_owned).collect();
                found.insert(name.to_owned(), (kind.to_owned(), labels));
            }
        }
        found
    }

    #[test]
    fn every_metric_has_its_kind_its_labels_and_a_meaning() {
        let recorded = recorded();
        let described: BTreeMap<String, (String, Vec<String>)> = METRICS
            .iter()
            .map(|one| {
                let labels = one.labels.iter().map(ToString::to_string).collect();
                (one.name.to_owned(), (one.kind.as_str().to_owned(), labels))
            })
            .collect();
        assert_eq!(described, recorded);
        assert!(METRICS.is_sorted_by_key(|one| one.name) && METRICS.iter().all(|one| one.help.ends_with('.')));
    }
}
