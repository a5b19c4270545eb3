package schematest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSchemasAreClosed: every object of every schema lists its fields or is a map, every field says
// what it is, and a number of seconds or bytes says so in its name or its description.
func TestSchemasAreClosed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(Directory(), "*.schema.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d schemas, %v", len(files), err)
	}
	for _, file := range files {
		s, err := open(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		if s.text["$schema"] != "https://json-schema.org/draft/2020-12/schema" || s.text["title"] == nil || s.text["description"] == nil {
			t.Errorf("%s: lacks $schema, title or description", name)
		}
		for _, problem := range loose(s.text, "#") {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// units are words of which a description of a number has one.
var units = []string{
	"second", "byte", "number", "port", "TTL", "ratio", "IKE version", "sequence", "type of", "code of",
}

// loose returns what a schema leaves open.
func loose(schema map[string]any, place string) (problems []string) {
	kind := word(schema["type"])
	if strings.Contains(kind, `"object"`) && schema["additionalProperties"] == nil {
		problems = append(problems, place+": additionalProperties is missing")
	}
	if ref := schema["$ref"]; schema["type"] == nil && ref == nil && schema["enum"] == nil {
		problems = append(problems, place+": type is missing")
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range properties {
		one, _ := value.(map[string]any)
		text, _ := one["description"].(string)
		if text == "" {
			problems = append(problems, place+"/"+name+": description is missing")
		}
		if k := word(one["type"]); strings.Contains(k, "integer") || strings.Contains(k, "number") {
			if !slices.ContainsFunc(units, func(u string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(u)) }) {
				problems = append(problems, place+"/"+name+": the description names no unit: "+text)
			}
		}
		problems = append(problems, loose(one, place+"/"+name)...)
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if one, ok := schema[key].(map[string]any); ok {
			problems = append(problems, loose(one, place+"/"+key)...)
		}
	}
	defs, _ := schema["$defs"].(map[string]any)
	for name, one := range defs {
		one, _ := one.(map[string]any)
		problems = append(problems, loose(one, "#/$defs/"+name)...)
	}
	slices.Sort(problems)
	return problems
}

// small is a schema with everything that schemas here have.
const small = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "array",
  "items": {"$ref": "#/$defs/one"},
  "$defs": {
    "one": {
      "type": "object",
      "properties": {
        "state": {"enum": ["up", "down"]},
        "at": {"type": "string", "format": "date-time"},
        "count": {"type": ["integer", "null"]},
        "by": {"type": "object", "additionalProperties": {"type": "integer"}}
      },
      "required": ["state", "count"],
      "additionalProperties": false
    }
  }
}`

func TestDocuments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "small.schema.json")
	if err := os.WriteFile(file, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	for document, want := range map[string]string{
		`[{"state": "up", "count": 1, "more": 2}]`:              "additional properties 'more' not allowed",
		`[{"state": "up"}]`:                                     "missing property 'count'",
		`[{"state": "sideways", "count": 1}]`:                   "value must be one of",
		`[{"state": "up", "count": "1"}]`:                       "got string, want null or integer",
		`[{"state": "up", "count": 1, "by": {"a": 1.5}}]`:       "got number, want integer",
		`[{"state": "up", "count": 1, "at": "yesterday"}]`:      "is not valid date-time",
		`[{"state": "up", "count": 1}] [{"state": "up"}]`:       "invalid character",
		`[{"state": "up", "count": 1}`:                          "EOF",
		`{"state": "up", "count": 1}`:                           "got object, want array",
		`[{"state": "up", "count": null}, {"count": 1, "a":1}]`: "missing property 'state'",
	} {
		if err := s.validate([]byte(document)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", document, err, want)
		}
	}
	if n := len(s.used); n > 0 {
		t.Errorf("%d parts are used by wrong documents", n)
	}
	s.Check(t, "a good one", []byte(`[{"state": "up", "count": null, "by": {"a": 1}}]`))
	want := []string{`#/$defs/one/at`, `#/$defs/one/at with a value`, `#/$defs/one/count with a value`, `#/$defs/one/state="down"`}
	if diff := cmp.Diff(want, s.Unused()); diff != "" {
		t.Errorf("unused parts (-want +got):\n%s", diff)
	}
	var text strings.Builder
	if !s.ReportUnused(&text) || strings.Count(text.String(), "\n") != len(want) {
		t.Errorf("reported:\n%s", &text)
	}
	s.Check(t, "the rest", []byte(`[{"state": "down", "count": 3, "at": "2026-01-02T03:04:05Z"}]`))
	s.AllUsed(t)
	if s.ReportUnused(&text) {
		t.Error("something is unused at the end")
	}
}

func TestSchemasThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"broken": "{", "no schema": `{"type": "thing"}`, "list": "[]"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(file); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown kind is no panic")
		}
	}()
	Open("nothing")
}

// TestLooseSchemas: what the schemas must not be is noticed.
func TestLooseSchemas(t *testing.T) {
	for text, want := range map[string]string{
		`{"type": "object"}`: "#: additionalProperties is missing",
		`{}`:                 "#: type is missing",
		`{"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}`:                            "#/a: description is missing",
		`{"type": "object", "additionalProperties": false, "properties": {"a": {"type": "number", "description": "How far."}}}`: "#/a: the description names no unit: How far.",
		`{"type": "array", "items": {"type": "object"}}`:                                                                        "#/items: additionalProperties is missing",
		`{"type": "array", "$defs": {"x": {"type": ["object", "null"]}}}`:                                                       "#/$defs/x: additionalProperties is missing",
	} {
		var schema map[string]any
		if err := json.Unmarshal([]byte(text), &schema); err != nil {
			t.Fatal(err)
		}
		if got := loose(schema, "#"); len(got) == 0 || got[0] != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
