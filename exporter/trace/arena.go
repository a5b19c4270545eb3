package trace

import (
	"container/heap"
	"encoding/binary"
)

const (
	// chunkSize is the size of a chunk in bytes, header included: some five echoes.
	chunkSize = 256
	// slabChunks is the number of chunks that are allocated together.
	slabChunks = 256
	// chunkHead is the size of a chunk's header: the number of the next chunk, and where in this one
	// the first record starts, 0 if none does.
	chunkHead = 4 + 2
	chunkBody = chunkSize - chunkHead
)

// An arena holds the records of all chains in chunks of one size. Every kind has a number of chunks
// of its own. A record that needs more evicts the oldest records of the longest chain of its kind.
//
//	chain: head ─▶ [next|first|…record][record|rec…] ─▶ [next|first|…ord][record…  ] ◀─ tail
//
// Chunks are numbered from 1. The caller holds a lock.
type arena struct {
	slabs [][]byte
	// made is the number of chunks in slabs, most the largest.
	made, most int
	// free is the first of the chunks that are not used, 0 if there is none.
	free uint32
	// limit and used are numbers of chunks, by kind.
	limit, used [kinds]int
	// longest has the chains that are not empty.
	longest [kinds]byLength
}

// A chain holds records of one kind of one ring, the oldest first.
type chain struct {
	kind kind
	// head and tail are the first and the last chunk, 0 if the chain is empty. end is where in tail
	// the next record starts.
	head, tail uint32
	end        int32
	chunks     int32
	// place is where the chain is in its heap.
	place int32
}

// newArena returns an arena of at most this number of bytes.
func newArena(bytes int) *arena {
	a := &arena{most: bytes / chunkSize}
	for k := range a.limit {
		a.limit[k] = a.most * shares[k] / wholeShare
	}
	return a
}

// chunk returns the bytes of a chunk.
func (a *arena) chunk(n uint32) []byte {
	i := int(n-1) % slabChunks * chunkSize
	return a.slabs[int(n-1)/slabChunks][i : i+chunkSize]
}

func next(chunk []byte) uint32 { return binary.LittleEndian.Uint32(chunk) }

func setNext(chunk []byte, n uint32) { binary.LittleEndian.PutUint32(chunk, n) }

func first(chunk []byte) int { return int(binary.LittleEndian.Uint16(chunk[4:])) }

func setFirst(chunk []byte, at int) { binary.LittleEndian.PutUint16(chunk[4:], uint16(at)) }

// take returns a chunk that is not used. There is one as long as no kind exceeds its limit.
func (a *arena) take() uint32 {
	if a.free == 0 {
		n := min(slabChunks, a.most-a.made)
		a.slabs = append(a.slabs, make([]byte, n*chunkSize))
		for i := a.made + n; i > a.made; i-- {
			a.put(uint32(i))
		}
		a.made += n
	}
	n := a.free
	c := a.chunk(n)
	a.free = next(c)
	setNext(c, 0)
	setFirst(c, 0)
	return n
}

func (a *arena) put(n uint32) {
	setNext(a.chunk(n), a.free)
	a.free = n
}

// lacking returns how many more chunks a chain needs for a record of this size.
func (c *chain) lacking(size int) int {
	room := 0
	if c.tail != 0 {
		room = chunkSize - int(c.end)
	}
	return (max(0, size-room) + chunkBody - 1) / chunkBody
}

// append adds a record to a chain of at most this number of chunks. It reports whether there is room
// for it.
func (a *arena) append(c *chain, most int, record []byte) bool {
	k := c.kind
	most = min(most, a.limit[k])
	if (len(record)+chunkBody-1)/chunkBody > most {
		return false
	}
	for int(c.chunks)+c.lacking(len(record)) > most {
		a.evict(c)
	}
	for a.used[k]+c.lacking(len(record)) > a.limit[k] {
		a.evict(a.longest[k][0])
	}
	for starts := true; len(record) > 0; starts = false {
		if c.tail == 0 || c.end == chunkSize {
			a.extend(c)
		}
		chunk := a.chunk(c.tail)
		if starts && first(chunk) == 0 {
			setFirst(chunk, int(c.end))
		}
		n := copy(chunk[c.end:], record)
		record, c.end = record[n:], c.end+int32(n)
	}
	return true
}

// extend adds an empty chunk to a chain.
func (a *arena) extend(c *chain) {
	n := a.take()
	if c.tail == 0 {
		c.head = n
	} else {
		setNext(a.chunk(c.tail), n)
	}
	c.tail, c.end = n, chunkHead
	a.count(c, 1)
}

// count adds to the number of chunks of a chain.
func (a *arena) count(c *chain, n int32) {
	h := &a.longest[c.kind]
	a.used[c.kind] += int(n)
	before := c.chunks
	switch c.chunks += n; {
	case before == 0:
		heap.Push(h, c)
	case c.chunks == 0:
		heap.Remove(h, int(c.place))
	default:
		heap.Fix(h, int(c.place))
	}
}

// evict drops the oldest chunk of a chain, which is not empty, and the rest of its last record.
func (a *arena) evict(c *chain) {
	for {
		n := c.head
		c.head = next(a.chunk(n))
		a.put(n)
		if c.head == 0 {
			c.tail, c.end = 0, 0
		}
		a.count(c, -1)
		if c.head == 0 || first(a.chunk(c.head)) != 0 {
			break
		}
	}
	a.release()
}

// clear drops everything.
func (a *arena) clear(c *chain) {
	for c.head != 0 {
		a.evict(c)
	}
}

// release gives all memory back once nothing is used.
func (a *arena) release() {
	for _, n := range a.used {
		if n > 0 {
			return
		}
	}
	a.slabs, a.made, a.free = nil, 0, 0
}

// read appends the records of a chain.
func (a *arena) read(b []byte, c *chain) []byte {
	for n := c.head; n != 0; {
		chunk := a.chunk(n)
		from, to := chunkHead, chunkSize
		if n == c.head {
			from = first(chunk)
		}
		if n == c.tail {
			to = int(c.end)
		}
		b = append(b, chunk[from:to]...)
		n = next(chunk)
	}
	return b
}

// bytes is the memory of the arena.
func (a *arena) bytes() int { return a.made * chunkSize }

// byLength is a heap with the longest chain on top.
type byLength []*chain

// Len implements heap.Interface.
func (h byLength) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byLength) Less(i, j int) bool { return h[i].chunks > h[j].chunks }

// Swap implements heap.Interface.
func (h byLength) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i), int32(j)
}

// Push implements heap.Interface.
func (h *byLength) Push(x any) {
	c := x.(*chain) //nolint:errcheck // nothing else is pushed
	c.place = int32(len(*h))
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *byLength) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}
