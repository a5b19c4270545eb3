package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A decoder reads one configuration and collects what is wrong with it.
type decoder struct {
	file     string
	problems []*Error
	config   Config
	modules  map[string]module
	// names says where each name of a peer was given first.
	names map[string]string
	// gateways are the names of all gateways, also of those with problems.
	gateways map[string]bool
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, names: make(map[string]string), gateways: make(map[string]bool)}
}

// A field is one known key of a mapping, and what reads its value.
type field struct {
	name string
	read func(n *yaml.Node, at place)
}

// document reads the whole file.
func (d *decoder) document(data []byte) {
	d.config.Limits = DefaultLimits()
	var modules, peers, gateways *yaml.Node
	if root := d.root(data); root != nil {
		d.fields(root, place{}, []field{
			{"modules", func(n *yaml.Node, _ place) { modules = n }},
			{"peers", func(n *yaml.Node, _ place) { peers = n }},
			{"gateways", func(n *yaml.Node, _ place) { gateways = n }},
			{"controls", func(n *yaml.Node, at place) { d.list(n, at, d.control) }},
			{"limits", d.limits},
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

// root parses the YAML and returns the only document's content, or nil if there is none.
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
		d.problem(&more, place{}, "a second YAML document begins here: put everything into one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML library, which has the form `yaml: line 3: text`, or no line. Those of its grammar, unlike
// those of its scanner, count lines from 0 and name none for the first.
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
	d.problems = append(d.problems, &Error{File: d.file, Line: line, Text: "not valid YAML: " + text})
}

// pairs calls each for every key of a mapping, and complains about those that are there twice.
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
			d.problem(key, at, "a key must be a single word, not "+kind(key))
		case key.ShortTag() == "!!merge":
			d.problem(key, at, "merge keys (<<) are not supported: put what peers share into a module")
		case twice:
			d.problem(key, at, fmt.Sprintf("key %q is already there in line %d", key.Value, first))
		default:
			lines[key.Value] = key.Line
			each(key, value)
		}
	}
}

// fields reads a mapping of known keys. A key without a value counts as absent.
func (d *decoder) fields(n *yaml.Node, at place, known []field) {
	d.pairs(n, at, func(key, value *yaml.Node) {
		names := make([]string, len(known))
		for i, f := range known {
			if f.name == key.Value {
				if !isNull(value) {
					f.read(value, at.key(f.name))
				}
				return
			}
			names[i] = f.name
		}
		d.problem(key, at, fmt.Sprintf("unknown key %q: %s", key.Value, meant(key.Value, names)))
	})
}

// list reads a list.
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

// text reads a single value as it is written, so that a name may look like a number.
func (d *decoder) text(n *yaml.Node, at place) (string, bool) {
	if n = resolve(n); n.Kind != yaml.ScalarNode {
		d.problem(n, at, "must be a single value, not "+kind(n))
		return "", false
	}
	return n.Value, true
}

// integer reads a whole number within limits.
func (d *decoder) integer(n *yaml.Node, at place, least, most int) (int, bool) {
	s, ok := d.text(n, at)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < least || v > most {
		d.problem(n, at, fmt.Sprintf("%q is not a whole number from %d to %d", s, least, most))
		return 0, false
	}
	return v, true
}

// resolve follows an alias (*name) to what it stands for, which is never another alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kind says what a node is, for messages.
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
