//! The times of one cron expression on a clock that is never put forward or back. croner reads the expression; what
//! it means is kept as bits, so that no search takes longer than a few hundred months.

use std::sync::LazyLock;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronComponent};
use jiff::civil::{Date, DateTime, Time};

/// How far a search goes: 29 February on one day of the week comes every 28 or 40 years.
const MOST_MONTHS: usize = 50 * 12;

/// The times of an expression.
#[derive(Debug)]
pub(super) struct Times {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: Days,
}

/// The days that match: in which months, and for each length of a month by the day of the week it begins with.
#[derive(Debug)]
struct Days {
    months: u64,
    by_length: [[u32; 7]; 4],
}

/// The length of the shortest month.
const SHORTEST: i8 = 28;
/// For each length of a month, one in which croner can be asked, whatever day it begins with.
static MONTHS: LazyLock<[[(i16, i8); 7]; 4]> = LazyLock::new(|| {
    let mut months = [[(0, 0); 7]; 4];
    for (year, month) in (2000..2028).flat_map(|year| (1..=12).map(move |month| (year, month))) {
        if let Some((length, weekday)) = kind_of(year, month) {
            months[length][weekday] = (year, month);
        }
    }
    months
});

/// Which of the months in [`Days`] this one is: by its length, and by the day of the week it begins with.
fn kind_of(year: i16, month: i8) -> Option<(usize, usize)> {
    let first = Date::new(year, month, 1).ok()?;
    let length = usize::try_from(first.days_in_month() - SHORTEST).ok()?;
    Some((length, usize::try_from(first.weekday().to_sunday_zero_offset()).ok()?))
}

impl Times {
    /// Reads an expression of five fields, or six with leading seconds. Where one of the day fields begins with `*`,
    /// both must match, as in Vixie cron; croner does so only for a lone `*`.
    pub(super) fn parse(fields: &[&str]) -> Result<Self, CronError> {
        let mut fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let count = fields.len();
        let begins_with_star = |field: &str| field.starts_with('*') && field != "*";
        if begins_with_star(&fields[count - 3]) || begins_with_star(&fields[count - 1]) {
            let weekdays = fields[count - 1].trim_start_matches('+').to_owned();
            fields[count - 1] = format!("+{weekdays}");
        }
        if count == 5 {
            fields.insert(0, "0".to_owned());
        }
        // croner makes a table of 5,000 years unless it is given one; which, is all the same.
        fields.push("2000".to_owned());
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Required)
            .build()
            .parse(&fields.join(" "))?;
        Ok(Self {
            seconds: bits(&cron.pattern.seconds),
            minutes: bits(&cron.pattern.minutes),
            hours: bits(&cron.pattern.hours),
            days: Days::of(&cron),
        })
    }

    /// The first time after `after`; `None` when there is none for half a century.
    pub(super) fn next_after(&self, after: DateTime) -> Option<DateTime> {
        let start = after.with().subsec_nanosecond(0).build().ok()?;
        let from = start.checked_add(jiff::Span::new().seconds(1)).ok()?;
        let date = from.date();
        if self.days.has(date)
            && let Some(time) = self.time_from(from.time())
        {
            return Some(date.to_datetime(time));
        }
        let first = self.time_from(Time::midnight())?;
        self.days.next_after(date).map(|date| date.to_datetime(first))
    }

    /// The first time of the day that is not before `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let first_second = next_bit(self.seconds, 0)?;
        let first_minute = next_bit(self.minutes, 0)?;
        if next_bit(self.hours, hour) == Some(hour) {
            if next_bit(self.minutes, minute) == Some(minute)
                && let Some(second) = next_bit(self.seconds, second)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return Time::new(hour, minute, first_second, 0).ok();
            }
        }
        let hour = next_bit(self.hours, hour + 1)?;
        Time::new(hour, first_minute, first_second, 0).ok()
    }
}

/// The values that a field matches.
fn bits(field: &CronComponent) -> u64 {
    field.values().into_iter().fold(0, |bits, value| bits | 1 << value)
}

/// The lowest bit that is set at `from` or above.
fn next_bit(bits: u64, from: i8) -> Option<i8> {
    let from = u32::try_from(from).ok().filter(|from| *from < 64)?;
    let left = bits >> from;
    (left != 0).then(|| i8::try_from(from + left.trailing_zeros()).unwrap_or(i8::MAX))
}

impl Days {
    fn of(cron: &Cron) -> Self {
        Self {
            months: bits(&cron.pattern.months),
            by_length: MONTHS.map(|of_length| of_length.map(|(year, month)| matching(cron, year, month))),
        }
    }

    fn of_month(&self, year: i16, month: i8) -> u32 {
        if self.months >> month & 1 == 0 {
            return 0;
        }
        kind_of(year, month).map_or(0, |(length, weekday)| self.by_length[length][weekday])
    }

    fn has(&self, date: Date) -> bool {
        self.of_month(date.year(), date.month()) >> date.day() & 1 == 1
    }

    fn next_after(&self, date: Date) -> Option<Date> {
        let (mut year, mut month) = (date.year(), date.month());
        let mut from = date.day() + 1;
        for _ in 0..MOST_MONTHS {
            if let Some(day) = next_bit(self.of_month(year, month).into(), from) {
                return Date::new(year, month, day).ok();
            }
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            from = 1;
        }
        None
    }
}

/// The days of one month that match, as bits.
fn matching(cron: &Cron, year: i16, month: i8) -> u32 {
    let Ok(first) = Date::new(year, month, 1) else { return 0 };
    let length = first.days_in_month().unsigned_abs();
    if cron.pattern.is_dom_wildcard() && cron.pattern.is_dow_wildcard() {
        return (u32::MAX >> (31 - length)) - 1;
    }
    let weekday = first.weekday().to_sunday_zero_offset().unsigned_abs();
    let matches = |day: &u8| {
        let weekday = croner::Weekday::from_days_from_sunday(u32::from(weekday + day - 1) % 7);
        let day = (*day).into();
        let found = cron
            .pattern
            .day_match(year.into(), month.unsigned_abs().into(), day, weekday);
        found.unwrap_or(false)
    };
    (1..=length).filter(matches).fold(0, |bits, day| bits | 1 << day)
}
