//! The fields by which upstreams learn who calls (kong.md 3.4), and what an operator wants them to be called.

use std::str::FromStr;

use wire::{Headers, Known};

use super::caller::Told;

/// Those that every caller has anew.
pub(super) const OF_EVERY_CALLER: [Known; 5] = [
    Known::XConsumerId,
    Known::XConsumerCustomId,
    Known::XConsumerUsername,
    Known::XCredentialIdentifier,
    Known::XAnonymousConsumer,
];

/// Those by which rooms tell more of a caller.
pub(super) const OF_ROOMS: [Known; 4] = [
    Known::XConsumerGroups,
    Known::XAuthenticatedGroups,
    Known::XAuthenticatedScope,
    Known::XAuthenticatedUserId,
];

/// Names in place of Kong's; by default there are none, and nothing is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityHeaders(Vec<(Known, Instead)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Instead {
    Named(Box<str>),
    /// The upstream is not told.
    Untold,
}

impl IdentityHeaders {
    /// Kong's own names.
    pub(crate) const fn kongs() -> Self {
        Self(Vec::new())
    }

    fn instead(&self, field: Known) -> Option<&Instead> {
        self.0.iter().find(|(own, _)| *own == field).map(|(_, instead)| instead)
    }

    /// The names that are wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, instead)| match instead {
            Instead::Named(name) => Some(&**name),
            Instead::Untold => None,
        })
    }

    /// Removes the field, under Kong's name and under the one wanted.
    pub(super) fn remove(&self, headers: &mut Headers, field: Known) {
        headers.remove_known(field);
        if let Some(Instead::Named(name)) = self.instead(field) {
            headers.remove(name);
        }
    }

    /// Sets the field under the name wanted. A value that cannot stand in a field is left out.
    pub(super) fn set(&self, headers: &mut Headers, field: Known, value: &[u8]) {
        match self.instead(field) {
            None => drop(headers.set_known(field, value)),
            Some(Instead::Named(name)) => drop(headers.set(name, value)),
            Some(Instead::Untold) => {}
        }
    }

    /// Adds all of `told`, under the names wanted.
    pub(super) fn append(&self, headers: &mut Headers, told: &Told) {
        if self.0.is_empty() {
            headers.append_values(told);
            return;
        }
        for (field, value) in told.fields() {
            self.set(headers, field, value);
        }
    }
}

impl FromStr for IdentityHeaders {
    type Err = String;

    /// Reads a list such as `X-Consumer-ID=X-User-Id, X-Consumer-Groups=`: Kong's name, and the one wanted in its place or
    /// none for not telling.
    fn from_str(list: &str) -> Result<Self, String> {
        let mut renamed = Vec::new();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (kongs, wanted) = item.split_once('=').ok_or_else(|| {
                format!("'{item}' is not a name of Kong's, '=' and a name, such as X-Consumer-ID=X-User-Id")
            })?;
            let field = identity_field(kongs.trim())?;
            if renamed.iter().any(|(known, _)| *known == field) {
                return Err(format!("{} stands in the list twice", field.as_str()));
            }
            renamed.push((field, instead(wanted.trim())?));
        }
        let names = Self(renamed);
        names.check_distinct()?;
        Ok(names)
    }
}

impl IdentityHeaders {
    /// Two fields under one name would tell the upstream either of them, depending on who calls.
    fn check_distinct(&self) -> Result<(), String> {
        let all = || OF_EVERY_CALLER.into_iter().chain(OF_ROOMS);
        let name = |field: Known| match self.instead(field) {
            None => Some(field.as_str()),
            Some(Instead::Named(name)) => Some(&**name),
            Some(Instead::Untold) => None,
        };
        for (position, field) in all().enumerate() {
            let Some(own) = name(field) else { continue };
            let other = all()
                .skip(position + 1)
                .find(|other| name(*other).is_some_and(|theirs| theirs.eq_ignore_ascii_case(own)));
            if let Some(other) = other {
                return Err(format!("{} and {} would both be called {own}", field.as_str(), other.as_str()));
            }
        }
        Ok(())
    }
}

fn identity_field(name: &str) -> Result<Known, String> {
    let mut all = OF_EVERY_CALLER.into_iter().chain(OF_ROOMS);
    all.find(|field| field.as_str().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = OF_EVERY_CALLER.iter().chain(&OF_ROOMS).map(|field| field.as_str()).collect();
        format!("'{name}' is no header that tells who calls: those are {}", names.join(", "))
    })
}

fn instead(wanted: &str) -> Result<Instead, String> {
    if wanted.is_empty() {
        return Ok(Instead::Untold);
    }
    // What the gateway or the protocol sets itself, and what clients prove themselves by, is not free to be replaced.
    let is_free = match Known::classify(wanted.as_bytes()) {
        Known::Other => true,
        field => OF_EVERY_CALLER.contains(&field) || OF_ROOMS.contains(&field),
    };
    match is_free && Headers::new().set(wanted, b"1") {
        true => Ok(Instead::Named(wanted.into())),
        false => Err(format!("'{wanted}' cannot be the name of a header that tells who calls")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(list: &str) -> String {
        list.parse::<IdentityHeaders>().unwrap_err()
    }

    #[test]
    fn fields_get_the_names_that_are_wanted_and_no_others() {
        let names: IdentityHeaders = "x-consumer-id = X-User, X-Consumer-Groups=,".parse().unwrap();
        let told = Told::new(
            b"key",
            OF_EVERY_CALLER.map(|field| match field {
                Known::XConsumerId => (field, Some(&b"1"[..])),
                Known::XConsumerUsername => (field, Some(&b"ada"[..])),
                _ => (field, None),
            }),
        );
        let mut headers = Headers::new();
        names.append(&mut headers, &told);
        names.set(&mut headers, Known::XConsumerGroups, b"admin");
        let told: Vec<(&str, &[u8])> = headers.iter().collect();
        assert_eq!(told, [("X-User", &b"1"[..]), ("X-Consumer-Username", b"ada")]);
        headers.set_known(Known::XConsumerId, b"forged");
        names.remove(&mut headers, Known::XConsumerId);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_wrong_list_says_what_is_wrong() {
        assert!(problem("X-Consumer-ID").contains("X-Consumer-ID=X-User-Id"));
        assert!(problem("X-Consumer-Id=X-A, X-CONSUMER-ID=X-B").contains("twice"));
        assert!(problem("X-Other=X-A").contains("X-Credential-Identifier"));
        assert!(problem("X-Consumer-ID=X-A, X-Consumer-Username=x-a").contains("both be called X-A"));
        assert!(problem("X-Consumer-ID=X-Consumer-Username").contains("both be called"));
        for name in ["Host", "Authorization", "Content-Length", "Connection", "a b", "X\r\nY"] {
            assert!(problem(&format!("X-Consumer-ID={name}")).contains("cannot be"), "{name}");
        }
    }

    #[test]
    fn names_can_change_places() {
        let swapped = "X-Consumer-ID=X-Consumer-Username, X-Consumer-Username=X-Consumer-ID";
        assert!(swapped.parse::<IdentityHeaders>().is_ok());
    }
}
