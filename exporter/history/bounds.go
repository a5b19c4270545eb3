package history

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ipsec_path_exporter/internal/untrusted"
)

// The bounds of a History.
const (
	maxHistory = 16 << 20
	maxChanges = 500
	keepFor    = 30 * 24 * time.Hour

	// Longer texts and lists are cut.
	maxSummary, maxLine, maxLines = 512, 256, 16
	maxMethods, maxHops           = 16, 64
	// Peers with longer names have no history.
	maxName = 1024
	// A change and a peer take this memory in addition to their texts.
	changeOverhead, lineOverhead, peerOverhead, hopOverhead = 256, 48, 640, 32
)

// forget drops the oldest n changes of a peer. The journal keeps them until its next compaction,
// and the bounds drop them again when it is loaded. Under the lock.
func (h *History) forget(p *past, n int) {
	for i := range p.changes[:n] {
		h.size -= p.changes[i].bytes()
	}
	p.changes = slices.Delete(p.changes, 0, n)
}

// remove drops a peer. Under the lock.
func (h *History) remove(name string, p *past) {
	h.forget(p, len(p.changes))
	h.size -= peerOverhead + len(name) + p.baseline.bytes()
	delete(h.peers, name)
	h.writer.replaceAll()
}

// shrink makes room where the history is too large: it drops the oldest changes of all peers, then
// the peers that are no longer configured, the longest gone first. Under the lock.
func (h *History) shrink() {
	if h.size <= maxHistory {
		return
	}
	const enough = maxHistory / 8 * 7 // so that not every change has to make room
	var all []record
	for _, p := range h.peers {
		all = append(all, p.changes...)
	}
	byNumber := func(a, b record) int { return cmp.Compare(a.Number, b.Number) }
	slices.SortFunc(all, byNumber)
	size, oldest := h.size, uint64(0)
	for i := range all {
		if size <= enough {
			break
		}
		size -= all[i].bytes()
		oldest = all[i].Number + 1
	}
	for _, p := range h.peers {
		n, _ := slices.BinarySearchFunc(p.changes, record{Number: oldest}, byNumber)
		h.forget(p, n)
	}
	bySeen := func(a, b string) int { return h.peers[a].seen.Compare(h.peers[b].seen) }
	for _, name := range slices.SortedFunc(maps.Keys(h.peers), bySeen) {
		if h.size <= enough {
			return
		}
		if p := h.peers[name]; !p.current {
			h.remove(name, p)
		}
	}
}

// tidy forgets peers that have been gone for long, and notes that the others have been seen.
func (h *History) tidy(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, p := range h.peers {
		switch {
		case p.current:
			p.seen = now
			if now.Sub(p.stored) >= refreshSeen {
				h.store(name, p, now)
			}
		case now.Sub(p.seen) > keepFor:
			h.remove(name, p)
		}
	}
}

// clip returns a copy within the bounds.
func (b Baseline) clip() Baseline {
	b.At = b.At.Round(0).UTC()
	b.Hops = slices.Clone(b.Hops[:min(len(b.Hops), maxHops)])
	var bytes map[string]int
	for _, method := range slices.Sorted(maps.Keys(b.Bytes)) {
		if bytes == nil {
			bytes = make(map[string]int)
		}
		if len(bytes) < maxMethods {
			bytes[untrusted.Clip(method, maxLine)] = b.Bytes[method]
		}
	}
	b.Bytes = bytes
	return b
}

// bytes returns the memory of a baseline, which may be nil.
func (b *Baseline) bytes() int {
	if b == nil {
		return 0
	}
	n := hopOverhead * len(b.Hops)
	for method := range b.Bytes {
		n += lineOverhead + len(method)
	}
	return n
}

// clip returns a copy within the bounds.
func (c Change) clip() Change {
	c.At = c.At.Round(0).UTC()
	c.Diagnosis, c.Summary = untrusted.Clip(c.Diagnosis, maxLine), untrusted.Clip(c.Summary, maxSummary)
	lines := c.Evidence[:min(len(c.Evidence), maxLines)]
	c.Evidence = nil
	for _, line := range lines {
		c.Evidence = append(c.Evidence, untrusted.Clip(line, maxLine))
	}
	return c
}
