//! What the directory is asked: who has the username, whether the password is theirs, and which groups they are in.

use std::sync::Arc;

use plugin::consumers::Consumers;
use plugin::identity::Caller;
use plugin::ldap::{
    Admission, Directory, Entry, Groups, Inquiry, Refusal, Scope, Search, Unanswered, escaped,
};
use plugin::{Headers, Known, Plugin};

use super::LdapAuthAdvanced;
use super::groups::{Places, Requirements, Told};

/// Groups of a user at most; nobody gets in by a part of the truth.
const MOST_GROUPS: usize = 1000;
/// Characters of an entry that are logged.
const LONGEST_LINE: usize = 4096;

/// How users are searched.
pub(super) struct Searching {
    /// Searches for users and groups, where there is an account for that.
    pub service: Option<Arc<Directory>>,
    /// Is told passwords of users.
    pub users: Arc<Directory>,
    pub base_dn: String,
    pub attribute: String,
    pub places: Places,
    pub required: Requirements,
    /// Who the username may be; nobody is looked for without.
    pub consumers: Option<Consumers>,
    pub logs: bool,
}

/// Who searches.
#[derive(Clone, Copy)]
enum By<'a> {
    /// The gateway.
    Service(&'a Directory),
    /// The user with this name and password.
    User(&'a str, &'a [u8]),
}

impl Inquiry for Searching {
    async fn ask(
        &self,
        worker: usize,
        username: &str,
        password: &[u8],
    ) -> Result<Option<Groups>, Unanswered> {
        match &self.service {
            Some(service) => self.by_search(service, worker, username, password).await,
            None => self.by_name(worker, username, password).await,
        }
    }

    fn admit(&self, username: &str, groups: &Groups) -> Result<Admission, Refusal> {
        let consumer = match &self.consumers {
            Some(consumers) => Some(consumers.find(username).ok_or(Refusal::Wrong)?.clone()),
            None => None,
        };
        if !self.required.are_met(groups) {
            return Err(Refusal::Group);
        }
        let mut headers = Headers::new();
        if !groups.is_empty() {
            // What cannot stand in a field is left out.
            headers.set_known(Known::XAuthenticatedGroups, groups.join(", ").as_bytes());
        }
        let caller = Caller::of_directory(LdapAuthAdvanced::NAME, consumer, username);
        Ok(Admission { caller, groups: Some(groups.clone()), headers })
    }
}

impl Searching {
    async fn by_search(
        &self,
        service: &Directory,
        worker: usize,
        username: &str,
        password: &[u8],
    ) -> Result<Option<Groups>, Unanswered> {
        let attributes = self.attributes();
        let search = Search {
            base: &self.base_dn,
            scope: Scope::Subtree,
            having: (&self.attribute, vec![username.as_bytes()]),
            attributes: &attributes,
            // With a second one it is known that nobody knows who is meant.
            most: 2,
        };
        let entries = service.search(worker, &search, false).await?;
        self.log(&entries);
        let [entry] = &entries[..] else {
            // As many questions as about somebody, so that time does not tell whether there is such a user.
            self.users.knows(worker, &self.name_of(username), password).await?;
            return Ok(None);
        };
        if !self.users.knows(worker, &entry.name, password).await? {
            return Ok(None);
        }
        self.groups(entry, worker, By::Service(service)).await
    }

    /// Users look for themselves.
    async fn by_name(
        &self,
        worker: usize,
        username: &str,
        password: &[u8],
    ) -> Result<Option<Groups>, Unanswered> {
        let name = self.name_of(username);
        let attributes = self.attributes();
        let search = Search {
            base: &name,
            scope: Scope::Base,
            having: ("", Vec::new()),
            attributes: &attributes,
            most: 1,
        };
        let Some(entries) = self.users.search_as(worker, (&name, password), &search, true).await? else {
            return Ok(None);
        };
        self.log(&entries);
        // Who may not see itself has no groups.
        let Some(entry) = entries.first() else { return Ok(Some(Groups::default())) };
        self.groups(entry, worker, By::User(&name, password)).await
    }

    async fn find(&self, worker: usize, by: By<'_>, search: &Search<'_>) -> Result<Vec<Entry>, Unanswered> {
        match by {
            By::Service(service) => service.search(worker, search, true).await,
            By::User(name, password) => {
                let found = self.users.search_as(worker, (name, password), search, true).await?;
                found.ok_or(Unanswered)
            }
        }
    }

    fn name_of(&self, username: &str) -> String {
        format!("{}={},{}", self.attribute, escaped(username), self.base_dn)
    }

    /// What is wanted of the entry of a user.
    fn attributes(&self) -> Vec<&str> {
        match self.places.told {
            Told::Own => vec![&self.places.attribute],
            Told::OfEntries => Vec::new(),
            Told::OfUsernames => vec![&self.attribute],
        }
    }

    /// The groups of the user with this entry; those of groups are searched `by` somebody.
    async fn groups(&self, entry: &Entry, worker: usize, by: By<'_>) -> Result<Option<Groups>, Unanswered> {
        let places = &self.places;
        let having: Vec<&[u8]> = match places.told {
            Told::Own => {
                let names = values(entry, &places.attribute)?;
                let names = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
                return Ok(Some(places.named(names)));
            }
            Told::OfEntries => vec![entry.name.as_bytes()],
            // As the directory writes it: groups may tell apart what names do not.
            Told::OfUsernames => values(entry, &self.attribute)?.iter().map(Vec::as_slice).collect(),
        };
        if having.is_empty() {
            tracing::debug!(
                entry = entry.name,
                attribute = self.attribute,
                "a user's entry does not show an attribute"
            );
            return Err(Unanswered);
        }
        let search = Search {
            base: &places.base,
            scope: Scope::Children,
            having: (&places.attribute, having),
            attributes: &[],
            most: MOST_GROUPS,
        };
        let entries = self.find(worker, by, &search).await?;
        self.log(&entries);
        Ok(Some(places.of_entries(&entries)))
    }

    fn log(&self, entries: &[Entry]) {
        if self.logs {
            tracing::info!(found = entries.len(), "a search in a directory has ended");
            for entry in entries {
                tracing::info!(entry = shown(entry), "an entry of a directory was found");
            }
        }
    }
}

fn values<'e>(entry: &'e Entry, attribute: &str) -> Result<&'e [Vec<u8>], Unanswered> {
    entry.values(attribute).map_err(|error| {
        tracing::debug!(entry = entry.name, attribute, error, "the groups of a user cannot be told");
        Unanswered
    })
}

/// An entry for people, of bounded length.
fn shown(entry: &Entry) -> String {
    let mut text = entry.name.clone();
    for (name, values) in &entry.attributes {
        for value in values {
            text += &format!("; {name}: {}", String::from_utf8_lossy(value).escape_debug());
            if text.len() > LONGEST_LINE {
                return text.chars().take(LONGEST_LINE).chain("...".chars()).collect();
            }
        }
    }
    text
}
