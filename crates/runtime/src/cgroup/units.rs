//! Ranges and conversions of limits between docker's terms, v1 and v2.

use super::Error;

/// Least `cpu.shares`.
pub(crate) const MIN_SHARES: u64 = 2;
/// Most `cpu.shares`.
pub(crate) const MAX_SHARES: u64 = 262_144;

fn value(limit: &'static str, reason: String) -> Error {
    Error::Value { limit, reason }
}

/// An amount of memory: absent or 0 is "as it is", -1 is no limit.
pub(crate) fn limit(name: &'static str, amount: Option<i64>) -> Result<Option<Option<u64>>, Error> {
    match amount {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(None)),
        Some(amount) => match u64::try_from(amount) {
            Ok(amount) => Ok(Some(Some(amount))),
            Err(_) => Err(value(name, format!("{amount}: use a number of bytes, or -1 for no limit"))),
        },
    }
}

/// An amount as v1 writes it.
pub(crate) fn v1_amount(amount: Option<u64>) -> String {
    amount.map_or_else(|| "-1".to_owned(), |amount| amount.to_string())
}

/// A period of the CFS quota in µs.
pub(crate) fn check_period(period: Option<u64>) -> Result<(), Error> {
    match period {
        Some(period) if !(1000..=1_000_000).contains(&period) => Err(value(
            "cpu period",
            format!(
                "{period}: CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
            ),
        )),
        _ => Ok(()),
    }
}

/// A CFS quota in µs; negative is none.
pub(crate) fn check_quota(quota: Option<i64>) -> Result<(), Error> {
    match quota {
        Some(quota) if (1..1000).contains(&quota) => {
            Err(value("cpu quota", format!("{quota}: CPU cfs quota can not be less than 1ms (i.e. 1000)")))
        }
        _ => Ok(()),
    }
}

/// A weight of block I/O in docker's and v1's range; 0 is none given.
pub(crate) fn check_weight(weight: u64) -> Result<(), Error> {
    if weight == 0 || (10..=1000).contains(&weight) {
        return Ok(());
    }
    Err(value("blkio weight", format!("{weight}: range of blkio weight is from 10 to 1000")))
}

/// `cpu.weight` (1 to 10000) for `cpu.shares` (2 to 262144).
///
/// Both scales are met at their ends and at their defaults (1024 and 100): with l = log2(shares) the weight is
/// 10^((l² + 125·l) / 612 − 7/34), rounded up; the runtime specification's conversion since 1.3.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    if shares <= MIN_SHARES {
        return 1;
    }
    if shares >= MAX_SHARES {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = 10f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

/// `io.weight` (1 to 10000) for a blkio weight (10 to 1000), linearly.
pub(crate) fn io_weight(weight: u64) -> u64 {
    1 + weight.clamp(10, 1000).saturating_sub(10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_meet_weights_at_the_ends_and_the_default() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (2..3000).map(weight_of_shares).collect();
        assert!(weights.is_sorted(), "more shares never weigh less");
        assert_eq!((io_weight(10), io_weight(1000), io_weight(500)), (1, 10_000, 4950));
    }

    #[test]
    fn amounts_have_three_meanings() {
        assert_eq!(limit("x", None).unwrap(), None);
        assert_eq!(limit("x", Some(0)).unwrap(), None);
        assert_eq!(limit("x", Some(-1)).unwrap(), Some(None));
        assert_eq!(limit("x", Some(7)).unwrap(), Some(Some(7)));
        assert!(limit("x", Some(-2)).is_err());
    }

    #[test]
    fn ranges_are_dockers() {
        assert!(check_period(Some(999)).is_err() && check_period(Some(1_000_001)).is_err());
        assert!(check_quota(Some(999)).is_err() && check_quota(Some(-1)).is_ok());
        assert!(check_weight(9).is_err() && check_weight(1001).is_err() && check_weight(10).is_ok());
    }
}
