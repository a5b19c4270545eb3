package schedule

// dueHeap is a binary heap of entries, the earliest first, for container/heap. Every entry knows its place.
type dueHeap []*entry

// Len is part of heap.Interface.
func (h dueHeap) Len() int { return len(h) }

// Less is part of heap.Interface.
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

// Swap is part of heap.Interface.
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is part of heap.Interface. Nothing but entries is ever pushed.
func (h *dueHeap) Push(x any) {
	if e, ok := x.(*entry); ok {
		e.index = len(*h)
		*h = append(*h, e)
	}
}

// Pop is part of heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1
	return e
}
