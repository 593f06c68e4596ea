//! The name in a client's certificate. The handshake has verified the certificate; this only finds a part of it.

/// OID 2.5.4.3, common name.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// The common name of a certificate's subject (DER; RFC 5280, 4.1).
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = item(rest)?.2;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        rest = item(rest)?.2;
    }
    let (mut names, _) = expect(rest, SEQUENCE)?;
    let mut found = None;
    while !names.is_empty() {
        let (mut set, after) = expect(names, SET)?;
        names = after;
        while !set.is_empty() {
            let (pair, after) = expect(set, SEQUENCE)?;
            set = after;
            let (kind, value) = expect(pair, OID)?;
            if kind == COMMON_NAME {
                found = Some(String::from_utf8_lossy(item(value)?.1).into_owned());
            }
        }
    }
    found
}

/// The content of the first item, which has this tag, and what follows it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = item(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first item: tag, content, and what follows.
fn item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|digits| digits.len() <= 4)?;
        let length =
            digits.iter().try_fold(0usize, |all, &digit| Some(all.checked_mul(256)? + usize::from(digit)));
        (length?, rest.get(count..)?)
    };
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

/// The certificate as text.
pub(super) fn pem(der: &[u8]) -> String {
    let text = super::encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut all = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => all.push(short),
            _ => all.extend([&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat()),
        }
        all.extend(content);
        all
    }

    fn certificate(name: &str, padding: usize) -> Vec<u8> {
        let attribute = |oid: &[u8], text: &str| {
            der(SET, &der(SEQUENCE, &[der(OID, oid), der(0x0c, text.as_bytes())].concat()))
        };
        let subject = der(
            SEQUENCE,
            &[attribute(&[0x55, 4, 10], "an organisation"), attribute(&COMMON_NAME, name)].concat(),
        );
        let issuer = der(SEQUENCE, &attribute(&COMMON_NAME, "the issuer"));
        let body = [
            der(VERSION, &der(2, &[2])),
            der(2, &[1; 20]),
            der(SEQUENCE, &[]),
            issuer,
            der(SEQUENCE, &[]),
            subject,
            der(SEQUENCE, &vec![0; padding]),
        ];
        der(SEQUENCE, &der(SEQUENCE, &body.concat()))
    }

    #[test]
    fn the_name_is_the_subjects() {
        for padding in [0, 1000] {
            assert_eq!(common_name(&certificate("alice", padding)), Some("alice".into()));
        }
    }

    #[test]
    fn what_is_cut_or_altered_has_no_name_or_another_and_never_panics() {
        let whole = certificate("alice", 10);
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut altered = whole.clone();
                altered[at] ^= 1 << bit;
                let _ = common_name(&altered);
            }
        }
    }
}
