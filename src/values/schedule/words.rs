//! What a cron expression means, in words.

use crate::values::plural;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 8] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// So many times of the day are told one by one.
const MOST_TIMES: usize = 6;

/// What the fields of an expression mean, seconds first where there are six. They are known to be good.
pub(super) fn describe(fields: &[&str]) -> String {
    let (seconds, fields) = match fields {
        [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
        rest => ("0", rest),
    };
    let [minutes, hours, days, months, weekdays] = fields else {
        return String::new();
    };
    let mut words = time(seconds, minutes, hours);
    let days = day(days, weekdays);
    if days.is_empty() && words.starts_with("at ") && !words.starts_with("at minutes") && *months == "*" {
        words.insert_str(0, "every day ");
    }
    let months = if *months == "*" {
        String::new()
    } else {
        format!("in {}", list(months, &|month| name(month, &MONTHS, 1)))
    };
    let parts = [words, days, months];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" ")
}

fn time(seconds: &str, minutes: &str, hours: &str) -> String {
    let words = match (numbers(minutes), numbers(hours)) {
        (Some(minutes), Some(hours)) if minutes.len() * hours.len() <= MOST_TIMES => {
            let times = hours
                .iter()
                .flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
            format!("at {}", and(&times.collect::<Vec<_>>()))
        }
        (Some(minutes), _) if minutes == [0] => hourly(hours, "every hour", "on the hour"),
        (Some(minutes), _) if minutes.len() == 1 => {
            let at = format!("at minute {}", minutes[0]);
            format!("{} {at}", hourly(hours, "every hour", ""))
        }
        _ => {
            let when = match every(minutes) {
                Some(1) => "every minute".to_owned(),
                Some(step) => format!("every {}", plural(step, "minute")),
                None => format!("at minutes {}", list(minutes, &str::to_owned)),
            };
            if hours == "*" {
                when
            } else {
                format!("{when} {}", within(hours))
            }
        }
    };
    let words = words.trim_end().to_owned();
    match (every(seconds), numbers(seconds)) {
        (_, Some(numbers)) if numbers == [0] => words,
        (Some(1), _) if words == "every minute" => "every second".to_owned(),
        (Some(step), _) if words == "every minute" => format!("every {}", plural(step, "second")),
        (Some(1), _) => format!("{words}, every second"),
        (Some(step), _) => format!("{words}, every {}", plural(step, "second")),
        _ => format!("{words}, at second {}", list(seconds, &str::to_owned)),
    }
}

/// Hours in which something happens once: `each` where that is every one, with `exactly` behind it.
fn hourly(hours: &str, each: &str, exactly: &str) -> String {
    match every(hours) {
        Some(1) => format!("{each} {exactly}").trim_end().to_owned(),
        Some(step) => format!("every {}", plural(step, "hour")),
        None => format!("{each} {}", within(hours)),
    }
}

fn within(hours: &str) -> String {
    match every(hours) {
        Some(step) => format!("in every {} hour", ordinal(step)),
        None => format!("in the hours {}", list(hours, &str::to_owned)),
    }
}

fn day(days: &str, weekdays: &str) -> String {
    let of_month = match (every(days), days) {
        (Some(1), _) | (_, "?") => String::new(),
        (Some(step), _) => format!("every {} day of the month", ordinal(step)),
        (_, "L") => "on the last day of the month".to_owned(),
        _ => {
            let of = |day: &str| day.parse().map_or_else(|_| day.to_owned(), ordinal);
            format!("on the {}", list(days, &of))
        }
    };
    let of_week = if matches!(weekdays, "*" | "?") {
        String::new()
    } else {
        format!("on {}", list(weekdays, &|weekday| name(weekday, &WEEKDAYS, 0)))
    };
    match (of_month.is_empty(), of_week.is_empty()) {
        (false, false) => format!("{of_month} and {of_week}"),
        _ => of_month + &of_week,
    }
}

/// The step of a field that is `*` or `*/step`.
fn every(field: &str) -> Option<u64> {
    match field.strip_prefix('*')? {
        "" => Some(1),
        step => step.strip_prefix('/')?.parse().ok(),
    }
}

/// The numbers of a field that lists nothing else.
fn numbers(field: &str) -> Option<Vec<u64>> {
    field.split(',').map(|item| item.parse().ok()).collect()
}

/// The items of a field in words, each value named by `name`.
fn list(field: &str, name: &dyn Fn(&str) -> String) -> String {
    let item = |item: &str| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let range = match range.split_once('-') {
            Some((from, to)) => format!("{} to {}", name(from), name(to)),
            None if range == "*" => "every value".to_owned(),
            None => name(range),
        };
        match step.parse() {
            Ok(1) | Err(_) => range,
            Ok(step) => format!("{range} in steps of {step}"),
        }
    };
    and(&field.split(',').map(item).collect::<Vec<_>>())
}

/// The full name of a value that is a number, counted from `first`, or the beginning of a name; others stay as they are.
fn name(value: &str, names: &[&str], first: usize) -> String {
    let by_number = || names.get(value.parse::<usize>().ok()?.checked_sub(first)?);
    let by_start = || {
        names
            .iter()
            .find(|name| value.len() == 3 && name[..3].eq_ignore_ascii_case(value))
    };
    by_number()
        .or_else(by_start)
        .map_or_else(|| value.to_owned(), |name| (*name).to_owned())
}

fn and(items: &[String]) -> String {
    match items {
        [all @ .., before, last] if !all.is_empty() => format!("{}, {before} and {last}", all.join(", ")),
        [first, last] => format!("{first} and {last}"),
        _ => items.concat(),
    }
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_told_as_a_person_would() {
        for (expression, expected) in [
            ("*/5 * * * *", "every 5 minutes"),
            ("* * * * *", "every minute"),
            ("0 * * * *", "every hour on the hour"),
            ("20 * * * *", "every hour at minute 20"),
            ("0 2 * * *", "every day at 02:00"),
            ("30 2,14 * * *", "every day at 02:30 and 14:30"),
            ("0 0 * * 0", "at 00:00 on Sunday"),
            ("0 9 * * MON-FRI", "at 09:00 on Monday to Friday"),
            ("0 3 * * 1,4", "at 03:00 on Monday and Thursday"),
            ("0 0 1 * *", "at 00:00 on the 1st"),
            ("0 0 1 1 *", "at 00:00 on the 1st in January"),
            ("0 0 1,15 * 5", "at 00:00 on the 1st and 15th and on Friday"),
            ("0 4 L * *", "at 04:00 on the last day of the month"),
            ("0 */6 * * *", "every 6 hours"),
            ("15 */6 * * *", "every 6 hours at minute 15"),
            ("0 8-17 * * *", "every hour in the hours 8 to 17"),
            (
                "*/15 8-17 * * 1-5",
                "every 15 minutes in the hours 8 to 17 on Monday to Friday",
            ),
            ("0-29/10 * * * *", "at minutes 0 to 29 in steps of 10"),
            ("* * * * * *", "every second"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("30 0 2 * * *", "every day at 02:00, at second 30"),
            ("0 5 * 3-10 *", "at 05:00 in March to October"),
            ("0 0 */2 * *", "at 00:00 every 2nd day of the month"),
        ] {
            assert_eq!(
                describe(&expression.split(' ').collect::<Vec<_>>()),
                expected,
                "{expression}"
            );
        }
    }
}
