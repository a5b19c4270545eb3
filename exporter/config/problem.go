package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/internal/spelling"
	"ipsec_path_exporter/internal/untrusted"
)

// An Error is one problem of a configuration. All problems of a configuration are joined.
type Error struct {
	// File and Line are the position. The line is 0 if it is unknown; both are empty for flags.
	File string
	Line int
	// Place is the key or flag: `peers[3] ("hq"): ike.port`.
	Place string
	// Text is what is wrong and, where needed, why and what to write instead.
	Text string
}

// Error returns the problem in one line.
func (p *Error) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	for _, part := range []string{p.Place, p.Text} {
		if b.Len() > 0 && part != "" {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// A place is a position in the document: an item, and a path of keys inside it.
type place struct{ item, path string }

func (p place) key(name string) place {
	if untrusted.Hidden(name) {
		name = strconv.Quote(name)
	}
	if p.path != "" {
		name = p.path + "." + name
	}
	return place{p.item, name}
}

func (p place) index(i int) place { return place{p.item, fmt.Sprintf("%s[%d]", p.path, i)} }

// named adds the name of an item to its place.
func (p place) named(name string) place {
	item := p.String()
	if name != "" {
		item = fmt.Sprintf("%s (%q)", item, name)
	}
	return place{item: item}
}

func (p place) String() string {
	if p.item != "" && p.path != "" {
		return p.item + ": " + p.path
	}
	return p.item + p.path
}

// problem adds a problem of a node, or of a flag if the node is nil.
func (d *decoder) problem(n *yaml.Node, at place, text string) {
	p := &Error{Place: at.String(), Text: text}
	if n != nil {
		p.File, p.Line = d.file, n.Line
	}
	d.problems = append(d.problems, p)
}

// err joins all problems in the order of their lines, problems of flags last.
func (d *decoder) err() error {
	slices.SortStableFunc(d.problems, func(a, b *Error) int {
		return cmp.Or(-cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	errs := make([]error, len(d.problems))
	for i, p := range d.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// meant returns the hint for an unknown word: a similar known word, or all known words.
func meant(word string, known []string) string {
	best := spelling.Nearest(word, known)
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return choices(known)
}

func choices(words []string) string { return "must be one of: " + strings.Join(words, ", ") }
