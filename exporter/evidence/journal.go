package evidence

import (
	"slices"
	"sync/atomic"
	"time"
)

const (
	// flushDelay gathers what comes within it into one transaction; retryDelay is how long a disk that failed is left alone.
	flushDelay, retryDelay = time.Second, time.Minute
	// maxPending is how many bytes wait for the disk. Beyond it the file is written anew from memory instead, and the wait costs nothing.
	maxPending = 4 << 20
	// opOverhead is what an operation takes beside its key and value.
	opOverhead = 96
)

// An op stores a value, or deletes it if value is nil.
type op struct {
	bucket     string
	key, value []byte
}

// A journal carries what changes in a History to its file. The memory is the truth, the file a copy that may lag: when it cannot be written,
// or changes come faster than the disk takes them, it is written anew when that is possible again. So nothing waits, nothing is lost while the
// process lives, and what is kept for the disk is bounded.
type journal struct {
	disk *disk
	// wake holds one signal while there is something to write.
	wake     chan struct{}
	failures atomic.Uint64
	// failing is for the goroutine that writes.
	failing bool

	// The rest is guarded by the History's lock.
	pending []op
	bytes   int
	// rewrite means that the file has to be written anew, so that what changes need not be noted.
	rewrite bool
}

func newJournal(d *disk) *journal { return &journal{disk: d, wake: make(chan struct{}, 1)} }

// put notes a change. Under the History's lock. A History without a file has no journal.
func (j *journal) put(bucket string, key, value []byte) {
	if j == nil {
		return
	}
	if !j.rewrite {
		j.pending = append(j.pending, op{bucket, key, value})
		j.bytes += opOverhead + len(key) + len(value)
		if j.bytes > maxPending {
			j.anew()
		}
	}
	j.signal()
}

// anew gives up the noted changes for writing the file anew. Under the History's lock.
func (j *journal) anew() { j.pending, j.bytes, j.rewrite = nil, 0, true }

func (j *journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// pause waits before a flush, and tells whether there is to be one.
func (j *journal) pause(stop <-chan struct{}) bool {
	delay := flushDelay
	if j.failing {
		delay = retryDelay
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}

// flush writes what was noted.
func (j *journal) flush(h *History) error {
	h.mu.Lock()
	ops, rewrite := j.pending, j.rewrite || j.disk.db == nil
	j.pending, j.bytes, j.rewrite = nil, 0, false
	var all map[string]past
	if rewrite {
		all = h.everything()
	}
	h.mu.Unlock()
	var err error
	switch {
	case rewrite:
		err = j.disk.rewrite(encodeAll(all))
	case len(ops) > 0:
		err = j.disk.apply(ops)
	}
	j.report(h, err)
	if err != nil || !rewrite && j.disk.wasteful() {
		h.mu.Lock()
		j.anew()
		h.mu.Unlock()
		j.signal()
	}
	return err
}

// report tells of a disk that begins to fail, or works again.
func (j *journal) report(h *History, err error) {
	wasFailing := j.failing
	j.failing = err != nil
	switch {
	case err != nil:
		j.failures.Add(1)
		if !wasFailing {
			h.log.Error("the history cannot be written, it is kept in memory", "path", j.disk.path, "err", err)
		}
	case wasFailing:
		h.log.Info("the history can be written again", "path", j.disk.path)
	}
}

// close writes what was noted and closes the file. The History's goroutine has ended.
func (j *journal) close(h *History) error {
	err := j.flush(h)
	if closed := j.disk.close(); err == nil {
		err = closed
	}
	return err
}

// everything is a copy of what is known that nobody changes. Under the lock.
func (h *History) everything() map[string]past {
	all := make(map[string]past, len(h.peers))
	for name, p := range h.peers {
		c := *p
		c.changes = slices.Clone(p.changes)
		all[name] = c
	}
	return all
}

// encodeAll makes the operations that store everything, changes in the order of their numbers.
func encodeAll(all map[string]past) []op {
	var ops []op
	for name, p := range all {
		ops = append(ops, op{bucketPeers, []byte(name), encodePeer(&p)})
		for i := range p.changes {
			ops = append(ops, op{bucketChanges, changeKey(p.changes[i].id), encodeChange(name, &p.changes[i].Change)})
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return slices.Compare(a.key, b.key) })
	return ops
}
