//! The description of what operators ask a server.

use serde_json::{Value, json};

/// Without credentials, without any tenant's data.
pub(super) fn operations() -> Vec<Value> {
    vec![
        operation("livez", "Whether the process answers", "application/json", json!({ "status": "ok" })),
        operation(
            "readyz",
            "Whether the index is loaded, and how fresh it is",
            "application/json",
            json!({
                "status": "ok", "degraded": false, "role": "writer", "version": 4711, "lag": 0, "age_seconds": 0,
                "poisoned": 0, "unreadable": {}, "writable": true, "build": "0.1.0",
                "stuck_workers": [],
            }),
        ),
        operation("metrics", "Metrics in the Prometheus text format", "text/plain", json!("rollcall_numbers 25000\n")),
        operation("openapi", "This description", "application/json", json!({})),
    ]
}

fn operation(id: &str, summary: &str, content_type: &str, example: Value) -> Value {
    json!({
        "operationId": id,
        "tags": ["Operations"],
        "summary": summary,
        "security": [],
        "responses": { "200": { "description": summary, "content": { content_type: { "schema": {}, "example": example } } } },
    })
}
