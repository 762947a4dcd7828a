//! How the replicas stand, in `/health` and in the overview.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::engine::Seen;
use crate::values::iso;

/// A service that nobody has led for so long fails at what it is for.
const LEADERLESS: Duration = Duration::from_secs(30);

/// A replica, as the page shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replica {
    id: String,
    name: String,
    version: String,
    started_at: String,
    is_this: bool,
    is_leading: bool,
    has_another_plan: bool,
}

/// The replicas that were seen a moment ago.
pub(super) fn list(seen: &Seen) -> Vec<Replica> {
    let leader = seen.leader.as_ref().map(|leader| leader.id.as_str());
    let replica = |replica: &crate::state::Replica| Replica {
        id: replica.id.clone(),
        name: replica.name.clone(),
        version: replica.version.clone(),
        started_at: iso(replica.started_at),
        is_this: replica.id == seen.id,
        is_leading: leader == Some(replica.id.as_str()),
        has_another_plan: seen.has_another_plan(replica),
    };
    seen.replicas.iter().map(replica).collect()
}

/// What `/health` says of them.
pub(super) fn describe(seen: &Seen) -> Map<String, Value> {
    let role = if seen.is_leading { "leader" } else { "standby" };
    let leader = seen
        .leader
        .as_ref()
        .map(|leader| json!({ "name": leader.id, "since": iso(leader.since) }));
    let said = json!({ "role": role, "replica": seen.id, "leader": leader, "replicas": list(seen) });
    match said {
        Value::Object(said) => said,
        _ => Map::new(),
    }
}

/// That nobody has led for long, if nobody has, or that this is not known any more.
pub(super) fn leaderless(seen: &Seen) -> Option<String> {
    let age = seen.looked_at.elapsed();
    if age >= LEADERLESS {
        return Some(format!("this replica has not looked who leads for {} s", age.as_secs()));
    }
    let since = seen.leaderless_since?.elapsed();
    (since >= LEADERLESS).then(|| format!("no replica has led for {} s", since.as_secs()))
}

/// What is not as it should be with them.
pub(super) fn degradations(seen: &Seen) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(behind) = seen.clock_error() {
        let how = if behind > 0.0 { "behind" } else { "ahead of" };
        reasons.push(format!(
            "this machine's clock is {:.1} s {how} the database's, which the jobs go by",
            behind.abs()
        ));
    }
    if seen.has_lost {
        reasons.push(
            "the state database has lost changes that it had confirmed: a standby that was not up to date may have taken its place".to_owned(),
        );
    }
    let others = seen.with_another_plan();
    if let Some(leader) = seen.leader_with_another_plan() {
        reasons.push(format!(
            "the declaration of this replica differs from that of the leader {leader}, which applies"
        ));
    } else if seen.is_leading && !others.is_empty() {
        reasons.push(format!(
            "the declarations of other replicas differ from this one's, which applies: {}",
            others.join(", ")
        ));
    }
    reasons
}
