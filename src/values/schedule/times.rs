//! The times of one cron expression on a clock that is never put forward or back. croner reads the expression; what
//! it means is kept as bits, so that no search takes longer than a few hundred months.

use std::sync::LazyLock;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
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

/// The days that match, for each month by the day of the week it begins with; February of leap years comes last.
#[derive(Debug)]
struct Days([[u32; 7]; 13]);

const LEAP_FEBRUARY: usize = 12;

/// For each of those months, a year in which it begins so.
static YEARS: LazyLock<[[i16; 7]; 13]> = LazyLock::new(|| {
    let mut years = [[0; 7]; 13];
    for year in 2000..2028 {
        for month in 1..=12 {
            if let Some((index, weekday)) = kind_of(year, month) {
                years[index][weekday] = year;
            }
        }
    }
    years
});

/// Which of the months in [`Days`] this one is.
fn kind_of(year: i16, month: i8) -> Option<(usize, usize)> {
    let first = Date::new(year, month, 1).ok()?;
    let is_leap = month == 2 && first.in_leap_year();
    let index = if is_leap {
        LEAP_FEBRUARY
    } else {
        usize::try_from(month - 1).ok()?
    };
    Some((index, usize::try_from(first.weekday().to_sunday_zero_offset()).ok()?))
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
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(&fields.join(" "))?;
        let bits = |values: Vec<u16>| values.into_iter().fold(0_u64, |bits, value| bits | 1 << value);
        Ok(Self {
            seconds: bits(cron.pattern.seconds.values()),
            minutes: bits(cron.pattern.minutes.values()),
            hours: bits(cron.pattern.hours.values()),
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

/// The lowest bit that is set at `from` or above.
fn next_bit(bits: u64, from: i8) -> Option<i8> {
    let from = u32::try_from(from).ok().filter(|from| *from < 64)?;
    let left = bits >> from;
    (left != 0).then(|| i8::try_from(from + left.trailing_zeros()).unwrap_or(i8::MAX))
}

impl Days {
    fn of(cron: &Cron) -> Self {
        let mut days = [[0; 7]; 13];
        for (index, of_month) in days.iter_mut().enumerate() {
            let month = if index == LEAP_FEBRUARY { 2 } else { index + 1 };
            let month = i8::try_from(month).unwrap_or(1);
            if !cron.pattern.month_match(month.unsigned_abs().into()).unwrap_or(false) {
                continue;
            }
            for (weekday, bits) in of_month.iter_mut().enumerate() {
                *bits = matching(cron, YEARS[index][weekday], month);
            }
        }
        Self(days)
    }

    fn of_month(&self, year: i16, month: i8) -> u32 {
        kind_of(year, month).map_or(0, |(index, weekday)| self.0[index][weekday])
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
    if cron.pattern.is_dom_wildcard() && cron.pattern.is_dow_wildcard() {
        return (u32::MAX >> (31 - first.days_in_month())) - 1;
    }
    (1..=first.days_in_month())
        .filter_map(|day| Date::new(year, month, day).ok())
        .filter(|date| {
            let weekday = u32::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or(0);
            let weekday = croner::Weekday::from_days_from_sunday(weekday);
            let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
            cron.pattern
                .day_match(year.into(), month.into(), day.into(), weekday)
                .unwrap_or(false)
        })
        .fold(0, |bits, date| bits | 1 << date.day())
}
