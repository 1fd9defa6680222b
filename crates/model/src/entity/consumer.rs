//! Consumers: who uses the services.

crate::entity! {
    /// Somebody or something that uses services; credentials tell who a request comes from.
    pub struct Consumer in "consumers" {
        /// A unique name; other entities may refer to it.
        username: Option<String>, [unique(), len_min(1)];
        /// Its id in another system, unique too.
        custom_id: Option<String>, [unique(), len_min(1)];
    }
    endpoint_key: "username"
    checks: [at_least_one_of(&["custom_id", "username"])]
}
