package schedule

import "slices"

// A dueHeap holds entries, the earliest first. Each node of the tree has four children, and has the
// time beside the entry, so that an order of thousands of entries touches little memory. An entry
// that leaves early stays as a stale item until it comes first.
type dueHeap struct {
	items []item
	stale int
}

// An item is an entry in the heap, stale if the entry has another version by now.
type item struct {
	due     instant
	version uint32
	entry   *entry
}

func (i *item) isStale() bool { return i.version != i.entry.version }

// children is the number of children of a node.
const children = 4

// push adds an entry that is not in the heap.
func (h *dueHeap) push(e *entry) {
	e.queued = true
	h.items = append(h.items, item{e.due, e.version, e})
	h.up(len(h.items) - 1)
}

// first returns the earliest entry, nil if there is none.
func (h *dueHeap) first() *entry {
	for len(h.items) > 0 {
		if !h.items[0].isStale() {
			return h.items[0].entry
		}
		h.stale--
		h.drop()
	}
	return nil
}

// pop takes out what first returned.
func (h *dueHeap) pop() {
	e := h.items[0].entry
	e.queued = false
	e.version++
	h.drop()
}

// remove takes an entry out.
func (h *dueHeap) remove(e *entry) {
	if !e.queued {
		return
	}
	e.queued = false
	e.version++
	if h.stale++; h.stale > len(h.items)/2 {
		h.items = slices.DeleteFunc(h.items, func(i item) bool { return i.isStale() })
		h.stale = 0
		for i := len(h.items) / children; i >= 0; i-- {
			h.down(i)
		}
	}
}

// drop removes the first item.
func (h *dueHeap) drop() {
	last := len(h.items) - 1
	h.items[0] = h.items[last]
	h.items[last] = item{}
	h.items = h.items[:last]
	h.down(0)
}

func (h *dueHeap) up(i int) {
	moved := h.items[i]
	for i > 0 {
		parent := (i - 1) / children
		if h.items[parent].due <= moved.due {
			break
		}
		h.items[i] = h.items[parent]
		i = parent
	}
	h.items[i] = moved
}

func (h *dueHeap) down(i int) {
	if i >= len(h.items) {
		return
	}
	moved := h.items[i]
	for {
		least := i*children + 1
		if least >= len(h.items) {
			break
		}
		for c := least + 1; c < min(i*children+1+children, len(h.items)); c++ {
			if h.items[c].due < h.items[least].due {
				least = c
			}
		}
		if moved.due <= h.items[least].due {
			break
		}
		h.items[i] = h.items[least]
		i = least
	}
	h.items[i] = moved
}
