//! The `record!` macro: one declaration gives the struct, its schema and its reading.

/// Declares a record.
///
/// ```
/// model::record! {
///     /// Where counters are kept.
///     pub struct Redis {
///         /// Host name of the server.
///         host: Option<String>;
///         /// Port of the server.
///         port: u16 = 6379, [between(0, 65535)];
///     }
/// }
/// model::record! {
///     /// What the plugin takes.
///     pub struct Config {
///         /// Requests per minute.
///         minute: Option<f64>, [gt(0.0)];
///         /// What is counted.
///         limit_by: String = "consumer", [one_of(&["consumer", "ip"])];
///         /// A reserved word as a raw identifier; `#[rename = "type"]` would do as well.
///         r#type: Option<String>;
///         /// A nested record, filled with its own defaults.
///         redis: Redis;
///     }
///     checks: [at_least_one_of(&["minute", "type"])]
///     shorthands: [("redis_host", "redis.host")]
/// }
/// use model::Record;
/// let value = Config::schema().check(&serde_json::json!({"minute": 5, "redis_host": "r"})).unwrap();
/// assert_eq!(Config::from_value(&value).unwrap().redis.host.as_deref(), Some("r"));
/// ```
///
/// A field is `name: Type = default, [rules];`, default and rules being optional. The default is one token tree
/// in the syntax of `serde_json::json!` (`(-1)` for a negative number). `Option<T>` may be null. Without a
/// default, other types are required, except nested records. Rules are those of [`crate::schema::rules`].
///
/// Fields that several records have are declared once, as a record of their own, and taken in with `..name: Type;` before
/// the others, checks and shorthands included. In documents they are fields like any other:
///
/// ```
/// model::record! {
///     /// Where somebody listens.
///     pub struct Place {
///         /// Port.
///         port: u16 = 80;
///     }
/// }
/// model::record! {
///     /// A server.
///     pub struct Server {
///         ..place: Place;
///         /// Host name.
///         host: String;
///     }
/// }
/// use model::Record;
/// let value = Server::schema().check(&serde_json::json!({"host": "h", "port": 8080})).unwrap();
/// assert_eq!(Server::from_value(&value).unwrap().place.port, 8080);
/// ```
///
/// A field that nothing reads is a compiler warning on purpose: a setting without effect is a fault. Where it is
/// none, write `#[allow(dead_code)]` above the struct.
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $record_doc:literal])*
        $(#[allow($lint:ident)])?
        $visibility:vis struct $record:ident {
            $(..$shared:ident : $shared_type:ty ;)*
            $(
                $(#[doc = $doc:literal])*
                $(#[rename = $rename:literal])?
                $field:ident : $type:ty $(= $default:tt)? $(, [$($rule:expr),* $(,)?])? ;
            )*
        }
        $(checks: [$($check:expr),* $(,)?])?
        $(shorthands: [$(($old:literal, $target:literal)),* $(,)?])?
    ) => {
        $(#[doc = $record_doc])*
        $(#[allow($lint)])?
        #[derive(Clone)]
        $visibility struct $record {
            $(
                /// Fields that other records have, too.
                pub $shared: $shared_type,
            )*
            $(
                $(#[doc = $doc])*
                pub $field: $type,
            )*
        }

        impl ::std::fmt::Debug for $record {
            fn fmt(&self, out: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let _schema = <Self as $crate::schema::Record>::schema();
                let mut _printed = out.debug_struct(stringify!($record));
                $(_printed.field(stringify!($shared), &self.$shared);)*
                $(
                    let name = $crate::__field_name!($field $($rename)?);
                    _printed.field(name, $crate::schema::printable(&_schema, name, &self.$field));
                )*
                _printed.finish()
            }
        }

        impl $crate::schema::Record for $record {
            fn schema() -> $crate::schema::RecordSchema {
                #[allow(unused_imports)]
                use $crate::schema::checks::*;
                let own = $crate::schema::RecordSchema {
                    doc: concat!($($record_doc, "\n"),*),
                    fields: vec![$(
                        $crate::schema::Field::of::<$type>(
                            $crate::__field_name!($field $($rename)?),
                            concat!($($doc, "\n"),*),
                            $crate::__field_default!($($default)?),
                            vec![$($($rule),*)?],
                        )
                    ),*],
                    checks: vec![$($($check),*)?],
                    shorthands: vec![$($($crate::schema::Shorthand { name: $old, target: $target }),*)?],
                };
                $crate::schema::RecordSchema::joined(vec![
                    $(<$shared_type as $crate::schema::Record>::schema(),)*
                    own,
                ])
            }

            fn read(
                reading: &mut $crate::schema::Reading<'_>,
            ) -> Result<Self, $crate::schema::ValueError> {
                Ok(Self {
                    $($shared: <$shared_type as $crate::schema::Record>::read(reading)?,)*
                    $($field: reading.field($crate::__field_name!($field $($rename)?))?,)*
                })
            }
        }

        impl $crate::schema::FieldType for $record {
            fn kind() -> $crate::schema::Kind {
                $crate::schema::Kind::Record(Box::new(<Self as $crate::schema::Record>::schema()))
            }

            fn from_value(value: &$crate::serde_json::Value) -> Result<Self, $crate::schema::ValueError> {
                <Self as $crate::schema::Record>::from_value(value)
            }
        }
    };
}

/// The name of a field in documents.
#[doc(hidden)]
#[macro_export]
macro_rules! __field_name {
    ($field:ident) => {
        $crate::schema::plain_name(stringify!($field))
    };
    ($field:ident $rename:literal) => {
        $rename
    };
}

/// The default of a field.
#[doc(hidden)]
#[macro_export]
macro_rules! __field_default {
    () => {
        None
    };
    ($default:tt) => {
        Some($crate::serde_json::json!($default))
    };
}
