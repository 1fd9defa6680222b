//! What routes and services of streams may not ask for, told by name rather than ignored.

use model::entity::{Route, Service};
use model::{Config, Problem};

use crate::unsupported::at;

/// What a route or a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// HTTP and gRPC.
    Requests,
    /// Bytes and datagrams.
    Streams,
}

/// The layer of a protocol.
pub fn layer(protocol: &str) -> Layer {
    match protocol {
        "tcp" | "tls" | "udp" | "tls_passthrough" => Layer::Streams,
        _ => Layer::Requests,
    }
}

/// The layer of a route: its protocols are all of one.
pub fn layer_of(route: &Route) -> Layer {
    route.protocols.first().map_or(Layer::Requests, |protocol| layer(protocol))
}

/// Everything that routes and their services have against each other.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for route in &config.routes {
        let service = route.service.as_ref().and_then(|reference| config.service(reference.0));
        if let Some(service) = service.filter(|service| service.enabled)
            && let Some(message) = mismatch(route, service)
        {
            problems.push(at(config, "routes", route.id, "protocols", &message));
        }
    }
    problems
}

/// Why a route cannot lead to a service.
fn mismatch(route: &Route, service: &Service) -> Option<String> {
    let speaks = service.protocol.as_str();
    let lists = |protocol: &str| route.protocols.iter().any(|listed| listed == protocol);
    match (layer_of(route), layer(speaks)) {
        (Layer::Requests, Layer::Requests) => {
            let is_of_websockets = matches!(speaks, "ws" | "wss");
            (is_of_websockets && !lists("ws") && !lists("wss")).then(|| {
                format!("requests cannot be sent to a service over '{speaks}'; a route to it lists 'ws' or 'wss'")
            })
        }
        (Layer::Requests, Layer::Streams) => Some(format!(
            "requests cannot be sent to a service over '{speaks}'; a route to it lists 'tcp', 'tls', 'udp' or 'tls_passthrough'"
        )),
        (Layer::Streams, Layer::Requests) => Some(format!(
            "this route carries bytes, and its service is reached over '{speaks}'; such a service has the protocol 'tcp', 'tls' or 'udp'"
        )),
        (Layer::Streams, Layer::Streams) if speaks == "tls" && lists("udp") => {
            Some("datagrams cannot be sent to a service over 'tls'".to_owned())
        }
        (Layer::Streams, Layer::Streams) if speaks == "tls" && lists("tls_passthrough") => {
            Some("TLS that is passed through is not put into TLS once more; let the service have the protocol 'tcp'".to_owned())
        }
        (Layer::Streams, Layer::Streams) => None,
    }
}
