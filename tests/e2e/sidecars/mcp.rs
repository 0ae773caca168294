//! What an MCP client in a guest sends.

use serde_json::json;

/// A command that asks for a host and waits until it is told.
pub(super) fn request_host(host: &str, reason: &str) -> String {
    let params = json!({ "name": "request_host", "arguments": { "host": host, "reason": reason } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    format!(
        "curl --silent --show-error --max-time 120 -H 'Content-Type: application/json' \
         -H 'Accept: application/json, text/event-stream' -d '{call}' \"$MCP_SUPERVISE_URL\""
    )
}
