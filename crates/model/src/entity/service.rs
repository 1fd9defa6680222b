//! Services: where requests are sent to.

use serde_json::Value;

use crate::schema::{Faults, Fields, Reference};

crate::entity! {
    /// An upstream application: the address requests are sent to, and how patiently.
    pub struct Service in "services" {
        /// A name, unique among services; other entities may refer to it.
        name: Option<String>, [unique(), utf8_name()];
        /// How many more targets are tried when one fails before it answered.
        retries: i64 = 5, [between(0, 32767)];
        /// How to speak to it.
        protocol: String = "http", [one_of(&PROTOCOLS)];
        /// Host name, address, or the name of an upstream.
        host: String, [host()];
        /// Port; of no meaning when the host is the name of an upstream.
        port: u16 = 80, [port()];
        /// Put before the path of every request.
        path: Option<String>, [path()];
        /// Milliseconds to connect.
        connect_timeout: i64 = 60000, [between(1, 2_147_483_646)];
        /// Milliseconds between two writes.
        write_timeout: i64 = 60000, [between(1, 2_147_483_646)];
        /// Milliseconds between two reads.
        read_timeout: i64 = 60000, [between(1, 2_147_483_646)];
        /// The certificate shown to it.
        client_certificate: Option<Reference>, [to("certificates")];
        /// Whether it may be spoken to over HTTP/2: an `https` service chooses in the handshake, an `http` service has
        /// to speak it. Not a field of Kong's.
        http2: Option<bool>, [extension()];
        /// The version of the PROXY protocol by which it is told each client's address, at the start of a connection;
        /// unset is none. A connection then serves requests of one client only. Not a field of Kong's.
        proxy_protocol: Option<String>, [one_of(&["v1", "v2"]), extension()];
        /// Whether its certificate is checked; unset leaves it to the gateway's setting.
        tls_verify: Option<bool>;
        /// How long its certificate chain may be.
        tls_verify_depth: Option<i64>, [between(0, 64)];
        /// Ids of the CA certificates that are trusted for it.
        ca_certificates: Option<Vec<crate::Uuid>>;
        /// Routes of a disabled service do not exist.
        enabled: bool = true;
    }
    endpoint_key: "name"
    checks: [
        conditional("protocol", one_of(&["tcp", "tls", "udp", "grpc", "grpcs"]), "path", equals(Value::Null)),
        conditional("protocol", not_one_of(&["https", "tls", "wss"]), "client_certificate", equals(Value::Null)),
        conditional("protocol", not_one_of(&["https", "tls", "wss"]), "tls_verify", equals(Value::Null)),
        conditional("protocol", not_one_of(&["https", "tls", "wss"]), "tls_verify_depth", equals(Value::Null)),
        conditional("protocol", not_one_of(&["https", "tls", "wss"]), "ca_certificates", equals(Value::Null)),
        custom_entity(fit_of_extensions),
    ]
}

/// Every protocol that Kong knows, those of its paid edition included.
pub(crate) const PROTOCOLS: [&str; 10] =
    ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss"];

/// The fields that Kong lacks, and the protocols they have a meaning for.
fn fit_of_extensions(service: &Fields<'_>, faults: &mut Faults) {
    let protocol = service["protocol"].as_str().unwrap_or_default();
    if service["http2"] == true && !matches!(protocol, "http" | "https") {
        faults.field("http2", "only services of 'http' and 'https' have a choice of HTTP versions");
    }
    if !service["proxy_protocol"].is_null()
        && !matches!(protocol, "http" | "https" | "tcp" | "tls" | "ws" | "wss")
    {
        let message = "only services of 'http', 'https', 'tcp', 'tls', 'ws' and 'wss' can be told so";
        faults.field("proxy_protocol", message);
    }
}
