//! Which media types are kept.

/// A media type with its parameters; `*` stands for anything.
pub struct ContentType {
    kind: Vec<u8>,
    subtype: Vec<u8>,
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ContentType {
    /// Reads a field value; `None` if it has no slash.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b';');
        let essence = parts.next()?.trim_ascii().to_ascii_lowercase();
        let slash = essence.iter().position(|byte| *byte == b'/')?;
        let parameter = |part: &[u8]| {
            let equals = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let value = part[equals..].strip_prefix(b"=").unwrap_or_default().trim_ascii();
            let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
            (part[..equals].trim_ascii().to_ascii_lowercase(), value.to_vec())
        };
        let parameters =
            parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).map(parameter).collect();
        Some(Self { kind: essence[..slash].to_vec(), subtype: essence[slash + 1..].to_vec(), parameters })
    }

    /// Whether a response's type is one that `self`, from the configuration, stands for: with the same parameters.
    pub fn covers(&self, other: &Self) -> bool {
        let side = |own: &[u8], other: &[u8]| own == b"*" || own == other;
        side(&self.kind, &other.kind)
            && side(&self.subtype, &other.subtype)
            && self.parameters.len() == other.parameters.len()
            && self.parameters.iter().all(|parameter| other.parameters.contains(parameter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_must_be_the_same() {
        let covers = |own: &str, other: &str| {
            let [own, other] = [own, other].map(|text| ContentType::parse(text.as_bytes()).unwrap());
            own.covers(&other)
        };
        assert!(covers("application/json", "Application/JSON"));
        assert!(!covers("application/json", "application/json; charset=utf-8"));
        assert!(covers("application/json; charset=utf-8", "application/json;Charset=\"utf-8\""));
        assert!(!covers("application/json; charset=utf-8", "application/json; charset=UTF-16"));
        assert!(
            covers("*/*", "text/html") && covers("text/*", "text/html") && !covers("text/*", "image/png")
        );
        assert!(ContentType::parse(b"json").is_none());
    }
}
