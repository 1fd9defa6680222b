//! Targets that stand in a file of their own, or come from a registry.

use std::sync::Arc;

use crate::entity::target_normal_form;
use crate::node;
use crate::problem::{Problem, Problems, Trail};
use crate::schema::rules::split_host_port;
use crate::schema::{Record, Rule};

crate::record! {
    /// A target in a list.
    pub struct ListedTarget {
        /// Host name or address, with port; 8000 when left out.
        target: String, [host_with_optional_port()];
        /// Its share of the requests, relative to the others; 0 sends it none.
        weight: u16 = 100, [between(0, 65535)];
    }
}

/// Host, with IPv6 in brackets, port and weight of a target.
pub type Placed = (String, u16, u16);

/// Reads a list of targets: a YAML or JSON list of `{target, weight}`.
///
/// # Errors
/// The first thing that is wrong with it. It shows as `file:line:column: place: message`.
pub fn load(file: &str, text: &str) -> Result<Vec<Placed>, Problem> {
    let mut problems = Problems::default();
    let list = read(file, text, &mut problems);
    problems.list.sort_by_key(|problem| (problem.span.line, problem.span.column));
    match problems.list.into_iter().next() {
        Some(problem) => Err(Problem { file: Arc::from(file), ..problem }),
        None => Ok(list),
    }
}

fn read(file: &str, text: &str, problems: &mut Problems) -> Vec<Placed> {
    let document = match node::parse(file, text) {
        Ok(document) => document,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    problems.extend(document.problems);
    let Some(elements) = document.root.as_array() else {
        problems.add(&Trail::Root, document.root.span, "expected a list of targets");
        return Vec::new();
    };
    let schema = ListedTarget::schema();
    let mut list = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        let value = schema.validate(element, &Trail::Root.index(index), problems);
        list.extend(ListedTarget::from_value(&value).ok().and_then(|target| placed(&target)));
    }
    list
}

fn placed(target: &ListedTarget) -> Option<Placed> {
    let normal = target_normal_form(&target.target)?;
    let (host, port) = split_host_port(&normal)?;
    Some((host.to_owned(), port?, target.weight))
}

/// `host` in the form that targets are kept in, with IPv6 in brackets, if it can be the host of a target at all.
#[must_use]
pub fn host(host: &str) -> Option<String> {
    let Rule::Format(_, check) = crate::schema::rules::host() else { return None };
    check(host).ok()?;
    let normal = target_normal_form(host)?;
    Some(split_host_port(&normal)?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        load("targets.yml", text).unwrap_err().to_string()
    }

    #[test]
    fn targets_have_the_ports_and_weights_that_targets_of_upstreams_have() {
        let list = load(
            "targets.yml",
            "- {target: '10.0.0.1:81', weight: 7}\n- target: api.test\n- target: '::1'\n",
        );
        let placed = |host: &str, port, weight| (host.to_owned(), port, weight);
        assert_eq!(
            list.unwrap(),
            [placed("10.0.0.1", 81, 7), placed("api.test", 8000, 100), placed("[::1]", 8000, 100)]
        );
        assert_eq!(load("targets.json", r#"[{"target": "a.test:1"}]"#).unwrap(), [placed("a.test", 1, 100)]);
        assert_eq!(load("targets.yml", "[]").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(
            fault("- target: 10.0.0.1:81\n- target: 10.0.0.2:81\n  wieght: 5\n"),
            "targets.yml:3:3: [1].wieght: unknown field (did you mean 'weight'?)"
        );
        assert!(fault("- {weight: 5}").starts_with("targets.yml:1:4: [0].target: required"));
        assert!(fault("- {target: 'a b'}").starts_with("targets.yml:1:12: [0].target: "));
        assert!(fault("- {target: 'a:80', weight: 70000}").contains("[0].weight: "));
        assert!(fault("targets: []").starts_with("targets.yml:1:1: expected a list"));
        assert!(fault("").contains("expected a list"), "an empty file is not an empty list");
        assert!(fault("- {target: [").starts_with("targets.yml:"), "what cannot be parsed");
    }

    #[test]
    fn hosts_of_a_registry_are_hosts_and_nothing_else() {
        assert_eq!(host("10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(host("2001:db8::1").as_deref(), Some("[2001:db8::1]"));
        assert_eq!(host("node-1.internal").as_deref(), Some("node-1.internal"));
        for wrong in ["", "a b", "a\r\nX: y", "a/b", "a:80", "a@b"] {
            assert_eq!(host(wrong), None, "{wrong:?}");
        }
    }
}
