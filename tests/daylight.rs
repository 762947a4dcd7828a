//! The rules for clocks that are put forward and back, held against a model that walks every minute of a year.

use std::collections::BTreeSet;

use duplistatus_cron::{Schedule, TimeZone};
use jiff::civil::Date;
use jiff::{Span, Timestamp};

/// Zones, each with a year in which its clock does something.
const YEARS: &[(&str, i16)] = &[
    ("Europe/London", 2026),
    ("America/New_York", 2026),
    ("Australia/Sydney", 2026),
    ("Australia/Lord_Howe", 2026),
    ("America/Sao_Paulo", 2018),
    ("Pacific/Apia", 2011),
    ("Africa/Casablanca", 2026),
    ("UTC", 2026),
    ("Africa/Cairo", 2026),
    ("America/Havana", 2026),
    ("Pacific/Chatham", 2026),
];

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A field as it is written, with the values it means and whether it begins with a star.
struct Field {
    text: String,
    values: BTreeSet<i8>,
}

fn field(numbers: &mut Numbers, lowest: i8, highest: i8) -> Field {
    let span = u64::from((highest - lowest + 1).unsigned_abs());
    let mut value = || lowest + i8::try_from(numbers.below(span)).unwrap();
    let (a, b, c) = (value(), value(), value());
    let all = lowest..=highest;
    let (text, values): (String, BTreeSet<i8>) = match numbers.below(8) {
        0 | 1 => ("*".to_owned(), all.collect()),
        2 => {
            let step = 1 + i8::try_from(numbers.below(u64::from(highest.unsigned_abs()) - 1)).unwrap();
            let step = step.max(2);
            (
                format!("*/{step}"),
                all.step_by(usize::try_from(step).unwrap()).collect(),
            )
        }
        3 => (format!("{a},{b},{c}"), [a, b, c].into()),
        4 => (format!("{}-{}", a.min(b), a.max(b)), (a.min(b)..=a.max(b)).collect()),
        _ => (a.to_string(), [a].into()),
    };
    Field { text, values }
}

struct Expression {
    text: String,
    minutes: Vec<bool>,
    hours: Vec<bool>,
    day: Field,
    month: Field,
    weekday: Field,
    is_rhythm: bool,
}

impl Expression {
    fn random(numbers: &mut Numbers) -> Self {
        let (minute, hour) = (field(numbers, 0, 59), field(numbers, 0, 23));
        // Days are left open half of the time, so that the nights that matter are met.
        let mut rare = |lowest, highest| {
            let open = Field {
                text: "*".to_owned(),
                values: (lowest..=highest).collect(),
            };
            if numbers.below(2) == 0 {
                open
            } else {
                field(numbers, lowest, highest)
            }
        };
        let (day, month, weekday) = (rare(1, 31), rare(1, 12), rare(0, 6));
        let bits = |field: &Field, count: i8| (0..count).map(|value| field.values.contains(&value)).collect();
        Self {
            text: [&minute, &hour, &day, &month, &weekday]
                .map(|field| field.text.as_str())
                .join(" "),
            minutes: bits(&minute, 60),
            hours: bits(&hour, 24),
            is_rhythm: minute.text.starts_with('*') || hour.text.starts_with('*'),
            day,
            month,
            weekday,
        }
    }

    /// Vixie cron: both day fields must match where one begins with a star, one of them is enough otherwise.
    fn has_day(&self, date: Date) -> bool {
        let day = self.day.values.contains(&date.day());
        let weekday = self.weekday.values.contains(&date.weekday().to_sunday_zero_offset());
        let is_open = self.day.text.starts_with('*') || self.weekday.text.starts_with('*');
        self.month.values.contains(&date.month()) && if is_open { day && weekday } else { day || weekday }
    }

    fn matches(&self, minute: i64) -> bool {
        let of_day = usize::try_from(minute.rem_euclid(1440)).unwrap();
        self.hours[of_day / 60] && self.minutes[of_day % 60]
    }
}

