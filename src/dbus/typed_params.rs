//! `virTypedParameter` lists and `GetAll`: dictionaries whose every value is a variant *in* a variant.
//!
//! libvirt-dbus wraps them twice (`virtDBusUtilTypedParamsToGVariant`), and its clients unwrap
//! twice and fail on less. `Properties.Get` is wrapped once, as everywhere.

use super::call::Fault;
use crate::engine::stats::Stat;
use crate::error::{Code, Error};
use std::collections::BTreeMap;
use zbus::Variant;

/// One value.
pub(super) type Param = Variant<'static>;

/// `a{sv}`, doubly wrapped.
pub(super) fn dict<K: Into<String>>(params: impl IntoIterator<Item = (K, Param)>) -> BTreeMap<String, Param> {
    params.into_iter().map(|(name, value)| (name.into(), Variant::Variant(Box::new(value)))).collect()
}

/// libvirt-dbus's answer to a value of a type that no parameter has.
pub(super) fn invalid(signature: &str) -> Fault {
    Error::bare(Code::InvalidArg, format!("Invalid typed parameter '{signature}'.")).into()
}

impl From<Stat> for Param {
    fn from(stat: Stat) -> Self {
        match stat {
            Stat::Int(value) => Self::I32(value),
            Stat::UInt(value) => Self::U32(value),
            Stat::Long(value) => Self::I64(value),
            Stat::ULong(value) => Self::U64(value),
            Stat::Double(value) => Self::F64(value),
            Stat::Bool(value) => Self::Bool(value),
            Stat::Text(value) => Self::from(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::message::Message;

    #[test]
    fn a_value_is_wrapped_twice() {
        let m = Message::signal("/", "a.b", "C").build(&(dict([("Id", Param::U32(7))]),)).unwrap();
        assert_eq!(m.body().signature().to_string_no_parens(), "a{sv}");
        let (back,): (BTreeMap<String, zbus::OwnedVariant>,) = m.body().deserialize().unwrap();
        assert_eq!(*back["Id"], Variant::Variant(Box::new(Variant::U32(7))));
    }
}
