package trace

import (
	"bytes"

	"ipsec_path_exporter/internal/netio"
)

const (
	// mostBases is the largest number of bases and of purposes: their numbers are bytes, from 1.
	mostBases = 255
	// mostBaseBytes bounds the memory of bases, with a part of the budget of a small Recorder.
	mostBaseBytes, basesPart = 256 << 10, 16
	// largestBase is the size of the largest body that becomes a base.
	largestBase = 1 << 10
	// baseOverhead and textOverhead are what a base and a text take besides their bytes.
	baseOverhead, textOverhead = 2 * (24 + 8 + 16), 2 * (16 + 8)
)

// A baseKey says which bodies resemble each other.
type baseKey uint64

// keyOf returns the key of a body.
func keyOf(size int, protocol netio.Protocol, port uint16, purpose uint8, outcome netio.Outcome, further bool) baseKey {
	return baseKey(size)<<40 | baseKey(port)<<24 | baseKey(purpose)<<16 | baseKey(protocol)<<8 | baseKey(outcome)<<1 | baseKey(flagged(further, 1))
}

// further reports whether the body is that of a further answer.
func (k baseKey) further() bool { return k&1 == 1 }

// bases are bodies that others are stored as differences from, and the texts of purposes. The rings of
// all peers share them. Both only grow, so that a copy of the struct stays valid.
type bases struct {
	keys     []baseKey
	bodies   [][]byte
	purposes []string
	// bytes is the memory that they take, most the largest.
	bytes, most int
}

// newBases returns bases for a Recorder with a budget.
func newBases(budget int) bases { return bases{most: min(max(budget, 0)/basesPart, mostBaseBytes)} }

// find returns the base for a body and its number. The first body of a key becomes the base of the
// next ones; without room there is none, and its number is 0.
func (b *bases) find(key baseKey, body []byte) (base []byte, number byte) {
	for i, k := range b.keys {
		if k == key {
			return b.bodies[i], byte(i + 1)
		}
	}
	size := len(body) + baseOverhead
	if len(body) > largestBase || len(b.keys) == mostBases || b.bytes+size > b.most {
		return nil, 0
	}
	b.bytes += size
	b.keys, b.bodies = append(b.keys, key), append(b.bodies, bytes.Clone(body))
	return b.bodies[len(b.bodies)-1], byte(len(b.bodies))
}

// purpose returns the number of a purpose, 0 if there is no room for it.
func (b *bases) purpose(s string) uint8 {
	for i, p := range b.purposes {
		if p == s {
			return uint8(i + 1)
		}
	}
	size := len(s) + textOverhead
	if len(s) > maxText || len(b.purposes) == mostBases || b.bytes+size > b.most {
		return 0
	}
	b.bytes += size
	b.purposes = append(b.purposes, s)
	return uint8(len(b.purposes))
}
