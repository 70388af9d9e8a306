//! From when until when a certificate is valid, as it says itself.
//!
//! Only that much of its form is read: whoever connects judges certificates, this is for a word of warning in time.

use crate::model::Timestamp;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate's first and last moment; none where it is not of the usual form.
pub(super) fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = expect(SEQUENCE, der)?;
    let (mut fields, _) = expect(SEQUENCE, certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = expect(SEQUENCE, fields)?;
    let (kind, from, rest) = element(validity)?;
    let (other, until, _) = element(rest)?;
    Some((moment(kind, from)?, moment(other, until)?))
}

/// The first element's kind and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

fn expect(kind: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, _, _)| *found == kind).map(|(_, content, rest)| (content, rest))
}

/// `YYMMDDHHMMSSZ` of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn moment(kind: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    let parts: Vec<&str> = (0..5).map_while(|n| rest.get(n * 2..n * 2 + 2)).collect();
    let [month, day, hour, minute, second] = parts[..] else { return None };
    if rest.get(10..) != Some("Z") {
        return None;
    }
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_how_long_it_is_valid() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let found = validity(&certificate((1999, 12, 31), (2049, 2, 28)));
        assert_eq!(found, Some((at("1999-12-31T00:00:00Z"), at("2049-02-28T00:00:00Z"))));
        let found = validity(&certificate((2024, 2, 29), (4096, 1, 1)));
        assert_eq!(found, Some((at("2024-02-29T00:00:00Z"), at("4096-01-01T00:00:00Z"))));
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let whole = certificate((2024, 1, 1), (2025, 1, 1));
        for length in 0..whole.len() {
            assert_eq!(validity(&whole[..length]), None, "{length}");
        }
        assert_eq!(validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(moment(UTC_TIME, b"250101000000"), None);
        assert_eq!(moment(UTC_TIME, b"251301000000Z"), None);
    }
}
