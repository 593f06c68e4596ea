//! `--device` and `--gpus`.

use crate::spec::csv;
use proa_docker_api::{DeviceMapping, DeviceRequest};

type Result<T> = std::result::Result<T, String>;

/// Whether a text names a device that a driver knows, `vendor/class=name`, and not a path.
pub(crate) fn is_device_name(text: &str) -> bool {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
    };
    let parts = text.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    parts.is_some_and(|((vendor, class), name)| word(vendor) && word(class) && word(name))
}

/// Reads one `--device`.
///
/// # Errors
/// docker's words.
pub(crate) fn device(text: &str) -> Result<DeviceMapping> {
    let mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, second] if mode(second) => (*host, *host, *second),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] if mode(permissions) => (*host, *container, *permissions),
        [_, _, permissions] => return Err(format!("bad mode specified: {permissions}")),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: host.into(),
        path_in_container: container.into(),
        cgroup_permissions: permissions.into(),
    })
}

/// Reads one `--gpus`: `all`, a number, or fields `count`, `device`, `driver`, `capabilities`, `options`.
///
/// # Errors
/// docker's words.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => ("count".to_owned(), field.clone()),
        };
        if seen.contains(&key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        let words = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key.as_str() {
            "count" => request.count = count(&value)?,
            "device" => request.device_ids = Some(words()),
            "driver" => request.driver = value,
            "capabilities" => request.capabilities = Some(vec![[words(), vec!["gpu".into()]].concat()]),
            "options" => {
                let pairs = csv(&value);
                let pair = |pair: &String| {
                    pair.split_once('=').map_or((pair.clone(), String::new()), |(k, v)| (k.into(), v.into()))
                };
                request.options = pairs.iter().map(pair).collect();
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        seen.push(key);
    }
    if !seen.iter().any(|key| key == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request.capabilities.get_or_insert_with(|| vec![vec!["gpu".into()]]);
    Ok(request)
}

fn count(text: &str) -> Result<i64> {
    match text {
        "all" => Ok(-1),
        text => text.parse().map_err(|_| {
            format!("count ({text}) must be value either \"all\" or an integer: invalid syntax")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_for_graphics_processors_are_read() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("2").unwrap().count, 2);
        let request = gpus("\"device=0,GPU-1\",driver=nvidia,capabilities=utility").unwrap();
        assert_eq!(request.device_ids.unwrap(), ["0", "GPU-1"]);
        assert_eq!((request.count, request.driver.as_str()), (0, "nvidia"));
        assert_eq!(request.capabilities.unwrap(), [["utility", "gpu"]]);
        for bad in ["some", "count=1,count=2", "colour=red", ""] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_told_from_paths() {
        assert!(is_device_name("vendor.com/class=0") && !is_device_name("/dev/null:/dev/x"));
        assert!(!is_device_name("/dev/disk/by-label=x") && !is_device_name("a/b"));
    }
}
