package evidence

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A queue holds records in one slice without pointers, the oldest first, and forgets the oldest when it is full.
type queue struct {
	b     []byte
	limit int
	// lost counts records that were forgotten or did not fit.
	lost uint64
}

// prefix is the size of the length in front of each record.
const prefix = 4

// push appends a record.
func (q *queue) push(record []byte) {
	need := prefix + len(record)
	if need > q.limit {
		q.lost++
		return
	}
	if len(q.b)+need > q.limit {
		// Making more room than needed keeps the rest from being moved for every record.
		q.evict(max(need, q.limit/8))
	}
	if cap(q.b)-len(q.b) < need {
		q.move(min(q.limit, max(2*cap(q.b), len(q.b)+need)))
	}
	q.b = binary.LittleEndian.AppendUint32(q.b, uint32(len(record))) //nolint:gosec // below the limit
	q.b = append(q.b, record...)
}

// evict forgets the oldest records until so many bytes are free.
func (q *queue) evict(room int) {
	cut := 0
	for cut < len(q.b) && len(q.b)-cut+room > q.limit {
		cut += prefix + int(binary.LittleEndian.Uint32(q.b[cut:]))
		q.lost++
	}
	q.b = q.b[:copy(q.b, q.b[cut:])]
}

// resize changes the limit.
func (q *queue) resize(limit int) {
	q.limit = limit
	q.evict(0)
	if cap(q.b) > limit {
		q.move(len(q.b))
	}
}

// move takes the records to a slice of at least this capacity.
func (q *queue) move(capacity int) {
	q.b = append(slices.Grow([]byte(nil), capacity), q.b...)
}

// records calls f for every record of a queue's bytes.
func records(b []byte, f func(record []byte)) {
	for len(b) >= prefix {
		n := int(binary.LittleEndian.Uint32(b))
		b = b[prefix:]
		if n > len(b) {
			return
		}
		f(b[:n])
		b = b[n:]
	}
}

// roundDown rounds to 2^n or 3 x 2^n bytes, which the allocator hands out without waste.
func roundDown(n int) int {
	if n < 4 {
		return 0
	}
	unit := 1 << (bits.Len(uint(n)) - 2)
	return n &^ (unit - 1)
}
