package history

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"syscall"
	"time"
)

const (
	// flushDelay gathers records for one write; retryDelay follows a write that failed.
	flushDelay, retryDelay = time.Second, time.Minute
	// maxPending is how many bytes wait for the disk. Beyond it the journal is replaced from memory
	// instead, and waiting costs nothing.
	maxPending = 4 << 20
)

// storage is where a History outlives the process.
type storage interface {
	add(records []record) error
	replace(records []record) error
	close() error
}

// A writer carries what changes in a History to its storage, so that no caller waits for a disk.
// The memory is authoritative: nothing is lost while the process lives, whatever the disk does.
type writer struct {
	storage storage
	log     *slog.Logger
	// wake holds a signal while there is something to write.
	wake chan struct{}
	// failing belongs to the goroutine that writes.
	failing bool

	// The History's lock guards the rest.
	pending []record
	bytes   int
	// replace means that the next write replaces the journal, and pending is not needed.
	replace bool
}

// Under the History's lock.
func (w *writer) put(r record) {
	if !w.replace {
		w.pending = append(w.pending, r)
		w.bytes += r.bytes()
		if w.bytes > maxPending {
			w.replaceAll()
		}
	}
	w.signal()
}

// replaceAll makes the next write replace the journal. Under the History's lock.
func (w *writer) replaceAll() {
	w.pending, w.bytes, w.replace = nil, 0, true
	w.signal()
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// pause waits before a write, and reports whether there is to be one.
func (w *writer) pause(stop <-chan struct{}) bool {
	delay := flushDelay
	if w.failing {
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

func (w *writer) flush(h *History) error {
	h.mu.Lock()
	batch, replace := w.pending, w.replace
	w.pending, w.bytes = nil, 0
	h.mu.Unlock()
	var err error
	if !replace && len(batch) > 0 {
		err = w.storage.add(batch)
		replace = errors.Is(err, errLarge)
	}
	if replace {
		h.mu.Lock()
		w.pending, w.bytes, w.replace = nil, 0, false
		all := h.records()
		h.mu.Unlock()
		slices.SortStableFunc(all, func(a, b record) int { return cmp.Compare(a.Number, b.Number) })
		err = w.storage.replace(all)
	}
	w.report(err)
	if err != nil {
		h.mu.Lock()
		w.restore(batch, replace || !full(err))
		h.mu.Unlock()
	}
	return err
}

// restore queues records again whose write failed. Under the History's lock.
func (w *writer) restore(batch []record, replace bool) {
	if replace {
		w.replaceAll()
		return
	}
	later := w.pending
	w.pending, w.bytes = nil, 0
	for _, r := range slices.Concat(batch, later) {
		w.put(r)
	}
}

// full reports whether an error means that there is no space. After any other error the content of
// the file is in doubt, so that a new file has to replace it; a full disk has no room for one.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// report logs when writing starts to fail, and when it works again.
func (w *writer) report(err error) {
	wasFailing := w.failing
	w.failing = err != nil
	switch {
	case err != nil && !wasFailing:
		w.log.Error("history cannot be written; keeping it in memory", "err", err)
	case err == nil && wasFailing:
		w.log.Info("history is written again")
	}
}

// close writes what is queued and closes the storage. The History's goroutine has ended.
func (w *writer) close(h *History) error {
	err := w.flush(h)
	if closed := w.storage.close(); err == nil {
		err = closed
	}
	return err
}