/// What the wall clock of a zone shows: stretches of real time, each with what the clock shows when it begins, in
/// minutes since 1970, and its length in minutes.
struct Clock {
    stretches: Vec<(Timestamp, i64, i64)>,
}

impl Clock {
    fn of(zone: &str, year: i16) -> Self {
        let zone = jiff::tz::TimeZone::get(zone).unwrap();
        let utc = |year| {
            Date::new(year, 1, 1)
                .unwrap()
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
        };
        let (start, end) = (utc(year).as_second() / 60, utc(year + 1).as_second() / 60);
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let shown = |minute: i64| minute + i64::from(zone.to_offset(at(minute)).seconds()) / 60;
        // Minute by minute: where the clock does not go on by one, another stretch begins.
        let begins = (start..end).filter(|minute| *minute == start || shown(*minute) != shown(minute - 1) + 1);
        let begins: Vec<i64> = begins.collect();
        let ends = begins.iter().skip(1).copied().chain([end]);
        let stretch = |(begin, end): (&i64, i64)| (at(*begin), shown(*begin), end - begin);
        Self {
            stretches: begins.iter().zip(ends).map(stretch).collect(),
        }
    }

    /// Every instant of the year at which the expression is due.
    fn due(&self, expression: &Expression) -> Vec<Timestamp> {
        let mut due = BTreeSet::new();
        let first_day = self.stretches[0].1.div_euclid(1440);
        let start_of_days = Date::new(1970, 1, 1).unwrap();
        let days: Vec<bool> = (first_day..first_day + 370)
            .map(|day| expression.has_day(start_of_days + Span::new().days(day)))
            .collect();
        let has_day = |minute: i64| days[usize::try_from(minute.div_euclid(1440) - first_day).unwrap()];
        let mut shown_until = self.stretches[0].1 - 1;
        for &(start, shown, minutes) in &self.stretches {
            // What the clock jumped over comes right after the jump.
            let jumped = (shown_until + 1..shown).any(|minute| has_day(minute) && expression.matches(minute));
            if !expression.is_rhythm && jumped {
                due.insert(start);
            }
            let mut passed = 0;
            while passed < minutes {
                let minute = shown + passed;
                if !has_day(minute) {
                    passed += 1440 - minute.rem_euclid(1440);
                    continue;
                }
                let is_repeated = minute <= shown_until;
                if expression.matches(minute) && (expression.is_rhythm || !is_repeated) {
                    due.insert(start + jiff::SignedDuration::from_mins(passed));
                }
                passed += 1;
            }
            shown_until = shown_until.max(shown + minutes - 1);
        }
        due.into_iter().collect()
    }
}

#[test]
fn thousands_of_random_expressions_come_when_the_model_says() {
    let mut numbers = Numbers(20_261_120);
    let mut compared = 0;
    for (zone, year) in YEARS {
        let clock = Clock::of(zone, *year);
        let changes: Vec<Timestamp> = clock.stretches.iter().skip(1).map(|(at, ..)| *at).collect();
        let zone_of: TimeZone = zone.parse().unwrap();
        for _ in 0..150 {
            let expression = Expression::random(&mut numbers);
            let Ok(schedule) = Schedule::parse(&expression.text) else {
                continue; // Such as 31 February.
            };
            let mut due = clock.due(&expression);
            let is_dense = due.len() > 3000;
            if is_dense {
                // These are compared around the changes only.
                due.retain(|at| {
                    changes
                        .iter()
                        .any(|change| at.duration_since(*change).abs().as_hours() < 30)
                });
            }
            for pair in due.windows(2) {
                if is_dense && pair[1].duration_since(pair[0]).as_hours() > 24 * 7 {
                    continue; // From one change to the next.
                }
                let next = schedule.next_after(pair[0], &zone_of).unwrap();
                assert_eq!(next, pair[1], "`{}` in {zone} after {}", expression.text, pair[0]);
                compared += 1;
            }
        }
    }
    assert!(compared > 50_000, "{compared} times were compared");
}
