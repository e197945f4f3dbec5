//! Times of the usual form, `YYYY-MM-DDTHH:MM:SS[.digits](Z|±HH:MM)`, as epoch milliseconds, and their months.

/// None when it is of another form, which may be a time all the same, or there is no such time.
pub fn parse(text: &str) -> Option<i64> {
    let (moment, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let seconds = seconds(moment)?;
    let (milliseconds, rest) = match rest {
        [b'.', a, b, c, b'Z'] => return Some(seconds * 1_000 + i64::from(number([*a, *b, *c])?)),
        [b'.', rest @ ..] => {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = rest.split_at(count);
            let digit = |place: usize| digits.get(place).copied().unwrap_or(b'0');
            (number([*digits.first()?, digit(1), digit(2)])?, rest)
        }
        _ => (0, rest),
    };
    let minutes_ahead = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
            let (hours, minutes) = (number([*a, *b])?, number([*c, *d])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            i64::from(hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some((seconds - minutes_ahead * 60) * 1_000 + i64::from(milliseconds))
}

/// Since the epoch, of `YYYY-MM-DDTHH:MM:SS`.
fn seconds(moment: &[u8; 19]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1] = *moment else {
        return None;
    };
    let year = number([y0, y1, y2, y3])?;
    let (month, day) = (number([m0, m1])?, number([d0, d1])?);
    let (hour, minute, second) = (number([h0, h1])?, number([n0, n1])?, number([s0, s1])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_since_epoch(year, month, day) * 86_400 + i64::from(hour * 3_600 + minute * 60 + second))
}

/// The UTC calendar month, as YYYYMM.
pub fn month(milliseconds: i64) -> i32 {
    // Howard Hinnant's civil_from_days: years that begin in March, in eras of 400
    let days = milliseconds.div_euclid(86_400_000) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097) as u32);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era as i32 * 400 + year_of_era as i32 + i32::from(month <= 2);
    year * 100 + month as i32
}

fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    // the same the other way; there is no year before 0, but a March
    let year = 400 + year - u32::from(month <= 2);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    i64::from(365 * year + year / 4 - year / 100 + year / 400 + day_of_year) - 719_468 - 146_097
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn number<const N: usize>(digits: [u8; N]) -> Option<u32> {
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')));
    digits.iter().all(u8::is_ascii_digit).then_some(number)
}
