//! Devices asked of a driver: `--device vendor/class=name` and `--gpus`. All are described by CDI; there is no other
//! driver.

use crate::spec::DeviceRequest;
use crate::{Engine, Error};
use proa_cdi::{GpuRequest, Registry};
use proa_oci::runtime::Spec;
use proa_types::ErrorKind;

/// Names of capabilities that devices of class `gpu` have.
const GPU: [&str; 10] =
    ["gpu", "nvidia", "amd", "compute", "compat32", "graphics", "utility", "video", "display", "ngx"];

impl Engine {
    /// Gives a container what it asks of drivers.
    pub(crate) fn grant_devices(
        &self,
        requests: &[DeviceRequest],
        bind: bool,
        spec: &mut Spec,
    ) -> Result<(), Error> {
        let registry = Registry::read(&self.config().cdi_dirs);
        let mut names = Vec::new();
        for request in requests {
            names.extend(match request.driver.as_str() {
                "cdi" => described(request)?,
                _ => gpus(request, &registry).ok_or_else(|| unanswered(request))?,
            });
        }
        let failed = |error: proa_cdi::Error| Error::Start {
            message: format!("CDI device injection failed: {error}"),
            kind: ErrorKind::Internal,
            exit_code: None,
        };
        proa_cdi::apply(&registry, &names, bind, spec).map_err(failed)
    }

    /// Names of the devices that are described now.
    pub(crate) fn described_devices(&self) -> (Vec<String>, Vec<String>) {
        let registry = Registry::read(&self.config().cdi_dirs);
        let names = registry.names().map(str::to_owned).collect();
        let faults = registry.faults().iter().map(|fault| format!("CDI: {fault}")).collect();
        (names, faults)
    }
}

/// Devices named in full.
fn described(request: &DeviceRequest) -> Result<Vec<String>, Error> {
    let unexpected = |what: &str| Err(Error::Invalid(format!("unexpected {what} in CDI device request")));
    match request {
        _ if request.count != 0 => unexpected("count"),
        _ if !request.options.is_empty() => unexpected("options"),
        _ => Ok(request.ids.clone()),
    }
}

/// Devices of class `gpu`, if that is what is asked for and there are any.
fn gpus(request: &DeviceRequest, registry: &Registry) -> Option<Vec<String>> {
    let known = |name: &String| GPU.contains(&name.as_str());
    let graphics =
        request.capabilities.iter().any(|set| set.iter().any(|name| name == "gpu") && set.iter().all(known));
    let asked = GpuRequest { count: request.count, ids: request.ids.clone() };
    let names = proa_cdi::gpus(registry, &asked).filter(|_| graphics && request.options.is_empty())?;
    let vendor = names.first().map_or("", |name| name.split('.').next().unwrap_or_default());
    (request.driver.is_empty() || request.driver == vendor).then_some(names)
}

/// In docker's words, lists as Go prints them.
fn unanswered(request: &DeviceRequest) -> Error {
    let sets: Vec<String> = request.capabilities.iter().map(|set| format!("[{}]", set.join(" "))).collect();
    let (driver, sets) = (&request.driver, sets.join(" "));
    Error::Invalid(format!("could not select device driver {driver:?} with capabilities: [{sets}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_in_vain_is_told_in_dockers_words() {
        let capabilities = vec![vec!["gpu".to_owned(), "utility".to_owned()], vec!["x".to_owned()]];
        let request = DeviceRequest { count: -1, capabilities, ..DeviceRequest::default() };
        let error = unanswered(&request).to_string();
        assert_eq!(error, "could not select device driver \"\" with capabilities: [[gpu utility] [x]]");
        assert_eq!(gpus(&request, &Registry::default()), None);
    }

    #[test]
    fn devices_named_in_full_are_not_counted() {
        let ids = vec!["a.com/b=c".to_owned()];
        let request = DeviceRequest { driver: "cdi".into(), ids, ..DeviceRequest::default() };
        assert_eq!(described(&request).unwrap(), ["a.com/b=c"]);
        assert!(described(&DeviceRequest { count: 1, ..request }).is_err());
    }
}
