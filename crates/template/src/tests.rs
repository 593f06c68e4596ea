use super::{Missing, Template, Value};

const DATA: &str = r#"{"Name":"web","Size":1536,"Ratio":0.5,"Tags":["a","b","c"],"Empty":[],"Null":null,"On":true,
  "State":{"Running":true,"Pid":42,"Health":null},"Labels":{"z":"1","a":"2","com.x":"y"},
  "Mounts":[{"Source":"/a","RW":true},{"Source":"/b","RW":false}]}"#;

fn data() -> Value {
    Value::from_json(DATA.as_bytes()).unwrap()
}

fn run(text: &str) -> String {
    match Template::parse("", text).and_then(|t| t.execute(&data(), Missing::Error)) {
        Ok(out) => out,
        Err(error) => format!("ERR {error}"),
    }
}

#[test]
fn texts_and_what_they_give() {
    for (text, wanted) in [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .Name }}-{{.Size}}", "web-1536"),
        (
            "{{.}}",
            "map[Empty:[] Labels:map[a:2 com.x:y z:1] Mounts:[map[RW:true Source:/a] map[RW:false Source:/b]] Name:web Null:<nil> On:true Ratio:0.5 Size:1536 State:map[Health:<nil> Pid:42 Running:true] Tags:[a b c]]",
        ),
        ("{{.State.Pid}}", "42"),
        ("{{.Null}}", "<no value>"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.Tags}}", "[a b c]"),
        ("a {{- .Name -}} b", "awebb"),
        ("a {{- /* note */ -}} b", "ab"),
        ("a{{/* note */}}b", "ab"),
        ("{{if .On}}y{{else}}n{{end}}", "y"),
        ("{{if .Empty}}y{{else if .On}}z{{else}}n{{end}}", "z"),
        ("{{if not .On}}y{{end}}", ""),
        ("{{range .Tags}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range $i, $t := .Tags}}{{if $i}},{{end}}{{$i}}={{$t}}{{end}}", "0=a,1=b,2=c"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=2;com.x=y;z=1;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Tags}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{range .Tags}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .Mounts}}{{.Source}}:{{.RW}} {{end}}", "/a:true /b:false "),
        ("{{range .Mounts}}{{$.Name}}{{end}}", "webweb"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ("{{with .Null}}x{{else}}{{.Name}}{{end}}", "web"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "web"),
        ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if .On}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Name}}", "[web]"),
        ("{{block \"t\" .Size}}<{{.}}>{{end}}", "<1536>"),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{(.State).Pid}}", "42"),
        ("{{nil | printf \"%v\"}}", "<nil>"),
        (
            "{{true}} {{1}} {{1.5}} {{'a'}} {{\"x\\t\\u00e9\"}} {{`raw\\n`}} {{0x1f}} {{1e3}}",
            "true 1 1.5 97 x\té raw\\n 31 1000",
        ),
    ] {
        assert_eq!(run(text), wanted, "{text}");
    }
}

