//! Fields that cannot be honoured: each but its default is refused by its name.

use plugin::record;

use super::nested::Principals;
use super::only_defaults;

record! {
    /// What is not available in this version.
    #[allow(dead_code)]
    pub struct Unavailable {
        /// Principals in place of consumers.
        principals: Principals;
    }
    checks: [custom_fields(only_defaults::<Unavailable>)]
}
