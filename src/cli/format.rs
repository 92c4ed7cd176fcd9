//! How values are printed: stats, dates, permissions, identities, dumps.

use std::fmt::Write as _;

use crate::jute::data::{Acl, Stat};
use crate::types::perms;

/// The lines of a Stat (Apache's `StatPrinter`), the last without its line end. Times are printed
/// in the local time zone.
pub fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = {:#x}\nctime = {}\nmZxid = {:#x}\nmtime = {}\npZxid = {:#x}\ncversion = {}\n\
         dataVersion = {}\naclVersion = {}\nephemeralOwner = {:#x}\ndataLength = {}\n\
         numChildren = {}",
        stat.czxid,
        local_date(stat.ctime),
        stat.mzxid,
        local_date(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// A time as Java's `Date` prints it.
fn local_date(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    match Broken::local(seconds) {
        Some(broken) => broken.to_java(),
        None => format!("{time_ms} ms"),
    }
}

/// A time in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken {
    weekday: usize,
    month: usize,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    year: i64,
    zone: String,
}

impl Broken {
    /// The local time, or `None` where the year is beyond all calendars.
    fn local(seconds: i64) -> Option<Broken> {
        // SAFETY: an all-zero `tm` is a valid value of the C structure (integers and a null
        // pointer).
        let mut parts: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values of the types that the function wants.
        let found = unsafe { libc::localtime_r(&seconds, &mut parts) };
        if found.is_null() {
            return None;
        }
        let zone = if parts.tm_zone.is_null() {
            String::new()
        } else {
            // SAFETY: `localtime_r` has set `tm_zone` to a string that ends in a null byte and
            // lives as long as the process does not change its time zone, which it never does.
            let name = unsafe { std::ffi::CStr::from_ptr(parts.tm_zone) };
            zone_name(&name.to_string_lossy())
        };
        Some(Broken {
            weekday: parts.tm_wday.rem_euclid(7) as usize,
            month: parts.tm_mon.rem_euclid(12) as usize,
            day: parts.tm_mday,
            hour: parts.tm_hour,
            minute: parts.tm_min,
            second: parts.tm_sec,
            year: i64::from(parts.tm_year) + 1900,
            zone,
        })
    }

    fn to_java(&self) -> String {
        const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        format!(
            "{} {} {:02} {:02}:{:02}:{:02} {} {}",
            WEEKDAYS[self.weekday],
            MONTHS[self.month],
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.zone,
            self.year
        )
    }
}

/// Zones without an abbreviation are called by their offset: `+03` there, `GMT+03:00` in Java.
fn zone_name(zone: &str) -> String {
    match (zone.get(..1), zone.get(1..3), zone.get(3..)) {
        (Some("+" | "-"), Some(hours), Some(minutes)) => {
            let minutes = if minutes.is_empty() { "00" } else { minutes };
            format!("GMT{}{hours}:{minutes}", &zone[..1])
        }
        _ => zone.to_owned(),
    }
}

/// Permissions as letters, in the order of Apache's `ZKUtil`.
pub fn permissions(bits: i32) -> String {
    const LETTERS: [(i32, char); 5] = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    LETTERS
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

/// The two lines of an entry of an access control list: the identity in jute's text form, and the
/// permissions.
pub fn acl_entry(acl: &Acl) -> String {
    format!(
        "'{},'{}\n: {}",
        jute_text(&acl.scheme),
        jute_text(&acl.id),
        permissions(acl.perms)
    )
}

/// A string in jute's text form (Apache's `Utils.toCSVString`).
fn jute_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => out.push_str("%00"),
            '\n' => out.push_str("%0A"),
            '\r' => out.push_str("%0D"),
            ',' => out.push_str("%2C"),
            '}' => out.push_str("%7D"),
            '%' => out.push_str("%25"),
            other => out.push(other),
        }
    }
    out
}

/// A list as Java prints it.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Data as a table of bytes and characters (netty's `ByteBufUtil.prettyHexDump`), the last line
/// without its end; empty for no data.
pub fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = format!("+{}+", "-".repeat(49));
    let frame = format!("+--------{rule}{}+", "-".repeat(16));
    let digits: String = (0..16).map(|digit| format!("  {digit:x}")).collect();
    let mut out = format!("         {rule}\n         |{digits} |\n{frame}\n");
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let text: String = bytes
            .iter()
            .map(|&byte| match byte {
                0x20..=0x7e => char::from(byte),
                _ => '.',
            })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "|{:08x}|{hex:<48} |{text:<16}|", row * 16);
    }
    out.push_str(&frame);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        let epoch = Broken {
            weekday: 4,
            month: 0,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            year: 1970,
            zone: "UTC".into(),
        };
        assert_eq!(epoch.to_java(), "Thu Jan 01 00:00:00 UTC 1970");
        let local = local_date(1_700_000_000_123);
        assert!(local.ends_with(" 2023"), "{local}");
        assert!(local.contains(" Nov 1"), "{local}");
        assert_eq!(zone_name("CEST"), "CEST");
        assert_eq!(zone_name("+03"), "GMT+03:00");
        assert_eq!(zone_name("-0330"), "GMT-03:30");
    }

    #[test]
    fn stats_print_in_eleven_lines() {
        let text = stat(&Stat {
            czxid: 0x1a,
            ephemeral_owner: i64::MIN,
            num_children: 2,
            ..Stat::default()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "cZxid = 0x1a");
        assert_eq!(lines[8], "ephemeralOwner = 0x8000000000000000");
        assert_eq!(lines[10], "numChildren = 2");
    }

    #[test]
    fn access_control_entries() {
        let acl = Acl {
            perms: 31,
            scheme: "digest".into(),
            id: "a,b:c".into(),
        };
        assert_eq!(acl_entry(&acl), "'digest,'a%2Cb:c\n: cdrwa");
        assert_eq!(permissions(1), "r");
        assert_eq!(permissions(0), "");
    }

    #[test]
    fn dumps_are_those_of_netty() {
        let dump = hex_dump("hello\nw\u{20ac}rld 0123456789abc".as_bytes());
        let want = "\
         \u{20}        +-------------------------------------------------+\n\
         \u{20}        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n\
         +--------+-------------------------------------------------+----------------+\n\
         |00000000| 68 65 6c 6c 6f 0a 77 e2 82 ac 72 6c 64 20 30 31 |hello.w...rld 01|\n\
         |00000010| 32 33 34 35 36 37 38 39 61 62 63                |23456789abc     |\n\
         +--------+-------------------------------------------------+----------------+";
        assert_eq!(dump, want);
        assert_eq!(hex_dump(b""), "");
    }
}
