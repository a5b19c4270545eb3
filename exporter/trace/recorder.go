package trace

import (
	"encoding/binary"
	"math"
	"sync"
)

const (
	// DefaultBytes is the default budget of a Recorder.
	DefaultBytes = 64 << 20
	// LeastBytes is the smallest budget that is of use.
	LeastBytes = 1 << 20
	// MostBytes is the largest budget that can be used.
	MostBytes = min(1<<40, math.MaxInt)
	// mostRing is the most that one ring takes: its chains have their shares of it.
	mostRing = 1 << 20
	// ringBytes is the most that a ring takes without its records: itself, its chains, and their
	// places in the heaps.
	ringBytes = 96 + int(kinds)*(24+12)
	// workBytes is the memory that a Recorder takes besides by itself.
	workBytes = 16 << 10
	// usualBody is more than nearly every body takes. Larger buffers are not kept.
	usualBody = 4 << 10
)

// A Recorder divides its budget among the rings of all peers. It is safe for concurrent use.
type Recorder struct {
	mu    sync.Mutex
	arena *arena
	bases bases
	rings int
	// body and record are buffers.
	body, record []byte
}

// NewRecorder returns a Recorder with a budget in bytes. With 0 it keeps nothing.
func NewRecorder(bytes int) *Recorder {
	r := &Recorder{bases: newBases(bytes)}
	r.arena = newArena(max(0, bytes-r.bases.most))
	return r
}

// Open returns an empty ring. It takes no memory of the budget until something is recorded.
func (r *Recorder) Open() *Ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rings++
	return &Ring{recorder: r, snapped: true, most: mostRing / chunkSize}
}

// Off reports whether the Recorder keeps nothing.
func (r *Recorder) Off() bool { return r.arena.most == 0 }

// Bytes returns the memory that everything takes now: at most the budget, workBytes, and ringBytes
// for each ring.
func (r *Recorder) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arena.bytes() + r.bases.bytes + workBytes + r.rings*ringBytes
}

// A record in a chain is
//
//	its length, the number of a base, and the difference of the body from it
//	its length, 0, 1 for an answer or 0 for an exchange, the length of the body, the body
//
// store adds the record of a body, if it fits into the chain. The caller holds the lock.
func (r *Recorder) store(c *chain, most int, key baseKey, body []byte) {
	const front = binary.MaxVarintLen32
	var length [front]byte
	base, number := r.bases.find(key, body)
	record := append(r.record[:0], length[:]...)
	record = append(record, number)
	if number == 0 {
		record = append(record, flagged(key.further(), 1))
		record = binary.AppendUvarint(record, uint64(len(body)))
	}
	record = pack(record, base, body)
	n := binary.PutUvarint(length[:], uint64(len(record)-front))
	copy(record[front-n:], length[:n])
	r.body, r.record = kept(body), kept(record)
	r.arena.append(c, most, record[front-n:])
}

// kept returns a buffer for the next record.
func kept(b []byte) []byte {
	if cap(b) > usualBody {
		return nil
	}
	return b[:0]
}

// records calls f for the body of every record, until f returns false or the records are not valid.
func (b *bases) records(records []byte, f func(body []byte, further bool) bool) {
	for len(records) > 0 {
		size, n := binary.Uvarint(records)
		if n <= 0 || size > uint64(len(records)-n) {
			return
		}
		record := reader{b: records[n : n+int(size)]}
		records = records[n+int(size):]
		body, further, ok := b.body(&record)
		if !ok || !f(body, further) {
			return
		}
	}
}

// body decodes the body of a record.
func (b *bases) body(r *reader) (body []byte, further, ok bool) {
	number := r.byte()
	if number > 0 {
		if int(number) > len(b.keys) {
			return nil, false, false
		}
		base := b.bodies[number-1]
		body, ok = unpack(nil, base, r.b, len(base))
		return body, b.keys[number-1].further(), ok
	}
	further = r.byte() == 1
	size, n := binary.Uvarint(r.b)
	// Each 64 bytes of a body take at least one byte.
	if n <= 0 || size > uint64(len(r.b)-n)*groupSize {
		return nil, false, false
	}
	body, ok = unpack(nil, nil, r.b[n:], int(size))
	return body, further, ok
}
