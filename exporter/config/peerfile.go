package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/exporter/suite"
)

const (
	// MaxPeerFile is the largest size of a peer file in bytes: some 80,000 peers.
	MaxPeerFile = 8 << 20
	// maxFilePeers bounds the peers of one file, which aliases of YAML could multiply.
	maxFilePeers = 100_000
	// maxProblems is how many problems of a peer file are reported.
	maxProblems = 20
)

// Taken returns the place where a peer's name is in use outside a file.
type Taken func(name string) (place string, ok bool)

// peerFiles reads one pattern of file names, with the rules of Prometheus's file_sd_configs.
func (d *decoder) peerFiles(n *yaml.Node, at place) {
	pattern, ok := single(d, func(s string) (string, string) {
		path, why := d.path(s)
		return path, cmp.Or(why, badPattern(path))
	})(n, at)
	switch {
	case !ok:
	case slices.Contains(d.config.PeerFiles, pattern):
		d.problem(n, at, fmt.Sprintf("%q is listed twice", n.Value))
	default:
		d.config.PeerFiles = append(d.config.PeerFiles, pattern)
	}
}

// badPattern returns why a string is no pattern of peer files.
func badPattern(s string) string {
	dir, base := filepath.Split(s)
	_, err := filepath.Match(base, "")
	switch {
	case !slices.Contains([]string{".json", ".yml", ".yaml"}, strings.ToLower(filepath.Ext(base))):
		return fmt.Sprintf("%q must end in .json, .yml or .yaml", s)
	case strings.ContainsAny(dir, "*?["):
		return fmt.Sprintf("%q has a pattern in a directory: only the file name may have one", s)
	case err != nil:
		return fmt.Sprintf("%q is not a valid pattern (example: peers.d/*.yml)", s)
	}
	return ""
}

// ReadPeers reads a peer file: a list of groups with the keys targets and labels, as JSON if the name
// ends in .json, otherwise as YAML. Modules and gateways are those of the configuration. taken may be
// nil.
func (c *Config) ReadPeers(file string, data []byte, taken Taken) ([]Peer, error) {
	d := c.fileDecoder(file, data, taken)
	if err := d.fileErr(); err != nil {
		return nil, err
	}
	return d.config.Peers, nil
}

// PlaceOf returns where a valid peer file names a peer.
func (c *Config) PlaceOf(name, file string, data []byte) string {
	return cmp.Or(c.fileDecoder(file, data, nil).names[name], file)
}

// fileDecoder decodes a peer file.
func (c *Config) fileDecoder(file string, data []byte, taken Taken) *decoder {
	d := newDecoder(file)
	d.taken, d.fileKeys = taken, fileKeys()
	d.modules = make(map[string]module, len(c.Modules))
	for name, s := range c.Modules {
		d.modules[name] = module{settings: s, faults: s.faults()}
	}
	for i := range c.Gateways {
		d.gateways[c.Gateways[i].Name] = true
	}
	switch {
	case strings.TrimSpace(string(data)) == "":
		d.problems = append(d.problems, &Error{File: file, Text: "is empty: write [] for no peers"})
	case strings.EqualFold(filepath.Ext(file), ".json"):
		d.jsonGroups(data)
	default:
		if root := d.root(data); root != nil {
			d.list(root, place{}, d.group)
		} else if len(d.problems) == 0 {
			d.problems = append(d.problems, &Error{File: file, Text: "has no list: write [] for no peers"})
		}
	}
	return d
}

// fileErr returns the problems of a peer file. One label may be wrong for many targets: each line is
// reported once for each problem.
func (d *decoder) fileErr() error {
	type what struct {
		line int
		text string
	}
	reported := make(map[what]bool)
	d.problems = slices.DeleteFunc(d.problems, func(p *Error) bool {
		w := what{p.Line, p.Text}
		before := reported[w]
		reported[w] = true
		return before
	})
	left := len(d.problems) - maxProblems
	if left > 0 {
		d.problems = d.problems[:maxProblems]
	}
	err := d.err()
	if left > 0 {
		err = errors.Join(err, &Error{File: d.file, Text: fmt.Sprintf("%d more problems", left)})
	}
	return err
}

// group reads targets that have the same labels.
func (d *decoder) group(n *yaml.Node, at place) {
	var targets, labels *yaml.Node
	d.fields(n, at, []field{
		{"targets", func(n *yaml.Node, _ place) { targets = n }},
		{"labels", func(n *yaml.Node, _ place) { labels = n }},
	})
	if targets == nil {
		if n.Kind == yaml.MappingNode {
			d.problem(n, at.key("targets"), "is missing: a group is {targets: [ADDRESS], labels: {...}}")
		}
		return
	}
	plain, name, settings := d.fileLabels(labels, at.key("labels"))
	d.list(targets, at.key("targets"), func(n *yaml.Node, at place) {
		before := len(d.config.Peers)
		switch {
		case before >= maxFilePeers:
			if before == maxFilePeers {
				d.problem(n, at, fmt.Sprintf("is beyond the %d peers that one file may have", maxFilePeers))
			}
			return
		case n.Kind != yaml.ScalarNode:
			d.problem(n, at, "must be a single value, not "+kind(n))
			return
		}
		d.target(n, at, name, settings)
		for i := range d.config.Peers[before:] {
			d.config.Peers[before+i].Labels = plain
		}
	})
}

