//! Points and lengths of time, in milliseconds: their texts (RFC 3339; `1h30m`), and what the calendar says of them.

/// What a day has.
const DAY: i64 = 86_400_000;

/// The parts of a moment in UTC.
pub(super) struct Calendar {
    pub(super) year: i64,
    /// From 0.
    pub(super) month: i64,
    /// From 0.
    pub(super) day: i64,
    /// From 0.
    pub(super) day_of_year: i64,
    /// From 0, which is Sunday.
    pub(super) day_of_week: i64,
    pub(super) hours: i64,
    pub(super) minutes: i64,
    pub(super) seconds: i64,
    pub(super) milliseconds: i64,
}

impl Calendar {
    pub(super) fn of(moment: i64) -> Self {
        let (days, within) = (moment.div_euclid(DAY), moment.rem_euclid(DAY));
        let (year, month, day) = date(days);
        Self {
            year,
            month,
            day,
            day_of_year: days - days_before(year, 0, 0),
            day_of_week: (days + 4).rem_euclid(7),
            hours: within / 3_600_000,
            minutes: within / 60_000 % 60,
            seconds: within / 1000 % 60,
            milliseconds: within % 1000,
        }
    }
}

/// Year, month and day, the last two from 0, of a day counted from 1970-01-01: the Gregorian calendar in eras of 400 years
/// that begin with March, so that a leap day ends its year.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5;
    let month = (from_march + 2) % 12;
    (year_of_era + era * 400 + i64::from(month < 2), month, day)
}

/// Days from 1970-01-01 to a date; month and day from 0.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month < 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 10) % 12;
    let of_year = (153 * from_march + 2) / 5 + day;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The moment that an RFC 3339 text tells, in the years 1 to 9999.
pub(super) fn moment(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let [hours, minutes, seconds] = numbers(clock, b':', [2, 2, 2])?;
    let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    if !is_date || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let days = days_before(year, month - 1, day - 1);
    if self::date(days) != (year, month - 1, day - 1) {
        return None;
    }
    let (milliseconds, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let length = rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, zone) = rest.split_at(length);
            let digits = digits.get(..3).unwrap_or(digits);
            let milliseconds = digits.parse::<i64>().ok()? * 10i64.pow(3 - digits.len() as u32);
            (milliseconds, zone)
        }
        None => (0, rest),
    };
    let offset = if matches!(zone, "Z" | "z") { 0 } else { offset(zone)? };
    Some(days * DAY + ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds - offset)
}

/// Digits of these lengths between `separator`s.
fn numbers<const N: usize>(text: &str, separator: u8, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(char::from(separator));
    for (place, length) in found.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// How far a zone is ahead of UTC: `+02:00`, `-05:30`, `UTC`.
pub(super) fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "UTC" | "Z") {
        return Some(0);
    }
    let ahead = zone.strip_prefix('+');
    let [hours, minutes] = numbers(ahead.or_else(|| zone.strip_prefix('-'))?, b':', [2, 2])?;
    let offset = (hours * 60 + minutes) * 60_000;
    (hours < 24 && minutes < 60).then_some(if ahead.is_some() { offset } else { -offset })
}

/// The length that a text tells: numbers with units from `h` to `ns`, as in `1h30m`.
pub(super) fn span(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let length = rest.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(rest.len());
        let number: f64 = rest[..length].parse().ok()?;
        rest = &rest[length..];
        let units = [("ms", 1.0), ("us", 1e-3), ("ns", 1e-6), ("h", 3.6e6), ("m", 6e4), ("s", 1e3)];
        let (unit, milliseconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum += number * milliseconds;
    }
    // About ten thousand years, as in the specification.
    let is_bounded = sum <= 315_576_000_000_000.0;
    let whole = sum.round() as i64;
    is_bounded.then_some(if negative { -whole } else { whole })
}
