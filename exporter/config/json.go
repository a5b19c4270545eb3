package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// A jsonReader makes nodes with their lines of JSON (RFC 8259), which YAML's parser does not read in
// every form: tabs and some escapes are different there.
type jsonReader struct {
	*json.Decoder
	data []byte
	// counted is the offset up to which lines are counted.
	counted int64
	line    int
	depth   int // of the value that is read
}

// maxDepth bounds values within values: a group has three levels.
const maxDepth = 10

// jsonGroups reads a peer file in JSON, one group at a time: a list of 10,000 groups never exists as
// nodes altogether.
func (d *decoder) jsonGroups(data []byte) {
	r := &jsonReader{Decoder: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	r.UseNumber()
	if err := r.groups(d); err != nil {
		d.problems = append(d.problems, &Error{File: d.file, Line: r.lineOf(err), Text: "invalid JSON: " + err.Error()})
	}
}

func (r *jsonReader) groups(d *decoder) error {
	t, err := r.Token()
	if err != nil {
		return unexpectedEnd(err)
	}
	if t != json.Delim('[') {
		n, err := r.node(t)
		if err == nil {
			d.problem(n, place{}, "must be a list, not "+kind(n))
		}
		return err
	}
	for i := 0; r.More(); i++ {
		t, err := r.Token()
		if err != nil {
			return unexpectedEnd(err)
		}
		n, err := r.node(t)
		if err != nil {
			return err
		}
		d.group(n, place{}.index(i))
	}
	if _, err := r.Token(); err != nil {
		return unexpectedEnd(err)
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return errMoreJSON
	}
	return nil
}

var (
	errMoreJSON = errors.New("more follows the list")
	errEnd      = errors.New("the file ends within a value")
	errDepth    = errors.New("values are nested too deeply")
)

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errEnd
	}
	return err
}

// node makes the node of a value whose first token was read.
func (r *jsonReader) node(t json.Token) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Line: r.here()}
	switch t := t.(type) {
	case json.Delim:
		if r.depth++; r.depth > maxDepth {
			return nil, errDepth
		}
		n.Kind, n.Tag = yaml.SequenceNode, ""
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for r.More() { // keys and values alternate
			t, err := r.Token()
			if err != nil {
				return nil, unexpectedEnd(err)
			}
			inner, err := r.node(t)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, inner)
		}
		r.depth--
		_, err := r.Token()
		return n, unexpectedEnd(err)
	case string:
		n.Value = t
	case nil:
		n.Tag = "!!null"
	default:
		n.Value = fmt.Sprint(t)
	}
	return n, nil
}

// here returns the line of the last token.
func (r *jsonReader) here() int { return r.at(r.InputOffset()) }

// at returns the line of an offset, which does not decrease.
func (r *jsonReader) at(offset int64) int {
	if offset > r.counted && offset <= int64(len(r.data)) {
		r.line += bytes.Count(r.data[r.counted:offset], []byte("\n"))
		r.counted = offset
	}
	return r.line
}

// lineOf returns the line of an error.
func (r *jsonReader) lineOf(err error) int {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return r.at(syntax.Offset)
	}
	return r.here()
}
