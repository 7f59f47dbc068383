//! xl's text: what is read, what is refused and where, and that what is written reads back.

use crate::host::xen::config::{Config, MAX_BYTES, MAX_DEPTH, Setting, Value};
use proptest::prelude::*;

#[test]
fn every_form_that_xl_reads_is_read() {
    let table = [
        ("", ""),
        ("# nothing", ""),
        (";;\n ; a=1;b = 2 # c\nc='x'", "a = 1\nb = 2\nc = \"x\"\n"),
        ("a = 0x1F", "!a"),
        ("a = 0x1f", "a = \"0x1f\"\n"),
        ("a = 010", "a = \"010\"\n"),
        ("a = '12'", "a = 12\n"),
        ("a = \"#;,[]='\"", "a = \"#;,[]='\"\n"),
        (r#"a = '\'\"\\\n\t'"#, "a = \"'\\\"\\\\\\n\\t\"\n"),
        ("a = []", "a = []\n"),
        ("a = [ # c\n\n 'x' # d\n,\n]", "a = [\"x\"]\n"),
        ("a = ['x', [1, ['y'],],]", "a = [\n    \"x\",\n    [\n    1,\n    [\"y\"],\n],\n]\n"),
        ("a = 1\nb = 2\na = 3", "b = 2\na = 3\n"),
        ("a = 'x'\na += 'y'", "a = \"xy\"\n"),
        ("a += ['x']\na += ['y']", "a = [\n    \"x\",\n    \"y\",\n]\n"),
    ];
    for (text, expected) in table {
        let got = Config::parse(text).map_or_else(|_| "!a".to_owned(), |c| c.to_string());
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn what_xl_does_not_read_is_refused_with_line_and_column() {
    let deep = format!("a = {}", "[".repeat(MAX_DEPTH + 1));
    let table = [
        ("a", "line 1, column 2: expected '=' behind 'a'"),
        ("\n A = 1", "line 2, column 2: expected a key"),
        ("1 = 1", "line 1, column 1: expected a key"),
        ("a == 1", "line 1, column 4: expected a string, a number or a list"),
        ("a =", "line 1, column 4: expected a string, a number or a list"),
        ("a =\n1", "line 1, column 4: expected a string, a number or a list"),
        ("a = x", "line 1, column 5: expected a string, a number or a list"),
        ("a = None", "line 1, column 5: expected a string, a number or a list"),
        ("a = 1 2", "line 1, column 7: expected the end of the line"),
        ("a = 1k", "line 1, column 6: expected the end of the line"),
        ("a = 'x' + 'y'", "line 1, column 9: expected the end of the line"),
        ("é = 1", "line 1, column 1: expected a key"),
        ("a = 'é' x", "line 1, column 9: expected the end of the line"),
        ("a = 1\r\nb = 2", "line 1, column 6: expected the end of the line"),
        ("b = 'x'\n\na = 'y", "line 3, column 5: no end of what begins here"),
        ("a = 'x\ny'", "line 1, column 5: no end of what begins here"),
        ("a = 'x\\", "line 1, column 5: no end of what begins here"),
        ("a = [1, [2]", "line 1, column 5: no end of what begins here"),
        ("a = [1", "line 1, column 5: no end of what begins here"),
        ("a = [1\n2]", "line 2, column 1: expected ',' or ']'"),
        ("a = [,]", "line 1, column 6: expected a string, a number or a list"),
        ("a = [1;2]", "line 1, column 7: expected ',' or ']'"),
        (r"a = '\x41'", r"line 1, column 6: '\x' means nothing in a string"),
        (r"a = '\101'", r"line 1, column 6: '\1' means nothing in a string"),
        ("a = 'x\0'", "line 1, column 7: a string cannot hold a NUL"),
        ("a = 1\na += [1]", "line 2, column 1: 'a' is a list here and a string there"),
        (deep.as_str(), "line 1, column 13: more than 8 lists within each other"),
    ];
    for (text, expected) in table {
        let got = Config::parse(text).expect_err(text).to_string();
        assert_eq!(got, format!("xl configuration, {expected}"), "{text}");
    }
    let long = "#".repeat(MAX_BYTES + 1);
    assert!(Config::parse(&long).expect_err("long").to_string().ends_with("longer than 1048576 bytes"));
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[^\0]*", "[0-9]{0,20}", "[ -~]*"].prop_map(Value::Text);
    text.prop_recursive(3, 24, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Value::List))
}

proptest! {
    #[test]
    fn what_is_written_reads_back(settings in prop::collection::vec(("[a-z][a-z0-9_]{0,8}", value()), 0..6)) {
        let mut config = Config::default();
        for (key, value) in settings {
            config.push(Setting { key, value, place: None });
        }
        prop_assert_eq!(Config::parse(&config.to_string()).unwrap(), config);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", other in "[a-z =+\\[\\]'\"\\\\,;#\n0-9]*") {
        let _ = Config::parse(&text);
        let _ = Config::parse(&other);
    }
}
