//! Times of a clock that is put forward and back: which instants they are.
//!
//! A fixed time that the clock jumps over comes right after the jump, and one that comes twice counts the first time
//! only. A rhythm (minute or hour beginning with `*`, as in Debian's cron) goes on as real time does: nothing while
//! the clock jumps forward, and everything twice when it is put back.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::times::Times;

/// Two changes of the clock are never nearer than this.
const BETWEEN_CHANGES: jiff::SignedDuration = jiff::SignedDuration::from_hours(12);

/// The first instant after `after` at which a rhythm matches a clock in `zone`.
pub(super) fn next_of_rhythm(times: &Times, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let mut offset = zone.to_offset(after);
    let mut from = offset.to_datetime(after);
    let mut start = after;
    // Each round is one stretch of time between two changes of the clock.
    loop {
        let found = offset.to_timestamp(times.next_after(from)?).ok()?;
        let is_near = found.duration_since(start) < BETWEEN_CHANGES;
        if is_near && zone.to_offset(found) == offset {
            return Some(found);
        }
        let Some(change) = zone.following(start).next() else {
            return Some(found);
        };
        if found < change.timestamp() {
            return Some(found);
        }
        start = change.timestamp();
        offset = change.offset();
        from = just_before(offset.to_datetime(start))?;
    }
}

/// The first instant after `after` at which a fixed time comes on a clock in `zone`.
pub(super) fn next_of_fixed(times: &Times, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let mut from = zone.to_offset(after).to_datetime(after);
    loop {
        let found = times.next_after(from)?;
        let (at, next) = match zone.to_ambiguous_timestamp(found).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(found).ok()?, found),
            AmbiguousOffset::Gap { after, .. } => {
                let change = change_after(after.to_timestamp(found).ok()?, zone)?;
                (change, found)
            }
            AmbiguousOffset::Fold { before, .. } => {
                let at = before.to_timestamp(found).ok()?;
                (at, end_of_fold(at, before, zone)?)
            }
        };
        if at > after {
            return Some(at);
        }
        // In the second pass of a fold, nothing counts until it ends.
        from = next;
    }
}

fn change_after(at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    zone.following(at).next().map(|change| change.timestamp())
}

/// The last second that the clock showed before it was put back after `at`.
fn end_of_fold(at: Timestamp, before: Offset, zone: &TimeZone) -> Option<DateTime> {
    just_before(before.to_datetime(change_after(at, zone)?))
}

fn just_before(time: DateTime) -> Option<DateTime> {
    time.checked_sub(jiff::Span::new().seconds(1)).ok()
}
