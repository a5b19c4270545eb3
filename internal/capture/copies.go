package capture

import (
	"hash/maphash"
	"time"
)

// maxCopies is how many packets are remembered to recognise copies of them.
const maxCopies = 1 << 14

// copies recognises packets that a capture has twice, as one on all interfaces or of a mirrored port
// does: equal but for what a router changes, within duplicateWithin.
type copies struct {
	seed maphash.Seed
	at   map[uint64]time.Time
	ring []uint64
	next int
}

func newCopies() copies {
	return copies{seed: maphash.MakeSeed(), at: make(map[uint64]time.Time), ring: make([]uint64, maxCopies)}
}

// seen reports whether the packet b is a copy, and remembers it if not.
func (c *copies) seen(b []byte, at time.Time) bool {
	sum := c.sum(b)
	before, is := c.at[sum]
	if is && at.Sub(before).Abs() < duplicateWithin {
		return true
	}
	if !is {
		delete(c.at, c.ring[c.next])
		c.ring[c.next] = sum
		c.next = (c.next + 1) % len(c.ring)
	}
	c.at[sum] = at
	return false
}

// sum hashes a packet without its time to live and its header checksum.
func (c *copies) sum(b []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	parts := [][2]int{{0, 8}, {9, 10}, {12, len(b)}}
	if b[0]>>4 == 6 {
		parts = [][2]int{{0, 7}, {8, len(b)}}
	}
	for _, p := range parts {
		_, _ = h.Write(b[p[0]:p[1]]) // a hash does not fail
	}
	return h.Sum64()
}
