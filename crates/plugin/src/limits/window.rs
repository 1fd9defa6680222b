//! Fixed windows aligned to the UTC calendar.

use wire::Known;

/// A unit of time that a limit is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Each second.
    Second,
    /// Each minute.
    Minute,
    /// Each hour.
    Hour,
    /// Each day.
    Day,
    /// Each calendar month.
    Month,
    /// Each calendar year.
    Year,
}

/// The window of a period that a moment lies in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Number of the window; the next one is larger by one. Never zero in practice: windows count from 1970.
    pub ordinal: u32,
    /// First second after the window, counted from 1970.
    pub end: u64,
}

const DAY: u64 = 86_400;

impl Window {
    /// The window of `size` seconds that the second `now` lies in; such windows count from 1970.
    #[must_use]
    pub fn of(now: u64, size: u64) -> Self {
        even(now, size.max(1))
    }
}

impl Period {
    /// All periods, the shortest first.
    pub const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    /// The period's name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["second", "minute", "hour", "day", "month", "year"][self as usize]
    }

    /// The response field with the limit.
    #[must_use]
    pub fn limit_field(self) -> Known {
        [
            Known::XRateLimitLimitSecond,
            Known::XRateLimitLimitMinute,
            Known::XRateLimitLimitHour,
            Known::XRateLimitLimitDay,
            Known::XRateLimitLimitMonth,
            Known::XRateLimitLimitYear,
        ][self as usize]
    }

    /// The response field with what is left of the limit.
    #[must_use]
    pub fn remaining_field(self) -> Known {
        [
            Known::XRateLimitRemainingSecond,
            Known::XRateLimitRemainingMinute,
            Known::XRateLimitRemainingHour,
            Known::XRateLimitRemainingDay,
            Known::XRateLimitRemainingMonth,
            Known::XRateLimitRemainingYear,
        ][self as usize]
    }

    /// Seconds of one of its windows.
    #[must_use]
    pub fn length(self, window: Window) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => DAY,
            Self::Month | Self::Year => {
                let before = self.window(window.end.saturating_sub(1));
                let (year, month) = calendar(window.end.saturating_sub(1) / DAY);
                let first = if self == Self::Year { first_day(year, 1) } else { first_day(year, month) };
                before.end - first * DAY
            }
        }
    }

    /// The window that the second `now` lies in.
    #[must_use]
    pub fn window(self, now: u64) -> Window {
        match self {
            Self::Second => even(now, 1),
            Self::Minute => even(now, 60),
            Self::Hour => even(now, 3600),
            Self::Day => even(now, DAY),
            Self::Month => {
                let (year, month) = calendar(now / DAY);
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                Window { ordinal: narrow(year * 12 + month), end: first_day(next_year, next_month) * DAY }
            }
            Self::Year => {
                let (year, _) = calendar(now / DAY);
                Window { ordinal: narrow(year), end: first_day(year + 1, 1) * DAY }
            }
        }
    }
}

fn even(now: u64, length: u64) -> Window {
    let number = now / length;
    Window { ordinal: narrow(number), end: (number + 1) * length }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Days of the 400 years after which the Gregorian calendar repeats.
const ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. Years that begin in March end with the leap day.
const EPOCH: u64 = 719_468;

/// Year and month (1 to 12) of a day counted from 1970.
fn calendar(day: u64) -> (u64, u64) {
    let shifted = day + EPOCH;
    let (era, day) = (shifted / ERA, shifted % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month)
}

/// The first day of a month, counted from 1970.
fn first_day(year: u64, month: u64) -> u64 {
    let (year, march_month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * march_month + 2) / 5;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29 23:59:59 UTC.
    const LEAP: u64 = 1_709_251_199;

    #[test]
    fn short_windows_end_on_even_boundaries() {
        assert_eq!(Period::Second.window(LEAP), Window { ordinal: 1_709_251_199, end: LEAP + 1 });
        for period in [Period::Minute, Period::Hour, Period::Day, Period::Month] {
            assert_eq!(period.window(LEAP).end, LEAP + 1, "{}", period.name());
            assert_eq!(period.window(LEAP + 1).ordinal, period.window(LEAP).ordinal + 1, "{}", period.name());
        }
    }

    #[test]
    fn months_and_years_follow_the_calendar() {
        // 2025-01-01 and 2024-03-01, 2024-12-31 23:59:59.
        assert_eq!(Period::Year.window(LEAP), Window { ordinal: 2024, end: 1_735_689_600 });
        assert_eq!(
            Period::Month.window(1_735_689_599),
            Window { ordinal: 2024 * 12 + 12, end: 1_735_689_600 }
        );
        assert_eq!(Period::Month.window(1_735_689_600).end, 1_738_368_000);
        assert_eq!(Period::Year.window(0).end, 31_536_000);
        // 2100 is no leap year: 2100-02-28 is the last day of its month.
        assert_eq!(Period::Month.window(4_107_455_999).end, 4_107_456_000 + DAY);
    }
}
