pub fn document() -> serde_json::Value {
    todo!()
}
