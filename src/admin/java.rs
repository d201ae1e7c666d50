//! How Java prints numbers, times and addresses, where that is part of an answer's shape.

use std::net::{IpAddr, SocketAddr};

use crate::time::WallTime;

/// `Double.toString` of `numerator / denominator`, rounded half up to four digits behind the point, as
/// `AvgMinMaxCounter.getAvg` gives an average. Zero if there is nothing to divide by.
pub(super) fn average(numerator: u64, denominator: u64) -> String {
    if denominator == 0 {
        return "0.0".to_owned();
    }
    let (numerator, denominator) = (u128::from(numerator), u128::from(denominator));
    let ten_thousandths = (numerator * 20_000 + denominator) / (2 * denominator);
    double(ten_thousandths)
}

/// `Double.toString` of a number of ten-thousandths.
fn double(ten_thousandths: u128) -> String {
    let (whole, fraction) = (ten_thousandths / 10_000, ten_thousandths % 10_000);
    // Java writes below 10^-3 and from 10^7 on with an exponent.
    if whole == 0 && (1..10).contains(&fraction) {
        return format!("{fraction}.0E-4");
    }
    let mut digits = format!("{fraction:04}");
    while digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
    }
    if whole < 10_000_000 {
        return format!("{whole}.{digits}");
    }
    let all = format!("{whole}{}", if digits == "0" { "" } else { &digits });
    let mantissa = all[1..].trim_end_matches('0');
    format!("{}.{}E{}", &all[..1], if mantissa.is_empty() { "0" } else { mantissa }, whole.to_string().len() - 1)
}

/// A time of day and a date in UTC.
struct Civil {
    /// Days since 1970.
    days: i64,
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    fn new(time: WallTime) -> Self {
        let seconds = time.0.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March put the leap day last; 719468 days lie between 0000-03-01 and 1970-01-01.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = (shifted_month + 2) % 12;
        Self {
            days,
            year: era * 400 + year_of_era + i64::from(month < 2),
            month: usize::try_from(month).expect("0 to 11"),
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// `Date.toString` in UTC: `Sun Nov 22 14:46:48 UTC 2026`.
pub(super) fn date(time: WallTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Civil { days, year, month, day, hour, minute, second } = Civil::new(time);
    let weekday = usize::try_from(days.rem_euclid(7)).expect("0 to 6");
    format!("{} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}", DAYS[weekday], MONTHS[month])
}

/// ISO 8601 in UTC, with milliseconds: `2026-11-22T14:46:48.123Z`.
pub fn iso_time(time: WallTime) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::new(time);
    let (month, millis) = (month + 1, time.0.rem_euclid(1000));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `InetSocketAddress.toString` of a peer whose name was never asked for: `/10.0.0.1:4711`, `/[0:0:0:0:0:0:0:1]:4711`.
pub(super) fn address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let groups: Vec<_> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("/[{}]:{}", groups.join(":"), address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        for (numerator, denominator, text) in [
            (0, 0, "0.0"),
            (0, 5, "0.0"),
            (22, 7, "3.1429"),
            (1, 2, "0.5"),
            (1, 7, "0.1429"),
            (1, 10_000, "1.0E-4"),
            (9, 10_000, "9.0E-4"),
            (1, 1000, "0.001"),
            (1, 20_000, "1.0E-4"),
            (1, 20_001, "0.0"),
            (12, 1, "12.0"),
            (9_999_999, 1, "9999999.0"),
            (10_000_000, 1, "1.0E7"),
            (123_456_789, 2, "6.17283945E7"),
            (1_234_567_800, 1, "1.2345678E9"),
        ] {
            assert_eq!(average(numerator, denominator), text, "{numerator} / {denominator}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(WallTime(0)), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(WallTime(1_795_358_808_999)), "Sun Nov 22 14:46:48 UTC 2026");
        assert_eq!(date(WallTime(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(WallTime(4_107_542_400_000)), "Mon Mar 01 00:00:00 UTC 2100");
        assert_eq!(date(WallTime(-1)), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(iso_time(WallTime(1_795_358_808_009)), "2026-11-22T14:46:48.009Z");
        assert_eq!(iso_time(WallTime(-1)), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn addresses() {
        assert_eq!(address("10.0.0.1:4711".parse().unwrap()), "/10.0.0.1:4711");
        assert_eq!(address("[::1]:4711".parse().unwrap()), "/[0:0:0:0:0:0:0:1]:4711");
        assert_eq!(address("[::ffff:10.0.0.1]:4711".parse().unwrap()), "/10.0.0.1:4711");
    }
}
