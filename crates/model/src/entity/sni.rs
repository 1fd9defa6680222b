//! SNIs: which certificate is shown for which server name.

use crate::schema::Reference;

crate::entity! {
    /// A server name, with one `*` if need be, and the certificate shown for it.
    pub struct Sni in "snis" {
        /// The server name; `*` alone stands for any.
        name: String, [unique(), server_name_pattern()];
        /// The certificate.
        certificate: Reference, [to("certificates")];
    }
    endpoint_key: "name"
}
