//! What the server said when it refused, and what can be done about it.

use std::fmt;

use serde_json::Value;

use super::output::short_time;

/// How many of those that hold something are named.
const HOLDERS_SHOWN: usize = 10;

/// An error that the API answered.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Value,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}", self.message, self.code)?;
        if let Some(request_id) = &self.request_id {
            write!(formatter, ", request {request_id}")?;
        }
        if let Some(seconds) = &self.retry_after {
            write!(formatter, ", try again in {seconds} s")?;
        }
        formatter.write_str(")")
    }
}

impl Refusal {
    /// Lines for below the message: who holds what was to change, and what to do.
    pub(super) fn advice(&self) -> Vec<String> {
        let holders = self.details["holders"].as_array();
        let holders = holders.map_or(&[][..], Vec::as_slice);
        let mut lines: Vec<String> = holders
            .iter()
            .take(HOLDERS_SHOWN)
            .map(|holder| format!("  {}", named(holder)))
            .collect();
        if let Some(more) = holders
            .len()
            .checked_sub(HOLDERS_SHOWN)
            .filter(|more| *more > 0)
        {
            lines.push(format!("  and {more} more"));
        }
        lines.extend(
            self.details["reason"]
                .as_str()
                .and_then(hint)
                .map(str::to_owned),
        );
        lines
    }
}

/// One that holds something: a text, or an object of which the known fields are shown.
fn named(holder: &Value) -> String {
    let field = |name: &str| holder[name].as_str();
    let of = |name: &str, before: &str| field(name).map(|text| format!("{before}{text}"));
    let who: Vec<&str> = ["kind", "name"].into_iter().filter_map(field).collect();
    let parts: Vec<String> = [
        Some(who.join(" ")).filter(|who| !who.is_empty()),
        of("workspace", "workspace "),
        field("expiresAt").map(|time| format!("until {}", short_time(time))),
    ]
    .into_iter()
    .flatten()
    .collect();
    match holder {
        Value::String(text) => text.clone(),
        _ if parts.is_empty() => holder.to_string(),
        _ => parts.join(", "),
    }
}

/// What helps against the reasons that the API documents.
fn hint(reason: &str) -> Option<&'static str> {
    match reason {
        "shared" => Some(
            "hint: `berth image shares NAME` lists the shares, `berth image unshare NAME --workspace W` ends one",
        ),
        "leased" => Some(
            "hint: `berth lease rm HOLDER` ends a lease of your own; --force overrides those of other workspaces",
        ),
        "protected" => Some("hint: `berth image set NAME --protected false` lifts the protection"),
        "immutable" => {
            Some("hint: `berth image set NAME --immutable-tags false` lets tags move and go")
        }
        "index_child" => Some("hint: delete the index that names it first"),
        _ => None,
    }
}
