//! Key sets: keys that belong together.

crate::entity! {
    /// Keys that belong together.
    pub struct KeySet in "key_sets" {
        /// A unique name; keys refer to it.
        name: Option<String>, [unique(), len_min(1)];
    }
    admin: ("key-sets", "key-sets")
    endpoint_key: "name"
}