// target reads one peer of a group.
func (d *decoder) target(n *yaml.Node, at place, name *yaml.Node, settings []*yaml.Node) {
	if len(settings) > 0 || name != nil && name.Kind != yaml.ScalarNode {
		content := append([]*yaml.Node{wordNode("address", n.Line), n}, settings...)
		if name != nil {
			content = append(content, wordNode("name", name.Line), name)
		}
		d.filePeer(&yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Content: content}, at)
		return
	}
	// Most peers have no settings of their own: thousands of them are read in a moment.
	before := len(d.problems)
	p := Peer{Address: n.Value, Settings: d.modules[DefaultModule].settings}
	names := n
	if name != nil {
		p.Name, names = name.Value, name
	}
	d.identify(&p, names, n, at.named(cmp.Or(p.Name, p.Address)), fmt.Sprintf("%s (%s:%d)", at, d.file, n.Line))
	if len(d.problems) == before {
		d.config.Peers = append(d.config.Peers, p.byFamily()...)
	}
}

// wordNode is a node with one word.
func wordNode(s string, line int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: line}
}

// A labelKey is the key of a peer that a label sets.
type labelKey struct {
	path []string
	list bool
}

// fileKeys returns the labels that set keys of a peer: the label of the key ike.port is
// __ike_port__.
func fileKeys() map[string]labelKey {
	keys := map[string]labelKey{"__peer__": {path: []string{"name"}}}
	add := func(list bool, path ...string) {
		keys["__"+strings.Join(path, "_")+"__"] = labelKey{path, list}
	}
	for _, key := range []string{"module", "family", "source_address", "interface", "fwmark", "on_demand"} {
		add(false, key)
	}
	for _, key := range []string{"gateways", "collectors", "inside"} {
		add(true, key)
	}
	for _, key := range []string{"addresses", "ids", "usernames", "groups"} {
		add(true, "match", key)
	}
	for _, key := range []string{"version", "port", "natt_port", "source_port", "auth"} {
		add(false, "ike", key)
	}
	for _, key := range []string{"cipher", "natt"} {
		add(false, "esp", key)
	}
	for _, key := range []string{"address", "port", "mode", "key_file", "key_file_next", "dscp"} {
		add(false, "partner", key)
	}
	for _, c := range suite.All() {
		add(false, "intervals", c.String())
	}
	add(false, "intervals", "pmtu_raise")
	return keys
}

// fileLabels reads the labels of a group: the labels of its peers, their name, and the other keys that
// labels set, as the content of a mapping.
func (d *decoder) fileLabels(n *yaml.Node, at place) (plain map[string]string, name *yaml.Node, settings []*yaml.Node) {
	if n == nil {
		return nil, nil, nil
	}
	ordinary := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	nested := make(map[string]*yaml.Node)
	d.pairs(n, at, func(key, value *yaml.Node) {
		to, ok := d.fileKeys[key.Value]
		switch {
		case !strings.HasPrefix(key.Value, "__"):
			ordinary.Content = append(ordinary.Content, key, value)
			return
		case !ok && !ofPrometheus(key.Value):
			d.problem(key, at, fmt.Sprintf("unknown label %q: %s", key.Value, meant(key.Value, slices.Sorted(maps.Keys(d.fileKeys)))))
			return
		case !ok || isNull(value) || value.Kind == yaml.ScalarNode && value.Value == "":
			return
		}
		if to.list {
			value = d.separated(value, at.key(key.Value))
		}
		switch {
		case to.path[0] == "name":
			name = value
			return
		case len(to.path) == 1:
			settings = append(settings, wordNode(to.path[0], key.Line), value)
			return
		}
		outer := nested[to.path[0]]
		if outer == nil {
			outer = &yaml.Node{Kind: yaml.MappingNode, Line: key.Line}
			nested[to.path[0]] = outer
			settings = append(settings, wordNode(to.path[0], key.Line), outer)
		}
		outer.Content = append(outer.Content, wordNode(to.path[1], key.Line), value)
	})
	return d.labels(ordinary, at), name, settings
}

// ofPrometheus reports whether a label is for Prometheus alone, which may read the same file.
func ofPrometheus(label string) bool {
	for _, prefix := range []string{"__meta_", "__param_", "__tmp"} {
		if strings.HasPrefix(label, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"__scheme__", "__metrics_path__", "__scrape_interval__", "__scrape_timeout__"}, label)
}

// separated returns the list of the words between the commas of a label.
func (d *decoder) separated(n *yaml.Node, at place) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Line: n.Line}
	text, ok := d.text(n, at)
	if !ok {
		return list
	}
	for word := range strings.SplitSeq(text, ",") {
		list.Content = append(list.Content, wordNode(strings.TrimSpace(word), n.Line))
	}
	return list
}
