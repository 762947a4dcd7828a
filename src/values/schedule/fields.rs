//! Refuses what croner lets through although it means nothing, each with a hint at what would do.

/// What a field is called, its lowest and highest value, and the names of its values.
struct Field {
    name: &'static str,
    lowest: u32,
    highest: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &[
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const fn field(name: &'static str, lowest: u32, highest: u32, names: &'static [&'static str]) -> Field {
    Field {
        name,
        lowest,
        highest,
        names,
    }
}

/// The fields, seconds first.
const FIELDS: [Field; 6] = [
    field("second", 0, 59, &[]),
    field("minute", 0, 59, &[]),
    field("hour", 0, 23, &[]),
    field("day of month", 1, 31, &[]),
    field("month", 1, 12, MONTHS),
    field("day of week", 0, 7, WEEKDAYS),
];

/// Checks the fields of an expression.
pub(super) fn check(fields: &[&str]) -> Result<(), String> {
    if !matches!(fields.len(), 5 | 6) {
        let noun = if fields.len() == 1 { "field" } else { "fields" };
        return Err(format!(
            "it has {} {noun}; five are expected (minute, hour, day of month, month, day of week), or six with leading seconds",
            fields.len()
        ));
    }
    for (text, field) in fields.iter().zip(&FIELDS[FIELDS.len() - fields.len()..]) {
        let has = |item: &str| text.split(',').any(|found| found.eq_ignore_ascii_case(item));
        if has("L") && has("LW") {
            // croner takes the pair for `LW` alone.
            return Err(format!(
                "`L` and `LW` are days of their own in the {} field `{text}`; write two expressions in a list",
                field.name
            ));
        }
        for item in text.split(',') {
            if item == "*" && text.contains(',') {
                return Err(format!(
                    "`*` already means everything and must stand alone in the {} field `{text}`",
                    field.name
                ));
            }
            field
                .check(item)
                .map_err(|why| format!("{why} in the {} field `{text}`", field.name))?;
        }
    }
    Ok(())
}

impl Field {
    /// Checks one item of a list: `*`, a value or a range, perhaps with a step.
    fn check(&self, item: &str) -> Result<(), String> {
        if item.is_empty() {
            return Err("an empty item between commas".to_owned());
        }
        let (range, step) = item
            .split_once('/')
            .map_or((item, None), |(range, step)| (range, Some(step)));
        if let Some(step) = step
            && !step.parse::<u32>().is_ok_and(|step| (1..=self.highest).contains(&step))
        {
            return Err(format!("the step `{step}` is not between 1 and {}", self.highest));
        }
        if step.is_some() && !range.contains(['-', '*']) {
            return Err(format!(
                "a step goes with `*` or a range, such as {}-{}/{}",
                self.lowest,
                self.highest,
                step.unwrap_or("2")
            ));
        }
        let range = range.trim_start_matches('+');
        if matches!(range, "*" | "?") {
            return Ok(());
        }
        match range.split_once('-') {
            Some((from, to)) => self.check_range(from, to),
            None => self.check_value(range).map(drop),
        }
    }

    fn check_range(&self, from: &str, to: &str) -> Result<(), String> {
        if from.is_empty() || to.is_empty() {
            return Err(format!("a value is missing beside the dash of `{from}-{to}`"));
        }
        let (first, last) = (self.check_value(from)?, self.check_value(to)?);
        // The week goes round: both 0 and 7 are Sunday.
        let top = if self.highest == 7 { 6 } else { self.highest };
        match (first, last) {
            (Some(first), Some(last)) if first > last => {
                let before = if first > top {
                    String::new()
                } else {
                    format!("{from}-{top},")
                };
                let after = if last == self.lowest {
                    to.to_owned()
                } else {
                    format!("{}-{to}", self.lowest)
                };
                Err(format!(
                    "the range {from}-{to} ends before it begins; {before}{after} may be meant"
                ))
            }
            (Some(first), Some(last)) if first == last => {
                Err(format!("the range {from}-{to} is one value; write {from}"))
            }
            (None, _) | (_, None) => Err(format!("`{from}-{to}` is not a range of numbers or names")),
            _ => Ok(()),
        }
    }

    /// The number a value stands for; none for one that depends on the month, such as `L` or `FRI#2`.
    fn check_value(&self, value: &str) -> Result<Option<u32>, String> {
        let upper = value.to_ascii_uppercase();
        if let Some(index) = self.names.iter().position(|name| *name == upper) {
            return Ok(u32::try_from(index).ok().map(|index| index + self.lowest));
        }
        let of_month = self.name == "day of month" && (upper == "L" || upper == "LW");
        let of_week = self.name == "day of week" && self.is_of_month(&upper);
        if of_month || of_week {
            return Ok(None);
        }
        let is_nearest = self.name == "day of month" && upper.ends_with('W');
        let digits = if is_nearest {
            upper.strip_suffix('W').unwrap_or(&upper)
        } else {
            upper.as_str()
        };
        let number = (1..=2)
            .contains(&digits.len())
            .then(|| digits.parse::<u32>().ok())
            .flatten();
        match number {
            Some(number) if (self.lowest..=self.highest).contains(&number) => Ok((!is_nearest).then_some(number)),
            Some(number) => Err(format!("{number} is not between {} and {}", self.lowest, self.highest)),
            None => Err(format!("`{value}` is {}", self.expected())),
        }
    }

    /// Whether a day of the week depends on the month: the last or the second one, say.
    fn is_of_month(&self, value: &str) -> bool {
        let is_day = |day: &str| self.names.contains(&day) || day.parse::<u32>().is_ok_and(|day| day <= 7);
        value.strip_suffix('L').is_some_and(is_day)
            || value
                .split_once('#')
                .is_some_and(|(day, which)| is_day(day) && matches!(which, "1" | "2" | "3" | "4" | "5" | "L"))
    }

    fn expected(&self) -> String {
        match self.names {
            [] if self.name == "day of month" => {
                "not a day: a number from 1 to 31, L, LW or a number with W is expected".to_owned()
            }
            [] => format!("not a number from {} to {}", self.lowest, self.highest),
            names if self.name == "day of week" => format!(
                "not a day of the week: a number from 0 to 7, a name ({} to {}), one with #1 to #5 or with L is expected",
                names[0],
                names[names.len() - 1]
            ),
            names => format!(
                "neither a number from {} to {} nor a name from {} to {}",
                self.lowest,
                self.highest,
                names[0],
                names[names.len() - 1]
            ),
        }
    }
}
