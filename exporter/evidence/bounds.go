package evidence

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The bounds of a History; the package's documentation names the first three.
const (
	maxHistory = 16 << 20
	maxChanges = 500
	keepFor    = 30 * 24 * time.Hour

	// What is longer is cut.
	maxSummary, maxLine, maxLines = 512, 256, 16
	maxMethods, maxHops           = 16, 64
	// maxName is the longest name of a peer whose history is kept.
	maxName = 1024
	// changeOverhead and peerOverhead are what a change and a peer take beside their texts.
	changeOverhead, lineOverhead, peerOverhead, hopOverhead = 256, 48, 640, 32
)

// forget drops the oldest n changes of a peer. Under the lock.
func (h *History) forget(p *past, n int) {
	for _, c := range p.changes[:n] {
		h.size -= c.bytes()
		h.journal.put(bucketChanges, changeKey(c.id), nil)
	}
	p.changes = slices.Delete(p.changes, 0, n)
}

// remove drops a peer. Under the lock.
func (h *History) remove(name string, p *past) {
	h.forget(p, len(p.changes))
	h.size -= peerOverhead + len(name) + p.baseline.bytes()
	h.journal.put(bucketPeers, []byte(name), nil)
	delete(h.peers, name)
}

// shrink makes room where the history is too large: the oldest changes go first, whosever they are, then the peers that are not configured
// any more, the longest gone first. Under the lock.
func (h *History) shrink() {
	if h.size <= maxHistory {
		return
	}
	const enough = maxHistory / 8 * 7 // so that it is not done for every change
	var all []numbered
	for _, p := range h.peers {
		all = append(all, p.changes...)
	}
	slices.SortFunc(all, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
	size, newest := h.size, uint64(0)
	for i := range all {
		if size <= enough {
			break
		}
		size -= all[i].bytes()
		newest = all[i].id + 1
	}
	for _, p := range h.peers {
		n, _ := slices.BinarySearchFunc(p.changes, newest, func(c numbered, id uint64) int { return cmp.Compare(c.id, id) })
		h.forget(p, n)
	}
	gone := slices.SortedFunc(maps.Keys(h.peers), func(a, b string) int { return h.peers[a].seen.Compare(h.peers[b].seen) })
	for _, name := range gone {
		if h.size <= enough {
			return
		}
		if p := h.peers[name]; !p.current {
			h.remove(name, p)
		}
	}
}

// tidy forgets peers that are gone for long, and notes that the others are not.
func (h *History) tidy(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, p := range h.peers {
		switch {
		case p.current:
			p.seen = now
			if now.Sub(p.stored) >= refreshSeen {
				h.storePeer(name, p, now)
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
			bytes[clip(method, maxLine)] = b.Bytes[method]
		}
	}
	b.Bytes = bytes
	return b
}

// bytes is the memory of a baseline, if there is one.
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
	c.Diagnosis, c.Summary = clip(c.Diagnosis, maxLine), clip(c.Summary, maxSummary)
	lines := c.Evidence[:min(len(c.Evidence), maxLines)]
	c.Evidence = nil
	for _, line := range lines {
		c.Evidence = append(c.Evidence, clip(line, maxLine))
	}
	return c
}

// bytes is the memory of a change.
func (c *numbered) bytes() int {
	n := changeOverhead + len(c.Diagnosis) + len(c.Summary)
	for _, line := range c.Evidence {
		n += lineOverhead + len(line)
	}
	return n
}

// clip cuts a text, not inside a character, and takes control characters out of it.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), n)], "")
	return strings.Clone(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}
