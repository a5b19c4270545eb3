package rows

import (
	"bytes"
	"iter"
	"strconv"
)

// A page is the exporter's metrics in the text format.
type page []byte

// A sample is one line of a page. It points into the page.
type sample struct {
	name, labels []byte
	value        float64
}

// samples returns the samples of one metric.
func (p page) samples(name string) iter.Seq[sample] {
	return func(yield func(sample) bool) {
		for line := range bytes.Lines(p) {
			rest, found := bytes.CutPrefix(line, []byte(name))
			if !found || len(rest) == 0 || rest[0] != '{' && rest[0] != ' ' {
				continue
			}
			space := bytes.LastIndexByte(rest, ' ')
			value, err := strconv.ParseFloat(string(bytes.TrimSpace(rest[space+1:])), 64)
			if err != nil {
				continue
			}
			if !yield(sample{line[:len(name)], rest[:space], value}) {
				return
			}
		}
	}
}

// label returns the value of a label. The names and values of this program need no unescaping.
func (s sample) label(name string) string {
	for _, before := range []byte{'{', ','} {
		_, rest, found := bytes.Cut(s.labels, append([]byte{before}, name+`="`...))
		if found {
			value, _, _ := bytes.Cut(rest, []byte{'"'})
			return string(value)
		}
	}
	return ""
}

// sum returns the sum of all samples of a metric.
func (p page) sum(name string) (total float64) {
	for s := range p.samples(name) {
		total += s.value
	}
	return total
}

// byPeer returns the values of a metric that has no label but the peer.
func (p page) byPeer(name string) map[string]float64 {
	all := make(map[string]float64)
	for s := range p.samples(name) {
		all[s.label("peer")] = s.value
	}
	return all
}

// count returns how many samples of a metric have a value.
func (p page) count(name string, value float64) (n int) {
	for s := range p.samples(name) {
		if s.value == value {
			n++
		}
	}
	return n
}