#[test]
fn functions() {
    for (text, wanted) in [
        ("{{json .Mounts}}", r#"[{"Source":"/a","RW":true},{"Source":"/b","RW":false}]"#),
        ("{{json .Name}} {{json .Null}} {{.Ratio | json}}", "\"web\" null 0.5"),
        ("{{join .Tags \", \"}}", "a, b, c"),
        ("{{join (split \"a:b\" \":\") \"/\"}}", "a/b"),
        ("{{upper .Name}} {{lower \"ABC\"}} {{title \"foo bar\"}}", "WEB abc Foo Bar"),
        ("[{{pad .Name 1 2}}] [{{pad \"\" 1 2}}] {{truncate \"abcdef\" 3}}", "[ web  ] [] abc"),
        ("{{len .Tags}} {{len .Name}} {{len .Labels}}", "3 3 3"),
        ("{{index .Labels \"com.x\"}} {{index .Tags 1}}", "y b"),
        ("{{index .Labels \"none\"}}", "<no value>"),
        ("{{slice .Name 1}} {{slice .Name 0 2}} {{slice .Tags 1 2}}", "eb we [b]"),
        ("{{eq .Name \"x\" \"web\"}} {{eq 1 2 3}} {{ne 1 2}}", "true false true"),
        ("{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 1 2}}{{lt \"a\" \"b\"}}", "truetruefalsefalsetrue"),
        ("{{and .On .Name}} {{and .Empty .Name}} {{or .Empty .Name}} {{or 0 \"\"}}", "web [] web "),
        ("{{or .On (index .Tags 9)}}", "true"),
        ("{{print 1 2 \"x\" 3 4}}", "1 2x3 4"),
        ("{{println \"a\" 1}}", "a 1\n"),
        ("{{html \"<a href='x'>&\"}}", "&lt;a href=&#39;x&#39;&gt;&amp;"),
        ("{{js \"it's <b>\"}}", "it\\'s \\u003Cb\\u003E"),
        ("{{urlquery \"a b&c/é\"}}", "a+b%26c%2F%C3%A9"),
        ("{{.Name | printf \"%s-%s\" \"x\"}}", "x-web"),
        ("{{.Tags | len | printf \"%03d\"}}", "003"),
    ] {
        assert_eq!(run(text), wanted, "{text}");
    }
}

#[test]
fn verbs() {
    for (text, wanted) in [
        ("{{printf \"%d|%5d|%-5d|%05d|%+d\" 42 42 42 42 42}}", "42|   42|42   |00042|+42"),
        ("{{printf \"%s|%10s|%-10s|%.2s\" \"abc\" \"abc\" \"abc\" \"abc\"}}", "abc|       abc|abc       |ab"),
        ("{{printf \"%q\" \"a\\\"b\\n\"}}", "\"a\\\"b\\n\""),
        ("{{printf \"%x %X %o %b %#x\" 255 255 8 5 255}}", "ff FF 10 101 0xff"),
        ("{{printf \"%x\" \"hi\"}}", "6869"),
        ("{{printf \"%.2f %8.3f %e %g\" 3.14159 2.5 1234.5 0.5}}", "3.14    2.500 1.234500e+03 0.5"),
        ("{{printf \"%.3g %.1f\" 1234.5 .Ratio}}", "1.23e+03 0.5"),
        ("{{printf \"%t %v %c %U\" true .Tags 65 65}}", "true [a b c] A U+0041"),
        ("{{printf \"%*d\" 5 42}}", "   42"),
        ("{{printf \"100%%\"}}", "100%"),
        ("{{printf \"%T\" .Name}}", "string"),
        ("{{printf \"%d\" \"x\"}}", "%!d(string=x)"),
        ("{{printf \"%s\" 5}}", "%!s(int=5)"),
        ("{{printf \"%d\"}}", "%!d(MISSING)"),
        ("{{printf \"x\" 1}}", "x%!(EXTRA int=1)"),
        ("{{printf \"%v\" .State}}", "map[Health:<nil> Pid:42 Running:true]"),
        ("{{printf \"%q\" .Tags}}", "[\"a\" \"b\" \"c\"]"),
        ("{{1e21}} {{1e-5}} {{100000000.0}}", "1e+21 1e-05 100000000"),
    ] {
        assert_eq!(run(text), wanted, "{text}");
    }
}

#[test]
fn failures_are_gos() {
    for (text, wanted) in [
        ("{{.Nope}}", "ERR template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        (
            "{{.State.Nope}}",
            "ERR template: :1:8: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\"",
        ),
        ("a\n {{.Nope}}", "ERR template: :2:3: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        (
            "{{.Name.X}}",
            "ERR template: :1:7: executing \"\" at <.Name.X>: can't evaluate field X in type interface {}",
        ),
        (
            "{{.Null.X}}",
            "ERR template: :1:7: executing \"\" at <.Null.X>: nil pointer evaluating interface {}.X",
        ),
        (
            "{{index .Tags 9}}",
            "ERR template: :1:2: executing \"\" at <index .Tags 9>: error calling index: index out of range: 9",
        ),
        (
            "{{eq .Name 1}}",
            "ERR template: :1:2: executing \"\" at <eq .Name 1>: error calling eq: incompatible types for comparison",
        ),
        ("{{foo}}", "ERR template: :1: function \"foo\" not defined"),
        ("{{.Name", "ERR template: :1: unclosed action"),
        ("{{if .On}}", "ERR template: :1: unexpected EOF"),
        ("{{end}}", "ERR template: :1: unexpected {{end}}"),
        ("{{}}", "ERR template: :1: missing value for command"),
        ("{{\"abc}}", "ERR template: :1: unterminated quoted string"),
        (
            "{{template \"x\"}}",
            "ERR template: :1:2: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
    ] {
        assert_eq!(run(text), wanted, "{text}");
    }
}

#[test]
fn missing_fields_by_rule() {
    let template = Template::parse("", "{{.Nope}} {{.Labels.nope}}").unwrap();
    assert_eq!(template.execute(&data(), Missing::NoValue).unwrap(), "<no value> <no value>");
    let error = template.execute(&data(), Missing::Type("*container.containerContext")).unwrap_err();
    assert!(error.to_string().ends_with("can't evaluate field Nope in type *container.containerContext"));
}

#[test]
fn a_lookup_takes_its_key_as_an_argument() {
    let row = Value::Map(vec![("Label".into(), Value::Lookup(vec![("a".into(), "1".into())]))]);
    let run = |text: &str| Template::parse("", text).unwrap().execute(&row, Missing::Type("row"));
    assert_eq!(run("{{.Label \"a\"}}|{{.Label \"b\"}}").unwrap(), "1|");
    assert!(run("{{.Label}}").unwrap_err().to_string().contains("wrong number of args"));
}

#[test]
fn json_keeps_the_order_and_indents_as_inspect_does() {
    let value = Value::from_json(br#"{"b":[1,{}],"a":{"x":null},"e":[]}"#).unwrap();
    assert_eq!(value.to_json(), r#"{"b":[1,{}],"a":{"x":null},"e":[]}"#);
    let pretty = "{\n    \"b\": [\n        1,\n        {}\n    ],\n    \"a\": {\n        \"x\": null\n    },\n    \"e\": []\n}";
    assert_eq!(value.to_json_pretty("    "), pretty);
}

#[test]
fn hostile_texts_fail_and_do_not_crash() {
    for text in [
        "{{".repeat(5000),
        "{{if .On}}".repeat(5000),
        format!("{{{{{}1}}}}", "(".repeat(50_000)),
        "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}".to_owned(),
        "{{printf \"%999999999d\" 1}}".to_owned(),
        "{{'\\".to_owned(),
        "{{\"\\x".to_owned(),
        "{{- -}}".to_owned(),
        "{{/*".to_owned(),
        "{{é}}".to_owned(),
        "{{.A.}}".to_owned(),
    ] {
        let _ = run(&text);
    }
    assert!(
        run("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}").contains("maximum template depth")
    );
}

#[test]
fn random_words_never_crash() {
    const PIECES: [&str; 40] = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        ".Name",
        ".Tags",
        ".State.Pid",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "\"t\"",
        "'a'",
        "`r`",
        "1",
        "-9",
        "0x",
        "1e9",
        "index",
        "slice",
        "printf",
        "\"%*.5d%q\"",
        "eq",
        "é",
        "\n",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let data = data();
    let mut parsed = 0;
    for _ in 0..20_000 {
        let text: String = (0..next(14))
            .map(|_| PIECES[next(PIECES.len())])
            .collect::<Vec<_>>()
            .join(if next(2) == 0 { " " } else { "" });
        if let Ok(template) = Template::parse("", &format!("{{{{{text}}}}}")) {
            parsed += 1;
            let _ = template.execute(&data, Missing::NoValue);
        }
    }
    assert!(parsed > 100, "{parsed} of 20000 were templates at all");
}
