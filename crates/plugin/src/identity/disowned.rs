//! What clients claim about who they are, and how it is known: by the names of the fields that tell it, and by names that a
//! service may take for those.

use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use wire::{Field, Headers, Known};

use super::names::{IdentityHeaders, OF_EVERY_CALLER, OF_ROOMS};
use crate::services::Worker;

/// The longest of the names that tell who calls.
const LONGEST: usize = 32;

/// Names of fields by which a room tells the upstream more of the caller than all rooms do. Made at reload.
#[derive(Debug, Clone, Default)]
pub struct OwnFields {
    names: Arc<[Box<str>]>,
    /// What they say of the caller is known without them.
    are_tokens: bool,
}

/// Lists of such names, of the rooms that a request has met.
pub(crate) type Told = SmallVec<[OwnFields; 1]>;

impl OwnFields {
    /// The fields with these names.
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), are_tokens: false }
    }

    /// Those of a room that makes tokens of what is known of the caller, and new ones all the time: no two responses are kept
    /// apart because of them.
    pub fn of_tokens<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { are_tokens: true, ..Self::new(names) }
    }

    /// Whether a field of this name tells more of the caller than who it is.
    pub(super) fn distinguish(&self, name: &[u8]) -> bool {
        !self.are_tokens && self.hold(name)
    }

    fn hold(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| are_alike(own.as_bytes(), name))
    }

    /// Takes out of `headers` what a client has sent in these fields. What rooms have told that the request has met before
    /// stays.
    pub(super) fn disown(&self, headers: &mut Headers, told: &mut Told) {
        if told.iter().any(|known| Arc::ptr_eq(&known.names, &self.names)) {
            return;
        }
        remove_where(headers, |field| {
            self.hold(field.name) && !told.iter().any(|known| known.hold(field.name))
        });
        told.push(self.clone());
    }

    /// Takes these fields out of `headers`, whoever has sent or told them. Those that the client sends later are not to be
    /// believed either.
    pub(super) fn forget(&self, headers: &mut Headers, told: &mut Told) {
        remove_where(headers, |field| self.hold(field.name));
        if !told.iter().any(|known| Arc::ptr_eq(&known.names, &self.names)) {
            told.push(self.clone());
        }
    }
}

/// What a client cannot tell the upstream of a request, in whatever comes after its head.
pub struct Disowned {
    /// Who knows what claims are called; none where the client may make them.
    pub(super) claims: Option<Rc<Worker>>,
    pub(super) told: Told,
}

impl Disowned {
    /// Takes it out of `fields`.
    pub fn cleanse(&self, fields: &mut Headers) {
        let names = self.claims.as_ref().map(|worker| worker.services.identity_headers());
        remove_where(fields, |field| {
            names.is_some_and(|names| is_claim(names, field))
                || self.told.iter().any(|told| told.hold(field.name))
        });
    }
}

/// Whether a field tells who calls, or may be taken for one that does.
pub(super) fn is_claim(names: &IdentityHeaders, field: Field<'_>) -> bool {
    match field.known {
        Known::Other => {
            is_disguised(field.name) || names.wanted().any(|name| are_alike(name.as_bytes(), field.name))
        }
        known => OF_EVERY_CALLER.contains(&known) || OF_ROOMS.contains(&known),
    }
}

/// Whether a name is one of Kong's, but for some `_` in place of `-`.
fn is_disguised(name: &[u8]) -> bool {
    if name.len() > LONGEST || !name.contains(&b'_') {
        return false;
    }
    let plain: SmallVec<[u8; LONGEST]> = name.iter().copied().map(folded).collect();
    let known = Known::classify(&plain);
    OF_EVERY_CALLER.contains(&known) || OF_ROOMS.contains(&known)
}

/// Whether a service may take one name for the other: those behind CGI or WSGI see no difference between `-` and `_`
/// (RFC 3875 4.1.18).
fn are_alike(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| folded(*one) == folded(*other))
}

fn folded(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// Most requests hold nothing of the kind: they are only looked at.
pub(super) fn remove_where(headers: &mut Headers, is_one: impl Fn(Field<'_>) -> bool) {
    if headers.entries().any(&is_one) {
        headers.retain(|field| !is_one(field));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&str]) -> Headers {
        let mut headers = Headers::new();
        for name in names {
            headers.append(name, b"x");
        }
        headers
    }

    fn names(headers: &Headers) -> Vec<&str> {
        headers.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_that_a_service_may_take_for_ours_are_claims() {
        let renamed: IdentityHeaders = "X-Consumer-ID=X_User_Id".parse().unwrap();
        let given = [
            "X_Consumer_Username",
            "x-consumer_groups",
            "X-AUTHENTICATED-SCOPE",
            "X-User-Id",
            "x_user_id",
            "X-Consumer-Usernames",
            "X.Consumer.Username",
            "X_Consumer_Username_Of_A_Name_Beyond_All_Others",
            "User_Agent",
        ];
        let mut headers = headers(&given);
        remove_where(&mut headers, |field| is_claim(&renamed, field));
        assert_eq!(names(&headers), &given[5..]);
    }

    #[test]
    fn what_one_room_has_told_another_does_not_take_away() {
        let (one, other) = (OwnFields::new(["X-Dn", "X-San"]), OwnFields::new(["X-Dn", "X-Sub"]));
        let (mut sent, mut told) = (headers(&["X_Dn", "x-san", "X-Sub", "X-Mine"]), Told::new());
        one.disown(&mut sent, &mut told);
        assert_eq!(names(&sent), ["X-Sub", "X-Mine"]);
        sent.append("X-Dn", b"told");
        other.disown(&mut sent, &mut told);
        one.disown(&mut sent, &mut told);
        assert_eq!(names(&sent), ["X-Mine", "X-Dn"]);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn what_only_one_room_may_tell_goes_whoever_has_told_it() {
        let (one, other) = (OwnFields::new(["X-Dn"]), OwnFields::new(["X-Dn", "X-Sub"]));
        let (mut sent, mut told) = (headers(&["X-Dn", "x_sub", "X-Mine"]), Told::new());
        one.disown(&mut sent, &mut told);
        sent.append("X-Dn", b"told");
        other.forget(&mut sent, &mut told);
        assert_eq!(names(&sent), ["X-Mine"]);
        sent.append("X-Sub", b"told");
        other.disown(&mut sent, &mut told);
        assert_eq!(names(&sent), ["X-Mine", "X-Sub"]);
        other.forget(&mut sent, &mut told);
        assert_eq!((names(&sent), told.len()), (vec!["X-Mine"], 2));
    }
}
