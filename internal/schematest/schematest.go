// Package schematest holds the JSON that the program prints to the schemas in docs/schemas. A
// document that has a field more, a field less or a field of another kind than its schema is an
// error, and so is a field or a value of the schema that no document has.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A Schema is one file of docs/schemas, and which parts of it the documents so far have used.
type Schema struct {
	compiled *jsonschema.Schema
	// text is the file as it stands, for the walk along a document.
	text map[string]any

	mu   sync.Mutex
	used map[string]bool // places of properties and values
}

// Directory returns the path of docs/schemas, from wherever a test runs.
func Directory() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "docs", "schemas")
}

// Open returns the schema of a kind of document: check, gateway, capture, evidence or targets. It
// panics if there is none, because tests keep schemas in package variables.
func Open(kind string) *Schema {
	s, err := open(filepath.Join(Directory(), kind+".schema.json"))
	if err != nil {
		panic(err)
	}
	return s
}

func open(path string) (*Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	compiled, err := c.Compile(path)
	if err != nil {
		return nil, err
	}
	text, err := jsonschema.FileLoader{}.Load("file://" + filepath.ToSlash(path))
	if err != nil {
		return nil, err
	}
	object, isObject := text.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("%s: is no object", path)
	}
	return &Schema{compiled: compiled, text: object, used: make(map[string]bool)}, nil
}

// Check reports what is wrong with a document; what names it. It may be called from several tests
// at the same time.
func (s *Schema) Check(tb testing.TB, what string, document []byte) {
	tb.Helper()
	if err := s.validate(document); err != nil {
		tb.Errorf("%s: %v\n%s", what, err, document)
	}
}

func (s *Schema) validate(document []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return err
	}
	if err := s.compiled.Validate(value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follow(s.text, value, "#")
	return nil
}

// follow notes the parts of the schema at a place that a value has.
func (s *Schema) follow(schema map[string]any, value any, place string) {
	schema, place = s.resolve(schema, place)
	if _, closed := schema["enum"]; closed {
		s.used[place+"="+word(value)] = true
	}
	switch value := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, v := range value {
			if one, named := properties[name].(map[string]any); named {
				at := place + "/" + name
				if s.used[at] = true; v != nil {
					s.used[at+" with a value"] = true
				}
				s.follow(one, v, at)
			} else if each, ok := schema["additionalProperties"].(map[string]any); ok {
				s.follow(each, v, place+"/*")
			}
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for _, v := range value {
				s.follow(items, v, place+"/[]")
			}
		}
	}
}

// resolve returns what a reference to a definition of the same file leads to.
func (s *Schema) resolve(schema map[string]any, place string) (map[string]any, string) {
	name, ok := schema["$ref"].(string)
	if !ok {
		return schema, place
	}
	defs, _ := s.text["$defs"].(map[string]any)
	to, ok := defs[filepath.Base(name)].(map[string]any)
	if !ok {
		return nil, name
	}
	return to, name
}

func word(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Unused returns the properties and the values of the schema that no document had so far, and the
// properties that never had another value than null.
func (s *Schema) Unused() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range s.places() {
		if !s.used[place] {
			all = append(all, place)
		}
	}
	return all
}

// AllUsed fails for each part of the schema that no document has used.
func (s *Schema) AllUsed(tb testing.TB) {
	tb.Helper()
	for _, place := range s.Unused() {
		tb.Errorf("%s of the schema is in no document", place)
	}
}

// ReportUnused writes what AllUsed fails for, and reports whether there is any: for a TestMain whose
// documents come from all tests of a package.
func (s *Schema) ReportUnused(w io.Writer) bool {
	unused := s.Unused()
	for _, place := range unused {
		fmt.Fprintf(w, "%s of the schema is in no document of these tests\n", place)
	}
	return len(unused) > 0
}

// places are all properties and values of the schema.
func (s *Schema) places() (all []string) {
	seen := make(map[string]bool)
	var walk func(schema map[string]any, place string)
	walk = func(schema map[string]any, place string) {
		schema, place = s.resolve(schema, place)
		if seen[place] {
			return
		}
		seen[place] = true
		values, _ := schema["enum"].([]any)
		for _, v := range values {
			all = append(all, place+"="+word(v))
		}
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			at := place + "/" + name
			all = append(all, at, at+" with a value")
			one, _ := properties[name].(map[string]any)
			walk(one, at)
		}
		if each, ok := schema["additionalProperties"].(map[string]any); ok {
			walk(each, place+"/*")
		}
		if items, ok := schema["items"].(map[string]any); ok {
			walk(items, place+"/[]")
		}
	}
	walk(s.text, "#")
	return all
}
