//! Times and sizes as people type them.

/// Parses `90s`, `30m`, `12h`, `7d` or plain seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)])
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| String::from("write a time such as 90s, 30m, 12h or 7d"))
}

/// The same, or `0`.
pub(super) fn seconds_or_zero(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        text => seconds(text),
    }
}

/// Parses `10GiB`, `500MB` or plain bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    scaled(
        text,
        &[
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("KB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("B", 1),
        ],
    )
    .ok_or_else(|| String::from("write a size such as 500MiB, 10GiB, 2TB or plain bytes"))
}

/// A size as people read it, such as `12.3 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024.0 is one of the next unit.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A size, or nothing for `none`.
pub(super) fn bytes_or_none(text: &str) -> Result<Setting<u64>, String> {
    match text {
        "none" => Ok(Setting(None)),
        text => bytes(text)
            .map(|bytes| Setting(Some(bytes)))
            .map_err(|hint| format!("{hint}, or none")),
    }
}

/// A number of days, or nothing for `keep`.
pub(super) fn days_or_keep(text: &str) -> Result<Setting<u32>, String> {
    match text {
        "keep" => Ok(Setting(None)),
        text => text
            .parse()
            .map(|days| Setting(Some(days)))
            .map_err(|_| String::from("write a number of days, or keep")),
    }
}

/// A value that can be set to nothing. A type of its own, because clap takes an `Option` for an argument that may be
/// left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting<T>(pub(super) Option<T>);

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale = if unit.is_empty() {
        1
    } else {
        units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?
            .1
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, expected) in [("90", 90), ("90s", 90), ("30m", 1800), ("12H", 43_200)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "0", "-1", "h", "1w", "1.5h", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds_or_zero("0"), Ok(0));
        assert_eq!(seconds_or_zero("1d"), Ok(86_400));
        assert!(seconds_or_zero("").is_err());
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", 0),
            ("1KiB", 1024),
            ("1 kb", 1000),
            ("10gib", 10 << 30),
            ("7B", 7),
        ] {
            assert_eq!(bytes(text), Ok(expected));
        }
        assert!(bytes("1G").is_err());
        assert!(bytes("20000000TiB").is_err());
    }

    #[test]
    fn sizes_are_read_in_the_largest_unit_that_fits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_900_000, "12.3 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn settings_can_be_nothing() {
        assert_eq!(bytes_or_none("none"), Ok(Setting(None)));
        assert_eq!(bytes_or_none("1KiB"), Ok(Setting(Some(1024))));
        assert_eq!(days_or_keep("keep"), Ok(Setting(None)));
        assert_eq!(days_or_keep("30"), Ok(Setting(Some(30))));
        assert!(days_or_keep("30d").is_err());
    }
}
