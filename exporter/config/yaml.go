package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A decoder reads one configuration and collects its problems.
type decoder struct {
	file     string
	problems []*Error
	config   Config
	modules  map[string]module
	// names has the first place of each peer's name; taken, if set, knows those of other files.
	names map[string]string
	taken Taken
	// fileKeys are the keys that labels of a peer file set.
	fileKeys map[string]labelKey
	// gateways are the names of all gateways, including gateways with problems.
	gateways map[string]bool
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, names: make(map[string]string), gateways: make(map[string]bool)}
}

// A field is one known key of a mapping, and the reader of its value.
type field struct {
	name string
	read func(n *yaml.Node, at place)
}

func (d *decoder) document(data []byte) {
	d.config.Limits = DefaultLimits()
	var modules, peers, gateways *yaml.Node
	if root := d.root(data); root != nil {
		d.fields(root, place{}, []field{
			{"modules", func(n *yaml.Node, _ place) { modules = n }},
			{"peers", func(n *yaml.Node, _ place) { peers = n }},
			{"peer_files", func(n *yaml.Node, at place) { d.list(n, at, d.peerFiles) }},
			{"gateways", func(n *yaml.Node, _ place) { gateways = n }},
			{"controls", func(n *yaml.Node, at place) { d.list(n, at, d.control) }},
			{"limits", d.limits},
			{"partners", d.partners},
		})
	}
	d.readModules(modules)
	if gateways != nil {
		d.list(gateways, place{path: "gateways"}, d.gateway)
	}
	if peers != nil {
		d.list(peers, place{path: "peers"}, d.filePeer)
	}
}

// root parses the YAML and returns the content of the only document, or nil if it is empty.
func (d *decoder) root(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	if err := dec.Decode(&more); err == nil {
		d.problem(&more, place{}, "second YAML document: only one is supported")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

// syntax adds an error of the YAML library, which has the form `yaml: line 3: text`, or no line.
// Errors of its parser, unlike errors of its scanner, count lines from 0 and omit line 0.
func (d *decoder) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, after, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			line, text = n, after
		}
	}
	switch text {
	case "did not find expected ',' or '}'", "did not find expected ',' or ']'", "did not find expected '-' indicator",
		"did not find expected key", "did not find expected node content", "did not find expected <document start>":
		line++
	}
	d.problems = append(d.problems, &Error{File: d.file, Line: line, Text: "invalid YAML: " + text})
}

// pairs calls each for every key of a mapping, and reports duplicate keys.
func (d *decoder) pairs(n *yaml.Node, at place, each func(key, value *yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		d.problem(n, at, "must be a mapping of keys to values, not "+kind(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		switch first, twice := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.problem(key, at, "key must be a single word, not "+kind(key))
		case key.ShortTag() == "!!merge":
			d.problem(key, at, "merge keys (<<) are not supported: use a module for shared settings")
		case twice:
			d.problem(key, at, fmt.Sprintf("duplicate key %q (first on line %d)", key.Value, first))
		default:
			lines[key.Value] = key.Line
			each(key, value)
		}
	}
}

// fields reads a mapping of known keys. A key without a value is ignored.
func (d *decoder) fields(n *yaml.Node, at place, known []field) {
	d.pairs(n, at, func(key, value *yaml.Node) {
		if i := slices.IndexFunc(known, func(f field) bool { return f.name == key.Value }); i >= 0 {
			if !isNull(value) {
				known[i].read(value, at.key(key.Value))
			}
			return
		}
		names := make([]string, len(known))
		for i, f := range known {
			names[i] = f.name
		}
		d.problem(key, at, fmt.Sprintf("unknown key %q: %s", key.Value, meant(key.Value, names)))
	})
}

func (d *decoder) list(n *yaml.Node, at place, each func(n *yaml.Node, at place)) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		d.problem(n, at, "must be a list, not "+kind(n))
		return
	}
	for i, item := range n.Content {
		each(resolve(item), at.index(i))
	}
}

// text reads a single value as it is written, because a name may look like a number.
func (d *decoder) text(n *yaml.Node, at place) (string, bool) {
	if n = resolve(n); n.Kind != yaml.ScalarNode {
		d.problem(n, at, "must be a single value, not "+kind(n))
		return "", false
	}
	return n.Value, true
}

// A reader reads the value of a key. It reports whether there is one without problems.
type reader[T any] func(n *yaml.Node, at place) (T, bool)

// single returns a reader of a single value. parse returns what is wrong with the value.
func single[T any](d *decoder, parse func(s string) (v T, why string)) reader[T] {
	return func(n *yaml.Node, at place) (v T, ok bool) {
		s, ok := d.text(n, at)
		if !ok {
			return v, false
		}
		parsed, why := parse(s)
		if why != "" {
			d.problem(n, at, why)
			return v, false
		}
		return parsed, true
	}
}

// into returns a reader that stores the value in to.
func into[T any](to *T, read reader[T]) func(*yaml.Node, place) {
	return func(n *yaml.Node, at place) {
		if v, ok := read(n, at); ok {
			*to = v
		}
	}
}

func integer[T int | uint16](least, most T) func(s string) (T, string) {
	return func(s string) (T, string) {
		v, err := strconv.Atoi(s)
		if err != nil || v < int(least) || v > int(most) {
			return 0, fmt.Sprintf("%q is not a whole number from %d to %d", s, least, most)
		}
		return T(v), ""
	}
}

// filled parses a value that is one line and not empty.
func filled(s string) (_, why string) {
	if s == "" || strings.ContainsAny(s, "\r\n\x00") {
		why = "must be one line and not empty"
	}
	return s, why
}

// resolve returns the node that an alias (*name) refers to, which is never another alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return fmt.Sprintf("the single value %q", n.Value)
	default:
		return "something else"
	}
}
